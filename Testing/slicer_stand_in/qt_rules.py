"""PythonQt's rules for any Qt object, ours or one that Qt itself made: how attributes are read and written.

In every function `plain` is the PySide6 object.
"""

import types
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore, QtWidgets

from . import slots, tool_tips
from .qt_tables import INTERNAL, dynamic_names, normalised, pyside_class, qt_properties, qt_signals, to_cpp

MODAL_CLASSES = (QtWidgets.QDialog, QtWidgets.QMenu)

modal_handler: Callable[[QtCore.QObject], Any] | None = None  # answers a dialog's exec_() in the user's place
_being_read: set[tuple[int, str]] = set()


def to_python(value: Any) -> Any:
    """Turn a result of Qt into what PythonQt gives: tuples for lists, references for objects that Qt made."""
    if isinstance(value, list):
        return tuple(to_python(item) for item in value)
    if isinstance(value, QtCore.QObject) and type(value).__module__.startswith("PySide6"):
        return Reference(value)
    return value


class Method:
    """A bound C++ method: positional arguments only, converted both ways."""

    def __init__(self, function: Any, name: str, owner: QtCore.QObject) -> None:
        self._function, self._name, self._owner = function, name, owner

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        called = f"{type(self._owner).__name__}.{self._name}"
        if keywords:
            raise ValueError(f"{called} was called with keywords; the slot does not support kwargs")
        if not shiboken6.isValid(self._owner):
            raise ValueError(f"Trying to call '{self._name}' on a destroyed {type(self._owner).__name__} object")
        return to_python(self._function(*map(to_cpp, arguments)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Method) and (self._owner, self._name) == (other._owner, other._name)

    def __hash__(self) -> int:
        return hash((self._owner, self._name))


class Signal:
    """A signal as an attribute: `button.clicked.connect(f)`, `.disconnect(f)`, `.emit(...)`, or called."""

    def __init__(self, sender: QtCore.QObject, signature: str) -> None:
        self._sender, self._signature = sender, signature

    def _connections(self) -> list[tuple[str, Any, Any]]:
        return object.__getattribute__(self._sender, "__dict__").setdefault("_bench_connections", [])

    def connect(self, receiver: Any) -> bool:
        caller = slots.caller(receiver, to_python)
        connected = bool(QtCore.QObject.connect(self._sender, QtCore.SIGNAL(self._signature), caller))
        if connected:
            self._connections().append((self._signature, receiver, caller))
        return connected

    def disconnect(self, receiver: Any = None) -> bool:
        found = False
        for entry in list(self._connections()):
            signature, known, caller = entry
            if signature == self._signature and (receiver is None or known == receiver):
                QtCore.QObject.disconnect(self._sender, QtCore.SIGNAL(signature), caller)
                self._connections().remove(entry)
                found = True
                if receiver is not None:
                    break
        return found

    def emit(self, *arguments: Any) -> None:
        name = self._signature.split("(", 1)[0]
        getattr(pyside_class(type(self._sender)), name).__get__(self._sender).emit(*arguments)

    __call__ = emit


def find_signal(plain: QtCore.QObject, text: str) -> Any:
    """Return the signal that a text such as "clicked(bool)" names, or raise."""
    own_rule = getattr(type(plain), "_light_signal", None)  # of a ctk or slicer class
    found = own_rule(plain, text) if own_rule is not None else None
    if found is not None:
        return found
    signature = normalised(text)
    if signature not in qt_signals(type(plain)).get(signature.split("(", 1)[0], ()):
        raise AttributeError(f"QObject::connect() signal '{text}' does not exist on {type(plain).__name__}")
    return Signal(plain, signature)


def _receiver(receiver: Any, slot: str | None) -> Any:
    return receiver if slot is None else getattr(receiver, normalised(slot).split("(", 1)[0])


def connect(plain: QtCore.QObject, signal: str, receiver: Any, slot: str | None = None) -> bool:
    return find_signal(plain, signal).connect(_receiver(receiver, slot))


def disconnect(plain: QtCore.QObject, signal: str, receiver: Any = None, slot: str | None = None) -> bool:
    return find_signal(plain, signal).disconnect(_receiver(receiver, slot))


def _shown_children(plain: QtCore.QObject) -> list[QtCore.QObject]:
    return [child for child in QtCore.QObject.children(plain) if not QtCore.QObject.property(child, INTERNAL)]


def children(plain: QtCore.QObject) -> tuple[Any, ...]:
    return tuple(to_python(child) for child in _shown_children(plain))


def _is_kind(child: QtCore.QObject, kind: Any) -> bool:
    if isinstance(kind, str):
        return QtCore.QObject.inherits(child, kind) or type(child).__name__ == kind
    return kind is None or isinstance(child, plain_class(kind))


def find_children(plain: QtCore.QObject, kind: Any = None, name: str = "") -> tuple[Any, ...]:
    found: list[Any] = []
    for child in _shown_children(plain):
        if _is_kind(child, kind) and name in ("", QtCore.QObject.objectName(child)):
            found.append(to_python(child))
        found.extend(find_children(child, kind, name))
    return tuple(found)


def find_child(plain: QtCore.QObject, kind: Any, name: str = "") -> Any:
    return next(iter(find_children(plain, kind, name)), None)


def class_name(plain: QtCore.QObject) -> str:
    return next(base.__name__ for base in type(plain).__mro__ if not base.__dict__.get("_is_user_class", False))


REPLACED_METHODS = {
    "connect": connect,
    "disconnect": disconnect,
    "children": children,
    "findChildren": find_children,
    "findChild": find_child,
    "className": class_name,
    "setToolTip": tool_tips.set_tool_tip,
}


def _read_property(plain: QtCore.QObject, name: str) -> Any:
    if not shiboken6.isValid(plain):
        raise ValueError(f"Trying to read property '{name}' of a destroyed {type(plain).__name__} object")
    key = (id(plain), name)
    if key in _being_read:  # C++ asks whether Python overrides the virtual getter, e.g. sizeHint()
        return object.__getattribute__(plain, name)
    _being_read.add(key)
    try:
        return to_python(QtCore.QObject.property(plain, name))
    finally:
        _being_read.discard(key)


def read_common(plain: QtCore.QObject, name: str, fallback: Callable[[], Any]) -> Any:
    """Look a public name up as PythonQt does: property, signal, then method or enum."""
    cls = type(plain)
    if name in REPLACED_METHODS and (name != "setToolTip" or "toolTip" in qt_properties(cls)):
        return types.MethodType(REPLACED_METHODS[name], plain)
    if name in ("exec", "exec_") and modal_handler is not None and isinstance(plain, MODAL_CLASSES):
        return lambda *_: modal_handler(plain)
    if name in qt_properties(cls):
        return _read_property(plain, name)
    if name in qt_signals(cls):
        return Signal(plain, qt_signals(cls)[name][0])
    value = fallback()
    return Method(value, name, plain) if isinstance(value, types.BuiltinFunctionType) else value


def read_last(plain: QtCore.QObject, name: str) -> Any:
    """Look up what PythonQt tries last: dynamic properties, children by name, a name with an underscore behind it."""
    if name in dynamic_names(plain):
        return to_python(QtCore.QObject.property(plain, name))
    for child in QtCore.QObject.children(plain):
        if QtCore.QObject.objectName(child) == name:
            return to_python(child)
    if name.endswith("_"):  # exec_ and print_ are exec and print
        return getattr(to_python(plain), name[:-1])
    raise AttributeError(f"{type(plain).__name__} has no attribute named '{name}'")


def write_property(plain: QtCore.QObject, name: str, value: Any) -> None:
    cls = type(plain)
    if not qt_properties(cls)[name].isWritable():
        raise AttributeError(f"Property '{name}' of {cls.__name__} object is not writable")
    value = tool_tips.as_slicer_keeps(plain, value) if name == "toolTip" else value
    if not QtCore.QObject.setProperty(plain, name, to_cpp(value)):
        raise AttributeError(f"Property '{name}' of {cls.__name__} does not accept {type(value).__name__} {value!r}")


def refuse(plain: QtCore.QObject, name: str) -> None:
    cls = type(plain)
    kind = "Signal" if name in qt_signals(cls) else "Slot"
    if kind == "Signal" or hasattr(cls, name):
        raise AttributeError(f"{kind} '{name}' can not be overwritten on {cls.__name__} object")
    raise AttributeError(
        f"'{name}' does not exist on {cls.__name__} and creating new attributes on C++ objects is not allowed"
    )


class Reference:
    """An object that Qt itself made, under PythonQt's rules."""

    _plain_object: QtCore.QObject

    def __init__(self, plain: QtCore.QObject) -> None:
        object.__setattr__(self, "_plain_object", plain)

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return object.__getattribute__(self, name)
        plain = object.__getattribute__(self, "_plain_object")
        name = "objectName" if name == "name" else name
        return read_common(plain, name, lambda: getattr(plain, name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return read_last(self._plain_object, name)

    def __setattr__(self, name: str, value: Any) -> None:
        name = "objectName" if name == "name" else name
        if name in qt_properties(type(self._plain_object)):
            write_property(self._plain_object, name, value)
        else:
            refuse(self._plain_object, name)

    def __eq__(self, other: object) -> bool:
        if other is None:
            return not shiboken6.isValid(self._plain_object)
        return self._plain_object is to_cpp(other)

    def __hash__(self) -> int:
        return hash(self._plain_object)

    def __repr__(self) -> str:
        return f"qt.{type(self._plain_object).__name__} made by Qt"


def plain_class(cls: type) -> type:
    """Return the PySide6 class behind a wrapper of `qt`; any other class as it is."""
    return pyside_class(cls) if cls.__dict__.get("_is_qt_wrapper", False) else cls
