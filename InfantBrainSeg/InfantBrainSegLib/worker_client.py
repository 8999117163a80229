"""The panel's end of the pipe to model_core/worker.py: one JSON object a line, both ways, nothing ever waited for."""

from __future__ import annotations

import base64
import json
import logging
import re
import secrets
import shutil
import socket
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .child_process import let_go, new_process
from .process_tree import end_process_tree
from .worker_command import WorkerCommand

CHUNK = 1 << 20  # bytes of a file in one message
FULL_PIPE = 4 * CHUNK  # bytes waiting in the pipe, above which no more are written for the moment
LOG_LINES = 40  # of the worker's stderr that are kept for the report of a crash
END_MS = 2000  # at most, until a killed process is gone; it takes some milliseconds
FULL_PIPE_MS = 20  # until the next look whether the pipe takes more
RETRY_REMOVAL_MS = 2000
COMMAND_LINE_OPTION = re.compile(r" \(--[a-z0-9-]+( [a-z-]+)?\)")  # as the model core's sentences name them in passing

Event = dict[str, Any]


class WorkerClient:
    """A worker process, its folder, and the events that come from it.

    Args:
        onEvent: called in the application's thread with every event that is not the client's own business: `ready`
            (once the folder is opened), and the answers to requests.
        onEnd: called with a sentence when the process ended although nobody asked it to.
    """

    def __init__(self, onEvent: Callable[[Event], None], onEnd: Callable[[str], None]) -> None:
        self._onEvent, self._onEnd = onEvent, onEnd
        self._process: Any = None
        self._buffer = b""
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._last_words = ""  # of the log, since the last request
        self._uploads: deque[Path] = deque()
        self._upload_at = 0  # bytes of the first one that are sent
        self._after_uploads: deque[Event] = deque()
        self._arriving: set[str] = set()  # names of files of which more is to come
        self._complaint = ""  # what the worker said before it ended by itself
        self._worker_folder = ""  # the folder's name where the worker runs
        self.command: WorkerCommand | None = None
        self.folder: Path | None = None
        self.ready: Event | None = None
        self.shares_folder = False

    @property
    def is_running(self) -> bool:
        """Whether there is a process, ready or not."""
        return self._process is not None

    @property
    def log(self) -> str:
        """The last lines that the worker wrote to stderr."""
        return "\n".join(self._log)

    def start(self, command: WorkerCommand) -> None:
        """Start the worker; the event `ready` follows.

        Raises:
            SegmentationError: the program is not there.
        """
        self.stop()
        program, arguments = command.program_and_arguments()
        self.command, self._complaint = command, ""
        self._buffer = b""
        self._log.clear()
        self._last_words = ""
        self.folder = Path(tempfile.mkdtemp(prefix="InfantBrainSeg-", dir=slicer.app.temporaryPath))
        process = new_process(command)
        process.connect("readyReadStandardOutput()", self._read)
        process.connect("readyReadStandardError()", self._read_log)
        process.connect("finished(int,QProcess::ExitStatus)", self._finished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._failed)
        self._process = process
        process.start(program, arguments)

    def send(self, request: Event, files: Iterable[Path] = ()) -> None:
        """Send a request, and before it, when the worker does not share the folder, the files that it names."""
        if self._process is None:
            return
        self._last_words = ""
        if not self.shares_folder:
            self._uploads.extend(files)
        if self._uploads:
            self._after_uploads.append(request)
            self._upload()
        else:
            self._write(request)

    def send_now(self, request: Event) -> None:
        """Send a request that overtakes files on their way, such as `stop`."""
        if self._process is not None:
            self._write(request)

    def reference(self, path: Path) -> str:
        """Return how a file is to be called in a request: by its path, or by its name where it is sent along."""
        return str(path) if self.shares_folder else path.name

    def in_the_panels_words(self, sentence: str, names: Mapping[str, str]) -> str:
        """Return a sentence of the worker's in the panel's words: names of nodes for files, no command line options.

        Args:
            sentence: what the worker said.
            names: names of nodes by names of files.
        """
        for file, node in names.items():
            for folder in (str(self.folder), self._worker_folder):
                for separator in "/\\":
                    sentence = sentence.replace(f"{folder}{separator}{file}", node)
            sentence = sentence.replace(file, node)
        return COMMAND_LINE_OPTION.sub("", sentence)

    def stop(self, *, wait: bool = False) -> None:
        """End the process at once and remove the folder; nothing is called back.

        Args:
            wait: also wait until the killed process is gone, as at the end of the application.
        """
        process, self._process = self._process, None
        pid = self._local_pid()
        self.ready = None
        self._uploads.clear()
        self._upload_at = 0
        self._after_uploads.clear()
        self._arriving.clear()
        if process is not None:
            for signature, slot in (
                ("readyReadStandardOutput()", self._read),
                ("readyReadStandardError()", self._read_log),
                ("finished(int,QProcess::ExitStatus)", self._finished),
                ("errorOccurred(QProcess::ProcessError)", self._failed),
            ):
                process.disconnect(signature, slot)
            process.closeWriteChannel()
            if pid is not None:
                end_process_tree(pid)
            process.kill()
            if wait:
                process.waitForFinished(END_MS)
            let_go(process)
        if self.folder is not None:
            _remove_folder(self.folder)
            self.folder = None

    def _local_pid(self) -> int | None:
        """The worker's process number, if it runs on this machine."""
        if self.ready is None or self.ready.get("host") != socket.gethostname():
            return None
        pid = self.ready.get("pid")
        return pid if isinstance(pid, int) and pid > 1 else None

    def _write(self, message: Event) -> None:
        self._process.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")

    def _upload(self) -> None:
        """Send files chunk by chunk, as fast as the pipe takes them, and then the requests that wait for them."""
        while self._uploads and self._process is not None and self._process.bytesToWrite() < FULL_PIPE:
            path = self._uploads[0]
            with open(path, "rb") as file:
                file.seek(self._upload_at)
                chunk = file.read(CHUNK)
            last = len(chunk) < CHUNK
            self._write({"request": "put", "file": path.name, "data": base64.b64encode(chunk).decode(), "last": last})
            self._upload_at += len(chunk)
            if last:
                self._uploads.popleft()
                self._upload_at = 0
        if self._uploads and self._process is not None:
            qt.QTimer.singleShot(FULL_PIPE_MS, self._upload)
        while self._after_uploads and not self._uploads and self._process is not None:
            self._write(self._after_uploads.popleft())

    def _read(self) -> None:
        self._buffer += bytes(self._process.readAllStandardOutput().data())
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            if self._process is None:  # an event made somebody end the worker
                return
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if isinstance(event, dict) and isinstance(event.get("event"), str):
                self._receive(event)
            else:  # a login banner of a remote shell, say
                self._note(line.decode(errors="replace"))

    def _read_log(self) -> None:
        text = bytes(self._process.readAllStandardError().data()).decode(errors="replace")
        for line in text.splitlines():
            self._note(line)

    def _note(self, line: str) -> None:
        if line.strip():
            self._log.append(line)
            self._last_words = line.strip()

    def _receive(self, event: Event) -> None:
        kind = event["event"]
        if kind == "ready" and self.folder is not None:
            self.ready = event
            token = secrets.token_hex(16)
            (self.folder / "token").write_text(token, encoding="utf-8")
            self._write({"request": "open", "id": "open", "folder": str(self.folder), "token": token})
        elif kind == "opened" and self.ready is not None:
            self.shares_folder = bool(event.get("shared"))
            self._worker_folder = str(event.get("folder", ""))
            self._onEvent(self.ready)
        elif kind == "file":
            self._receive_file(event)
        elif kind == "error" and event.get("id") is None and self.ready is None:
            self._complaint = str(event.get("sentence", ""))
            self._onEvent(event)
        else:
            self._onEvent(event)

    def _receive_file(self, event: Event) -> None:
        name = str(event.get("file", ""))
        if self.folder is None or not name or Path(name).name != name or name.startswith("."):
            self._note(f"refused a file named {name!r}")
            return
        with open(self.folder / name, "ab" if name in self._arriving else "wb") as file:
            file.write(base64.b64decode(event.get("data", "")))
        (self._arriving.discard if event.get("last") else self._arriving.add)(name)

    def _failed(self, error: int) -> None:
        if error == qt.QProcess.FailedToStart and self._process is not None:
            program = self._process.program()
            self.stop()
            self._onEnd(
                _(
                    "The worker's program {program} could not be started; expected a program that this user "
                    "may run; correct it under Advanced, or install the extension again."
                ).format(program=program)
            )

    def _finished(self, exit_code: int, exit_status: int) -> None:
        if self._process is None:
            return
        self._read_log()
        logging.info("Segment infant brain: the worker ended with status %s\n%s", exit_code, self.log)
        was_ready = self.ready is not None
        sentence = self._complaint or self._describe_end(exit_code, exit_status, was_ready)
        self.stop()
        self._onEnd(sentence)

    def _describe_end(self, exit_code: int, exit_status: int, was_ready: bool) -> str:
        normal = exit_status == qt.QProcess.NormalExit
        how = _("status {code}").format(code=exit_code) if normal else _("killed or crashed")
        last = f" ({self._last_words})" if self._last_words else ""
        if not was_ready:
            return _(
                "The worker ended before it was ready ({how}){last}; expected a Python with the packages "
                "of the model core; check the worker's Python or command under Advanced."
            ).format(how=how, last=last)
        return _(
            "The worker process ended unexpectedly ({how}){last}; most often the computer's memory did "
            "not suffice; close other programs or choose another device, then segment again."
        ).format(how=how, last=last)


def _remove_folder(folder: Path) -> None:
    """Remove the folder now, or a little later where a dying process still holds its files (Windows)."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        qt.QTimer.singleShot(RETRY_REMOVAL_MS, lambda: shutil.rmtree(folder, ignore_errors=True))
