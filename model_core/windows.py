"""Where the windows of a sliding-window segmentation lie, and in which order they run. Knows arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from model_core.errors import UserError

# Stands for an overlap step where the whole brain is one window; larger than the step of any windows.
WHOLE_BRAIN = 256


def describe_step(step: int) -> str:
    """Say for people what an overlap step is: "step 16", or "whole brain"."""
    return "whole brain" if step == WHOLE_BRAIN else f"step {step}"


@dataclass(frozen=True)
class Stage:
    """One pass of a progressive segmentation.

    Attributes:
        step: once this stage and those before it have run, the windows of this overlap step are in.
        starts: (n, 3) first voxels of the windows that this stage adds, in C order.
    """

    step: int
    starts: np.ndarray


def plan_windows(shape: Sequence[int], window: int, step: int) -> np.ndarray:
    """First voxels of all windows of an overlap step.

    Per axis of side S the starts are 0, step, 2·step, … up to S − window, and S − window itself, so
    that the last window ends with the volume. 100×116×148 voxels and window 32 give 11,880, 1,920,
    378 and 80 windows for steps 4, 8, 16 and 32 (Wang et al. 2020, Fig. 7, prints 387 for 378).

    Args:
        shape: voxels of the volume along its three axes, each at least ``window``.
        window: side of the cubic window in voxels.
        step: overlap step in voxels, 1 to ``window``.

    Returns:
        (n, 3) whole numbers, in C order (the last axis varies fastest), none twice.

    Raises:
        UserError: the step is not a whole number from 1 to the window's side.
        ValueError: the shape is not three sides of at least one window.
    """
    axes = np.meshgrid(*_starts_per_axis(shape, window, step), indexing="ij")
    return np.stack([axis.ravel() for axis in axes], axis=1)


def plan_stages(shape: Sequence[int], window: int, step: int) -> list[Stage]:
    """The windows of an overlap step, coarse grid first.

    The stages have the steps step·2ᵏ that do not exceed the window (32, 16, 8 for step 8 and window 32; 24, 12
    for step 12). Multiples of a step contain those of its double, and every grid ends with the same last
    window, so each grid is part of the next: after every stage the windows that ran are exactly those of
    ``plan_windows`` at the stage's step, the first stage already covers every voxel, and no window runs twice.

    Args:
        shape: as in ``plan_windows``.
        window: as in ``plan_windows``.
        step: as in ``plan_windows``.

    Returns:
        Stages of falling step, the last one of ``step``; a stage may add no window.

    Raises:
        UserError: as ``plan_windows``.
        ValueError: as ``plan_windows``.
    """
    starts = plan_windows(shape, window, step)
    stages = []
    planned = np.zeros(len(starts), dtype=bool)
    for exponent in reversed(range((window // step).bit_length())):
        grid = _starts_per_axis(shape, window, step << exponent)
        on_grid = np.all([np.isin(starts[:, axis], grid[axis]) for axis in range(3)], axis=0)
        stages.append(Stage(step << exponent, starts[on_grid & ~planned]))
        planned |= on_grid
    return stages


def _starts_per_axis(shape: Sequence[int], window: int, step: int) -> list[np.ndarray]:
    if len(shape) != 3 or any(side < window for side in shape):
        raise ValueError(f"shape is {tuple(shape)}; it has three sides of at least the window's {window} voxels")
    if not isinstance(step, Integral) or not 1 <= step <= window:
        raise UserError(
            f"The overlap step is {step} voxels; a whole number from 1 to the window's side of {window} was expected; "
            "use 8, or 16 or 32 for a quicker, coarser result."
        )
    return [np.union1d(np.arange(0, side - window + 1, step), side - window) for side in shape]
