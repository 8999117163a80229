"""What Qt's own tables say about a class, and the conversions of values between Python and C++ that PythonQt makes."""

import os
from functools import cache
from typing import Any

from PySide6 import QtCore

HIDDEN_PROPERTIES = {"QTimer": {"singleShot"}}  # the static QTimer.singleShot(msec, f) takes its place
INTERNAL = "bench_internal"  # dynamic property of the parts inside a stand-in widget: not shown to modules


def normalised(signature: str) -> str:
    """Return a signal or slot signature as Qt's own tables spell it."""
    return bytes(QtCore.QMetaObject.normalizedSignature(signature.lstrip("0123456789"))).decode()


def pyside_class(cls: type) -> type:
    """Return the PySide6 class that a class of the stand-in stands on."""
    return next(base for base in cls.__mro__ if base.__module__.startswith("PySide6"))


@cache
def qt_properties(cls: type) -> dict[str, QtCore.QMetaProperty]:
    """Return the Q_PROPERTYs of a Qt class."""
    meta = pyside_class(cls).staticMetaObject
    found = {meta.property(i).name(): meta.property(i) for i in range(meta.propertyCount())}
    for base in cls.__mro__:
        for hidden in HIDDEN_PROPERTIES.get(base.__name__, ()):
            found.pop(hidden, None)
    return found


@cache
def qt_signals(cls: type) -> dict[str, list[str]]:
    """Return {"clicked": ["clicked(bool)", "clicked()"]} for a Qt class."""
    meta = pyside_class(cls).staticMetaObject
    found: dict[str, list[str]] = {}
    for i in range(meta.methodCount()):
        method = meta.method(i)
        if method.methodType() == QtCore.QMetaMethod.Signal:
            found.setdefault(bytes(method.name()).decode(), []).append(bytes(method.methodSignature()).decode())
    return found


def dynamic_names(plain: QtCore.QObject) -> set[str]:
    """Return the names of an object's dynamic properties, such as SlicerParameterName."""
    return {bytes(name).decode() for name in QtCore.QObject.dynamicPropertyNames(plain)}


def to_cpp(value: Any) -> Any:
    """Turn what PythonQt would convert into what PySide6 takes: paths to strings, numpy scalars to numbers."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    return getattr(value, "_plain_object", value)  # a reference to an object of Qt's own
