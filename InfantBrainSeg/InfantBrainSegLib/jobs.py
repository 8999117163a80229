"""A request to the worker from its start to its end: what it is waiting for, how far it is, how it ended."""

from __future__ import annotations

import abc
import contextlib
import enum
import logging
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .errors import SegmentationError
from .step_text import describe_step

CANCEL_GRACE_MS = 1500  # the worker stops between two windows; after that its process is ended


class JobState(enum.Enum):
    """Where a job is; the last three are ends."""

    STARTING = "starting"  # the worker is being started or the volumes are on their way
    RUNNING = "running"
    STOPPING = "stopping"  # cancelled, or the map so far is to be kept
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


ENDS = (JobState.DONE, JobState.CANCELLED, JobState.FAILED)


@dataclass(frozen=True)
class JobProgress:
    """How far a job is.

    Attributes:
        stage: "starting", "loading", "preparing", "aligning", "correcting", "extracting" (the brain, of raw scans),
            "checking", "segmenting", "writing" or "scoring".
        windows_done: windows whose answer is in.
        windows_total: windows in all; 0 while that is not known.
        seconds_left: at the pace so far; None while that is not known.
        stage_step: overlap step of the grid that is being filled.
        step_reached: overlap step of the newest complete map, 0 before the first.
    """

    stage: str = "starting"
    windows_done: int = 0
    windows_total: int = 0
    seconds_left: float | None = None
    stage_step: int = 0
    step_reached: int = 0

    def __str__(self) -> str:
        if not self.windows_total:
            return self.stage
        left = f", {self.seconds_left:.0f} s left" if self.seconds_left is not None else ""
        return (
            f"{self.stage}: {self.windows_done} of {self.windows_total} windows, {describe_step(self.stage_step)}{left}"
        )


@dataclass
class Callbacks:
    """Functions that are told about a job; an exception in one is logged and stops nothing."""

    progress: list[Callable[[JobProgress], Any]] = field(default_factory=list)
    changed: list[Callable[[Any], Any]] = field(default_factory=list)

    @staticmethod
    def call(functions: list[Callable[[Any], Any]], argument: Any) -> None:
        """Call all of them."""
        for function in list(functions):
            try:
                function(argument)
            except Exception:
                logging.exception("Segment infant brain: a callback of the user's failed")


