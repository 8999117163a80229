"""PythonQt's rules on top of PySide6: the flat `qt` module of Slicer.

Every QObject class gets a subclass of the same name on which a Q_PROPERTY is an attribute (and hides a getter of the
same name), `connect("signal(Args)", f)` works, sequences come back as tuples, and everything that PythonQt refuses is
refused: unknown names on reading and writing, keyword arguments, unknown signals (PythonQt only prints those; here
they raise, so that a test fails). Objects that Qt itself makes (a scroll bar, a button of a box) come as references
that keep the same rules.
"""

import importlib
import types
from functools import cache
from typing import Any

import shiboken6
from PySide6 import QtCore

from . import slots
from .qt_rules import Method, Reference, plain_class, read_common, read_last, refuse, write_property
from .qt_tables import dynamic_names, pyside_class, qt_properties, qt_signals, to_cpp

QT_LIBRARIES = ("QtCore", "QtGui", "QtWidgets", "QtNetwork", "QtUiTools", "QtSvg", "QtXml")
PYSIDE_ONLY = {"Signal", "Slot", "Property", "SIGNAL", "SLOT", "QEnum", "QFlag", "ClassInfo", "QtMsgType"}
VIRTUAL_GETTERS = ("sizeHint", "minimumSizeHint")  # virtual functions that are Q_PROPERTYs as well

_loading_ui = False


class QtObject:
    """PythonQt's attribute rules; stands before the PySide6 class in the bases of every wrapper class."""

    _names_of_the_bench: frozenset[str] = frozenset()  # names that a stand-in class implements in Python
    _is_user_class = False  # a Python subclass may get new attributes

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("_"):
            return super().__getattribute__(name)
        name = "objectName" if name == "name" else name
        if name in type(self)._names_of_the_bench:
            value = super().__getattribute__(name)
            return Method(value, name, self) if isinstance(value, types.MethodType) else value
        return read_common(self, name, lambda: super(QtObject, self).__getattribute__(name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")
        qt_class = pyside_class(type(self))
        return getattr(qt_class, name) if hasattr(qt_class, name) else read_last(self, name)  # first an enum key

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
            return
        if _loading_ui and isinstance(value, QtCore.QObject):
            return  # QUiLoader plants children as attributes, which PythonQt has not
        cls = type(self)
        name = "objectName" if name == "name" else name
        if name in cls._names_of_the_bench:
            self._write_bench_attribute(name, to_cpp(value))
        elif name in qt_properties(cls):
            write_property(self, name, value)
        elif cls._is_user_class and name not in qt_signals(cls):
            super().__setattr__(name, value)
        elif name in dynamic_names(self):
            QtCore.QObject.setProperty(self, name, to_cpp(value))
        else:
            refuse(self, name)

    def _write_bench_attribute(self, name: str, value: Any) -> None:
        definition = getattr(type(self), name)
        if not isinstance(definition, property):
            raise AttributeError(f"Slot '{name}' can not be overwritten on {type(self).__name__} object")
        if definition.fset is None:
            raise AttributeError(f"Property '{name}' of {type(self).__name__} object is not writable")
        definition.fset(self, value)

    def __eq__(self, other: object) -> bool:
        return self is other or (other is None and not shiboken6.isValid(self))

    __hash__ = object.__hash__

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if cls.__module__ not in ("qt", "ctk", "slicer") and hasattr(cls, "staticMetaObject"):
            cls._is_user_class = True


class WrapperMeta(type(QtCore.QObject)):
    """isinstance(x, qt.QWidget): true for Qt's own widgets however made, false for ctk and qMRML ones as in Slicer."""

    def __instancecheck__(cls, instance: object) -> bool:
        plain = plain_class(cls)
        if plain is cls:
            return super().__instancecheck__(instance)
        instance = to_cpp(instance) if isinstance(instance, Reference) else instance
        return isinstance(instance, plain) and type(instance).__module__ not in ("ctk", "slicer")


def bind_virtual_getters(instance: QtCore.QObject) -> None:
    """Let C++ find a Python sizeHint(): as an attribute the name is the property, so the instance holds the method."""
    for name in VIRTUAL_GETTERS:
        for base in type(instance).__mro__:
            if base.__module__.startswith("PySide6"):
                break
            if isinstance(vars(base).get(name), types.FunctionType):
                attributes = object.__getattribute__(instance, "__dict__")
                attributes[name] = types.MethodType(vars(base)[name], instance)
                break


@cache
def wrapper_of(base: type) -> type | None:
    """Return our subclass of a PySide6 QObject class, None for a class that cannot be subclassed."""

    def construct(self: Any, *arguments: Any, **keywords: Any) -> None:
        if keywords:
            raise ValueError(f"{base.__name__} was constructed with keywords; constructors do not support kwargs")
        base.__init__(self, *map(to_cpp, arguments))
        bind_virtual_getters(self)

    body = {"__init__": construct, "__module__": "qt", "_is_qt_wrapper": True}
    try:
        return WrapperMeta(base.__name__, (QtObject, base), body)
    except TypeError:
        return None


def single_shot(milliseconds: int, receiver: Any) -> None:
    """qt.QTimer.singleShot(msec, callable)."""
    QtCore.QTimer.singleShot(int(milliseconds), slots.caller(receiver))


class QtModule(types.ModuleType):
    """The flat module `qt`: names are looked up in Qt's libraries when first asked for."""

    def __getattr__(self, name: str) -> Any:
        if name in PYSIDE_ONLY or name.startswith("_"):
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        for library in QT_LIBRARIES:
            value = getattr(importlib.import_module(f"PySide6.{library}"), name, None)
            if value is not None:
                if isinstance(value, type) and issubclass(value, QtCore.QObject):
                    value = wrapper_of(value) or value
                if name == "QTimer":
                    value.singleShot = staticmethod(single_shot)
                setattr(self, name, value)
                return value
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


def plant_children_quietly(active: bool) -> None:
    """Switch off the attributes that PySide6's QUiLoader sets for every child while a .ui file loads."""
    global _loading_ui
    _loading_ui = active


qt = QtModule("qt")
