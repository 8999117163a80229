"""Files that appear complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

from model_core.errors import UserError
from model_core.system.processes import start_of, this_machine

PARTIAL = ".partial-"  # temporary folders: this, the place, process and start of who writes, and a random end
STALE_SECONDS = 86_400.0  # a temporary folder of another machine that was not touched for so long is of nobody
NO_FSYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # of file systems that do not know it


@contextlib.contextmanager
def replace_when_complete(path: str | os.PathLike[str]) -> Generator[Path]:
    """Give a temporary path to write to; what stands there at the end takes the place of ``path``.

    The temporary path has the final name, in a hidden folder beside it, so that writers which look at
    the suffix, or put the name of one file into another, do the right thing. All files written into
    that folder move; the one named ``path`` moves last. On any error, and when the user stops, the
    folder is removed and what stood at ``path`` is as it was. A process that is killed leaves its folder
    behind; whoever writes beside it next removes it.

    Raises:
        UserError: the folder is missing or may not be written to, the disk is full.
    """
    target = Path(os.path.realpath(path))
    _check_target(path, target)
    try:
        folder = _make_temporary_folder(target.parent)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        yield folder / target.name
        for file in sorted(folder.iterdir(), key=lambda file: file.name == target.name):
            _flush_to_disk(file)
        for file in sorted(folder.iterdir(), key=lambda file: file.name == target.name):
            os.replace(file, target.with_name(file.name))
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_can_replace(path: str | os.PathLike[str]) -> None:
    """Raise the UserError now that writing ``path``, of whatever kind, would raise after minutes of work.

    Args:
        path: an output that is to be written later; nothing is left behind by the check.
    """
    target = Path(os.path.realpath(path))
    _check_target(path, target)
    try:
        _make_temporary_folder(target.parent).rmdir()
    except OSError as error:
        raise _cannot_write(path, error) from error


def _make_temporary_folder(parent: Path) -> Path:
    """Make a folder that tells whose it is, and remove those of processes that are gone."""
    pid = os.getpid()
    folder = Path(tempfile.mkdtemp(prefix=f"{PARTIAL}{this_machine()}-{pid}-{start_of(pid)}-", dir=parent))
    now = folder.stat().st_mtime  # the clock of the disk, for those of two machines may differ
    for other in parent.glob(f"{PARTIAL}*"):
        with contextlib.suppress(OSError):  # it may have come to its end meanwhile
            if other.is_dir() and _is_left_over(other.name, now - other.stat().st_mtime):
                shutil.rmtree(other, ignore_errors=True)
    return folder


def _is_left_over(name: str, age: float) -> bool:
    """Say whether a temporary folder, not touched for ``age`` seconds, is of a process that is gone."""
    match re.fullmatch(re.escape(PARTIAL) + r"([0-9a-f]{8})-(\d+)-(\w+)-\w+", name):
        case None:
            return False  # of another program
        case whose if whose[1] == this_machine():
            return start_of(int(whose[2])) != whose[3]
    return age > STALE_SECONDS


def _check_target(path: str | os.PathLike[str], target: Path) -> None:
    if target.is_dir():
        raise UserError(f"{path} is a folder; expected a file to write; name a file inside it.")
    if not target.parent.is_dir():
        raise UserError(
            f"The folder {target.parent} does not exist; expected one to write {target.name} into; make it."
        )
    if target.exists() and not os.access(target, os.W_OK):
        raise UserError(f"{path} is write-protected; expected to replace it; choose another name or unprotect it.")


def _cannot_write(path: str | os.PathLike[str], error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"The disk is full while writing {path}; nothing was overwritten; free some space, try again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"No permission to write {path}; choose a folder that you may write to.")
    return UserError(f"{path} cannot be written ({error.strerror or error}); check the path and the disk.")


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # some file systems tell of a full disk only here
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
    finally:
        os.close(descriptor)
