"""Measures the memory of one run in a process of its own: ``python -m Testing.benchmarks.memory_child CASE SCANS``.

Prints the MB that it held before the run and the most that it held, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from model_core.inference import Segmenter
from model_core.metrics import mhd_3d
from model_core.networks.attention import attend
from model_core.tissues import TISSUES
from Testing.benchmarks.machine import memory_mb, peak_memory_mb
from Testing.benchmarks.peers import ATTENTIONS, monai_probabilities, with_attention
from Testing.benchmarks.sample import Scans, default_network, label_pair
from Testing.benchmarks.settings import CROP_STEP, FULL, QUICK, WINDOW, Settings

DROPOUT = 0.5
CHANNELS = 32
WORKERS = 2

Run = Callable[[], object]


def inference_case(scans: Scans, settings: Settings) -> tuple[Run, Run]:
    """Ours: a warm-up of one window, and the first windows of the whole sample by two workers."""
    segmenter = Segmenter(default_network(), device="cpu", workers=WORKERS)
    done: list[object] = []

    def run(scans: Scans) -> None:
        done.clear()
        segmenter.segment(
            scans.t1,
            scans.t2,
            step=CROP_STEP,
            mask=scans.mask,
            on_progress=done.append,
            should_stop=lambda: len(done) >= settings.memory_windows,
        )

    return partial(run, scans.crop(WINDOW)), partial(run, scans)


def peer_case(name: str, scans: Scans, settings: Settings) -> tuple[Run, Run]:
    """A peer on the same volume; after its first windows its network answers with zeros."""
    network = with_attention(default_network(), ATTENTIONS[name])
    seen: list[None] = []

    def first_windows(windows: Tensor) -> Tensor:
        seen.append(None)
        return network(windows) if len(seen) <= settings.memory_windows else windows.new_zeros(1, 4, *windows.shape[2:])

    def run(scans: Scans) -> None:
        seen.clear()
        monai_probabilities(first_windows, scans.t1, scans.t2, step=CROP_STEP)

    return partial(run, scans.crop(WINDOW)), partial(run, scans)


def attention_inputs(queries: int, keys: int) -> list[Tensor]:
    """Random queries, keys and values of one head, whose gradients are wanted."""
    torch.manual_seed(0)
    return [torch.randn(1, 1, count, CHANNELS, requires_grad=True) for count in (queries, keys, keys)]


def our_attention(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Forward and backward of this project's attention with dropout."""
    attend(query, key, value, dropout=DROPOUT).sum().backward()


def plain_attention(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Forward and backward of torch's."""
    F.scaled_dot_product_attention(query, key, value, dropout_p=DROPOUT).sum().backward()


def attention_case(attention: Callable[..., None], settings: Settings) -> tuple[Run, Run]:
    """Attention with dropout: a warm-up of few queries, and all of them."""
    inputs = attention_inputs(settings.attention_queries, settings.attention_keys)
    return partial(attention, *attention_inputs(64, 64)), partial(attention, *inputs)


def metric_case(settings: Settings) -> tuple[Run, Run]:
    """3D-MHD of the three tissues: a warm-up on a corner, and whole volumes."""
    labels, reference = label_pair(settings.metric_shape)

    def run(size: int) -> None:
        for tissue in TISSUES:
            mhd_3d(*(volume[:size, :size, :size] == tissue.label for volume in (labels, reference)))

    return partial(run, 16), partial(run, max(settings.metric_shape))


def case_named(name: str, scans: Path, settings: Settings) -> tuple[Run, Run]:
    """Warm-up and run of a case."""
    if name == "inference":
        return inference_case(Scans.load(scans), settings)
    if name in ATTENTIONS:
        return peer_case(name, Scans.load(scans), settings)
    if name == "metric":
        return metric_case(settings)
    return attention_case({"attention": our_attention, "plain attention": plain_attention}[name], settings)


def main() -> None:
    name, scans, kind = sys.argv[1:]
    warm_up, run = case_named(name, Path(scans), {"full": FULL, "quick": QUICK}[kind])
    warm_up()
    before = memory_mb()
    run()
    print(json.dumps({"before_mb": before, "peak_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main()
