"""Inference on a CUDA device, in float32 without TF32 and in float16."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from model_core.inference import Segmenter
from model_core.networks import SegmentationNetwork
from model_core.system.devices import exact_float32
from Testing.benchmarks.inference_rows import SAME_LABELS, window_flop
from Testing.benchmarks.preview_rows import STEP, windows_run
from Testing.benchmarks.repeats import interleaved_seconds, seconds_of
from Testing.benchmarks.rows import Row, Target
from Testing.benchmarks.sample import Scans
from Testing.benchmarks.settings import CROP_STEP, Settings

WHOLE_RUN_SECONDS = {"float32": Target(3, at_least=False), "float16": Target(0.5, at_least=False)}
FIRST_MAP_MS = Target(40, at_least=False)
PRODUCT_SIDE, PRODUCTS = 8192, 10
LARGEST = 6  # operations that the trace's summary names


def gpu_rows(
    network: SegmentationNetwork,
    scans: Scans,
    cpu_labels: np.ndarray,
    settings: Settings,
    *,
    device: str,
    precisions: tuple[str, ...] = ("float32", "float16"),
) -> list[Row]:
    """Segment the crop and the whole sample in each precision.

    Args:
        network: with its weights; it comes back on the CPU.
        scans: the whole sample.
        cpu_labels: labels of its crop, by the CPU.
        settings: sizes and repeats.
        device: where to run.
        precisions: of ``Segmenter``.
    """
    segmenters = {name: Segmenter(network, device=device, precision=name) for name in precisions}
    crop = scans.crop(settings.crop_side)
    same = {name: _same_labels(segmenter, crop, cpu_labels) for name, segmenter in segmenters.items()}
    first_maps: dict[str, list[float]] = {name: [] for name in precisions}
    for segmenter in segmenters.values():  # the first run of a size chooses kernels
        _segment(segmenter, scans, [])
    seconds = interleaved_seconds(
        {name: partial(_segment, segmenter, scans, first_maps[name]) for name, segmenter in segmenters.items()},
        settings.repeats,
        f"step {STEP} on {device}",
    )
    windows = windows_run(scans)
    rows = []
    for name in precisions:
        peak = product_flop_per_second(device, getattr(torch, name))
        rows += _rows_of(name, windows, seconds[name], first_maps[name], same[name], peak)
        rows.append(_where_time_goes(segmenters[name], scans, name))
    network.cpu()
    return rows


def _where_time_goes(segmenter: Segmenter, scans: Scans, precision: str) -> Row:
    """Share of a run's time in which the device computes, with the operations that take most of it in the note."""
    on_card = segmenter.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_card else [])]
    began = time.perf_counter()
    with profile(activities=activities) as trace:
        _segment(segmenter, scans, [])
    whole = time.perf_counter() - began
    kind = "self_device_time_total" if on_card else "self_cpu_time_total"
    events = sorted(trace.key_averages(), key=lambda event: -getattr(event, kind))
    busy = sum(getattr(event, kind) for event in events)
    largest = ", ".join(f"{event.key} {getattr(event, kind) / max(busy, 1e-9):.0%}" for event in events[:LARGEST])
    return Row(
        "GPU", f"share of the time in operations of the device, {precision}", (100 * busy / 1e6 / whole,), "%",
        note=f"By torch's profiler, in {precision}, which slows the host; most of it: {largest}.",
    )  # fmt: skip


def _rows_of(
    precision: str, windows: int, seconds: list[float], first_maps: list[float], same: float, peak: float
) -> list[Row]:
    section = "GPU"
    paces = tuple(windows / each for each in seconds)
    shares = tuple(100 * pace * window_flop() / peak for pace in paces)
    return [
        Row(section, f"step {STEP} of the whole brain, {precision}", tuple(seconds), "s",
            target=WHOLE_RUN_SECONDS[precision]),
        Row(section, f"windows per second, {precision}", paces, ""),
        Row(section, f"share of the matrix-product peak, {precision}", shares, "%", f"products of {PRODUCT_SIDE}²",
            float(np.median(paces)) * window_flop() / 1e12, peak / 1e12, "TFLOP/s"),
        Row(section, f"first full map, {precision}", tuple(1000 * each for each in first_maps), "ms",
            target=FIRST_MAP_MS),
        Row(section, f"labels of the brain that are equal, {precision}", (same,), "%", "the CPU", target=SAME_LABELS,
            is_check=True),
    ]  # fmt: skip


def _same_labels(segmenter: Segmenter, crop: Scans, cpu_labels: np.ndarray) -> float:
    labels = segmenter.segment(crop.t1, crop.t2, step=CROP_STEP, mask=crop.mask).labels
    return 100 * float(np.mean((labels == cpu_labels)[crop.mask]))


def _segment(segmenter: Segmenter, scans: Scans, first_maps: list[float]) -> None:
    """Segment the whole sample; add the seconds up to its first map, which is on the CPU by then."""
    maps_at: list[float] = []
    began = time.perf_counter()
    segmenter.segment(
        scans.t1,
        scans.t2,
        step=STEP,
        mask=scans.mask,
        on_map=lambda *_: maps_at.append(time.perf_counter() - began),
    )
    first_maps.append(maps_at[0])


def product_flop_per_second(device: str, dtype: torch.dtype) -> float:
    """What the device reaches in large matrix products of that precision."""
    factor = torch.ones(PRODUCT_SIDE, PRODUCT_SIDE, device=device, dtype=dtype)
    product = torch.empty_like(factor)

    def multiply(count: int) -> None:
        for _ in range(count):
            torch.mm(factor, factor, out=product)
        product[0, 0].item()  # waits for the device

    with exact_float32(torch.device(device)):
        multiply(1)
        return 2 * PRODUCT_SIDE**3 * PRODUCTS / seconds_of(partial(multiply, PRODUCTS))
