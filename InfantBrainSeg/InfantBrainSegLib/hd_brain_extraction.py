"""The extension HD Brain Extraction of Slicer's own, where it is installed: its module makes a brain mask of a T1.

Its logic is called as its module calls it: setupPythonRequirements(), then process(inputVolume, outputVolume,
outputSegmentation), which returns when all is done.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .errors import SegmentationError

MODULE = "HDBrainExtractionTool"
WHAT_TO_DO = _("extract the brain in the module HD Brain Extraction Tool itself, or choose another brain mask")


def is_installed() -> bool:
    """Return whether Slicer has the module."""
    return hasattr(slicer.modules, MODULE.lower())


def make_brain_mask(t1: Any) -> Any:
    """Let the module find the brain; the application waits meanwhile, under a wait cursor.

    Args:
        t1: vtkMRMLScalarVolumeNode with the skull on.

    Returns:
        A new vtkMRMLLabelMapVolumeNode on T1's grid, 1 in the brain.

    Raises:
        SegmentationError: the module fails or finds nothing; the scene is as it was.
    """
    found = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{t1.GetName()} brain")
    found.SetAndObserveTransformNodeID(t1.GetTransformNodeID())
    try:
        with slicer.util.WaitCursor():
            logic = getattr(importlib.import_module(MODULE), f"{MODULE}Logic")()
            logic.setupPythonRequirements()
            logic.process(t1, None, found)
            brain = _brain(found, t1)
    except SegmentationError:
        raise
    except Exception as error:  # of another extension, which raises whatever it likes
        raise SegmentationError(
            _("HD Brain Extraction failed ({kind}: {error}); expected a brain mask; {advice}.").format(
                kind=type(error).__name__, error=" ".join(str(error).split())[:300], advice=WHAT_TO_DO
            )
        ) from error
    finally:
        slicer.mrmlScene.RemoveNode(found)
    return _add_mask(brain, t1)


def _brain(segmentation_node: Any, t1: Any) -> np.ndarray:
    """Return where any segment is, bool (K, J, I), on T1's grid."""
    brain = np.zeros(slicer.util.arrayFromVolume(t1).shape, bool)
    for segment_id in segmentation_node.GetSegmentation().GetSegmentIDs():
        brain |= slicer.util.arrayFromSegmentBinaryLabelmap(segmentation_node, segment_id, t1) != 0
    if not brain.any():
        raise SegmentationError(
            _("HD Brain Extraction found no brain in {name}; expected one; {advice}.").format(
                name=t1.GetName(), advice=WHAT_TO_DO
            )
        )
    return brain


def _add_mask(brain: np.ndarray, t1: Any) -> Any:
    name = slicer.mrmlScene.GenerateUniqueName(f"{t1.GetName()} brain mask")
    mask = slicer.util.addVolumeFromArray(brain.astype(np.uint8), name=name, nodeClassName="vtkMRMLLabelMapVolumeNode")
    mask.CopyOrientation(t1)
    mask.SetAndObserveTransformNodeID(t1.GetTransformNodeID())
    return mask
