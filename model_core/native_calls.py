"""Long calls into native code, out of which Ctrl-C must not be locked."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LISTEN_SECONDS = 0.1


def interruptibly(work: Callable[[], T]) -> T:
    """Do native work, such as a filter of SimpleITK, in a thread, while this one stays open for Ctrl-C.

    Python hears a signal between its own instructions alone; a filter runs for many seconds without one. After Ctrl-C
    the thread is left to itself: it holds nothing but memory, and ends with the process.

    Args:
        work: releases Python's lock while it runs, as SimpleITK's filters do.

    Returns:
        What it returns.

    Raises:
        KeyboardInterrupt: at once, where it comes while waiting. Anything that the work raises is raised, too.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)  # a process that ends does not wait for it
    thread.start()
    while thread.is_alive():
        thread.join(LISTEN_SECONDS)
    if errors:
        raise errors[0]
    return results[0]
