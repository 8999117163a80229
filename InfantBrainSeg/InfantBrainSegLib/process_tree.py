"""Ending the worker for good.

PythonSlicer is a launcher: when it is killed, its child, which is the worker, lives on. So the worker says its
process number when it is ready, and that process is ended as well, and with it the tool that it may run for the brain.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess


def end_process_tree(pid: int) -> None:
    """Kill a process of this machine and all that it started; no error if it is gone already."""
    if os.name == "nt":
        subprocess.Popen(
            ["taskkill", "/PID", str(pid), "/T", "/F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    for number in (pid, *_descendants(pid)):  # the parent first, so that it starts no more
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(number, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    """Return the numbers of the processes that a process started, and of theirs; none where ps is missing."""
    try:
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=2, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    pairs = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()]
    found = [pid]
    for parent in found:  # grows meanwhile
        found += [child for child, its_parent in pairs if its_parent == parent]
    return found[1:]
