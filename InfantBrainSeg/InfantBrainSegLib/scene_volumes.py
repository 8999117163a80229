"""From nodes of the scene to files for the worker, and the checks that come before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from vtk.util import numpy_support

from .core_paths import make_core_importable
from .errors import SegmentationError

make_core_importable()
from model_core.tissues import TISSUES, Tissue  # noqa: E402

# Names by which people call the tissues in segmentations of their own; compared in lower case.
TISSUE_NAMES = {
    "csf": ("csf", "cerebrospinal fluid", "brain cerebrospinal fluid pathway", "liquor"),
    "gm": ("gm", "gray matter", "grey matter", "gray", "grey", "cortex", "label_2"),
    "wm": ("wm", "white matter", "white", "label_3"),
}
OFF_GRID_VOXELS = 1e-3  # two grids whose voxels lie this near to each other are one
SMALLEST_SIDE = 8  # voxels; less is no volume of a brain


def describe_scan_problem(node: Any, name: str) -> str:
    """Say why a volume node cannot be segmented, or return an empty text.

    Args:
        node: what should be a vtkMRMLScalarVolumeNode.
        name: T1 or T2, as the panel calls it.
    """
    if not isinstance(node, slicer.vtkMRMLScalarVolumeNode):
        return _(
            "The {name} volume is a {kind}; a volume node is needed; load a scan, or take its node by "
            "slicer.util.getNode."
        ).format(name=name, kind=type(node).__name__)
    image = node.GetImageData()
    if image is None or not image.GetPointData() or image.GetPointData().GetScalars() is None:
        return _("The {name} volume {volume} holds no image; a loaded scan is needed; load it again.").format(
            name=name, volume=node.GetName()
        )
    if image.GetNumberOfScalarComponents() != 1 or min(image.GetDimensions()) < SMALLEST_SIDE:
        found = "×".join(map(str, image.GetDimensions())) + " voxels"
        return _(
            "The {name} volume {volume} has {found} of {components} component(s); a "
            "gray-scale volume of a whole brain is needed; choose another one."
        ).format(
            name=name,
            volume=node.GetName(),
            found=found,
            components=image.GetNumberOfScalarComponents(),
        )
    return ""


def describe_place_problem(scans: Sequence[Any], mask: Any) -> str:
    """Say why scans (and a mask, or None) do not lie in one place of the scene, or return an empty text."""
    first, *others = [*scans, *([mask] if mask is not None else [])]
    if all(node.GetParentTransformNode() is first.GetParentTransformNode() for node in others):
        return ""
    return _(
        "The inputs are under different transforms; one common place is needed; harden the "
        "transforms (Data module, right click, Harden transform)."
    )


def write_volume_node(node: Any, path: Path) -> None:
    """Write a volume node as it is, without compression and without a change to the scene.

    Raises:
        SegmentationError: the file cannot be written.
    """
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.SetUseCompression(0)
    path.unlink(missing_ok=True)  # of an earlier run; VTK would tell the user about it
    if not storage.WriteData(node):
        raise SegmentationError(
            _(
                "The volume {name} could not be written to {folder}; expected free disk space there; make "
                "room, or change Slicer's temporary folder in the application settings."
            ).format(name=node.GetName(), folder=path.parent)
        )


def write_label_node(node: Any, path: Path) -> None:
    """Write a label map or a segmentation of CSF, gray and white matter on its own grid, 0 to 3.

    Raises:
        SegmentationError: the node holds nothing, or segments that are no such tissues, or cannot be written.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        node = _label_node(node)
    elif node.GetImageData() is None:
        raise SegmentationError(
            _("The label map {name} is empty; expected labels; load it again.").format(name=node.GetName())
        )
    write_volume_node(node, path)


def tissue_of_segment(segment: Any) -> Tissue | None:
    """Return which tissue a segment is: by its SNOMED code, else by its name; None if neither is known."""
    tag = vtk.reference("")
    if segment.GetTag(segment.GetTerminologyEntryTagName(), tag):
        codes = {part.split("^")[1] for part in str(tag).split("~") if part.count("^") == 2}
        for tissue in TISSUES:
            if tissue.snomed_code in codes:
                return tissue
    name = segment.GetName().strip().lower()
    return next((tissue for tissue in TISSUES if name in TISSUE_NAMES[tissue.key]), None)


