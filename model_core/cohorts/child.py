"""Runs a command's script as a child that never outlives the process that started it.

    python model_core/cohorts/child.py CORES SCRIPT [ARGUMENT ...]

CORES are numbers of cores with commas between them, or - for all. The parent holds the other end of stdin: when it
is closed, because the parent wants the child to stop or was killed, the script and all that it started are ended.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
import threading
import time

GRACE_SECONDS = 5.0  # for the script to remove its temporary files


def _end_with_parent(stdin: int) -> None:
    while os.read(stdin, 1024):
        pass
    if hasattr(os, "killpg"):
        end = os.killpg if os.getpgrp() == os.getpid() else os.kill  # of a group that it does not lead, itself alone
        with contextlib.suppress(OSError):
            end(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_SECONDS)
        end(os.getpid(), signal.SIGKILL)
    os._exit(130)


def main() -> None:
    """Run the script that the command line names, as if it had been started itself."""
    cores, script, *arguments = sys.argv[1:]
    parents_end = os.dup(0)  # the script and its children get an empty stdin
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    threading.Thread(target=_end_with_parent, args=(parents_end,), daemon=True).start()
    if cores != "-" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
