"""Sliding-window segmentation: every window standardised, softmax probabilities averaged, coarse grid first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from model_core.devices import (
    available_cores,
    choose_device,
    exact_float32,
    fitting_batch,
    is_out_of_memory,
    threads_of_one_core,
)
from model_core.errors import UserError
from model_core.networks.inference_form import has_inference_form, inference_form
from model_core.segmentation_job import Progress, Segmentation, SegmentationJob, check_scan, standardise_windows

# Windows that run together. On the CPU every core has a window of its own, which beats all cores on one window by far.
# A GPU wants enough work at a time; how much its memory holds is measured with one window on CUDA.
CPU_BATCH_SIZE = 1
GPU_BATCH_SIZE = 16

__all__ = ["Progress", "Segmentation", "Segmenter", "fitting_batch", "standardise_windows"]


class Segmenter:
    """Segments volumes with one network; the network stays loaded between volumes.

    Args:
        network: (N, 2, window³) standardised windows -> (N, 4, window³) logits; moved to the device.
        window: side of the cubic windows in voxels.
        device: ``"auto"`` (a CUDA GPU, else Apple's, else the CPU) or a name such as ``"cpu"``,
            ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        precision: ``"float32"`` is exact (no TF32), ``"float16"`` mixed precision on a GPU,
            ``"auto"`` is float32 everywhere.
        batch_size: windows that run together; ``None`` chooses. Halved for good when memory does not suffice; where
            that of a GPU does not suffice for one window, the CPU goes on, with the sums so far.
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
        self._pool: ThreadPoolExecutor | None = None
        self._notices: list[str] = []

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
        t1, t2 = check_scan("t1", t1), check_scan("t2", t2)
        for name, array in (("t2", t2), ("mask", mask)):
            if array is not None and np.shape(array) != t1.shape:
                raise ValueError(f"{name} has shape {np.shape(array)} and t1 has {t1.shape}")
        brain = (t1 != 0) | (t2 != 0) if mask is None else np.asarray(mask) != 0
        training = self.network.training
        self.network.eval()
        self._notices = []
        try:
            with torch.inference_mode(), exact_float32(self.device):
                job = self._begin(partial(SegmentationJob, t1, t2, brain, self.window, step, look_at=look_at))
                self._form = self._make_form()
                self._run(job, on_progress, should_stop, on_map)
                self._form = None
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

    def _begin(self, make_job: Callable[..., SegmentationJob]) -> SegmentationJob:
        """Lay volume and sums on the device, or into the computer's own memory where a GPU has no room for them."""
        try:
            job = make_job(device=self.device)
        except RuntimeError as error:
            if self.device.type == "cpu" or not is_out_of_memory(error):
                raise
            job = None
        if job is None:
            self._leave_gpu("the volume")
            job = make_job(device=self.device)
        job.notices = self._notices
        return job

    def _leave_gpu(self, what: str) -> None:
        """Go on with the CPU, from now on for good, and say so."""
        self._notices.append(
            f"The memory of {self.device} did not suffice for {what}; the CPU goes on, slower, and nothing done so far "
            "is lost; close other programs that use the GPU for the next run."
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.device = torch.device("cpu")
        self.half_precision = self._may_fit_batch = False
        self.batch_size = CPU_BATCH_SIZE
        self.network.to(self.device)
        self._form = self._make_form()

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
        with ExitStack() as stack:
            self._pool = stack.enter_context(threads_of_one_core(self.workers if self.device.type == "cpu" else 0))
            if job.has_blank:
                first = np.zeros((1, 3), dtype=int)
                job.blank_answer = next(self._answers(job, first, stack, lambda at: job.windows(at).zero_()))[1][0]
            if self._may_fit_batch:
                self._fit_batch(job)
            for index in range(len(job.stages)):
                answers = self._answers(job, job.begin(index), stack, job.windows)
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
        self._may_fit_batch = False
        torch.cuda.synchronize(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        before = torch.cuda.memory_allocated(self.device)
        if self._unless_memory_is_short(job.windows, np.zeros((1, 3), dtype=int)) is None:
            self.batch_size = 1
            return
        torch.cuda.synchronize(self.device)
        bytes_per_window = torch.cuda.max_memory_allocated(self.device) - before
        torch.cuda.empty_cache()
        self.batch_size = fitting_batch(torch.cuda.mem_get_info(self.device)[0], bytes_per_window)

    def _answers(
        self, job: SegmentationJob, starts: np.ndarray, stack: ExitStack, windows_at: Callable[[np.ndarray], Tensor]
    ) -> Iterator[tuple[np.ndarray, Tensor]]:
        """First voxels and probabilities of the windows, batch by batch, as they are ready."""
        running: dict[Future[Tensor], tuple[np.ndarray, bool]] = {}  # its first voxels, and whether it runs alone
        while len(starts) or running:
            if self._pool is None:
                batch = starts[: self.batch_size]
                answer = self._unless_memory_is_short(windows_at, batch)
                if answer is None:
                    self._leave_gpu("one window at a time")
                    job.move_to(self.device)
                    self._pool = stack.enter_context(threads_of_one_core(self.workers))
                else:
                    starts = starts[len(batch) :]
                    yield batch, answer
                continue
            while len(starts) and len(running) < self.workers:
                batch, starts = starts[: self.batch_size], starts[self.batch_size :]
                running[self._pool.submit(self._probabilities, windows_at(batch))] = batch, self.workers == 1
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                batch, was_alone = running.pop(future)
                error = future.exception()
                if error is not None and is_out_of_memory(error) and not was_alone:
                    self._run_one_by_one()
                    starts = np.concatenate([batch, starts])
                else:
                    yield batch, future.result()

    def _run_one_by_one(self) -> None:
        if self.workers > 1:  # of several windows that failed together this is the first
            self._notices.append(
                f"The memory did not suffice for {self.workers} windows side by side; one at a time from now on."
            )
        self.workers = 1

    def _unless_memory_is_short(self, windows_at: Callable[[np.ndarray], Tensor], starts: np.ndarray) -> Tensor | None:
        """The probabilities of windows; None where the memory of a GPU does not suffice for a single one."""
        try:
            return self._probabilities(windows_at(starts))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return None

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
        self._notices.append(
            f"The memory of {self.device} did not suffice for {len(windows)} windows at a time; {self.batch_size} run "
            "together from now on."
        )
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return torch.cat([self._probabilities(part) for part in windows.split(self.batch_size)])
