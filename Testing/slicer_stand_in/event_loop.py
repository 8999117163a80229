"""Turning the event loop in tests, and measuring how long it stood still."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PySide6 import QtCore, QtWidgets

PAUSE_SECONDS = 0.002  # between two turns while nothing happens


@dataclass
class ResponsivenessMeter:
    """How long the application could not have answered the user.

    Every turn of the event loop (and every slicer.app.processEvents() inside a long call) is a heartbeat; the time
    between two heartbeats is a time in which no click would have been served. Waiting between turns does not count.
    """

    longest_seconds: float = 0.0
    longest_slot: str = ""
    longest_slot_seconds: float = 0.0
    _last: float | None = field(default=None, repr=False)

    def reset(self) -> None:
        self.longest_seconds = self.longest_slot_seconds = 0.0
        self.longest_slot = ""
        self._last = None

    def heartbeat(self) -> None:
        now = time.perf_counter()
        if self._last is not None:
            self.longest_seconds = max(self.longest_seconds, now - self._last)
        self._last = now

    def rest(self) -> None:
        """The time from now to the next heartbeat is waiting, not work."""
        self.heartbeat()
        self._last = None

    @contextmanager
    def slot(self, name: str) -> Iterator[None]:
        """Time one slot, timer or observer by name."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            if seconds > self.longest_slot_seconds:
                self.longest_slot, self.longest_slot_seconds = name, seconds


meter = ResponsivenessMeter()


def process_events() -> None:
    """One turn of the event loop."""
    meter.heartbeat()
    QtWidgets.QApplication.processEvents()
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    meter.heartbeat()


def pump(until: Callable[[], object] | None = None, *, seconds: float = 10.0) -> bool:
    """Turn the event loop until a condition holds.

    Args:
        until: checked after every turn; without it the loop turns for the whole time.
        seconds: the longest wait.

    Returns:
        Whether the condition came true in time.
    """
    deadline = time.perf_counter() + seconds
    meter.rest()
    while True:
        process_events()
        done = bool(until()) if until is not None else False
        meter.rest()
        if done or time.perf_counter() > deadline:
            return done
        time.sleep(PAUSE_SECONDS)
