"""Attention with dropout on the CPU, forward and backward, as training runs it."""

from __future__ import annotations

from functools import partial

from Testing.bench.memory_child import attention_inputs, our_attention, plain_attention
from Testing.bench.repeats import interleaved_seconds
from Testing.bench.rows import Row, Target, ratio_row
from Testing.bench.settings import Settings

FASTER = Target(2.5)


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
