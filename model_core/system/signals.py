"""Ctrl-C and termination as a request to stop at the next good moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def stop_signals() -> Generator[threading.Event]:
    """Turn the first SIGINT or SIGTERM into an event; a second one acts as usual. In other threads: never set."""
    signalled = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield signalled
        return
    earlier = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in earlier.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        signalled.set()
        restore()

    for number in earlier:
        signal.signal(number, note)
    try:
        yield signalled
    finally:
        restore()
