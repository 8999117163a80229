"""Which process is which: so that what a killed one left behind is told from what another one still works on."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

UNKNOWN = "unknown"


def start_of(pid: int) -> str | None:
    """When a process of this machine started, so that another one of the same number is told apart; None: it is gone.

    Only Linux tells it; elsewhere it is unknown while the process runs.
    """
    if Path("/proc/self/stat").exists():
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return None
        state, *fields = stat.rpartition(")")[2].split()  # the third field and those after it
        return None if state in ("Z", "X") else fields[18]
    if os.name == "nt":  # where signal 0 would end the process
        return UNKNOWN
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return UNKNOWN


def this_machine() -> str:
    """Eight digits for the place in which process numbers count: the machine, or on Linux its container."""
    try:
        numbering = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        numbering = 0
    return hashlib.sha256(f"{socket.gethostname()}/{numbering}".encode()).hexdigest()[:8]
