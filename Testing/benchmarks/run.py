"""Measure this project beside its peers: one table, ``bench.json`` and ``bench.png``.

    python -m Testing.benchmarks.run                    # about ten minutes on two cores
    python -m Testing.benchmarks.run --quick            # about one
    python -m Testing.benchmarks.run --output DIR

The table goes to the standard output, what is under way to the standard error. Exit status 0: done; 1: some answers
are not those of the peers. A missed target of speed or memory is shown, and fails nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model_core.networks import SegmentationNetwork
from model_core.system.devices import explain_unused_gpu, list_devices
from model_core.system.files import replace_when_complete
from Testing.benchmarks.gpu_rows import gpu_rows, product_flop_per_second
from Testing.benchmarks.inference_rows import inference_rows, window_flop
from Testing.benchmarks.machine import describe_machine, load, multiply_flop, multiply_on_all_cores
from Testing.benchmarks.memory import attention_memory_row, inference_memory_rows, measure_memory, metric_memory_row
from Testing.benchmarks.metric_rows import metric_rows
from Testing.benchmarks.picture import draw_rows
from Testing.benchmarks.preview_rows import preview_rows
from Testing.benchmarks.repeats import seconds_of, tell
from Testing.benchmarks.rows import Row, format_table
from Testing.benchmarks.sample import Scans, default_network, sample_scans
from Testing.benchmarks.settings import FULL, QUICK, Settings
from Testing.benchmarks.training_rows import attention_row, iteration_rows
from Testing.benchmarks.whole_brain_rows import whole_brain_rows

BUSY_LOAD = 0.5
GPU_BATCH, GPU_ITERATIONS = 5, 200  # of training; the paper's batch


def measure(settings: Settings) -> list[Row]:
    """All rows, those of one section together."""
    network, scans = default_network(), sample_scans()
    memory = measure_memory(scans, settings)
    inference, cpu_labels = inference_rows(network, scans, settings, memory)
    rows = [row for row in inference if not row.is_check]
    rows += preview_rows(network, scans, settings)
    rows += inference_memory_rows(memory)
    whole_brain = whole_brain_rows(network, scans, settings)
    rows += [row for row in whole_brain if not row.is_check]
    rows += [row for row in (*inference, *whole_brain) if row.is_check]
    rows += _rows_of_gpu(network, scans, cpu_labels, settings)
    rows += [attention_row(settings), attention_memory_row(memory)]
    rows += iteration_rows(settings, "cpu", multiply_flop() / seconds_of(multiply_on_all_cores))
    return [*rows, *metric_rows(settings), metric_memory_row(memory)]


def _rows_of_gpu(network: SegmentationNetwork, scans: Scans, cpu_labels: np.ndarray, settings: Settings) -> list[Row]:
    """Those of the first CUDA device that works; none without one."""
    devices = list_devices()
    cuda = [device.name for device in devices if device.usable and device.name.startswith("cuda")]
    if cuda:
        rows = gpu_rows(network, scans, cpu_labels, settings, device=cuda[0])
        on_card = replace(settings, training_batch=GPU_BATCH, training_iterations=GPU_ITERATIONS)
        return rows + iteration_rows(on_card, cuda[0], product_flop_per_second(cuda[0], torch.float16))
    reason = explain_unused_gpu(devices)
    if reason:
        tell(reason)
    return []


def headline(machine: dict[str, object]) -> str:
    """The machine in one line."""
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores",
        machine["gpu"],
        f"torch {machine['torch']}",
        f"MONAI {machine['monai']}",
        str(machine["date"])[:10],
        f"load {machine['load_before'][0]} before",
    ]
    return " · ".join(str(part) for part in parts if part)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, one repeat: about a minute")
    parser.add_argument("--output", type=Path, default=Path("bench"), help="folder of bench.json and bench.png")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")
    options.output.mkdir(parents=True, exist_ok=True)

    began = time.perf_counter()
    machine = describe_machine()
    if machine["load_before"][0] > BUSY_LOAD:
        tell(f"the load is {machine['load_before'][0]}: other programs are running, and the figures will be off")
    rows = measure(QUICK if options.quick else FULL)
    machine |= {"load_after": load(), "seconds": round(time.perf_counter() - began)}

    print(f"{headline(machine)}\n\n{format_table(rows)}")
    record = {
        "machine": machine,
        "quick": options.quick,
        "gflop_per_window": window_flop() / 1e9,
        "rows": [row.as_dict() for row in rows],
    }
    with replace_when_complete(options.output / "bench.json") as temporary:
        temporary.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    draw_rows(options.output / "bench.png", rows, headline(machine))
    tell(f"{machine['seconds']} s; wrote {options.output / 'bench.json'} and {options.output / 'bench.png'}")
    return int(any(row.is_check and not row.is_met for row in rows))


if __name__ == "__main__":
    sys.exit(main())
