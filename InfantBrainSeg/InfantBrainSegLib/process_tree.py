"""Ending the worker for good.

PythonSlicer is a launcher: when it is killed, its child, which is the worker, lives on. So the worker says its
process number when it is ready, and that process is ended as well.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess


def end_process_tree(pid: int) -> None:
    """Kill a process of this machine and, on Windows, all that it started; no error if it is gone already."""
    if os.name == "nt":
        subprocess.Popen(
            ["taskkill", "/PID", str(pid), "/T", "/F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=subprocess.CREATE_NO_WINDOW,
        )
        return
    # The worker starts no processes of its own, so that on other systems one signal is enough.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGKILL)
