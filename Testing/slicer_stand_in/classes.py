"""Builds the classes of `ctk` and `slicer` (ctk*, qMRML*, qSlicer*) from the API data and their behaviours.

A name that Slicer lacks raises AttributeError; one that Slicer has and the stand-in does not model raises
NotImplementedError. A behaviour may only define names that Slicer has.
"""

import types
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from . import api, slots
from .pythonqt import QtObject, WrapperMeta, bind_virtual_getters
from .qt_tables import INTERNAL, normalised, to_cpp

_behaviours: dict[str, type] = {}
_allow_all_constructors = False


def behaviour(*names: str) -> Callable[[type], type]:
    """Class decorator: what the classes of these names do. `initialise(self)` runs after Qt's constructor."""

    def register(cls: type) -> type:
        for name in names:
            _behaviours[name] = cls
        return cls

    return register


@contextmanager
def all_constructors() -> Any:
    """Inside, classes that only Slicer itself constructs can be made."""
    global _allow_all_constructors
    before, _allow_all_constructors = _allow_all_constructors, True
    try:
        yield
    finally:
        _allow_all_constructors = before


def internal(part: QtCore.QObject) -> Any:
    """Mark a part inside a stand-in widget, so that modules do not meet it among the children."""
    part.setProperty(INTERNAL, True)
    return part


class LightSignal:
    """A signal of a ctk or slicer class; PySide6 knows nothing of it."""

    def __init__(self, sender: Any, signature: str) -> None:
        self._signature = signature
        self._receivers = sender._state.receivers.setdefault(signature, [])

    def connect(self, receiver: Any) -> bool:
        self._receivers.append((receiver, slots.caller(receiver)))
        return True

    def disconnect(self, receiver: Any = None) -> bool:
        kept = [entry for entry in self._receivers if receiver is not None and entry[0] != receiver]
        found = len(kept) < len(self._receivers)
        self._receivers[:] = kept
        return found

    def emit(self, *arguments: Any) -> None:
        for _, call in list(self._receivers):
            call(*arguments)

    __call__ = emit


class LightObject(QtObject):
    """Attribute rules of a ctk or slicer class: only what the API data lists, and Qt's own names below it."""

    _api_name = ""

    @property
    def _state(self) -> types.SimpleNamespace:
        attributes = object.__getattribute__(self, "__dict__")
        if "_bench_state" not in attributes:
            attributes["_bench_state"] = types.SimpleNamespace(receivers={}, values={})
        return attributes["_bench_state"]

    def _emit(self, signature: str, *arguments: Any) -> None:
        LightSignal(self, signature).emit(*arguments)

    def _light_signal(self, text: str) -> LightSignal | None:
        """Return the signal of this text when the API data lists it, None when only Qt can know it."""
        signature = normalised(text)
        known = api.signals_by_name(type(self)._api_name).get(api.simple_name(signature))
        if known is None:
            return None
        if signature not in known:
            raise AttributeError(f"QObject::connect() signal '{text}' does not exist on {type(self).__name__}")
        return LightSignal(self, signature)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_"):
            known = api.signals_by_name(type(self)._api_name)
            if name in known:
                return LightSignal(self, known[name][0])
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in api.signals_by_name(type(self)._api_name):
            raise AttributeError(f"Signal '{name}' can not be overwritten on {type(self).__name__} object")
        super().__setattr__(name, value)

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if cls._is_user_class:
            overridden = [n for n in vars(cls) if n.endswith("Event") or n in ("eventFilter", "sizeHint", "event")]
            if overridden:
                raise TypeError(f"{cls.__name__}: ctk and slicer classes have no shells, so {overridden} has no effect")


def _number(value: Any, kind: type) -> Any:
    if not isinstance(value, (int, float)):
        raise TypeError
    return kind(value)


