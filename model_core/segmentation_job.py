"""One volume under segmentation: which of its windows run, the sums of their answers, and how far it is."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model_core.tissues import BACKGROUND, NUM_CLASSES
from model_core.windows import plan_stages


@dataclass(frozen=True)
class Progress:
    """How far a segmentation is.

    Attributes:
        windows_done: windows whose answer is in, those that need no run included.
        windows_total: windows of the step that was asked for.
        seconds_left: time that the remaining runs take at the pace so far.
        stage_step: overlap step of the grid that is being filled.
        step_reached: overlap step of the last complete grid, 0 before the first.
    """

    windows_done: int
    windows_total: int
    seconds_left: float
    stage_step: int
    step_reached: int


@dataclass(frozen=True)
class Segmentation:
    """What ``Segmenter.segment`` gives.

    Attributes:
        labels: (D, H, W) uint8, the class of highest probability; background outside the brain
            and where no window has been yet.
        probabilities: (4, D, H, W) float32, the network's softmax probabilities averaged over the
            windows that cover a voxel, outside the brain, too; (1, 0, 0, 0) where no window has been yet.
        step_reached: overlap step that the map stands for; 0 if it was stopped before even the
            coarsest grid was complete.
        windows_done: as in ``Progress``.
        windows_total: as in ``Progress``.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    step_reached: int
    windows_done: int
    windows_total: int


class SegmentationJob:
    """The padded volume and the sums on the device.

    Args:
        t1: (D, H, W) float32 intensities.
        t2: (D, H, W) float32 intensities.
        brain: (D, H, W) bool.
        window: side of the windows; a volume smaller than that is padded with zeros at its far ends.
        step: overlap step.
        device: where volume and sums lie.

    Attributes:
        stages: the windows, coarse grid first.
        has_blank: whether ``blank_answer`` must be set before ``begin``.
        blank_answer: (4, w, w, w), the network's answer to a window of zeros.
        step_reached: set by whoever completes a stage.
    """

    def __init__(
        self, t1: np.ndarray, t2: np.ndarray, brain: np.ndarray, window: int, step: int, device: torch.device
    ) -> None:
        self.window = window
        self.inside = tuple(slice(side) for side in t1.shape)
        padding = [(0, max(window - side, 0)) for side in t1.shape]
        scans = np.stack([np.pad(t1, padding), np.pad(t2, padding)])
        brain = np.pad(brain, padding)
        self.stages = plan_stages(brain.shape, window, step)
        # All windows of zeros alone share one answer.
        filled = [_windows_with(scans.any(axis=0), stage.starts, window) for stage in self.stages]
        self._to_run = [stage.starts[runs] for stage, runs in zip(self.stages, filled, strict=True)]
        self._blank = [stage.starts[~runs] for stage, runs in zip(self.stages, filled, strict=True)]
        self.has_blank = any(map(len, self._blank))
        self.blank_answer: Tensor | None = None

        self.scans = torch.from_numpy(scans).to(device)
        self.brain = torch.from_numpy(brain).to(device)
        self.sums = torch.zeros((NUM_CLASSES, *brain.shape), device=device)
        self.counts = torch.zeros(brain.shape, device=device)
        self.windows_done, self.runs_done, self.step_reached = 0, 0, 0
        self._began = time.monotonic()

    def windows(self, starts: np.ndarray) -> Tensor:
        """(n, 3) first voxels -> (n, 2, w, w, w) intensities."""
        return torch.stack(
            [self.scans[:, i : i + self.window, j : j + self.window, k : k + self.window] for i, j, k in starts]
        )

    def begin(self, index: int) -> np.ndarray:
        """Count in the windows of a stage that need no run; the first voxels of the others."""
        for start in self._blank[index]:
            self._add_one(start, self.blank_answer)
        self.windows_done += len(self.stages[index].starts) - len(self._to_run[index])
        return self._to_run[index]

    def add(self, starts: np.ndarray, probabilities: Tensor) -> None:
        """Add the answers (n, 4, w, w, w) of windows."""
        for start, answer in zip(starts, probabilities, strict=True):
            self._add_one(start, answer)
        self.windows_done += len(starts)
        self.runs_done += len(starts)

    def _add_one(self, start: np.ndarray, answer: Tensor) -> None:
        i, j, k = (slice(first, first + self.window) for first in start)
        self.sums[:, i, j, k] += answer
        self.counts[i, j, k] += 1

    def progress(self, index: int) -> Progress:
        runs_left = sum(map(len, self._to_run)) - self.runs_done
        seconds_a_run = (time.monotonic() - self._began) / max(self.runs_done, 1)
        return Progress(
            windows_done=self.windows_done,
            windows_total=self.windows_total,
            seconds_left=runs_left * seconds_a_run,
            stage_step=self.stages[index].step,
            step_reached=self.step_reached,
        )

    @property
    def windows_total(self) -> int:
        return sum(len(stage.starts) for stage in self.stages)

    def labels(self) -> np.ndarray:
        """The label map so far; a voxel without an answer has zero sums and so is background."""
        labels = self.sums.argmax(dim=0).to(torch.uint8).masked_fill_(~self.brain, BACKGROUND.label)
        return labels[self.inside].cpu().numpy()

    def result(self) -> Segmentation:
        """Means of the sums, which are divided in place: call it last."""
        probabilities = self.sums.div_(self.counts.clamp(min=1))
        probabilities[BACKGROUND.label].masked_fill_(self.counts == 0, 1)
        return Segmentation(
            labels=self.labels(),
            probabilities=np.ascontiguousarray(probabilities[:, *self.inside].cpu().numpy()),
            step_reached=self.step_reached,
            windows_done=self.windows_done,
            windows_total=self.windows_total,
        )


def _windows_with(voxels: np.ndarray, starts: np.ndarray, window: int) -> np.ndarray:
    """Which windows hold at least one of the true voxels: (n,) bool, by a summed table of the (D, H, W) voxels."""
    table = np.pad(voxels, [(1, 0)] * 3).astype(np.int32)
    for axis in range(3):
        table.cumsum(axis=axis, out=table)
    low, high = starts.T, starts.T + window
    counts = np.zeros(len(starts), dtype=np.int32)
    for corner in itertools.product((0, 1), repeat=3):
        at = tuple((low, high)[upper][axis] for axis, upper in enumerate(corner))
        counts += (-1) ** (3 - sum(corner)) * table[at]
    return counts > 0
