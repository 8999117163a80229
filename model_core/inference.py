"""Sliding-window segmentation: every window standardised, softmax probabilities averaged, coarse grid first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from model_core.devices import available_cores, choose_device, exact_float32, is_out_of_memory
from model_core.errors import UserError
from model_core.networks.inference_form import has_inference_form, inference_form
from model_core.segmentation_job import Progress, Segmentation, SegmentationJob

# Windows that run together. On the CPU every core has a window of its own, which beats all cores on one window by far.
# A GPU wants enough work at a time; how much its memory holds is measured with one window on CUDA.
CPU_BATCH_SIZE = 1
GPU_BATCH_SIZE = 16
LARGEST_BATCH_SIZE = 64
SHARE_OF_FREE_MEMORY = 0.7  # that a batch may take; the rest is for fragments and for other programs


class Segmenter:
    """Segments volumes with one network; the network stays loaded between volumes.

    Args:
        network: (N, 2, window³) standardised windows -> (N, 4, window³) logits; moved to the device.
        window: side of the cubic windows in voxels.
        device: ``"auto"`` (a CUDA GPU, else Apple's, else the CPU) or a name such as ``"cpu"``,
            ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        precision: ``"float32"`` is exact (no TF32), ``"float16"`` mixed precision on a GPU,
            ``"auto"`` is float32 everywhere.
        batch_size: windows that run together; ``None`` chooses. Halved for good when memory does not suffice.
        workers: threads of one core that run batches side by side on the CPU; ``None`` takes one a core. Down to one
            for good when memory does not suffice. The result does not depend on it.

    Raises:
        UserError: the device is not there, or cannot run that precision.
        ValueError: a precision or batch size that does not exist, or a window that the network cannot take.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        window: int = 32,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        multiple = getattr(network, "window_multiple", 1)
        if window < 1 or window % multiple:
            raise ValueError(f"window is {window}; this network takes multiples of {multiple}")
        if precision not in ("auto", "float32", "float16"):
            raise ValueError(f"precision is {precision!r}; it is 'auto', 'float32' or 'float16'")
        for name, number in (("batch_size", batch_size), ("workers", workers)):
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}; at least 1 was expected")
        self.device = choose_device(device)
        if precision == "float16" and self.device.type == "cpu":
            raise UserError(
                "The precision float16 was asked for on the CPU and needs a GPU; choose the precision auto or float32."
            )
        self.half_precision = precision == "float16"
        self.window = window
        on_cpu = self.device.type == "cpu"
        self.batch_size = batch_size or (CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE)
        self._may_fit_batch = batch_size is None and self.device.type == "cuda"
        self.workers = workers or available_cores()
        self.network = network.to(self.device)
        self._form: nn.Module | None = None

    def segment(
        self,
        t1: np.ndarray,
        t2: np.ndarray,
        *,
        step: int = 8,
        mask: np.ndarray | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_map: Callable[[int, np.ndarray], None] | None = None,
        look_at: Sequence[float] | None = None,
    ) -> Segmentation:
        """Segment a pair of scans.

        Args:
            t1: (D, H, W) T1 intensities on the network grid, 0 outside the brain; any size.
            t2: (D, H, W) T2 intensities of the same voxels.
            step: overlap step in voxels, 1 to the window's side.
            mask: (D, H, W), not 0 in the brain; ``None`` takes the voxels where T1 or T2 is not 0.
            on_progress: called after every batch of windows.
            should_stop: asked before every batch; when true, the map so far is the result.
            on_map: called with an overlap step and its (D, H, W) label map when the grid of that
                step is complete, the coarsest first and the last one included.
            look_at: voxel whose three slices the user looks at; within a stage their windows come first. The result
                does not depend on it.

        Returns:
            Labels and probabilities; the same, but for rounding, as one run over all of ``plan_windows``.

        Raises:
            UserError: the step is out of range, or memory does not suffice for a single window.
            ValueError: shapes that differ, values that are not finite real numbers.
        """
        t1, t2 = _check_scan("t1", t1), _check_scan("t2", t2)
        for name, array in (("t2", t2), ("mask", mask)):
            if array is not None and np.shape(array) != t1.shape:
                raise ValueError(f"{name} has shape {np.shape(array)} and t1 has {t1.shape}")
        brain = (t1 != 0) | (t2 != 0) if mask is None else np.asarray(mask) != 0
        training = self.network.training
        self.network.eval()
        try:
            with torch.inference_mode(), exact_float32(self.device):
                job = SegmentationJob(t1, t2, brain, self.window, step, self.device, look_at)
                self._form = self._make_form()
                self._run(job, on_progress, should_stop, on_map)
                return job.result()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"The memory of {self.device} does not suffice for {'×'.join(map(str, t1.shape))} voxels, even one "
                f"window of {self.window}³ at a time; close other programs, crop the scan to the brain or choose "
                "another device."
            ) from error
        finally:
            self._form = None
            self.network.train(training)

    def _make_form(self) -> nn.Module:
        """The network as it runs: on the CPU rewritten for speed, where there is such a form."""
        if self.device.type == "cpu" and has_inference_form(self.network):
            return inference_form(self.network)
        return self.network

    def _run(
        self,
        job: SegmentationJob,
        on_progress: Callable[[Progress], None] | None,
        should_stop: Callable[[], bool] | None,
        on_map: Callable[[int, np.ndarray], None] | None,
    ) -> None:
        """Run the job's windows until they are in or the user stops."""
        with _threads_of_one_core(self.workers if self.device.type == "cpu" else 0) as pool:
            if job.has_blank:
                blank = torch.zeros_like(job.windows(np.zeros((1, 3), dtype=int)))
                run = pool.submit(self._probabilities, blank).result if pool else partial(self._probabilities, blank)
                job.blank_answer = run()[0]
            if self._may_fit_batch:
                self._fit_batch(job)
            for index in range(len(job.stages)):
                answers = self._answers(job, job.begin(index), pool)
                while True:
                    if should_stop and should_stop():
                        return
                    for starts, probabilities in itertools.islice(answers, 1):
                        job.add(starts, probabilities)
                    is_complete = job.is_complete(index)
                    if is_complete:
                        job.step_reached = job.stages[index].step
                    if on_progress:
                        on_progress(job.progress(index))
                    if is_complete:
                        break
                if on_map:
                    on_map(job.step_reached, job.labels())

    def _fit_batch(self, job: SegmentationJob) -> None:
        """Measure the memory of one window on the card, once, and choose the batch that fits."""
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        self._probabilities(job.windows(np.zeros((1, 3), dtype=int)))
        torch.cuda.synchronize(self.device)
        bytes_per_window = torch.cuda.max_memory_allocated(self.device) - before
        torch.cuda.empty_cache()
        self.batch_size = fitting_batch(torch.cuda.mem_get_info(self.device)[0], bytes_per_window)
        self._may_fit_batch = False

    def _answers(
        self, job: SegmentationJob, starts: np.ndarray, pool: ThreadPoolExecutor | None
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """First voxels and probabilities of the windows, batch by batch, as they are ready."""
        running: dict[Future[Tensor], tuple[np.ndarray, bool]] = {}  # its first voxels, and whether it runs alone
        while len(starts) or running:
            if pool is None:
                batch, starts = starts[: self.batch_size], starts[self.batch_size :]
                yield batch, self._probabilities(job.windows(batch))
                continue
            while len(starts) and len(running) < self.workers:
                batch, starts = starts[: self.batch_size], starts[self.batch_size :]
                running[pool.submit(self._probabilities, job.windows(batch))] = batch, self.workers == 1
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                batch, was_alone = running.pop(future)
                error = future.exception()
                if error is not None and is_out_of_memory(error) and not was_alone:
                    self.workers = 1
                    starts = np.concatenate([batch, starts])
                else:
                    yield batch, future.result()

    def _probabilities(self, windows: Tensor) -> Tensor:
        """(N, 2, w, w, w) intensities -> (N, 4, w, w, w) float32 softmax probabilities, in parts if memory is short."""
        try:
            with (
                torch.inference_mode(),  # which a thread has to ask for itself
                torch.autocast(self.device.type, torch.float16, enabled=self.half_precision),
            ):
                logits = self._form(standardise_windows(windows))
            return logits.float().softmax(dim=1)
        except RuntimeError as error:
            if len(windows) == 1 or not is_out_of_memory(error):
                raise
        # Outside the except clause, whose error would keep the tensors of the failed run alive.
        self.batch_size = (len(windows) + 1) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return torch.cat([self._probabilities(part) for part in windows.split(self.batch_size)])


def fitting_batch(free_bytes: int, bytes_per_window: int) -> int:
    """How many windows run together on a GPU, 1 to ``LARGEST_BATCH_SIZE``.

    Args:
        free_bytes: memory that the card has left.
        bytes_per_window: what one window takes at its peak.
    """
    return max(1, min(LARGEST_BATCH_SIZE, int(SHARE_OF_FREE_MEMORY * free_bytes) // max(bytes_per_window, 1)))


@contextmanager
def _threads_of_one_core(count: int) -> Iterator[ThreadPoolExecutor | None]:
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


def standardise_windows(windows: Tensor) -> Tensor:
    """Give every window mean 0 and standard deviation 1 in each modality, in training and in inference.

    Args:
        windows: (N, modalities, D, H, W), any intensities.

    Returns:
        The same shape. The standard deviation (of the population) is floored at 1/√voxels, so that a
        window of one value alone becomes zeros.
    """
    voxels = windows[0, 0].numel()
    centred = windows - windows.mean(dim=(2, 3, 4), keepdim=True)
    deviation = centred.square().mean(dim=(2, 3, 4), keepdim=True).sqrt()
    return centred / deviation.clamp(min=1 / math.sqrt(voxels))


def _check_scan(name: str, scan: np.ndarray) -> np.ndarray:
    scan = np.asarray(scan)
    if scan.ndim != 3 or not scan.size:
        raise ValueError(f"{name} has shape {scan.shape}; (D, H, W) was expected")
    if scan.dtype.kind not in "fiub":
        raise ValueError(f"{name} has values of {scan.dtype}; real numbers were expected")
    scan = scan.astype(np.float32)
    if not np.isfinite(scan).all():
        raise ValueError(f"{name} of shape {scan.shape} holds values that are not finite numbers")
    return scan
