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
    takes: Callable[[type], bool]  # whether a union looks for a value of this class here

    def is_in(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        node.SetParameter(name, self.to_text(value))

    def read(self, node: Any, name: str) -> Any:
        return self.from_text(node.GetParameter(name))

    def remove(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)

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

    def remove(self, node: Any, name: str) -> None:
        super().remove(node, name)
        node.RemoveNodeReferenceIDs(name)


class NoneStorage(Storage):
    """None as the member of a union."""

    def __init__(self) -> None:
        super().__init__(lambda: None, lambda _: "True", lambda _: None, [], lambda kind: kind is types.NoneType)


class UnionStorage(Storage):
    """A value of one of several types: under the parameter's name and the number of the member that takes it."""

    def __init__(self, members: list[Storage]) -> None:
        optional = len(members) == 2 and isinstance(members[1], NoneStorage)
        super().__init__(
            first=(lambda: None) if optional else members[0].first,
            to_text=str,
            from_text=str,
            validators=[],
            takes=lambda kind: any(member.takes(kind) for member in members),
        )
        self._members = members

    def _named(self, name: str) -> list[tuple[str, Storage]]:
        return [(f"{name}.{number}", member) for number, member in enumerate(self._members)]

    def is_in(self, node: Any, name: str) -> bool:
        return any(member.is_in(node, numbered) for numbered, member in self._named(name))

    def write(self, node: Any, name: str, value: Any) -> None:
        self.validate(value)
        numbered, member = self._home_of(value, name)
        with slicer.util.NodeModify(node):
            self.remove(node, name)
            member.write(node, numbered, value)

    def read(self, node: Any, name: str) -> Any:
        return next(
            member.read(node, numbered) for numbered, member in self._named(name) if member.is_in(node, numbered)
        )

    def remove(self, node: Any, name: str) -> None:
        for numbered, member in self._named(name):
            member.remove(node, numbered)

    def _home_of(self, value: Any, name: str) -> tuple[str, Storage]:
        """Return the first member whose type takes the value and whose validators let it through.

        Raises:
            TypeError: no member's type takes it; above all None, unless None itself is a member.
        """
        refusal = TypeError(f"Unable to write value '{value}' of type '{type(value)}'")
        for numbered, member in self._named(name):
            if member.takes(type(value)):
                try:
                    member.validate(value)
                except (TypeError, ValueError) as error:
                    refusal = error
                else:
                    return numbered, member
        raise refusal


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
        taken = (list, ObservedList) if kind is list else (dict, ObservedDict) if kind is dict else (tuple,)
        super().__init__(kind, self._encode, self._decode, [NotNone()], lambda cls: cls in taken)
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
        return Storage(lambda: False, lambda value: "True" if value else "False", lambda text: text == "True", checks,
                       lambda cls: cls is bool)  # fmt: skip
    if kind in (int, float):
        return Storage(lambda: 0, str, kind, checks, lambda cls: cls in (int, float))
    if kind is str:
        return Storage(kind, str, kind, checks, lambda cls: cls is str)
    if kind in PATH_TYPES:
        return Storage(kind, str, kind, checks, lambda cls: cls in PATH_TYPES)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return Storage(lambda: next(iter(kind)), lambda value: value.name, lambda text: kind[text], checks[1:],
                       lambda cls: issubclass(cls, enum.Enum))  # fmt: skip
    if kind is FloatRange:
        return Storage(
            FloatRange,
            lambda value: f"{value.minimum},{value.maximum}",
            lambda text: FloatRange(*map(float, text.split(","))),
            checks,
            lambda cls: cls is FloatRange,
        )
    return None


def is_node_class(plain: Any) -> bool:
    """Return whether a type is a single class of nodes."""
    return isinstance(plain, type) and issubclass(plain, slicer.vtkMRMLNode)


def storage_of(annotated: Any) -> Storage:
    """Return the storage of a (possibly annotated) type with its validators.

    Raises:
        TypeError: neither Slicer nor the stand-in stores this type.
    """
    plain, annotations = split(annotated)
    storage = _storage_of_plain(plain)
    storage.validators = storage.validators + [entry for entry in annotations if isinstance(entry, Validator)]
    return storage


def _storage_of_plain(plain: Any) -> Storage:
    if plain is types.NoneType:
        return NoneStorage()
    if is_node_class(plain):
        takes_nodes = is_node_class  # of any class: which one is the validator's business
        return NodeStorage(lambda: None, str, str, [IsInstance(plain)], takes_nodes)
    storage = _plain(plain)
    if storage is not None:
        return storage
    members = alternatives(plain)
    if len(members) > 1:
        return UnionStorage([storage_of(member) for member in members])
    kind = typing.get_origin(plain)
    if kind in (list, tuple, dict):
        return CollectionStorage(kind, [storage_of(part) for part in typing.get_args(plain)])
    raise TypeError(f"a parameter of type {plain} is not stored; use a type that parameterNodeWrapper knows")