def _strings(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError
    return tuple(str(item) for item in value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


CONVERSIONS: dict[str, tuple[Callable[[Any], Any], Any]] = {  # C++ type -> conversion on writing, first value
    "bool": (bool, False),
    "int": (lambda value: _number(value, int), 0),
    "double": (lambda value: _number(value, float), 0.0),
    "QString": (_text, ""),
    "QStringList": (_strings, ()),
}


def _stored_property(name: str, entry: dict[str, Any], notify: str | None) -> property:
    convert, first = CONVERSIONS.get(entry["type"], (lambda value: value, None))

    def read(self: Any) -> Any:
        return self._state.values.get(name, first)

    def write(self: Any, value: Any) -> None:
        try:
            value = convert(value)
        except (TypeError, ValueError):
            raise AttributeError(
                f"Property '{name}' of type '{entry['type']}' does not accept {type(value).__name__} {value!r}"
            ) from None
        changed = self._state.values.get(name, first) != value
        self._state.values[name] = value
        if changed and notify:
            self._emit(notify, *([value] if not notify.endswith("()") else []))

    def missing(self: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__}.{name} exists in Slicer; the stand-in does not model it")

    return property(missing) if entry.get("readOnly") else property(read, write)


def _missing_method(class_name: str, name: str) -> Callable[..., Any]:
    def missing(self: Any, *_: Any) -> Any:
        raise NotImplementedError(f"{class_name}.{name}() exists in Slicer; the stand-in does not model it")

    return missing


def _setter(property_name: str) -> Callable[[Any, Any], None]:
    def write(self: Any, value: Any) -> None:
        setattr(self, property_name, value)

    return write


def _qt_class(name: str) -> type:
    for library in (QtWidgets, QtCore, QtGui):
        if hasattr(library, name):
            return getattr(library, name)
    raise LookupError(f"Qt has no class {name}")


def _constructor(entry: api.ApiClass) -> Callable[..., None]:
    qt_base = _qt_class(entry.qt_base)

    def construct(self: Any, *arguments: Any, **keywords: Any) -> None:
        if keywords:
            raise ValueError(f"{entry.name} was constructed with keywords; constructors do not support kwargs")
        if not _allow_all_constructors:
            if not entry.constructible and type(self).__name__ == entry.name:
                raise ValueError(f"No constructors available for {entry.name}")
            parents = [to_cpp(argument) for argument in arguments]
            if len(parents) > 1 or any(p is not None and not isinstance(p, QtCore.QObject) for p in parents):
                raise ValueError(f"{entry.name} is constructed with no argument or a parent, not {arguments!r}")
        qt_base.__init__(self, *(to_cpp(argument) for argument in arguments if argument is not None))
        bind_virtual_getters(self)
        for base in reversed(type(self).__mro__):
            if "initialise" in vars(base):
                vars(base)["initialise"](self)

    return construct


def _body(entry: api.ApiClass, implemented: set[str], inherited: type | None) -> dict[str, Any]:
    body: dict[str, Any] = {}
    signals = api.signals_by_name(entry.name)
    written_by = {}
    for name, definition in entry.properties.items():
        written_by[definition.get("write")] = name
        if name not in implemented:
            body[name] = _stored_property(name, definition, signals.get(definition.get("notify"), [None])[0])
    for signature in entry.callables:
        name = api.simple_name(signature)
        if name in implemented or name in body:
            continue
        if name in written_by:
            body[name] = _setter(written_by[name])
        elif inherited is None or name not in inherited._names_of_the_bench:
            body[name] = _missing_method(entry.name, name)
    for values in entry.enums.values():
        for key, value in values.items():
            body.setdefault(key, value)
    return body


@cache
def make(name: str) -> type:
    """Return the class of `ctk` or `slicer` of this name.

    Raises:
        AttributeError: Slicer has no such class.
        TypeError: a behaviour defines a public name that Slicer does not show.
    """
    if name not in api.classes():
        raise AttributeError(f"Slicer has no class {name}")
    entry = api.classes()[name]
    inherited = make(entry.bases[0]) if entry.bases else None
    own = _behaviours.get(name)
    implemented: set[str] = set()
    if own is not None:
        implemented = {n for base in own.__mro__[:-1] for n in vars(base) if not n.startswith("_")} - {"initialise"}
        qt_names = set(dir(_qt_class(entry.qt_base)))
        foreign = implemented - api.public_names(name) - qt_names
        if foreign:
            raise TypeError(f"the stand-in gives {name} names that Slicer does not show: {sorted(foreign)}")
    body = _body(entry, implemented, inherited)
    listed = api.public_names(name) & (implemented | set(body))
    properties = {n for n in listed if isinstance(body.get(n), property)}
    inherited_names = inherited._names_of_the_bench if inherited else frozenset()
    body.update(
        __init__=_constructor(entry),
        __module__=entry.module,
        _api_name=name,
        _names_of_the_bench=frozenset(listed | properties | inherited_names),
    )
    bases = [own] if own is not None else []
    bases += [inherited] if inherited is not None else [LightObject, _qt_class(entry.qt_base)]
    return WrapperMeta(name, tuple(bases), body)


class LightModule(types.ModuleType):
    """The module `ctk`: its classes are built when first asked for; `slicer` looks its Qt classes up the same way."""

    def __getattr__(self, name: str) -> Any:
        entry = api.classes().get(name)
        if entry is None or entry.module != self.__name__:
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return make(name)


def registered_behaviours() -> tuple[str, ...]:
    """Return the names of all classes that have a behaviour."""
    return tuple(_behaviours)
