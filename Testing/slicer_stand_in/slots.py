"""How a signal calls Python: PythonQt's rule for the number of arguments, its handling of errors, and a stop watch."""

import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Any

from .event_loop import meter

exceptions: list[BaseException] = []  # what slots, timers and observers raised; Slicer only prints them


def accepted_arguments(receiver: Any) -> int | None:
    """Return how many arguments PythonQt passes to a receiver, None for all.

    Functions and bound methods get as many as they declare (defaults counted); functions with *args and every other
    callable (functools.partial, objects with __call__, built-ins) get all.
    """
    function = receiver.__func__ if inspect.ismethod(receiver) else receiver
    if not inspect.isfunction(function) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - (1 if inspect.ismethod(receiver) else 0)


def caller(receiver: Any, convert: Callable[[Any], Any] = lambda value: value) -> Callable[..., None]:
    """Return the function that Qt calls for a receiver; it holds a strong reference, as PythonQt's connections do.

    Args:
        receiver: the slot.
        convert: applied to every argument of the signal.
    """
    if not callable(receiver):
        raise TypeError(f"connect() needs something callable, not {type(receiver).__name__} {receiver!r}")
    count = accepted_arguments(receiver)
    name = getattr(receiver, "__qualname__", type(receiver).__name__)

    def call(*arguments: Any) -> None:
        with meter.slot(name):
            try:
                receiver(*(convert(argument) for argument in arguments[:count]))
            except Exception as error:  # as in Slicer: printed, not passed on to the sender
                report(error)

    return call


def report(error: BaseException) -> None:
    """Note an exception that Slicer would print to its console."""
    exceptions.append(error)
    traceback.print_exception(error, file=sys.stderr)
