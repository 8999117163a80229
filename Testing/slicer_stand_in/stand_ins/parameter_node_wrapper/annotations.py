"""What may stand in Annotated[...] beside a type: defaults and hints for widgets."""

import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_NOTHING = object()


class Default:
    """A parameter's first value, or a function that makes it."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        return self._generator() if self._generator is not None else self._value


@dataclass
class Decimals:
    """Decimals of a spin box or slider."""

    value: int


@dataclass
class SingleStep:
    """Step of a spin box or slider."""

    value: float


@dataclass
class Label:
    """Text beside a generated widget."""

    value: str


def split(annotated: Any) -> tuple[Any, list[Any]]:
    """Return a type and its annotations: Annotated[int, Minimum(0)] gives int and [Minimum(0)]."""
    if typing.get_origin(annotated) is typing.Annotated:
        plain, *annotations = typing.get_args(annotated)
        return plain, annotations
    return annotated, []


def first(annotations: list[Any], kind: type) -> Any:
    """Return the first annotation of a class, None where there is none."""
    return next((entry for entry in annotations if isinstance(entry, kind)), None)


def alternatives(plain: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself as the only one."""
    if typing.get_origin(plain) in (typing.Union, types.UnionType):
        return typing.get_args(plain)
    return (plain,)
