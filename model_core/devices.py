"""Where networks run: choosing the device, exact arithmetic on it, and what to say when its memory is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model_core.errors import UserError


def choose_device(device: str) -> torch.device:
    """The device of a name.

    Args:
        device: ``"auto"`` (a CUDA GPU, else Apple's, else the CPU), ``"cpu"``, ``"cuda"``,
            ``"cuda:1"``, … or ``"mps"``.

    Raises:
        UserError: this machine has no such device.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not number.isdigit()):
        raise UserError(f"The device is {device!r}; auto, cpu, cuda, cuda:1 or mps was expected; choose one of these.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UserError(
            f"The device {device} was asked for and PyTorch {torch.__version__} finds {torch.cuda.device_count()} CUDA "
            "GPUs here; choose the device auto or cpu, or install an NVIDIA driver and a CUDA build of PyTorch."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise UserError("The device mps was asked for and this is no Mac with an Apple GPU; choose auto or cpu.")
    return torch.device(device)


@contextmanager
def exact_float32(device: torch.device) -> Iterator[None]:
    """Keep CUDA from rounding float32 products to TF32 (10 bits) inside the block."""
    if device.type != "cuda":
        yield
        return
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the CPU or of the GPU does not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # Only CUDA has a class of its own for it.
    sentences = ("can't allocate memory", "out of memory", "not enough memory")
    return isinstance(error, RuntimeError) and any(sentence in str(error) for sentence in sentences)
