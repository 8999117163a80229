"""Where a result is unsure of itself: the overlay over the slice views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

LOWEST_SHOWN = 0.25  # of 1, the most that there can be; less would hide the scan: all of the cortex is a little unsure
OPACITY = 0.7
COLORS = 64  # of the ramp
RAMP = ((0, (40, 10, 90)), (0.4, (190, 40, 80)), (0.7, (250, 140, 10)), (1, (250, 250, 160)))  # share, red green blue


@dataclass(frozen=True)
class ShownUncertainty:
    """The overlay's node, and what the slice views had in its place.

    Attributes:
        node: vtkMRMLScalarVolumeNode of the scene.
        layers: slice composite nodes with their foreground's ID and opacity.
    """

    node: Any
    layers: list[tuple[Any, str | None, float]]


def show_uncertainty(uncertainty: Any, result: Any) -> ShownUncertainty:
    """Show a map of uncertainty over the slice views.

    Args:
        uncertainty: scalar volume node outside of the scene, 0 where all agree to 1 where nothing is known.
        result: the node of the scene that it belongs to; the map goes under its transform.
    """
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", _("Uncertainty of the result"))
    node.CopyOrientation(uncertainty)
    node.SetAndObserveImageData(uncertainty.GetImageData())
    node.SetAndObserveTransformNodeID(result.GetTransformNodeID())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(_make_colors().GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, 1)
    display.AutoThresholdOff()
    display.SetThreshold(LOWEST_SHOWN, 1)
    display.ApplyThresholdOn()
    composites = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    layers = [(each, each.GetForegroundVolumeID(), each.GetForegroundOpacity()) for each in composites]
    slicer.util.setSliceViewerLayers(foreground=node, foregroundOpacity=OPACITY)
    return ShownUncertainty(node, layers)


def hide_uncertainty(shown: ShownUncertainty | None) -> None:
    """Take the map, its colours included, out of views and scene; the views get back what they had."""
    if shown is None or not slicer.mrmlScene.IsNodePresent(shown.node):
        return
    for composite, foreground, opacity in shown.layers:
        if slicer.mrmlScene.IsNodePresent(composite) and composite.GetForegroundVolumeID() == shown.node.GetID():
            composite.SetForegroundVolumeID(foreground)
            composite.SetForegroundOpacity(opacity)
    display = shown.node.GetDisplayNode()
    colors = display.GetColorNode() if display is not None else None
    for gone in (shown.node, display, colors):
        if gone is not None and slicer.mrmlScene.IsNodePresent(gone):
            slicer.mrmlScene.RemoveNode(gone)


def _make_colors() -> Any:
    colors = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", "Uncertainty")
    colors.SetTypeToUser()
    colors.SetNumberOfColors(COLORS)
    shares, parts = [share for share, _color in RAMP], np.array([color for _share, color in RAMP]) / 255
    for index in range(COLORS):
        share = index / (COLORS - 1)
        color = [float(np.interp(share, shares, parts[:, channel])) for channel in range(3)]
        colors.SetColor(index, f"{share:.2f}", *color, 1)
    return colors
