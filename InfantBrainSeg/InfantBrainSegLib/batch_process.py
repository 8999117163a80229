"""The command cohort.py in a process of its own: what it prints line by line, its end, and stopping it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .child_process import let_go, new_process
from .core_paths import core_parent
from .dependencies import ensure_packages
from .errors import SegmentationError
from .worker_command import WorkerCommand, WorkerKind

STOP_MS = 20000  # that it has to end by itself, which takes it some seconds; then it is killed
END_MS = 2000  # at most, until a killed process is gone


class BatchProcess:
    """One run of cohort.py at a time; it ends with this application, for it watches its standard input."""

    def __init__(self) -> None:
        self._process: Any = None
        self._buffer, self._last_words = b"", ""
        self._onLine: Callable[[str], Any] = lambda line: None
        self._onEnd: Callable[[int, str], Any] = lambda status, last_words: None

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None

    def start(self, arguments: Sequence[str], onLine: Callable[[str], Any], onEnd: Callable[[int, str], Any]) -> None:
        """Start the command.

        Args:
            arguments: of cohort.py.
            onLine: called with every line that it prints.
            onEnd: called with its exit status (-1 if it was killed or could not start) and the last line of its log.

        Raises:
            SegmentationError: the worker is a command on perhaps another machine, its program is not there, or
                packages are missing.
        """
        command = WorkerCommand.from_settings()
        if command.kind is WorkerKind.COMMAND:
            raise SegmentationError(
                _(
                    "The worker runs by a command, perhaps on another machine; a batch reads folders of this one; "
                    "choose Slicer's Python or another Python under Advanced."
                )
            )
        program = command.program_and_arguments()[0]
        if command.runs_in_slicer_python:
            ensure_packages(for_batch=True)
        self._onLine, self._onEnd = onLine, onEnd
        self._buffer, self._last_words = b"", ""
        process = new_process(command)
        process.connect("readyReadStandardOutput()", self._read)
        process.connect("readyReadStandardError()", self._read_log)
        process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self._process = process
        core = core_parent() / "model_core"
        process.start(program, [str(core / "cohorts" / "child.py"), "-", str(core / "cohort.py"), *arguments])

    def stop(self) -> None:
        """Ask it to end; what is complete stays. It is killed if it does not."""
        process = self._process
        if process is None:
            return
        process.closeWriteChannel()
        qt.QTimer.singleShot(STOP_MS, lambda: process.kill() if self._process is process else None)

    def close(self) -> None:
        """End it at once; nothing is called back."""
        process, self._process = self._process, None
        if process is None:
            return
        for signature, slot in (
            ("readyReadStandardOutput()", self._read),
            ("readyReadStandardError()", self._read_log),
            ("finished(int,QProcess::ExitStatus)", self._finished),
            ("errorOccurred(QProcess::ProcessError)", self._failed),
        ):
            process.disconnect(signature, slot)
        process.closeWriteChannel()  # at which it ends itself and all that it started, also below a launcher
        if not process.waitForFinished(END_MS):
            process.kill()
            process.waitForFinished(END_MS)
        let_go(process)

    def _read(self) -> None:
        self._buffer += bytes(self._process.readAllStandardOutput().data())
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            self._onLine(line.decode(errors="replace").rstrip("\r"))

    def _read_log(self) -> None:
        text = bytes(self._process.readAllStandardError().data()).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            self._last_words = lines[-1]

    def _failed(self, error: int) -> None:
        if error == qt.QProcess.FailedToStart and self._process is not None:
            self._end(-1)

    def _finished(self, exit_code: int, exit_status: int) -> None:
        if self._process is not None:
            self._read()
            self._read_log()
            self._end(exit_code if exit_status == qt.QProcess.NormalExit else -1)

    def _end(self, status: int) -> None:
        process, self._process = self._process, None
        let_go(process)
        self._onEnd(status, self._last_words)
