"""Memory of the runs of ``memory_child``, each in a fresh process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from Testing.benchmarks.peers import ATTENTIONS
from Testing.benchmarks.repeats import tell
from Testing.benchmarks.rows import Row, Target, ratio_row
from Testing.benchmarks.sample import Scans
from Testing.benchmarks.settings import FULL, Settings

ROOT = Path(__file__).parents[2]
LONGEST_SECONDS = 300  # of one run; they take a tenth of that
INFERENCE_MEMORY = Target(300, at_least=False)
METRIC_MEMORY = Target(500, at_least=False)
ATTENTION_RATIO = Target(5)


def measure_memory(scans: Scans, settings: Settings) -> dict[str, float]:
    """Peak memory over what the process held before, in MB, by case."""
    cases = ["inference", *ATTENTIONS, "attention", "plain attention", "metric"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scans.npz"
        scans.save(path)
        return {case: _measure(case, path, settings) for case in cases}


def _measure(case: str, scans: Path, settings: Settings) -> float:
    tell(f"memory of {case}")
    command = [
        sys.executable,
        "-m",
        "Testing.benchmarks.memory_child",
        case,
        str(scans),
        "full" if settings is FULL else "quick",
    ]
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, timeout=LONGEST_SECONDS, check=True).stdout
    figures = json.loads(answer.splitlines()[-1])
    return figures["peak_mb"] - figures["before_mb"]


def inference_memory_rows(memory: dict[str, float]) -> list[Row]:
    """Ours in MB, and how many times as much the peers take."""
    measure, ours = "peak memory over base", memory["inference"]
    note = (
        "Over what the process holds with network and volume loaded and one window done; the whole sample, ours with "
        "two workers, the peers with one window at a time."
    )
    own = Row("Inference", f"{measure}, 2 workers", (ours,), "MB", target=INFERENCE_MEMORY, note=note)
    return [
        own,
        *(ratio_row("Inference", measure, name, [ours], [memory[name]], "MB", note=note) for name in ATTENTIONS),
    ]


def attention_memory_row(memory: dict[str, float]) -> Row:
    """Attention with dropout, forward and backward."""
    return ratio_row(
        "Training", "attention with dropout, peak memory", "torch's SDPA", [memory["attention"]],
        [memory["plain attention"]], "MB", target=ATTENTION_RATIO,
    )  # fmt: skip


def metric_memory_row(memory: dict[str, float]) -> Row:
    """3D-MHD of the three tissues."""
    return Row("Scores", "3D-MHD, peak memory", (memory["metric"],), "MB", target=METRIC_MEMORY)
