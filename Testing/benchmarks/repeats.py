"""Interleaved repeats: A B C, A B C, …, so that what else the machine does falls on all alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping


def interleaved_seconds(runs: Mapping[str, Callable[[], object]], repeats: int, title: str) -> dict[str, list[float]]:
    """Time several runs in turn.

    Args:
        runs: by name, in the order in which each round takes them.
        repeats: rounds.
        title: what is measured, for the line that tells how far it is.

    Returns:
        Seconds of each round, by name.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        for name, run in runs.items():
            tell(f"{title}: {name}, {repeat + 1} of {repeats}")
            seconds[name].append(seconds_of(run))
    return seconds


def seconds_of(run: Callable[[], object]) -> float:
    """Wall-clock seconds of one call."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def tell(line: str) -> None:
    """Say what is under way; the table alone goes to the standard output."""
    print(f"bench: {line}", file=sys.stderr, flush=True)
