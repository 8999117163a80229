"""How much memory a segmentation will need, and how many windows may run side by side under a ceiling.

The bytes a voxel below were measured on scans of 256³ voxels (Testing/core/test_memory_ceiling.py holds the estimate
against a real process); they count what is there at once at the worst moment of each part of the work.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_core.errors import UserError
from model_core.volumes.reading import shape_of
from model_core.windows import WHOLE_BRAIN, describe_step

if TYPE_CHECKING:
    from model_core.inference import Segmenter
    from model_core.preprocessing import PreparedPair

GB = 1e9

READING = 10  # bytes a voxel of one file beyond the scans in memory: values as stored, and scaled
PREPARING = 21  # bytes a voxel of T1 beyond the two scans
REPAIRING = 40  # more of them for alignment and bias correction
RUNNING = 31  # bytes a voxel of the network grid: scans, mask, sums, counts
FINISHING = 40  # the same, with means in place of the scans
KEEPING = 30  # the same, when the labels are there
LABELLING = 10  # bytes a voxel of T1 for labels and their volumes
INTERPOLATING = 30  # the same for probabilities
SLACK = 50e6


def gigabytes(text: str) -> float:
    """Read the value of --max-memory, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; expected gigabytes such as 4 or 1.5")
    return number


def resident_bytes() -> float:
    """Memory that this process holds now; on macOS, which does not tell, the most that it has held.

    Raises:
        UserError: the system tells neither.
    """
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "darwin":
        import resource  # which Windows lacks

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    raise UserError(
        f"--max-memory needs to know what this process holds, which {sys.platform} does not tell; expected Linux or "
        "macOS; leave --max-memory out."
    )


def check_can_prepare(allowed_gb: float, scans: Sequence[Path], *, repairs: bool) -> None:
    """Refuse before anything is read scans that cannot even be prepared under the ceiling.

    Args:
        allowed_gb: the ceiling for this process, in 10⁹ bytes.
        scans: files of T1 and T2, or of the one that there is.
        repairs: whether alignment or bias correction are asked for.

    Raises:
        UserError: they need more; or a file is no volume.
    """
    voxels = [math.prod(shape_of(path)) for path in scans]
    preparing = (PREPARING + (REPAIRING if repairs else 0)) * voxels[0]
    needed = resident_bytes() + 4 * sum(voxels) + max(READING * max(voxels), preparing) + SLACK
    if needed > allowed_gb * GB:
        raise _too_little("Preparing these scans", needed, allowed_gb)


@dataclass(frozen=True)
class Need:
    """What the memory of a run depends on, once its scans are prepared.

    Attributes:
        held: bytes that the process holds now, the prepared scans included.
        grid: shape (D, H, W) of the network grid, padded until a window fits.
        native_voxels: of T1.
        window_voxels: of one window.
        bytes_per_voxel: of a window while the network runs on it.
        on_cpu: whether windows and sums lie in this memory, not on a GPU.
        interpolates: whether probabilities come back to T1's own grid.
    """

    held: float
    grid: Sequence[int]
    native_voxels: int
    window_voxels: int
    bytes_per_voxel: int
    on_cpu: bool
    interpolates: bool

    def peak(self, workers: int) -> float:
        """The most bytes that the process will hold, with so many windows side by side."""
        padded = math.prod(self.grid)
        returning = KEEPING * padded + (INTERPOLATING if self.interpolates else LABELLING) * self.native_voxels
        most = max(RUNNING * padded, FINISHING * padded, returning)
        windows = workers * self.bytes_per_voxel * self.window_voxels if self.on_cpu else 0
        return self.held + most + windows + SLACK

    def fitting_workers(self, wanted: int, allowed_gb: float) -> int:
        """How many windows may run side by side, up to ``wanted``.

        Raises:
            UserError: not even one.
        """
        for workers in range(wanted, 0, -1):
            if self.peak(workers) <= allowed_gb * GB:
                return workers
        raise _too_little("This segmentation, one window at a time,", self.peak(1), allowed_gb)


def fit_memory(
    allowed_gb: float, segmenter: Segmenter, pair: PreparedPair, steps: Sequence[int], *, with_probabilities: bool
) -> tuple[int, str]:
    """Let as many windows run side by side as the ceiling on memory allows.

    Args:
        allowed_gb: the ceiling for this process, in 10⁹ bytes.
        segmenter: its ``workers`` are lowered.
        pair: to be segmented.
        steps: overlap steps in the order of preference; the first with which the memory suffices is taken.
        with_probabilities: whether probabilities come back to T1's own grid.

    Returns:
        The step, and a sentence on the memory that the run will take.

    Raises:
        UserError: not even one window can run.
    """
    held = resident_bytes()
    for step in steps:
        plan = segmenter.plan(pair.mask, step)
        need = Need(
            held=held,
            grid=plan.shape,
            native_voxels=pair.grid.brain.size,
            window_voxels=math.prod(plan.sides),
            bytes_per_voxel=segmenter.form.bytes_per_voxel,
            on_cpu=segmenter.device.type == "cpu",
            interpolates=pair.grid.is_interpolated or with_probabilities,
        )
        try:
            count = need.fitting_workers(1 if step == WHOLE_BRAIN else segmenter.workers, allowed_gb)
        except UserError:
            if step == steps[-1]:
                raise
            continue
        segmenter.workers = count
        what = describe_step(step) if step == WHOLE_BRAIN else f"{count} window{'s' if count > 1 else ''} at a time"
        return step, f"Memory: about {need.peak(count) / GB:.2f} of {allowed_gb:g} GB, {what}"
    raise ValueError("steps is empty; at least one is expected")


def _too_little(what: str, needed: float, allowed_gb: float) -> UserError:
    return UserError(
        f"{what} needs about {needed / GB:.1f} GB of memory and --max-memory allows {allowed_gb:g} GB; expected a "
        f"ceiling above that; give --max-memory {math.ceil(needed / GB * 10) / 10:.1f}, or crop the scans to the brain."
    )