def _label_node(segmentation_node: Any) -> Any:
    """Return a segmentation as a label map node outside of the scene, on the segmentation's reference geometry."""
    segments = tissue_segments(segmentation_node)
    binary = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    if not segmentation_node.GetSegmentation().ContainsRepresentation(binary):
        raise SegmentationError(
            _(
                "The segmentation {name} holds surfaces only; expected a binary label map; create that "
                "representation in the Segmentations module."
            ).format(name=segmentation_node.GetName())
        )
    geometry = _reference_geometry(segmentation_node)
    first = geometry.GetExtent()[::2]
    shape = tuple(geometry.GetDimensions())[::-1]
    labels = np.zeros(shape, np.uint8)
    for tissue, segment_id in segments.items():
        image = segmentation_node.GetBinaryLabelmapInternalRepresentation(segment_id)
        if image is None or image.IsEmpty():
            continue
        label_value = segmentation_node.GetSegmentation().GetSegment(segment_id).GetLabelValue()
        offset = _voxel_offset(image, geometry)
        if offset is None:
            image, label_value = _resampled(segmentation_node, segment_id, geometry), 1
            offset = (0, 0, 0)
        starts = [image.GetExtent()[2 * axis] + offset[axis] - first[axis] for axis in range(3)]
        _paste(labels, image, label_value, starts, tissue.label)
    node = slicer.vtkMRMLLabelMapVolumeNode()
    node.SetName(segmentation_node.GetName())
    image = vtk.vtkImageData()
    image.SetDimensions(geometry.GetDimensions())
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(labels.ravel(), deep=True))
    matrix = vtk.vtkMatrix4x4()
    geometry.GetImageToWorldMatrix(matrix)
    origin = matrix.MultiplyPoint([*first, 1])
    for axis in range(3):
        matrix.SetElement(axis, 3, origin[axis])
    node.SetIJKToRASMatrix(matrix)
    node.SetAndObserveImageData(image)
    return node


def tissue_segments(segmentation_node: Any) -> dict[Tissue, str]:
    """Return the segment's ID of each tissue of a segmentation node.

    Raises:
        SegmentationError: no segment is one of the tissues, or two are the same one.
    """
    segmentation = segmentation_node.GetSegmentation()
    found: dict[Tissue, str] = {}
    for segment_id in segmentation.GetSegmentIDs():
        tissue = tissue_of_segment(segmentation.GetSegment(segment_id))
        if tissue in found:
            raise SegmentationError(
                _(
                    "The segmentation {name} has two segments of {tissue}; expected one of each tissue; merge "
                    "or rename them in the Segmentations module."
                ).format(name=segmentation_node.GetName(), tissue=tissue.name)
            )
        if tissue is not None:
            found[tissue] = segment_id
    if not found:
        names = [segmentation.GetSegment(segment_id).GetName() for segment_id in segmentation.GetSegmentIDs()]
        raise SegmentationError(
            _(
                "The segmentation {name} has the segments {segments}; expected CSF, Gray matter and White "
                "matter; rename its segments in the Segmentations module."
            ).format(name=segmentation_node.GetName(), segments=", ".join(names) or _("none"))
        )
    return found


def _reference_geometry(segmentation_node: Any) -> Any:
    """Return the grid that a segmentation was made on: a vtkOrientedImageData without voxels."""
    geometry = slicer.vtkOrientedImageData()
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    text = segmentation_node.GetSegmentation().GetConversionParameter(name)
    if text and slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, geometry, False):
        return geometry
    union = slicer.vtkSegmentation.EXTENT_UNION_OF_SEGMENTS
    text = segmentation_node.GetSegmentation().DetermineCommonLabelmapGeometry(union, None)
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(text, geometry, False)
    return geometry


def _voxel_offset(image: Any, geometry: Any) -> tuple[int, int, int] | None:
    """Return how many voxels an image's index is behind the grid's along I, J, K; None if their voxels do not meet."""
    if not slicer.vtkOrientedImageDataResample.DoGeometriesMatchIgnoreOrigin(image, geometry):
        return None
    to_index = vtk.vtkMatrix4x4()
    geometry.GetWorldToImageMatrix(to_index)
    offset = to_index.MultiplyPoint([*image.GetOrigin(), 1])[:3]
    nearest = tuple(round(side) for side in offset)
    return nearest if np.allclose(offset, nearest, atol=OFF_GRID_VOXELS) else None


def _resampled(segmentation_node: Any, segment_id: str, geometry: Any) -> Any:
    """Return a segment (1 inside) on the grid of the geometry, nearest neighbour."""
    image = slicer.vtkOrientedImageData()
    segmentation_node.GetBinaryLabelmapRepresentation(segment_id, image)
    result = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(image, geometry, result)
    return result


def _paste(labels: np.ndarray, image: Any, value: int, starts: list[int], label: int) -> None:
    """Write a label where an image has a value, into labels (K, J, I) at the indices I, J, K of the image's start."""
    array = numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(tuple(image.GetDimensions())[::-1])
    target, source = [], []
    for start, size, length in zip(starts[::-1], labels.shape, array.shape, strict=True):
        low, high = max(start, 0), max(min(start + length, size), max(start, 0))
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    labels[tuple(target)][array[tuple(source)] == value] = label
