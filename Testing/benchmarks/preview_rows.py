"""How early the first full map of a whole brain is there."""

from __future__ import annotations

import time

import numpy as np

from model_core.inference import Segmenter
from model_core.networks import SegmentationNetwork
from model_core.windows import plan_stages
from Testing.benchmarks.repeats import tell
from Testing.benchmarks.rows import Row, Target
from Testing.benchmarks.sample import Scans
from Testing.benchmarks.settings import WINDOW, Settings

STEP = 8  # the published setting
FIRST_MAP_SHARE = Target(4.5, at_least=False)


def preview_rows(network: SegmentationNetwork, scans: Scans, settings: Settings) -> list[Row]:
    """Time up to the first map of the sample as a share of the time that step 8 takes."""
    segmenter = Segmenter(network, device="cpu")
    if settings.preview_side:
        scans = scans.crop(settings.preview_side)
    shares, first_maps, whole_runs = [], [], []
    for repeat in range(settings.preview_repeats):
        tell(f"first map, {repeat + 1} of {settings.preview_repeats}")
        first_map, pace = first_map_and_pace(segmenter, scans, settings.preview_windows)
        whole_runs.append(first_map + pace * windows_run(scans, after_first_map=True))
        first_maps.append(first_map)
        shares.append(100 * first_map / whole_runs[-1])
    return [
        Row(
            "Inference", "first full map, share of the time of step 8", tuple(shares), "%",
            "the whole run at step 8", float(np.median(first_maps)), float(np.median(whole_runs)), "s",
            target=FIRST_MAP_SHARE,
            note=f"The first map is measured, the rest of step {STEP} reckoned: its windows at the pace of the "
            f"{settings.preview_windows} after the first map.",
        )
    ]  # fmt: skip


def first_map_and_pace(segmenter: Segmenter, scans: Scans, windows: int) -> tuple[float, float]:
    """Seconds up to the first map, and seconds a window over the windows after it."""
    maps_at: list[float] = []
    after: list[float] = []
    began = time.perf_counter()

    def note_window(_: object) -> None:
        if maps_at:
            after.append(time.perf_counter() - began)

    segmenter.segment(
        scans.t1,
        scans.t2,
        step=STEP,
        mask=scans.mask,
        on_progress=note_window,
        on_map=lambda *_: maps_at.append(time.perf_counter() - began),
        should_stop=lambda: len(after) >= windows,
    )
    return maps_at[0], (after[-1] - maps_at[0]) / len(after)


def windows_run(scans: Scans, *, after_first_map: bool = False) -> int:
    """Windows of step 8 that the network runs on: those with a voxel that is not 0."""
    filled = (scans.t1 != 0) | (scans.t2 != 0)
    stages = plan_stages(filled.shape, WINDOW, STEP)
    return sum(
        bool(filled[i : i + WINDOW, j : j + WINDOW, k : k + WINDOW].any())
        for stage in stages[1 if after_first_map else 0 :]
        for i, j, k in stage.starts
    )
