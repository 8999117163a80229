"""A lock file with process and host, so that of several processes that are given one job only one runs it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from model_core.errors import UserError
from model_core.system.processes import UNKNOWN, start_of

BEAT_SECONDS = 60.0  # the holder touches its lock this often
STALE_SECONDS = 900.0  # a lock of another machine that was not touched for so long is of a process that is gone


class LockedError(UserError):
    """Another process holds the lock."""


@contextmanager
def locked(path: Path, purpose: str) -> Generator[None]:
    """Hold a lock file while the block runs; it is removed at the end.

    A lock whose process is gone (killed, or its machine was switched off) is taken over.

    Args:
        path: the lock file; its folder exists and may be on a disk that several machines share.
        purpose: what is locked, for the error sentence.

    Raises:
        LockedError: a process that runs holds it.
    """
    pid = os.getpid()
    token = {"pid": pid, "host": socket.gethostname(), "started": start_of(pid), "id": uuid.uuid4().hex}
    _take(path, token, purpose)
    ended = threading.Event()
    beat = threading.Thread(target=_keep_fresh, args=(path, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        if _read(path) == token:
            path.unlink()


def _take(path: Path, token: dict[str, Any], purpose: str) -> None:
    """Make the lock file with its whole content at once, or not at all."""
    own = path.with_name(f".{path.name}.{token['id']}")
    own.write_text(json.dumps(token), encoding="utf-8")
    try:
        for _ in range(2):
            try:
                _place(own, path)
                return
            except FileExistsError:
                holder = _read(path)
                if holder is not None and not _is_stale(path, holder, own):
                    break
                _remove_stale(path, holder)
    finally:
        own.unlink()
    holder = _read(path) or {}
    raise LockedError(
        f"{purpose} is being run by process {holder.get('pid', '?')} on {holder.get('host', '?')}; one process at a "
        f"time was expected; wait for it, or delete {path} if that process is gone."
    )


def _read(path: Path) -> dict[str, Any] | None:
    """What a lock file says; None where it is gone, {} where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _is_stale(path: Path, holder: dict[str, Any], own: Path) -> bool:
    if holder.get("host") == socket.gethostname() and isinstance(holder.get("pid"), int):
        started = start_of(holder["pid"])
        if started != holder.get("started"):
            return True
        if started != UNKNOWN:
            return False
    _touch(own)  # the clock of the disk, for those of two machines may differ
    try:
        return own.stat().st_mtime - path.stat().st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return True


def _remove_stale(path: Path, holder: dict[str, Any] | None) -> None:
    """Remove a stale lock, but not one that another process has put into its place meanwhile."""
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(aside)
    except FileNotFoundError:
        return
    if _read(aside) != holder:
        with contextlib.suppress(FileExistsError):
            _place(aside, path)
    aside.unlink()


def _place(source: Path, path: Path) -> None:
    """Give a file a second name, or where the file system knows no hard links make a new one of its content.

    A new file is empty for a moment. Who reads it then takes it for a lock that is held, and so it is.

    Raises:
        FileExistsError: the name is taken.
    """
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except (OSError, AttributeError):  # exFAT, SMB, BeeGFS and FUSE have several words for it; Python may lack the call
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        try:
            os.write(descriptor, source.read_bytes())
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)


def _touch(path: Path) -> None:
    """Make a file new by the clock of its disk, also where times cannot be set."""
    try:
        os.utime(path)
    except FileNotFoundError:
        raise
    except OSError:
        with open(path, "r+b") as file:
            content = file.read()
            file.seek(0)
            file.write(content)


def _keep_fresh(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            _touch(path)
