"""What a run shows: the map as it sharpens, then the segmentation, the label map, the probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from .core_paths import make_core_importable
from .errors import SegmentationError
from .step_text import describe_step
from .tissue_colors import TERMINOLOGY, make_colors, tissue_colors

make_core_importable()
from model_core.tissues import CLASSES, CSF  # noqa: E402

CSF_OPACITY_3D = 0.2  # it surrounds the cortex, which shall be seen
STEP_ATTRIBUTE = "InfantBrainSeg.OverlapStep"  # of a segmentation node that a run has filled
FILL_OPACITY = 0.5  # the gyri stay visible beneath the labels


def read_label_map(path: Path) -> Any:
    """Read a label map file as a node outside of the scene.

    Raises:
        SegmentationError: the file cannot be read.
    """
    return _read(slicer.vtkMRMLLabelMapVolumeNode(), path)


def read_scalar_volume(path: Path) -> Any:
    """Read a volume file as a scalar volume node outside of the scene; errors as of `read_label_map`."""
    return _read(slicer.vtkMRMLScalarVolumeNode(), path)


def _read(node: Any, path: Path) -> Any:
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetSingleFile(1)
    if not storage.ReadData(node):
        raise SegmentationError(
            _(
                "The worker's file {name} could not be read; expected a volume; check the free space of "
                "Slicer's temporary folder and segment again."
            ).format(name=path.name)
        )
    return node


class ResultDisplay:
    """The nodes of one run; until `finish` nothing of the user's is touched, and `revert` takes everything back.

    Args:
        base: the scan on whose grid the maps lie: T1, or T2 where that alone is segmented.
        other: the other scan, or None.
        output: the segmentation node to fill at the end; None makes a new one.
        showMaps: whether coarse maps appear in the views while the run goes on.
    """

    _base: Any  # a node of Slicer's, or None once it is let go of
    _other: Any
    _output: Any

    def __init__(self, base: Any, other: Any, output: Any, *, showMaps: bool) -> None:
        self._base, self._other, self._output, self._shows = base, other, output, showMaps
        self._live: Any = None  # the segmentation node that shows the maps so far
        self._slices: list[tuple[Any, Any]] = []  # slice views and the background they had
        self._hidden: list[Any] = []  # display nodes that were hidden for the live map

    @property
    def live_node(self) -> Any:
        """The segmentation node with the newest map, None before the first."""
        return self._live

    def show_map(self, path: Path, step: int) -> None:
        """Put a coarse map into the views, in the place of the one before."""
        if not self._shows:
            return
        label_map = self._read_map(path)
        if not _is_in_scene(self._live):  # before the first map, or when the user has deleted the last one
            self._live = self._new_segmentation()
            self._hide_old_result()
            self._show_scan()
        self._fill(self._live, label_map)
        self._live.SetName(f"{self._base.GetName()} segmentation ({describe_step(step)}, running)")

    def finish(
        self, path: Path, step: int, *, label_map: bool = False, probabilities: dict[str, Path] | None = None
    ) -> tuple[Any, Any, dict[str, Any]]:
        """Put the final map into the scene.

        Args:
            path: the label map's file, on the base scan's grid.
            step: the overlap step it stands for.
            label_map: also make a label map volume.
            probabilities: files by class key, each made into a volume.

        Returns:
            The segmentation node, the label map node or None, and the probability nodes by class key.
        """
        labels = self._read_map(path)
        volumes = {key: read_scalar_volume(file) for key, file in (probabilities or {}).items()}
        target = self._output
        if not _is_in_scene(target):  # none was chosen, or the user has deleted it meanwhile
            target = self._live if _is_in_scene(self._live) else self._new_segmentation()
            target.SetName(slicer.mrmlScene.GenerateUniqueName(f"{self._base.GetName()} segmentation"))
        elif _is_in_scene(self._live):
            slicer.mrmlScene.RemoveNode(self._live)
        self._live = None
        self._show_again()
        self._prepare(target)
        self._fill(target, labels)
        target.SetAttribute(STEP_ATTRIBUTE, str(step))
        if self._shows:
            self._show_scan()
        label_node = self._add_label_map(labels) if label_map else None
        return target, label_node, {key: self._add_probability(key, node) for key, node in volumes.items()}

    def revert(self) -> None:
        """Take away what was shown; the scene is as it was before the run."""
        if _is_in_scene(self._live):
            slicer.mrmlScene.RemoveNode(self._live)
        self._live = None
        self._show_again()
        for composite, background in self._slices:
            if _is_in_scene(composite) and composite.GetBackgroundVolumeID() == self._base.GetID():
                composite.SetBackgroundVolumeID(background)
        self._slices.clear()

    def forget(self) -> None:
        """Hold no node any more, as when the scene is closed; there is nothing to take back then."""
        self._base, self._other, self._output, self._live = None, None, None, None
        self._slices.clear()
        self._hidden.clear()

    def _read_map(self, path: Path) -> Any:
        """Read a map and give it the base scan's own geometry: it lies on that grid voxel by voxel."""
        node = read_label_map(path)
        if node.GetImageData().GetDimensions() != self._base.GetImageData().GetDimensions():
            raise SegmentationError(
                _(
                    "{scan} has changed from {before} to {now} voxels since the run began; "
                    "expected it to stay as it was; segment again."
                ).format(
                    scan=self._base.GetName(),
                    before=node.GetImageData().GetDimensions(),
                    now=self._base.GetImageData().GetDimensions(),
                )
            )
        node.CopyOrientation(self._base)
        return node

    def _new_segmentation(self) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
        self._prepare(node)
        return node

    def _prepare(self, node: Any) -> None:
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetOpacity2DFill(FILL_OPACITY)
        node.SetReferenceImageGeometryParameterFromVolumeNode(self._base)
        transform = self._base.GetParentTransformNode()
        node.SetAndObserveTransformNodeID(transform.GetID() if transform is not None else None)

    def _fill(self, node: Any, label_map: Any) -> None:
        """Replace a segmentation's segments by those of a label map: coded, coloured, in one shared layer."""
        had_surface = node.GetSegmentation().ContainsRepresentation(
            slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        )
        label_map = _cropped(label_map)
        label_map.SetHideFromEditors(True)  # no selector and no tree of Slicer's takes notice of it
        slicer.mrmlScene.AddNode(label_map)
        colors = make_colors()
        label_map.CreateDefaultDisplayNodes()
        label_map.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
        modifying = node.StartModify()
        try:
            node.GetSegmentation().RemoveAllSegments()
            logic = slicer.modules.segmentations.logic()
            logic.ImportLabelmapToSegmentationNodeWithTerminology(label_map, node, TERMINOLOGY)
        finally:
            node.EndModify(modifying)
            display = label_map.GetDisplayNode()
            slicer.mrmlScene.RemoveNode(label_map)
            for helper in (display, colors):
                slicer.mrmlScene.RemoveNode(helper)
        for segment_id in node.GetSegmentation().GetSegmentIDs():
            if node.GetSegmentation().GetSegment(segment_id).GetName() == CSF.name:
                node.GetDisplayNode().SetSegmentOpacity3D(segment_id, CSF_OPACITY_3D)
        if had_surface:
            node.CreateClosedSurfaceRepresentation()

    def _hide_old_result(self) -> None:
        """Hide the segmentation that the run will replace, lest two maps lie over each other."""
        display = self._output.GetDisplayNode() if self._output is not None else None
        if display is not None and display.GetVisibility():
            display.SetVisibility(False)
            self._hidden.append(display)

    def _show_again(self) -> None:
        for display in self._hidden:
            if _is_in_scene(display):
                display.SetVisibility(True)
        self._hidden.clear()

    def _show_scan(self) -> None:
        """Make sure that the slice views show a scan of the run beneath the labels."""
        composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
        shown = [node.GetID() for node in (self._base, self._other) if node is not None]
        if any(composite.GetBackgroundVolumeID() in shown for composite in composites):
            return
        self._slices = [(composite, composite.GetBackgroundVolumeID()) for composite in composites]
        slicer.util.setSliceViewerLayers(background=self._base, fit=True)

    def _add_label_map(self, labels: Any) -> Any:
        name = slicer.mrmlScene.GenerateUniqueName(f"{self._base.GetName()} labels")
        return self._add_volume(labels, name, tissue_colors())

    def _add_probability(self, key: str, node: Any) -> Any:
        name = next(tissue.name for tissue in CLASSES if tissue.key == key)
        node.CopyOrientation(self._base)
        name = slicer.mrmlScene.GenerateUniqueName(f"{self._base.GetName()} probability of {name}")
        node = self._add_volume(node, name, None)
        node.GetDisplayNode().AutoWindowLevelOff()
        node.GetDisplayNode().SetWindowLevelMinMax(0, 1)
        return node

    def _add_volume(self, node: Any, name: str, colors: Any) -> Any:
        node.SetName(name)
        slicer.mrmlScene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        if colors is not None:
            node.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
        node.SetAndObserveTransformNodeID(self._base.GetTransformNodeID())
        return node


def _is_in_scene(node: Any) -> bool:
    return node is not None and bool(slicer.mrmlScene.IsNodePresent(node))


def _cropped(label_map: Any) -> Any:
    """Return a label map cropped to its labels: importing costs in proportion to the voxels, background included."""
    array = slicer.util.arrayFromVolume(label_map)
    sides = [np.flatnonzero(array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    (k0, k1), (j0, j1), (i0, i1) = ((int(side[0]), int(side[-1]) + 1) if side.size else (0, 1) for side in sides)
    matrix = vtk.vtkMatrix4x4()
    label_map.GetIJKToRASMatrix(matrix)
    origin = matrix.MultiplyPoint([i0, j0, k0, 1])
    for axis in range(3):
        matrix.SetElement(axis, 3, origin[axis])
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetAndObserveImageData(image_from_array(np.ascontiguousarray(array[k0:k1, j0:j1, i0:i1])))
    node.SetIJKToRASMatrix(matrix)
    return node


def image_from_array(array: np.ndarray) -> Any:
    """Return an array (K, J, I) as vtkImageData with spacing 1 and origin 0."""
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[::-1])
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(array.ravel(), deep=True))
    return image
