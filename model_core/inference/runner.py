"""One segmentation under way: windows run on the device, batch by batch, and what is done when memory is short."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from model_core.inference.accumulator import Progress, WindowAccumulator
from model_core.inference.answer import Answer, answer_of
from model_core.inference.standardisation import standardise_windows
from model_core.networks.ensemble import Ensemble, WithMirrored, looks_of
from model_core.networks.fused import fused, has_fused_form
from model_core.networks.input_form import form_of
from model_core.system.devices import fitting_batch, is_out_of_memory, threads_of_one_core
from model_core.windows import WHOLE_BRAIN

# Windows that run together. On the CPU every core has a window of its own, which beats all cores on one window by far.
# A GPU wants enough work at a time; how much its memory holds is measured with one window on CUDA.
CPU_BATCH_SIZE = 1
GPU_BATCH_SIZE = 16


@dataclass
class Engine:
    """A network on a device and how many windows it runs at a time; what memory teaches it stays for later runs.

    Attributes:
        network: on the device.
        device: where it runs.
        half_precision: whether in float16.
        batch_size: windows that run together.
        may_fit_batch: whether the batch size is still to be measured on the card.
        workers: threads of one core that run batches side by side on the CPU.
    """

    network: nn.Module
    device: torch.device
    half_precision: bool
    batch_size: int
    may_fit_batch: bool
    workers: int


@dataclass(frozen=True)
class Callbacks:
    """What the caller of a segmentation hears and says; see ``Segmenter.segment``."""

    on_progress: Callable[[Progress], None] | None = None
    should_stop: Callable[[], bool] | None = None
    on_map: Callable[[int, np.ndarray], None] | None = None


class Run:
    """One segmentation.

    Args:
        engine: changed where memory does not suffice.
        notices: gets a sentence on each such change.
    """

    def __init__(self, engine: Engine, notices: list[str]) -> None:
        self._engine, self._notices = engine, notices
        self._form: nn.Module = engine.network
        self._pool: ThreadPoolExecutor | None = None

    def carry_out(self, make_accumulator: Callable[..., WindowAccumulator], callbacks: Callbacks) -> WindowAccumulator:
        """Run windows until they are in or the user stops.

        Args:
            make_accumulator: lays volume and sums on the ``device`` that it is given.
            callbacks: the caller's.
        """
        accumulator = self._lay_out(make_accumulator)
        accumulator.notices = self._notices
        self._form = self._make_form()
        with ExitStack() as stack:
            self._pool = stack.enter_context(threads_of_one_core(self._threads(accumulator)))
            if accumulator.has_blank:
                self._answer_blank(accumulator, stack)
            if self._engine.may_fit_batch:
                self._fit_batch(accumulator)
            for index in range(len(accumulator.stages)):
                if not self._fill_stage(accumulator, index, stack, callbacks):
                    break
                if callbacks.on_map:
                    callbacks.on_map(accumulator.step_reached, accumulator.labels())
        return accumulator

    def _fill_stage(self, accumulator: WindowAccumulator, index: int, stack: ExitStack, callbacks: Callbacks) -> bool:
        """Run the windows of a stage; false when the user stops."""
        answers = self._answers(accumulator, accumulator.begin(index), stack)
        while True:
            if callbacks.should_stop and callbacks.should_stop():
                return False
            for starts, answer in itertools.islice(answers, 1):
                accumulator.add(starts, answer)
            is_complete = accumulator.is_complete(index)
            if is_complete:
                accumulator.step_reached = accumulator.stages[index].step
            if callbacks.on_progress:
                callbacks.on_progress(accumulator.progress(index))
            if is_complete:
                return True

    def _threads(self, accumulator: WindowAccumulator) -> int:
        """Threads of one core each; none on a GPU, nor where one window takes all cores."""
        one_window = accumulator.stages[-1].step == WHOLE_BRAIN
        return 0 if self._engine.device.type != "cpu" or one_window else self._engine.workers

    def _lay_out(self, make_accumulator: Callable[..., WindowAccumulator]) -> WindowAccumulator:
        """Lay volume and sums on the device, or into the computer's own memory where a GPU has no room for them."""
        try:
            return make_accumulator(device=self._engine.device)
        except RuntimeError as error:
            if self._engine.device.type == "cpu" or not is_out_of_memory(error):
                raise
        self._leave_gpu("the volume")
        return make_accumulator(device=self._engine.device)

    def _leave_gpu(self, what: str) -> None:
        """Go on with the CPU, from now on for good, and say so."""
        engine = self._engine
        self._notices.append(
            f"The memory of {engine.device} did not suffice for {what}; the CPU goes on, slower, and nothing done so "
            "far is lost; close other programs that use the GPU for the next run."
        )
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()
        engine.device = torch.device("cpu")
        engine.half_precision = engine.may_fit_batch = False
        engine.batch_size = CPU_BATCH_SIZE
        engine.network.to(engine.device)
        self._form = self._make_form()

    def _make_form(self) -> nn.Module:
        """The network as it runs: on the CPU rewritten for speed, where there is such a form; looks twice if asked."""
        network = self._engine.network
        runs = fused(network) if self._engine.device.type == "cpu" and has_fused_form(network) else network
        alone = not isinstance(network, Ensemble)
        return WithMirrored(runs) if form_of(network).mirrored and alone else runs

    def _answer_blank(self, accumulator: WindowAccumulator, stack: ExitStack) -> None:
        """Find the answer that all windows of zeros share."""
        first = np.zeros((1, 3), dtype=int)
        accumulator.blank_answer = next(self._answers(accumulator, first, stack, blank=True))[1].probabilities[0]

    def _fit_batch(self, accumulator: WindowAccumulator) -> None:
        """Measure the memory of one window on the card, once, and choose the batch that fits."""
        engine = self._engine
        engine.may_fit_batch = False
        torch.cuda.synchronize(engine.device)
        torch.cuda.reset_peak_memory_stats(engine.device)
        before = torch.cuda.memory_allocated(engine.device)
        if self._unless_memory_is_short(accumulator, np.zeros((1, 3), dtype=int), blank=False) is None:
            engine.batch_size = 1
            return
        torch.cuda.synchronize(engine.device)
        bytes_per_window = torch.cuda.max_memory_allocated(engine.device) - before
        torch.cuda.empty_cache()
        engine.batch_size = fitting_batch(torch.cuda.mem_get_info(engine.device)[0], bytes_per_window)

    def _answers(
        self, accumulator: WindowAccumulator, starts: np.ndarray, stack: ExitStack, *, blank: bool = False
    ) -> Iterator[tuple[np.ndarray, Answer]]:
        """First voxels of windows and the answers to them, batch by batch, as they are ready."""
        engine = self._engine
        running: dict[Future[Answer], tuple[np.ndarray, bool]] = {}  # its first voxels, and whether it runs alone
        while len(starts) or running:
            if self._pool is None:
                batch = starts[: engine.batch_size]
                answer = self._unless_memory_is_short(accumulator, batch, blank=blank)
                if answer is None:
                    self._leave_gpu("one window at a time")
                    accumulator.move_to(engine.device)
                    self._pool = stack.enter_context(threads_of_one_core(self._threads(accumulator)))
                else:
                    starts = starts[len(batch) :]
                    yield batch, answer
                continue
            while len(starts) and len(running) < engine.workers:
                batch, starts = starts[: engine.batch_size], starts[engine.batch_size :]
                future = self._pool.submit(self._answer, *self._inputs(accumulator, batch, blank=blank))
                running[future] = batch, engine.workers == 1
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                batch, was_alone = running.pop(future)
                error = future.exception()
                if error is not None and is_out_of_memory(error) and not was_alone:
                    self._run_one_by_one()
                    starts = np.concatenate([batch, starts])
                else:
                    yield batch, future.result()

    def _inputs(self, accumulator: WindowAccumulator, starts: np.ndarray, *, blank: bool) -> tuple[Tensor, ...]:
        """What the network is given for windows: intensities, and their places where it is told."""
        windows = accumulator.windows(starts)
        if blank:
            windows.zero_()
        placed = form_of(self._engine.network).placed
        return (windows, accumulator.places(starts)) if placed else (windows,)

    def _run_one_by_one(self) -> None:
        if self._engine.workers > 1:  # of several windows that failed together this is the first
            self._notices.append(
                f"The memory did not suffice for {self._engine.workers} windows side by side; one at a time from now "
                "on."
            )
        self._engine.workers = 1

    def _unless_memory_is_short(
        self, accumulator: WindowAccumulator, starts: np.ndarray, *, blank: bool
    ) -> Answer | None:
        """The answer to windows; None where the memory of a GPU does not suffice for a single one."""
        try:
            return self._answer(*self._inputs(accumulator, starts, blank=blank))
        except RuntimeError as error:
            if self._engine.device.type == "cpu" or not is_out_of_memory(error):
                raise
        return None

    def _answer(self, windows: Tensor, *places: Tensor) -> Answer:
        """The answer to (N, scans, D, H, W) intensities, in parts if memory is short."""
        engine = self._engine
        try:
            with (
                torch.inference_mode(),  # which a thread has to ask for itself
                torch.autocast(engine.device.type, torch.float16, enabled=engine.half_precision),
            ):
                if form_of(engine.network).standardised_over == "window":
                    windows = standardise_windows(windows)
                return answer_of(looks_of(self._form, windows, *places))
        except RuntimeError as error:
            if len(windows) == 1 or not is_out_of_memory(error):
                raise
        # Outside the except clause, whose error would keep the tensors of the failed run alive.
        engine.batch_size = (len(windows) + 1) // 2
        self._notices.append(
            f"The memory of {engine.device} did not suffice for {len(windows)} windows at a time; {engine.batch_size} "
            "run together from now on."
        )
        if engine.device.type == "cuda":
            torch.cuda.empty_cache()
        parts = zip(*(tensor.split(engine.batch_size) for tensor in (windows, *places)), strict=True)
        return Answer.joined([self._answer(*part) for part in parts])
