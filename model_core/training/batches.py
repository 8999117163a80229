"""Training windows on their way to the network: where they come from, made ahead, brought to the device."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model_core.training.distributed import ALONE, Processes
from model_core.training.settings import TrainingSettings


class Sampler(Protocol):
    """Where the training windows come from."""

    def batch(self, iteration: int, size: int) -> tuple[np.ndarray, ...]:
        """Give an iteration's windows; a pure function of its arguments and the sampler's own seed.

        It is called from another thread than the training's, one call at a time.

        Returns:
            T1 and T2 (size, 2, w, w, w) float32 and labels (size, w, w, w) uint8; for networks that are told where
            windows lie also their places (size, 3, 2) float32.
        """


def prefetch(
    sampler: Sampler, settings: TrainingSettings, first: int, processes: Processes = ALONE
) -> Generator[tuple[np.ndarray, ...]]:
    """Yield this process's batches from iteration ``first`` on; the next is made in a thread while one trains."""
    expected = (settings.batch, 2, *[settings.window] * 3)
    with ThreadPoolExecutor(1, thread_name_prefix="sampler") as pool:
        coming = pool.submit(sampler.batch, processes.turn(first), settings.batch)
        for iteration in range(first, settings.iterations):
            batch = coming.result()
            images, labels = batch[:2]
            if images.shape != expected or labels.shape != (expected[0], *expected[2:]):
                raise ValueError(f"sampler gives images {images.shape} and labels {labels.shape}; expected {expected}")
            if iteration + 1 < settings.iterations:
                coming = pool.submit(sampler.batch, processes.turn(iteration + 1), settings.batch)
            yield batch


def to_device(array: np.ndarray, device: torch.device) -> Tensor:
    """Bring a batch to the device; to CUDA through pinned memory, so that the copy does not wait."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
