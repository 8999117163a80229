"""Where result and reference differ: the overlay over the slice views, and the jump to the worst place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .scene_display import read_label_map

DISAGREEMENT_KINDS = (  # value in the disagreement map, name, colour
    (1, _("Missed: tissue only in the reference"), (230, 60, 60)),
    (2, _("Added: tissue only in the result"), (60, 200, 90)),
    (3, _("Another tissue than in the reference"), (255, 150, 0)),
)


def read_disagreement(path: Path) -> Any:
    """Read a disagreement map, values as in DISAGREEMENT_KINDS, as a node outside of the scene."""
    return read_label_map(path)


def show_disagreement(disagreement: Any, reference: Any) -> Any:
    """Show a disagreement map over the slice views.

    Args:
        disagreement: a node of `read_disagreement`; it stays outside of the scene.
        reference: the node that the result was scored against; the map goes under its transform.

    Returns:
        The label map node that was added to the scene.
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Disagreement with the reference")
    node.CopyOrientation(disagreement)
    node.SetAndObserveImageData(disagreement.GetImageData())
    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "Disagreement")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(len(DISAGREEMENT_KINDS) + 1)
    colors.SetColor(0, _("Agreement"), 0, 0, 0, 0)
    for value, name, color in DISAGREEMENT_KINDS:
        colors.SetColor(value, name, *(part / 255 for part in color), 1)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetAndObserveColorNodeID(colors.GetID())
    node.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
    slicer.util.setSliceViewerLayers(label=node, labelOpacity=1.0)
    return node


def hide_disagreement(node: Any) -> None:
    """Take a disagreement map, its colours included, out of views and scene."""
    if node is None or not slicer.mrmlScene.IsNodePresent(node):
        return
    display = node.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        if composite.GetLabelVolumeID() == node.GetID():
            composite.SetLabelVolumeID(None)
    for gone in (node, display, colors):
        if gone is not None and slicer.mrmlScene.IsNodePresent(gone):
            slicer.mrmlScene.RemoveNode(gone)
