"""Several processes that train one network together, as torchrun starts them; alone, nothing of it happens.

    torchrun --nproc_per_node 4 model_core/train.py --data pairs --output runs/a

Every process draws its own windows and makes its own gradients; their mean is what every process steps with, so the
networks stay equal. The batch is that of one process times their number. Batch norm normalises each process's own
batch, as torch's DistributedDataParallel does; its running statistics are averaged over the processes after every
step. So the running variance is the mean of the variances within the processes' batches.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from model_core.errors import UserError

PATIENCE = timedelta(days=1)  # the others wait while the first process validates whole volumes


@dataclass(frozen=True)
class Processes:
    """The processes of one training run.

    Attributes:
        rank: number of this one, from 0; the first alone writes files.
        count: how many there are.
    """

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def turn(self, iteration: int) -> int:
        """Number of this process's batch of an iteration, in the one series of batches that all of them share."""
        return iteration * self.count + self.rank

    def seed_dropout(self, seed: int, iteration: int) -> None:
        """Give a process other than the first random numbers of its own for the dropout of one iteration.

        They depend on the arguments alone. The first process goes on with its generator, whose state is in the
        checkpoint; so both resume exactly.
        """
        if not self.is_first:
            torch.manual_seed(int(np.random.SeedSequence((seed, self.rank, iteration)).generate_state(1)[0]))

    def average(self, network: nn.Module, loss: Tensor) -> Tensor:
        """Replace gradients and running statistics by their means over the processes; give the mean loss, too.

        Args:
            network: after ``backward``; changed in place.
            loss: this process's, a scalar.

        Returns:
            The mean loss, detached. Alone: the loss as it is.
        """
        loss = loss.detach()
        if self.count == 1:
            return loss
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        parts = [*gradients, *statistics, loss]
        together = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(together)
        together /= self.count
        *means, mean_loss = together.split([part.numel() for part in parts])
        for part, mean in zip(parts, means, strict=False):
            part.copy_(mean.view_as(part))
        return mean_loss.reshape(())

    def highest(self, number: int) -> int:
        """The highest of the numbers that the processes bring; all get it, and all wait for the last."""
        if self.count == 1:
            return number
        numbers = torch.tensor(number)
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
        return int(numbers)


ALONE = Processes()


def started_together() -> Processes:
    """What torchrun says of this process in its environment; one process alone without it."""
    return Processes(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))


def device_of_process(device: torch.device, processes: Processes) -> torch.device:
    """The GPU of this process: each process of a machine takes its own.

    Args:
        device: that of the settings.
        processes: alone, the device stays as it is.

    Raises:
        UserError: there are more processes than GPUs.
    """
    if processes.count == 1 or device.type != "cuda":
        return device
    number = int(os.environ.get("LOCAL_RANK", processes.rank))
    if number >= torch.cuda.device_count():
        raise UserError(
            f"torchrun started {number + 1} or more processes on this machine and it has {torch.cuda.device_count()} "
            "CUDA GPUs; one GPU a process was expected; lower --nproc_per_node, or give --device cpu."
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def joined(device: torch.device) -> Generator[Processes]:
    """Join the processes that torchrun started.

    Args:
        device: where this process trains.

    Yields:
        The processes; one alone where torchrun started none.
    """
    processes = started_together()
    if processes.count == 1:
        yield processes
        return
    ours = not dist.is_initialized()
    if ours:
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield processes
    finally:
        if ours:
            dist.destroy_process_group()
