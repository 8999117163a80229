"""Inference of a crop on the CPU: ours, the peers, and the share of what the machine can multiply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import psutil
import torch
from torch.utils.flop_counter import FlopCounterMode

from model_core.inference import Segmenter
from model_core.networks import SegmentationNetwork, build_network
from model_core.windows import plan_windows
from Testing.benchmarks.machine import PRODUCT_SIDE, multiply_flop, multiply_on_all_cores
from Testing.benchmarks.peers import ATTENTIONS, CONTIGUOUS, EXPLICIT, TRANSPOSED, monai_probabilities, with_attention
from Testing.benchmarks.repeats import interleaved_seconds, seconds_of, tell
from Testing.benchmarks.rows import Row, Target, ratio_row
from Testing.benchmarks.sample import Scans
from Testing.benchmarks.settings import CROP_STEP, WINDOW, Settings

OURS, PEAK = "ours", "matrix products"
TARGETS = {TRANSPOSED: Target(3.5), EXPLICIT: Target(2.8), CONTIGUOUS: Target(1.15)}
# With one window at a time torch takes its slow path for all attentions on transposed views, without a word; in batches
# of two or four for the two small ones only. So this peer has a row at batch 1 beside the one at its best batch.
TRAP = (TRANSPOSED, 1)
SHARE_OF_PEAK = Target(65)
SAME_LABELS = Target(99.99)
SAME_PROBABILITIES = Target(1e-5, at_least=False)
LARGEST_MEMORY_SHARE = 0.7  # of what is free, for a peer's batch
CHOICE_WINDOWS = 4


def window_flop(side: int = WINDOW) -> int:
    """Floating-point operations of one window of ``side`` voxels, counted on the training form without running it."""
    with torch.device("meta"):
        network = build_network("nonlocal_unet").eval()
        window = torch.zeros(1, 2, side, side, side)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(window)
    return counter.get_total_flops()


def inference_rows(
    network: SegmentationNetwork, scans: Scans, settings: Settings, peak_memory: Mapping[str, float]
) -> tuple[list[Row], np.ndarray]:
    """Measure the crop's segmentation.

    Args:
        network: with its weights.
        scans: the whole sample; the crop is from its middle.
        settings: sizes and repeats.
        peak_memory: MB that each peer takes at one window at a time, which bounds its batch.

    Returns:
        The rows, and the crop's labels (D, H, W) by the CPU.
    """
    crop = scans.crop(settings.crop_side)
    windows = len(plan_windows(crop.t1.shape, WINDOW, CROP_STEP))
    peers = {name: with_attention(network, attention) for name, attention in ATTENTIONS.items()}
    batches = {
        name: choose_batch_size(peer, crop, batches_that_fit(settings.batch_sizes, peak_memory[name]))
        for name, peer in peers.items()
    }
    answers: dict[str, np.ndarray] = {}
    segmenter = Segmenter(network, device="cpu")

    def run_ours() -> None:
        answers[OURS] = segmenter.segment(crop.t1, crop.t2, step=CROP_STEP, mask=crop.mask).probabilities

    def run_peer(name: str, batch_size: int) -> None:
        answers[name] = monai_probabilities(peers[name], crop.t1, crop.t2, step=CROP_STEP, batch_size=batch_size)

    multiply_on_all_cores()
    runs: dict[str, Callable[[], object]] = {OURS: run_ours, PEAK: multiply_on_all_cores}
    entries = list(dict.fromkeys([TRAP, *batches.items()]))
    runs |= {described(*entry): partial(run_peer, *entry) for entry in entries}
    seconds = interleaved_seconds(runs, settings.repeats, f"inference of {windows} windows")

    measure = f"segmentation, {windows} windows of {WINDOW}³"
    rows = [
        ratio_row("Inference", measure, described(*entry), seconds[OURS], seconds[described(*entry)], "s",
                  target=TARGETS[entry[0]])
        for entry in entries
    ]  # fmt: skip
    rows.append(_share_of_peak(windows, seconds[OURS], seconds[PEAK]))
    rows += [row for name in peers for row in same_answers(name, answers[OURS], answers[name], crop.mask)]
    return rows, np.where(crop.mask, answers[OURS].argmax(axis=0), 0)


def described(peer: str, batch_size: int) -> str:
    return f"{peer}, batch {batch_size}"


def batches_that_fit(batch_sizes: tuple[int, ...], peak_mb: float) -> tuple[int, ...]:
    """Those whose memory, in proportion to that of one window, is free; at least the smallest."""
    free_mb = LARGEST_MEMORY_SHARE * psutil.virtual_memory().available / 1e6
    return tuple(size for size in batch_sizes if size * peak_mb <= free_mb) or batch_sizes[:1]


def choose_batch_size(peer: SegmentationNetwork, crop: Scans, batch_sizes: tuple[int, ...]) -> int:
    """The size that takes a few windows fastest."""
    t1, t2 = (scan[:WINDOW, : WINDOW + CROP_STEP, : WINDOW + CROP_STEP] for scan in (crop.t1, crop.t2))
    if len(batch_sizes) == 1:
        return batch_sizes[0]
    seconds = {
        size: seconds_of(partial(monai_probabilities, peer, t1, t2, step=CROP_STEP, batch_size=size))
        for size in batch_sizes
    }
    best = min(seconds, key=seconds.get)
    tell(f"batch {best} is the best of {', '.join(map(str, batch_sizes))}")
    return best


def _share_of_peak(windows: int, ours: list[float], peak: list[float]) -> Row:
    reached = [windows * window_flop() / seconds / 1e9 for seconds in ours]
    possible = [multiply_flop() / seconds / 1e9 for seconds in peak]
    shares = tuple(100 * our / most for our, most in zip(reached, possible, strict=True))
    return Row(
        "Inference", "share of the matrix-product peak", shares, "%", f"float32 products of {PRODUCT_SIDE}²",
        float(np.median(reached)), float(np.median(possible)), "GFLOP/s",
        target=SHARE_OF_PEAK,
        note=f"A window is {window_flop() / 1e9:.1f} GFLOP, counted by torch on the network as the paper draws it; "
        "the products run in one thread per core.",
    )  # fmt: skip


def same_answers(peer: str, ours: np.ndarray, theirs: np.ndarray, brain: np.ndarray) -> list[Row]:
    """Whether both give the same probabilities (4, D, H, W), and labels in the brain."""
    same = float(np.mean((ours.argmax(axis=0) == theirs.argmax(axis=0))[brain])) * 100
    difference = float(np.abs(ours - theirs).max())
    section = "Same answers"
    return [
        Row(section, "labels of the brain that are equal", (same,), "%", peer, target=SAME_LABELS, is_check=True),
        Row(section, "largest difference of probabilities", (difference,), "", peer, target=SAME_PROBABILITIES,
            is_check=True),
    ]  # fmt: skip
