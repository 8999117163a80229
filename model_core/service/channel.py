"""The worker's side of the pipe: events out, and the folder through which files come and go.

Standard library only: the pipe is in use while the libraries are still being imported.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from model_core.errors import UserError
from model_core.service.messages import Identifier, Open, Put, check_plain_name

SECONDS_BETWEEN_PROGRESS = 0.1
CHUNK_BYTES = 1 << 20  # of a file in one event
LARGEST_FOLDER_BYTES = 4 << 30  # of all files in a folder of the worker's own


def claim_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Take the pipe out of everybody else's hands.

    What libraries print on standard output, C libraries and child processes included, lands on standard error from
    now on, and who reads standard input finds it empty.

    Returns:
        The stream of requests and the stream of events.
    """
    requests = os.fdopen(os.dup(0), "rb")
    events = os.fdopen(os.dup(1), "wb", buffering=0)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return requests, events


class Channel:
    """Sends events, one JSON object per line; those of several threads do not mix.

    Args:
        stream: unbuffered.
        on_lost: called when nobody listens any more.
    """

    def __init__(self, stream: BinaryIO, on_lost: Callable[[], None]) -> None:
        self._stream, self._on_lost = stream, on_lost
        self._lock = threading.Lock()
        self._is_closed = False

    def send(self, event: str, identifier: Identifier = None, **fields: Any) -> None:
        """Send an event; ``fields`` are JSON values without NaN and infinity."""
        message = {"event": event, "id": identifier, **fields}
        line = memoryview(json.dumps(message, allow_nan=False).encode() + b"\n")
        with self._lock:
            try:
                while line and not self._is_closed:
                    line = line[self._stream.write(line) :]
                return
            except OSError:
                self.close()
        self._on_lost()

    def close(self) -> None:
        """Send nothing more."""
        self._is_closed = True


class ProgressReport:
    """Sends the progress events of one request, not more often than a panel can show them."""

    def __init__(self, channel: Channel, identifier: Identifier) -> None:
        self._channel, self._identifier = channel, identifier
        self._stage = ""
        self._counts: dict[str, int | float | None] = {
            "windows_done": 0,
            "windows_total": 0,
            "seconds_left": None,
            "stage_step": 0,
            "step_reached": 0,
        }
        self._sent = 0.0

    def begin(self, stage: str, **counts: int) -> None:
        """Tell that a stage of the work begins; counts that are not given stay as they were."""
        self._stage = stage
        self._counts |= {"seconds_left": None, **counts}
        self._send()

    def update(self, counts: dict[str, int | float], *, must_go_out: bool) -> None:
        """Tell how far the stage is, unless another event has gone out just before and this one need not."""
        self._counts |= counts
        if must_go_out or time.monotonic() - self._sent >= SECONDS_BETWEEN_PROGRESS:
            self._send()

    def _send(self) -> None:
        self._sent = time.monotonic()
        self._channel.send("progress", self._identifier, stage=self._stage, **self._counts)


class ExchangeFolder:
    """The folder of a panel, or one of the worker's own where it does not see the panel's.

    Args:
        opened: the request that names the folder.

    Attributes:
        path: the folder.
        is_shared: whether the panel sees it, too.

    Raises:
        UserError: no folder can be made on this machine.
    """

    def __init__(self, opened: Open) -> None:
        self._token = opened.token
        self.path = Path(opened.folder)
        self.is_shared = self._has_token()
        self._spoilt: set[str] = set()  # files of which a part went wrong and the last has not come
        if not self.is_shared:
            try:
                self.path = Path(tempfile.mkdtemp(prefix="infantbrainseg-"))
            except OSError as error:
                raise UserError(
                    f"No temporary folder can be made on the worker's machine ({error.strerror}); expected room for "
                    "the scans; free some space, or set TMPDIR to another folder there."
                ) from error

    def _has_token(self) -> bool:
        try:
            found = (self.path / "token").read_text("utf-8")
        except (OSError, ValueError):
            return False
        return self.path.is_absolute() and bool(found) and found == self._token

    def find(self, field_name: str, name: str, *, anywhere: bool = False) -> Path:
        """Return where a file of a request lies.

        Args:
            field_name: of the request, for the error sentence.
            name: plain name in the folder, or an absolute path.
            anywhere: take absolute paths also where the folder is not shared.

        Raises:
            UserError: the name is neither, or leads out of a folder that is not shared.
        """
        if os.path.isabs(name) and (self.is_shared or anywhere) and _can_be_a_path(name):
            return Path(name)
        check_plain_name(field_name, name)
        return self.path / name

    def put(self, part: Put) -> None:
        """Add a part to a file that the panel sends; it appears under its name when it is complete.

        Raises:
            UserError: the folder is shared, the name is not plain, the part is no base64, or room is short. What came
                of the file is dropped, and so is the rest of it.
        """
        if self.is_shared:
            raise UserError(
                "A file was put into a folder that is shared; expected it to be written there; write it, or open "
                "another folder."
            )
        check_plain_name("file", part.file)
        arriving = self.path / f".{part.file}.part"
        try:
            if part.file not in self._spoilt:
                self._append(arriving, part)
        except UserError:
            arriving.unlink(missing_ok=True)
            self._spoilt.add(part.file)
            raise
        finally:
            if part.last:
                self._spoilt.discard(part.file)

    def _append(self, arriving: Path, part: Put) -> None:
        try:
            content = base64.b64decode(part.data, validate=True)
        except ValueError as error:
            raise UserError(f"The field data for {part.file} is no base64 ({error}); send the file again.") from error
        try:
            held = sum(entry.stat().st_size for entry in os.scandir(self.path))
            if held + len(content) > LARGEST_FOLDER_BYTES:
                raise UserError(
                    f"With {part.file} the folder on the worker's machine holds more than {LARGEST_FOLDER_BYTES >> 30} "
                    "GiB; expected a pair of scans; crop the scans to the brain."
                )
            with open(arriving, "ab") as file:
                file.write(content)
            if part.last:
                os.replace(arriving, self.path / part.file)
        except OSError as error:
            raise UserError(
                f"{part.file} cannot be stored in {self.path} on the worker's machine ({error.strerror}); expected "
                "room for the scans; free some space, or set TMPDIR to another folder there."
            ) from error

    def give(self, channel: Channel, identifier: Identifier, name: str) -> None:
        """Send a file of the folder to a panel that does not see it."""
        if self.is_shared:
            return
        with open(self.path / name, "rb") as file:
            left = os.fstat(file.fileno()).st_size
            is_last = False
            while not is_last:
                content = file.read(CHUNK_BYTES)
                left -= len(content)
                is_last = left <= 0 or not content
                data = base64.b64encode(content).decode("ascii")
                channel.send("file", identifier, file=name, data=data, last=is_last)

    def remove(self, *, panel_is_gone: bool) -> None:
        """Remove what nobody else will: a folder of the worker's own, or that of a panel which died."""
        if not self.is_shared or (panel_is_gone and self._has_token()):
            shutil.rmtree(self.path, ignore_errors=True)


def _can_be_a_path(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
