"""Where networks run: which devices there are and work, exact arithmetic on them, what to say when memory is full."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from model_core.errors import UserError

LARGEST_BATCH_SIZE = 64
SHARE_OF_FREE_MEMORY = 0.7  # that a batch may take; the rest is for fragments and for other programs
_GIB = 2**30
_SMI_SECONDS = 10  # nvidia-smi answers within one, or the driver hangs


@dataclass(frozen=True)
class Device:
    """A device that PyTorch offers.

    Attributes:
        name: as ``choose_device`` takes it: ``"cuda:0"``, ``"mps"``, ``"cpu"``.
        title: name for people, like ``NVIDIA GeForce RTX 3060, 12 GB`` or ``CPU, 2 cores``.
        usable: whether a small network ran on it with the right result.
        reason: sentence that says why it is not usable, and what to do; None where it is.
    """

    name: str
    title: str
    usable: bool = True
    reason: str | None = None


def list_devices() -> list[Device]:
    """Try all devices out: CUDA (or ROCm) GPUs, Apple's GPU, and last the CPU, which is always usable."""
    devices = []
    if torch.version.cuda or torch.version.hip:
        devices += [_try_out(f"cuda:{number}") for number in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append(_try_out("mps"))
    return [*devices, Device("cpu", f"CPU, {_count(available_cores(), 'core')}")]


def best_device(devices: Sequence[Device]) -> Device:
    """The first usable one in the order of ``list_devices``."""
    return next(device for device in devices if device.usable)


def explain_unused_gpu(devices: Sequence[Device]) -> str | None:
    """Say why an NVIDIA GPU of this machine lies idle, and what to do; None where one is usable or none is there.

    Args:
        devices: of ``list_devices``.
    """
    cuda = [device for device in devices if device.name.startswith("cuda")]
    if any(device.usable for device in cuda) or not (cuda or _has_nvidia_gpu()):
        return None
    if cuda:
        return cuda[0].reason
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not torch.version.cuda:
        found, to_do = "is a build without CUDA", "install a CUDA build of PyTorch, as pytorch.org shows"
    elif hidden is not None:
        found, to_do = f"sees none, for CUDA_VISIBLE_DEVICES is {hidden!r}", "unset that variable"
    else:
        found = f"(for CUDA {torch.version.cuda}) finds no driver for it"
        to_do = "install or update the NVIDIA driver and restart the machine"
    return (
        f"This machine has an NVIDIA GPU, but PyTorch {torch.__version__} {found}; the CPU is used, many times slower; "
        f"{to_do}."
    )


def _try_out(name: str) -> Device:
    """Run a convolution and a product, as the networks do, and compare the result with the CPU's."""
    title = name
    try:
        title = _title(name)
        generator = torch.Generator().manual_seed(0)
        volume = torch.rand(1, 2, 6, 6, 6, generator=generator)
        kernel, matrix = torch.rand(4, 2, 3, 3, 3, generator=generator), torch.rand(216, 8, generator=generator)

        def run(device: str) -> torch.Tensor:
            features = torch.nn.functional.conv3d(volume.to(device), kernel.to(device), padding=1)
            return (features.flatten(2) @ matrix.to(device) / len(matrix)).softmax(dim=-1).cpu()

        with torch.inference_mode(), exact_float32(torch.device(name)):
            is_right = torch.allclose(run(name), run("cpu"), atol=1e-3)
    except Exception as error:  # drivers and PyTorch raise whatever they like
        return Device(name, title, usable=False, reason=_explain_failure(title, error))
    if is_right:
        return Device(name, title)
    reason = f"{title} gave wrong numbers in a small test; update its driver and PyTorch, or choose another device."
    return Device(name, title, usable=False, reason=reason)


def _title(name: str) -> str:
    if name == "mps":
        return f"Apple GPU ({platform.machine()})"
    properties = torch.cuda.get_device_properties(name)
    return f"{properties.name}, {properties.total_memory / _GIB:.0f} GB"


def _explain_failure(title: str, error: Exception) -> str:
    message = " ".join(str(error).split())
    build = f"PyTorch {torch.__version__}"
    if "no kernel image" in message or "not compatible with the current PyTorch" in message:
        return (
            f"{title} is too old or too new for {build}, which was not compiled for it; install a PyTorch build that "
            "supports this GPU, as pytorch.org shows, or choose the CPU."
        )
    if "driver" in message and ("too old" in message or "insufficient" in message):
        return (
            f"The NVIDIA driver is too old for {build} (CUDA {torch.version.cuda}); update the driver, install a "
            "PyTorch for an older CUDA, or choose the CPU."
        )
    if is_out_of_memory(error):
        return (
            f"{title} has no free memory even for a small test; close the programs that use it, or choose another "
            "device."
        )
    return (
        f"{title} failed a small test of {build} ({message[:160] or type(error).__name__}); update its driver and "
        "PyTorch, or choose the CPU."
    )


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _has_nvidia_gpu() -> bool:
    """Whether the driver, or else its tool, knows of a GPU."""
    if Path("/dev/nvidia0").exists():
        return True
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        listed = subprocess.run(
            [tool, "-L"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SMI_SECONDS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return listed.startswith(b"GPU ")


def choose_device(device: str) -> torch.device:
    """The device of a name.

    Args:
        device: ``"auto"`` (a CUDA GPU that works, else Apple's, else the CPU), ``"cpu"``, ``"cuda"``,
            ``"cuda:1"``, … or ``"mps"``.

    Raises:
        UserError: this machine has no such device.
    """
    if device == "auto":
        return torch.device(best_device(list_devices()).name)
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
def exact_float32(device: torch.device) -> Generator[None]:
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


def fitting_batch(free_bytes: int, bytes_per_window: int) -> int:
    """How many windows run together on a GPU, 1 to ``LARGEST_BATCH_SIZE``.

    Args:
        free_bytes: memory that the card has left.
        bytes_per_window: what one window takes at its peak.
    """
    return max(1, min(LARGEST_BATCH_SIZE, int(SHARE_OF_FREE_MEMORY * free_bytes) // max(bytes_per_window, 1)))


@contextmanager
def threads_of_one_core(count: int) -> Generator[ThreadPoolExecutor | None]:
    """Threads in which torch uses one core each, so that a window's numbers are the same on any machine; 0: none."""
    if not count:
        yield None
        return
    cores = torch.get_num_threads()
    pool = ThreadPoolExecutor(count, "windows", initializer=torch.set_num_threads, initargs=(1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(cores)  # a thread's number becomes that of threads to come
