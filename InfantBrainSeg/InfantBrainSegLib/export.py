"""Writing a result to files: NIfTI, and DICOM SEG by Slicer's own exporter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .errors import SegmentationError
from .scene_display import STEP_ATTRIBUTE
from .scene_volumes import write_label_node

DICOM_PLUGIN = "DICOMSegmentationPlugin"
ALGORITHM_TYPE, ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"  # tags it reads
PROGRAM = "InfantBrainSeg"


def why_no_export(node: Any) -> str:
    """Say why a segmentation node, or None, cannot be written at all, or return an empty text."""
    if node is None or node.GetSegmentation().GetNumberOfSegments() == 0:
        return _("There is no segmentation yet; segment first, or choose one.")
    return ""


def why_no_dicom(node: Any) -> str:
    """Say why a segmentation node, or None, cannot become a DICOM SEG, or return an empty text."""
    if _exporter() is None:
        return _("This Slicer has no exporter of DICOM SEG; Slicer 5.12 and later come with one.")
    reason = why_no_export(node)
    if reason:
        return reason
    scan = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
    if scan is None or not scan.GetAttribute("DICOM.instanceUIDs"):
        return _(
            "The scan was not loaded from Slicer's DICOM database; a DICOM SEG needs its study; import it in the DICOM "
            "module, load it from there and segment it."
        )
    return ""


def export_nifti(node: Any, path: Path) -> None:
    """Write a segmentation of CSF, gray and white matter as labels 0 to 3 on its scan's grid.

    Raises:
        SegmentationError: a segment is none of the tissues, or the file cannot be written.
    """
    write_label_node(node, path)


def export_dicom(node: Any, folder: Path, *, is_untouched: bool) -> None:
    """Write a segmentation as DICOM SEG into a folder; Slicer's exporter adds it to the DICOM database, too.

    Args:
        node: vtkMRMLSegmentationNode whose scan was loaded from the DICOM database.
        folder: must exist.
        is_untouched: whether the segments are still as a run has left them; the file says so.

    Raises:
        SegmentationError: it is not possible; the sentence says why.
    """
    problem = why_no_dicom(node)
    if problem:
        raise SegmentationError(problem)
    _tell_how_it_was_made(node, is_untouched)
    exporter = _exporter()()
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    exportables = exporter.examineForExport(tree.GetItemByDataNode(node))
    for exportable in exportables:
        exportable.directory = str(folder)
    problem = exporter.export(exportables) if exportables else _("the segmentation's study was not found")
    if problem:
        raise SegmentationError(
            _(
                "{name} could not be written as DICOM SEG ({problem}); expected its scan's files in the DICOM database "
                "and segments with voxels; check both, or export it as NIfTI."
            ).format(name=node.GetName(), problem=str(problem).strip().rstrip("."))
        )


def _exporter() -> Any:
    """Return the class of Slicer's exporter, None where it is absent."""
    return getattr(slicer.modules, "dicomPlugins", {}).get(DICOM_PLUGIN)


def _tell_how_it_was_made(node: Any, is_untouched: bool) -> None:
    """Tag the segments of a result of ours; without tags the exporter calls them drawn by hand."""
    if node.GetAttribute(STEP_ATTRIBUTE) is None:
        return
    segmentation = node.GetSegmentation()
    for segment_id in segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segment_id)
        segment.SetTag(ALGORITHM_TYPE, "AUTOMATIC" if is_untouched else "SEMIAUTOMATIC")
        segment.SetTag(ALGORITHM_NAME, PROGRAM)
