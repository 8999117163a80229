"""The one worker of the application: started when it is first needed, one request at a time, ended in cleanup."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import qt
from slicer.i18n import tr as _

from .errors import SegmentationError
from .jobs import Job
from .worker_client import WorkerClient
from .worker_command import WorkerCommand


class WorkerFront:
    """Takes jobs to the worker and its events back to them.

    Attributes:
        info: the worker's `ready` event (devices, versions), None before it.
        problem: a sentence when the worker could not start, else empty.
        onChanged: functions called when `info` or `problem` has changed.
    """

    def __init__(self) -> None:
        self.info: dict[str, Any] | None = None
        self.problem = ""
        self.problem_kind = ""
        self.onChanged: list[Callable[[], Any]] = []
        self._client = WorkerClient(self._receive, self._ended)
        self._job: Job | None = None
        self._request_id: int | None = None
        self._numbers = itertools.count(1)
        self._steps: Iterator[None] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a job has the worker."""
        return self._job is not None

    @property
    def client(self) -> WorkerClient:
        """The process's front; jobs use its folder."""
        return self._client

    def holds(self, job: Job) -> bool:
        """Whether the worker works for this job."""
        return self._job is job

    def warm_up(self) -> None:
        """Start the worker in the background, to learn the devices and so that the first run begins at once."""
        if self._client.is_running and self._client.command == WorkerCommand.from_settings():
            return
        try:
            self._start()
        except SegmentationError as error:
            self._set(None, str(error))

    def submit(self, job: Job) -> None:
        """Run a job; the worker is started if need be.

        Raises:
            SegmentationError: another job is running, or the worker's program is not there.
        """
        if self._job is not None:
            raise SegmentationError(
                _("Another run is in progress; expected one at a time; wait for its end or cancel it first.")
            )
        if not self._client.is_running or self._client.command != WorkerCommand.from_settings():
            self._start()
        self._job, self._request_id = job, next(self._numbers)
        if self.info is not None:
            self._begin(self._job)

    def release(self, job: Job) -> None:
        """Forget a job that has ended."""
        if self._job is job:
            self._job, self._request_id, self._steps = None, None, None

    def ask_to_stop(self, *, keep: bool) -> None:
        """Ask the worker to stop what it does."""
        self._client.send_now({"request": "stop", "id": self._request_id, "keep": keep})

    def end_process(self, *, wait: bool = False) -> None:
        """End the worker at once; the next job starts a new one."""
        self._client.stop(wait=wait)
        self._job, self._request_id, self._steps = None, None, None
        self._set(None, "")

    def close(self) -> None:
        """Cancel what runs, end the worker, remove its folder; for cleanup."""
        job = self._job
        self.end_process(wait=True)
        if job is not None:
            job.worker_ended(_("The module was closed."))

    def _start(self) -> None:
        self._set(None, "")
        self._client.start(WorkerCommand.from_settings())

    def _set(self, info: dict[str, Any] | None, problem: str, kind: str = "") -> None:
        self.info, self.problem, self.problem_kind = info, problem, kind
        for function in list(self.onChanged):
            function()

    def _receive(self, event: dict[str, Any]) -> None:
        if event["event"] == "ready":
            self._set(event, "")
            if self._job is not None:
                self._begin(self._job)
        elif self._job is not None and event.get("id") == self._request_id:
            self._job.receive(event)
        elif event["event"] == "error" and event.get("id") is None:
            self._set(None, str(event.get("sentence", "")), str(event.get("kind", "")))

    def _begin(self, job: Job) -> None:
        """Let the job prepare its files, one short piece a turn of the event loop, and then send its request."""
        self._steps = job.steps()
        qt.QTimer.singleShot(0, self._next_step)

    def _next_step(self) -> None:
        job, steps = self._job, self._steps
        if job is None or steps is None:
            return
        with job.failing():
            try:
                next(steps)
            except StopIteration:
                self._steps = None
                request, files = job.request()
                self._client.send({**request, "id": self._request_id}, files)
                job.started()
                return
            qt.QTimer.singleShot(0, self._next_step)

    def _ended(self, sentence: str) -> None:
        problem, kind = (self.problem, self.problem_kind) if self.problem else (sentence, "ended")
        job, self._job, self._request_id, self._steps = self._job, None, None, None
        self._set(None, problem, kind)
        if job is not None:
            job.worker_ended(problem)
