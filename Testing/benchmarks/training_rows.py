"""Training: attention with dropout on the CPU, and whole iterations on windows of pairs that are made meanwhile."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import numpy as np

from model_core.synthesis.anatomies import read_anatomies
from model_core.synthesis.sampler import SyntheticSampler
from model_core.system.devices import available_cores
from model_core.training.batches import Sampler, prefetch
from model_core.training.loop import train_step
from model_core.training.settings import TrainingSettings
from model_core.training.state import begin_training
from Testing.benchmarks.inference_rows import window_flop
from Testing.benchmarks.memory_child import attention_inputs, our_attention, plain_attention
from Testing.benchmarks.repeats import interleaved_seconds
from Testing.benchmarks.rows import Row, Target, ratio_row
from Testing.benchmarks.sample import RESOURCES
from Testing.benchmarks.settings import Settings

FASTER = Target(2.5)
FED = Target(90)
ANATOMY = RESOURCES / "anatomies" / "adult_01.nii.gz"
PASSES = 3  # backward costs twice what forward does


def attention_row(settings: Settings) -> Row:
    """The last up-sampling's attention of one window: time of ours and of torch's."""
    queries, keys = settings.attention_queries, settings.attention_keys
    inputs = attention_inputs(queries, keys)
    our_attention(*attention_inputs(64, 64))
    seconds = interleaved_seconds(
        {"ours": partial(our_attention, *inputs), "torch's": partial(plain_attention, *inputs)},
        settings.repeats,
        "attention with dropout",
    )
    return ratio_row(
        "Training", f"attention with dropout, {queries:,} × {keys:,}", "torch's SDPA", seconds["ours"],
        seconds["torch's"], "s", target=FASTER,
    )  # fmt: skip


def iteration_rows(settings: Settings, device: str, peak: float) -> list[Row]:
    """Whole iterations of the default network: windows per second, share of the peak, and whether windows are ready.

    Args:
        settings: how many iterations are timed, and their windows.
        device: "cpu", "cuda:0", …
        peak: what the device reaches in large matrix products, floating-point operations a second.
    """
    training = TrainingSettings(
        window=settings.training_window, batch=settings.training_batch, iterations=settings.training_iterations + 1,
        attention_dropout=0.0, device=device, validation_step=1,
    )  # fmt: skip
    workers = max(1, available_cores() - 1)
    with SyntheticSampler(read_anatomies([ANATOMY]), window=training.window, seed=0, workers=workers) as sampler:
        waited, worked = _time_iterations(training, sampler)
    whole = waited + worked
    paces = tuple(training.batch / whole)
    flop = PASSES * window_flop(training.window)
    shares = tuple(100 * pace * flop / peak for pace in paces)
    what = f"training, windows of {training.window}³, batch {training.batch}, {device}"
    makers = "one thread" if workers == 1 else f"{workers} threads"
    return [
        Row("Training", f"{what}: windows per second", paces, ""),
        Row("Training", f"{what}: share of the matrix-product peak", shares, "%",
            note=f"A window is {flop / 1e9:.0f} GFLOP forward and backward; without dropout on the attention."),
        Row("Training", f"{what}: time not waiting for windows",
            (100 * float(worked.sum() / whole.sum()),), "%", target=FED,
            note=f"Synthetic pairs made meanwhile by {makers}, after the first stock of pairs."),
    ]  # fmt: skip


def _time_iterations(training: TrainingSettings, sampler: Sampler) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each iteration but the first that it waited for its windows, and that it worked."""
    state, _ = begin_training(training, None, None)
    seconds = []
    with closing(prefetch(sampler, training, 0)) as batches:
        for _ in range(training.iterations):
            seconds.append(_seconds(batches, state, training))
    return tuple(np.array(seconds[1:]).T)


def _seconds(
    batches: Iterator[tuple[np.ndarray, np.ndarray]], state: object, training: TrainingSettings
) -> tuple[float, float]:
    began = time.perf_counter()
    images, labels = next(batches)
    ready = time.perf_counter()
    train_step(state, training, images, labels)
    float(state.loss_sum)  # waits for the device
    return ready - began, time.perf_counter() - ready