class Job(abc.ABC):
    """One request, asynchronous; `wait` blocks while the application goes on.

    Args:
        worker: the worker's front, a `WorkerFront`.

    Attributes:
        state: where it is.
        progress: how far it is.
        error: the sentence for people, if it failed.
        details: the worker's words for the log, if it failed.
    """

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self.callbacks = Callbacks()
        self.state = JobState.STARTING
        self.progress = JobProgress()
        self.error = ""
        self.details = ""
        self._keeps = False

    @property
    def isFinished(self) -> bool:
        """Whether it has ended, in whichever way."""
        return self.state in ENDS

    def cancel(self) -> None:
        """Stop without a result; the scene is as it was. The worker is asked first and ended if it does not answer."""
        if self.isFinished or (self.state is JobState.STOPPING and not self._keeps):
            return
        was_running = self.state is not JobState.STARTING
        self._keeps = False
        self._set_state(JobState.STOPPING)
        if not was_running:
            self._worker.release(self)
            self.end(JobState.CANCELLED)
            return
        self._worker.ask_to_stop(keep=False)
        job = weakref.ref(self)  # the timer shall keep neither the job nor its nodes
        qt.QTimer.singleShot(CANCEL_GRACE_MS, lambda: (alive := job()) is not None and alive._kill_if_unresponsive())

    def scene_closed(self) -> None:
        """Cancel, and let go of all nodes at once: one that outlives its scene makes Slicer's views complain."""
        self.cancel()
        self.forget_nodes()

    def wait(self, timeout: float | None = None) -> bool:
        """Turn the application's event loop until the job has ended.

        Args:
            timeout: seconds; None waits as long as it takes.

        Returns:
            Whether it has ended.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while not self.isFinished and (until is None or time.monotonic() < until):
            slicer.app.processEvents()
            time.sleep(0.01)
        return self.isFinished

    def result(self) -> Any:
        """Return what the job made.

        Raises:
            SegmentationError: it was cancelled, it failed, or it is not finished.
        """
        if self.state is JobState.DONE:
            return self.value()
        if self.state is JobState.FAILED:
            raise SegmentationError(self.error)
        raise SegmentationError(
            _("The run is {state}; expected one that is done; wait for it or run it again.").format(
                state=self.state.value
            )
        )

    @abc.abstractmethod
    def value(self) -> Any:
        """Return the result of a job that is done."""

    @abc.abstractmethod
    def steps(self) -> Iterator[None]:
        """Do what the application has to do before the request, in pieces that each are short."""

    @abc.abstractmethod
    def request(self) -> tuple[dict[str, Any], list[Path]]:
        """Return the request and the files that it names."""

    @abc.abstractmethod
    def file_names(self) -> dict[str, str]:
        """Return the names of nodes by the names of the files that stand for them."""

    def receive(self, event: dict[str, Any]) -> None:
        """Take an event of the worker's that answers this job's request."""
        kind = event["event"]
        if kind == "progress":
            self._set_progress(event)
        elif kind == "stopped":
            self._worker.release(self)
            self.end(JobState.CANCELLED)
        elif kind == "error":
            self._worker.release(self)
            sentence = self._worker.client.in_the_panels_words(str(event.get("sentence", "")), self.file_names())
            self.fail(sentence, str(event.get("detail", "")))
        elif kind == "done":
            self._worker.release(self)
            if self.state is JobState.STOPPING and not self._keeps:  # cancelled when all was done already
                self.end(JobState.CANCELLED)
                return
            with self.failing():
                self.take_result(event)
                self.end(JobState.DONE)

    @abc.abstractmethod
    def take_result(self, event: dict[str, Any]) -> None:
        """Take over what the worker made."""

    @abc.abstractmethod
    def forget_nodes(self) -> None:
        """Hold no node of the scene any more."""

    @abc.abstractmethod
    def take_back(self) -> None:
        """Undo what was shown, when the job does not come to its end."""

    @contextlib.contextmanager
    def failing(self) -> Generator[None]:
        """Turn errors inside the block into the end of the job."""
        try:
            yield
        except SegmentationError as error:
            self._worker.release(self)
            self.fail(str(error))
        except Exception as error:
            logging.exception("Segment infant brain")
            self._worker.release(self)
            self.fail(
                _(
                    "This should not have happened: {kind}: {error}; please send the application's log "
                    "(Help, Report a bug) with your report."
                ).format(kind=type(error).__name__, error=error)
            )

    def fail(self, sentence: str, details: str = "") -> None:
        """End with an error."""
        if self.isFinished:
            return
        self.error, self.details = sentence, details
        logging.error("Segment infant brain: %s%s", sentence, f"\n{details}" if details else "")
        self.end(JobState.FAILED)

    def end(self, state: JobState) -> None:
        """Go to one of the ends; an unsuccessful one leaves the scene as it was."""
        if self.isFinished:
            return
        if state is not JobState.DONE:
            self.take_back()
        self._set_state(state)

    def worker_ended(self, sentence: str) -> None:
        """Take the news that the worker's process is gone."""
        if self.state is JobState.STOPPING and not self._keeps:
            self.end(JobState.CANCELLED)
        else:
            self.fail(sentence)

    def started(self) -> None:
        """Take the news that the request is on its way."""
        if self.state is JobState.STARTING:
            self._set_state(JobState.RUNNING)

    def _kill_if_unresponsive(self) -> None:
        if not self.isFinished and self._worker.holds(self):
            self._worker.end_process()
            self.end(JobState.CANCELLED)

    def _set_progress(self, event: dict[str, Any]) -> None:
        names = ("stage", "windows_done", "windows_total", "seconds_left", "stage_step", "step_reached")
        self.progress = JobProgress(**{name: event[name] for name in names if event.get(name) is not None})
        Callbacks.call(self.callbacks.progress, self.progress)

    def _set_state(self, state: JobState) -> None:
        self.state = state
        Callbacks.call(self.callbacks.changed, self)
