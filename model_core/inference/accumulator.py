"""One volume under segmentation: which of its windows run, the sums of their answers, and how far it is.

The sums are whole numbers. So they do not depend on the order in which windows come in: not on the number of workers,
not on where the user looks.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from model_core.confidence.agreement import dice_with_probabilities, pairwise_dice
from model_core.confidence.uncertainty import uncertainty_of
from model_core.inference.answer import Answer, count_pairs, labels_of
from model_core.inference.plan import Plan, place_of
from model_core.tissues import BACKGROUND, NUM_CLASSES

FINEST_UNIT = 2**-24  # of a probability; float32 knows no finer ones near 1


@dataclass(frozen=True)
class Progress:
    """How far a segmentation is.

    Attributes:
        windows_done: windows whose answer is in, those that need no run included.
        windows_total: windows of the step that was asked for.
        seconds_left: time that the remaining runs take at the pace so far.
        stage_step: overlap step of the grid that is being filled.
        step_reached: overlap step of the last complete grid, 0 before the first.
        notices: sentences on what had to change since the beginning, as where a GPU's memory did not suffice.
    """

    windows_done: int
    windows_total: int
    seconds_left: float
    stage_step: int
    step_reached: int
    notices: tuple[str, ...] = ()


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
        notices: as in ``Progress``.
        brain: (D, H, W) bool, what was segmented; None stands for the whole volume.
        pair_counts: (pairs, 4, 4) int64, for each two looks of the network (members of an ensemble, or one network at
            the brain and at its mirror image) how many of the brain's voxels the first gave the one label and the
            second the other, summed over the windows; no pairs where the network looks once.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    step_reached: int
    windows_done: int
    windows_total: int
    notices: tuple[str, ...] = ()
    brain: np.ndarray | None = None
    pair_counts: np.ndarray = field(default_factory=lambda: np.zeros((0, NUM_CLASSES, NUM_CLASSES), np.int64))

    @cached_property
    def uncertainty(self) -> np.ndarray:
        """(D, H, W) float32, the entropy of ``probabilities``: 0 sure, 1 no idea; 0 outside the brain."""
        return uncertainty_of(self.probabilities, self.brain)

    @cached_property
    def agreement(self) -> dict[str, float]:
        """By tissue, 0 to 1: the Dice between the network's looks; of one that looks once, between map and windows."""
        if len(self.pair_counts):
            return pairwise_dice(self.pair_counts)
        brain = np.ones(self.labels.shape, bool) if self.brain is None else self.brain
        return dice_with_probabilities(self.labels, self.probabilities, brain)


