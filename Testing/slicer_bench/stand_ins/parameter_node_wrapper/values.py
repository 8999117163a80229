"""How values of each type stand in the parameter node: as text, or as a reference to another node."""

import enum
import json
import pathlib
import types
import typing
from collections.abc import Callable, MutableMapping, MutableSequence
from dataclasses import dataclass
from typing import Any

import slicer

from .annotations import alternatives, split
from .validators import IsInstance, NotNone, Validator

PATH_TYPES = (
    pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath,
    pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath,
)  # fmt: skip


@dataclass
class FloatRange:
    """Two floats in order."""

    minimum: float = 0.0
    maximum: float = 0.0


@dataclass
class Storage:
    """One type's way into a parameter node and back."""

    first: Callable[[], Any]
    to_text: Callable[[Any], str]
    from_text: Callable[[str], Any]
    validators: list[Validator]

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        node.SetParameter(name, self.to_text(value))

    def read(self, node: Any, name: str) -> Any:
        return self.from_text(node.GetParameter(name))

    def validate(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)


class NodeStorage(Storage):
    """A reference to a node of the scene; an empty parameter of the same name says that it was set, also to None."""

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        node.SetParameter(name, "")
        node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def read(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)


class OptionalStorage(Storage):
    """A plain value or None."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(
            first=lambda: None,
            to_text=lambda value: json.dumps(None if value is None else inner.to_text(value)),
            from_text=lambda text: None if json.loads(text) is None else inner.from_text(json.loads(text)),
            validators=[],
        )
        self._inner = inner

    def validate(self, value: Any) -> None:
        super().validate(value)
        if value is not None:
            self._inner.validate(value)


class ObservedList(MutableSequence):
    """A list that writes itself to the parameter node when it changes."""

    def __init__(self, values: list[Any], save: Callable[[list[Any]], None]) -> None:
        self._values, self._save = values, save

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        return self._values[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        self._values[index] = value
        self._save(self._values)

    def __delitem__(self, index: Any) -> None:
        del self._values[index]
        self._save(self._values)

    def insert(self, index: int, value: Any) -> None:
        self._values.insert(index, value)
        self._save(self._values)

    def __eq__(self, other: object) -> bool:
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    __hash__ = None

    def __repr__(self) -> str:
        return f"ObservedList({self._values})"


class ObservedDict(MutableMapping):
    """A dict that writes itself to the parameter node when it changes."""

    def __init__(self, values: dict[Any, Any], save: Callable[[dict[Any, Any]], None]) -> None:
        self._values, self._save = values, save

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Any:
        return iter(self._values)

    def __getitem__(self, key: Any) -> Any:
        return self._values[key]

    def __setitem__(self, key: Any, value: Any) -> None:
        self._values[key] = value
        self._save(self._values)

    def __delitem__(self, key: Any) -> None:
        del self._values[key]
        self._save(self._values)

    def get(self, key: Any) -> Any:
        """Slicer's takes no second argument."""
        return self._values.get(key)

    def __repr__(self) -> str:
        return f"ObservedDict({self._values})"


class CollectionStorage(Storage):
    """list[T], tuple[...] or dict[K, V] of plain types, as JSON."""

    def __init__(self, kind: type, parts: list[Storage]) -> None:
        super().__init__(kind, self._encode, self._decode, [NotNone()])
        self._kind, self._parts = kind, parts
        if kind is tuple:
            self.first = lambda: tuple(part.first() for part in parts)

    def _encode(self, value: Any) -> str:
        rows = list(value.items()) if self._kind is dict else [(item,) for item in value]
        if self._kind is tuple and len(rows) != len(self._parts):
            raise ValueError(f"{value!r} has {len(rows)} items; the type has {len(self._parts)}")
        texts = []
        for number, row in enumerate(rows):
            parts = [self._parts[number]] if self._kind is tuple else self._parts
            for part, item in zip(parts, row, strict=True):
                part.validate(item)
            texts.append([part.to_text(item) for part, item in zip(parts, row, strict=True)])
        return json.dumps(texts)

    def _decode(self, text: str) -> Any:
        rows = json.loads(text)
        if self._kind is tuple:
            return tuple(part.from_text(row[0]) for part, row in zip(self._parts, rows, strict=True))
        decoded = [tuple(part.from_text(t) for part, t in zip(self._parts, row, strict=True)) for row in rows]
        return dict(decoded) if self._kind is dict else [row[0] for row in decoded]

    def read(self, node: Any, name: str) -> Any:
        value = super().read(node, name)
        if self._kind is tuple:
            return value
        observed = ObservedList if self._kind is list else ObservedDict
        return observed(value, lambda changed: self.write(node, name, changed))


def _plain(kind: Any) -> Storage | None:
    checks: list[Validator] = [NotNone(), IsInstance((int, float) if kind is float else kind)]
    if kind is bool:
        return Storage(lambda: False, lambda value: "True" if value else "False", lambda text: text == "True", checks)
    if kind in (int, float):
        return Storage(lambda: 0, str, kind, checks)
    if kind is str or kind in PATH_TYPES:
        return Storage(kind, str, kind, checks)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Storage(lambda: next(iter(kind)), lambda value: value.name, lambda text: kind[text], checks[1:])
    if kind is FloatRange:
        return Storage(FloatRange, lambda v: f"{v.minimum},{v.maximum}",
                       lambda t: FloatRange(*map(float, t.split(","))), checks)  # fmt: skip
    return None


def is_node_type(plain: Any) -> bool:
    """Return whether a type is a node class, a union of them, or one of these or None."""
    members = [member for member in alternatives(plain) if member is not types.NoneType]
    return bool(members) and all(isinstance(m, type) and issubclass(m, slicer.vtkMRMLNode) for m in members)


def node_type_names(plain: Any) -> list[str]:
    return [member.__name__ for member in alternatives(plain) if member is not types.NoneType]


def storage_of(annotated: Any) -> Storage:
    """Return the storage of a (possibly annotated) type with its validators.

    Raises:
        TypeError: neither Slicer nor the bench stores this type.
    """
    plain, annotations = split(annotated)
    storage = _storage_of_plain(plain)
    storage.validators = storage.validators + [entry for entry in annotations if isinstance(entry, Validator)]
    return storage


def _storage_of_plain(plain: Any) -> Storage:
    if is_node_type(plain):
        members = tuple(member for member in alternatives(plain) if member is not types.NoneType)
        return NodeStorage(lambda: None, str, str, [IsInstance(members)])
    storage = _plain(plain)
    if storage is not None:
        return storage
    members = alternatives(plain)
    if len(members) == 2 and types.NoneType in members:
        return OptionalStorage(storage_of(next(member for member in members if member is not types.NoneType)))
    kind = typing.get_origin(plain)
    if kind in (list, tuple, dict):
        return CollectionStorage(kind, [storage_of(part) for part in typing.get_args(plain)])
    raise TypeError(f"a parameter of type {plain} is not stored; use a type that parameterNodeWrapper knows")
