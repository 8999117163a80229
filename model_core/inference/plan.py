"""How the windows of a segmentation lie in a volume, or how the whole brain is one window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model_core.windows import WHOLE_BRAIN, Stage, plan_stages


@dataclass(frozen=True)
class Plan:
    """The windows of one segmentation.

    Attributes:
        sides: of every window, in voxels; cubic, or the brain's box.
        shape: of the volume, padded with zeros at its far ends until every window fits.
        stages: the windows, coarse grid first.
        brain: first and last voxel + 1 of the brain along each axis, (3, 2).
    """

    sides: tuple[int, ...]
    shape: tuple[int, ...]
    stages: list[Stage]
    brain: np.ndarray

    @property
    def windows_total(self) -> int:
        """Windows of all stages."""
        return sum(len(stage.starts) for stage in self.stages)


def plan_windows_of(brain: np.ndarray, window: int, step: int) -> Plan:
    """Plan cubic windows over a whole volume; a volume smaller than one is padded.

    Args:
        brain: (D, H, W) bool.
        window: side of the windows in voxels.
        step: overlap step in voxels, 1 to ``window``.

    Raises:
        UserError: the step is not a whole number from 1 to the window's side.
    """
    shape = tuple(max(side, window) for side in brain.shape)
    return Plan((window,) * 3, shape, plan_stages(shape, window, step), brain_box(brain))


def plan_whole_brain(brain: np.ndarray, multiple: int) -> Plan:
    """Plan one window around the brain, whose sides are multiples of a number of voxels."""
    box = brain_box(brain)
    sides = tuple(int(-(-(last - first) // multiple) * multiple) for first, last in box)
    # Room is shared by both sides, as far as the volume reaches.
    starts = [
        max(0, int(min(first - (side - (last - first)) // 2, full - side)))
        for (first, last), side, full in zip(box, sides, brain.shape, strict=True)
    ]
    shape = tuple(max(full, start + side) for full, start, side in zip(brain.shape, starts, sides, strict=True))
    return Plan(sides, shape, [Stage(WHOLE_BRAIN, np.array([starts]))], box)


def brain_box(brain: np.ndarray) -> np.ndarray:
    """First and last voxel + 1 of a brain (D, H, W) bool along each axis, (3, 2); the whole volume without a brain."""
    found = ndimage.find_objects(brain.astype(np.uint8))
    if not found:
        return np.array([(0, side) for side in brain.shape])
    return np.array([(side.start, side.stop) for side in found[0]])


def place_of(starts: Sequence[int] | np.ndarray, sides: Sequence[int], brain: np.ndarray) -> np.ndarray:
    """Where the borders of a window lie in the brain's box.

    Args:
        starts: (3,) first voxel of the window.
        sides: of the window, in voxels.
        brain: first and last voxel + 1 of the brain, (3, 2).

    Returns:
        (3, 2) float32, lowest and highest coordinate; the brain's box reaches from -1 to 1.
    """
    first = np.asarray(starts)
    borders = np.stack([first, first + np.asarray(sides)], axis=1)
    low, high = brain.T
    return (2 * (borders - low[:, None]) / (high - low)[:, None] - 1).astype(np.float32)