class WindowAccumulator:
    """The padded volume and the sums on the device.

    Args:
        scans: (scans, D, H, W) float32, as the network wants them.
        brain: (D, H, W) bool.
        plan: where the windows lie.
        device: where volume and sums lie.
        look_at: voxel whose three slices are looked at; their windows come first within each stage.

    Attributes:
        stages: the windows, coarse grid first.
        has_blank: whether ``blank_answer`` must be set before ``begin``.
        blank_answer: (4, *sides), the probabilities of a window of zeros.
        step_reached: set by whoever completes a stage.
        notices: sentences of whoever has to change something on the way.
    """

    def __init__(
        self,
        scans: np.ndarray,
        brain: np.ndarray,
        plan: Plan,
        device: torch.device,
        look_at: Sequence[float] | None = None,
    ) -> None:
        self.sides, self.stages, self._box = plan.sides, plan.stages, plan.brain
        self.inside = tuple(slice(side) for side in brain.shape)
        padding = [(0, full - side) for full, side in zip(plan.shape, brain.shape, strict=True)]
        brain = np.pad(brain, padding)
        scans = np.pad(scans, [(0, 0), *padding])
        # All windows of zeros alone share one answer.
        filled = [_windows_with(np.any(scans, axis=0), stage.starts, plan.sides) for stage in self.stages]
        self._to_run = [
            _seen_first(stage.starts[runs], plan.sides, look_at)
            for stage, runs in zip(self.stages, filled, strict=True)
        ]
        self._blank = [stage.starts[~runs] for stage, runs in zip(self.stages, filled, strict=True)]
        self.has_blank = any(map(len, self._blank))
        self.blank_answer: Tensor | None = None
        self.pair_counts: Tensor | None = None

        self.scans = torch.from_numpy(scans).to(device)
        self.brain = torch.from_numpy(brain).to(device)
        self.sums = torch.zeros((NUM_CLASSES, *brain.shape), dtype=torch.int32, device=device)
        self.counts = torch.zeros(brain.shape, dtype=torch.int32, device=device)
        self._unit = _unit_of_sums(np.concatenate([stage.starts for stage in self.stages]), plan.sides)
        self.windows_done, self.runs_done, self.step_reached = 0, 0, 0
        self.notices: list[str] = []
        self._began = time.monotonic()

    def move_to(self, device: torch.device) -> None:
        """Go on, with the sums so far, on another device."""
        self.scans, self.brain = self.scans.to(device), self.brain.to(device)
        self.sums, self.counts = self.sums.to(device), self.counts.to(device)
        if self.blank_answer is not None:
            self.blank_answer = self.blank_answer.to(device)

    def windows(self, starts: np.ndarray) -> Tensor:
        """(n, 3) first voxels -> (n, scans, *sides) intensities."""
        return torch.stack([self.scans[:, *self._slices(start)] for start in starts])

    def places(self, starts: np.ndarray) -> Tensor:
        """(n, 3) first voxels -> (n, 3, 2), where the windows' borders lie in the brain's box."""
        places = np.stack([place_of(start, self.sides, self._box) for start in starts])
        return torch.from_numpy(places).to(self.scans.device)

    def begin(self, index: int) -> np.ndarray:
        """Count in the windows of a stage that need no run; the first voxels of the others."""
        for start in self._blank[index]:
            if self.blank_answer is None:
                raise ValueError("blank_answer was not set before the first stage")
            self._add_one(start, self.blank_answer)
        self.windows_done += len(self.stages[index].starts) - len(self._to_run[index])
        return self._to_run[index]

    def add(self, starts: np.ndarray, answer: Answer) -> None:
        """Add the answer to n windows."""
        for number, start in enumerate(starts):
            self._add_one(start, answer.probabilities[number])
            if len(answer.labels):
                counts = count_pairs(answer.labels[:, number], self.brain[self._slices(start)]).cpu()
                self.pair_counts = counts if self.pair_counts is None else self.pair_counts + counts
        self.windows_done += len(starts)
        self.runs_done += len(starts)

    def _add_one(self, start: np.ndarray, answer: Tensor) -> None:
        place = self._slices(start)
        for of_class, probability in zip(self.sums, answer, strict=True):  # one by one: whole brains are large
            of_class[place] += (probability / self._unit).round_().to(torch.int32)
        self.counts[place] += 1

    def _slices(self, start: np.ndarray) -> tuple[slice, ...]:
        return tuple(slice(int(first), int(first) + side) for first, side in zip(start, self.sides, strict=True))

    def is_complete(self, index: int) -> bool:
        """Whether the windows of a stage and of those before it are in."""
        return self.windows_done == sum(len(stage.starts) for stage in self.stages[: index + 1])

    def progress(self, index: int) -> Progress:
        runs_left = sum(map(len, self._to_run)) - self.runs_done
        seconds_a_run = (time.monotonic() - self._began) / max(self.runs_done, 1)
        return Progress(
            windows_done=self.windows_done,
            windows_total=self.windows_total,
            seconds_left=runs_left * seconds_a_run,
            stage_step=self.stages[index].step,
            step_reached=self.step_reached,
            notices=tuple(self.notices),
        )

    @property
    def windows_total(self) -> int:
        return sum(len(stage.starts) for stage in self.stages)

    def labels(self) -> np.ndarray:
        """The label map so far; a voxel without an answer has zero sums and so is background."""
        return labels_of(self.sums, dim=0).masked_fill_(~self.brain, BACKGROUND.label)[self.inside].cpu().numpy()

    def result(self) -> Segmentation:
        """Labels, and the means of the answers; their memory is that of the sums, so the job is at its end."""
        labels = self.labels()
        self.move_to(torch.device("cpu"))
        self.scans = torch.empty(0)
        divisor = self.counts.clamp(min=1) / self._unit
        means = self.sums.view(torch.float32)
        for mean, class_sums in zip(means, self.sums, strict=True):
            mean.copy_(class_sums / divisor)
        means[BACKGROUND.label].masked_fill_(self.counts == 0, 1)
        return Segmentation(
            labels=labels,
            probabilities=np.ascontiguousarray(means[:, *self.inside].numpy()),
            step_reached=self.step_reached,
            windows_done=self.windows_done,
            windows_total=self.windows_total,
            notices=tuple(self.notices),
            brain=self.brain[self.inside].numpy(),
            **({} if self.pair_counts is None else {"pair_counts": self.pair_counts.numpy()}),
        )


def _unit_of_sums(starts: np.ndarray, sides: Sequence[int]) -> float:
    """The finest power of 2 in which the sum of the probabilities of one voxel fits 31 bits."""
    most = 1
    for first, side in zip(starts.T, sides, strict=True):
        places = np.unique(first)
        most *= int((np.searchsorted(places, places + side) - np.arange(len(places))).max())
    return max(FINEST_UNIT, 2.0 ** (math.ceil(math.log2(most + 1)) - 31))


def _seen_first(starts: np.ndarray, sides: Sequence[int], look_at: Sequence[float] | None) -> np.ndarray:
    """Put windows first that meet more of the three slices through a voxel; (n, 3) first voxels, else in order."""
    if look_at is None:
        return starts
    place = np.asarray(look_at)
    met = ((starts <= place) & (place < starts + np.asarray(sides))).sum(axis=1)
    return starts[np.argsort(-met, kind="stable")]


def _windows_with(voxels: np.ndarray, starts: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """Which windows hold at least one of the true voxels: (n,) bool, by a summed table of the (D, H, W) voxels."""
    table = np.pad(voxels, [(1, 0)] * 3).astype(np.int32)
    for axis in range(3):
        table.cumsum(axis=axis, out=table)
    low, high = starts.T, (starts + np.asarray(sides)).T
    counts = np.zeros(len(starts), dtype=np.int32)
    for corner in itertools.product((0, 1), repeat=3):
        at = tuple((low, high)[upper][axis] for axis, upper in enumerate(corner))
        counts += (-1) ** (3 - sum(corner)) * table[at]
    return counts > 0


def check_scan(name: str, scan: np.ndarray) -> np.ndarray:
    """Return a scan (D, H, W) as float32; of that type it is not copied.

    Raises:
        ValueError: it has other dimensions, or values that are not finite real numbers.
    """
    scan = np.asarray(scan)
    if scan.ndim != 3 or not scan.size:
        raise ValueError(f"{name} has shape {scan.shape}; (D, H, W) was expected")
    if scan.dtype.kind not in "fiub":
        raise ValueError(f"{name} has values of {scan.dtype}; real numbers were expected")
    scan = scan.astype(np.float32, copy=False)
    if not np.isfinite(scan).all():
        raise ValueError(f"{name} of shape {scan.shape} holds values that are not finite numbers")
    return scan
