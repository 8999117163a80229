"""The machine that the bench runs on: what it is, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import resource
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import monai
import psutil
import torch
from torch import Tensor

from model_core.system.devices import available_cores

PRODUCT_SIDE = 1536
PRODUCTS_A_TASK = 4
TASKS_A_CORE = 5
_MB = 1e6


def describe_machine() -> dict[str, object]:
    """CPU, GPU, versions, date and load, for the record."""
    return {
        "cpu": _cpu_model(),
        "cores": available_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "monai": monai.__version__,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "load_before": load(),
    }


def load() -> list[float]:
    """Load averages over 1, 5 and 15 minutes."""
    return [round(average, 2) for average in os.getloadavg()]


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def multiply_flop() -> int:
    """Floating-point operations of ``multiply_on_all_cores``."""
    return 2 * PRODUCT_SIDE**3 * PRODUCTS_A_TASK * TASKS_A_CORE * available_cores()


def multiply_on_all_cores() -> None:
    """Multiply float32 matrices in one thread per core, as inference runs its windows."""
    cores = available_cores()
    threads_before = torch.get_num_threads()
    factor = torch.ones(PRODUCT_SIDE, PRODUCT_SIDE)
    try:
        with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            list(pool.map(_multiply, [factor] * (TASKS_A_CORE * cores)))
    finally:
        torch.set_num_threads(threads_before)


def _multiply(factor: Tensor) -> None:
    product = torch.empty_like(factor)
    for _ in range(PRODUCTS_A_TASK):
        torch.mm(factor, factor, out=product)


def memory_mb() -> float:
    """Memory that this process holds now (resident), in MB."""
    return psutil.Process().memory_info().rss / _MB


def peak_memory_mb() -> float:
    """The most that this process has held, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux getrusage also counts the process that this one was forked from
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / _MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / _MB
