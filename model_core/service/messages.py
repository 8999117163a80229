"""The requests that a worker understands: one JSON object per line, checked field by field.

Standard library only: requests are read while the libraries are still being imported.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from model_core.errors import UserError
from model_core.segmentation_options import OLDEST_MONTHS, SegmentationOptions

Identifier = str | int | float | bool | None  # of a request; its answers carry it, too


@dataclass(frozen=True)
class Open:
    """Name the folder through which files are exchanged; it is shared if it holds a file ``token`` with the token."""

    folder: str
    token: str


@dataclass(frozen=True)
class Put:
    """Bring a part of a file, in base64, into a folder that is not shared; ``last`` completes the file."""

    file: str
    data: str
    last: bool


@dataclass(frozen=True, kw_only=True)
class Segment(SegmentationOptions):
    """Segment a pair of scans, with the pipeline's options and these.

    Attributes:
        t1, t2: None where the other scan alone is given.
        weights: None takes the default ones.
        batch_size: windows at a time; None lets the segmenter choose.
        probabilities: whether their files are wanted.
        uncertainty: whether a file of each voxel's uncertainty is wanted, and places to look at.
        maps: whether each coarser map is sent when it is complete.
        look_at: place in mm (RAS) whose three slices are looked at; within a stage their windows come first.
    """

    t1: str | None = None
    t2: str | None = None
    mask: str | None = None
    weights: str | None = None
    batch_size: int | None = None
    probabilities: bool = False
    uncertainty: bool = False
    maps: bool = False
    look_at: list | None = None


@dataclass(frozen=True)
class Score:
    """Score a label map against a reference."""

    prediction: str
    reference: str


@dataclass(frozen=True)
class Stop:
    """End the running request early; ``keep`` the map that a segmentation has so far."""

    keep: bool


@dataclass(frozen=True)
class Quit:
    """End the worker."""


Kind = TypeVar("Kind", Open, Put, Segment, Score, Stop, Quit)
Content = Open | Put | Segment | Score | Stop | Quit
_KINDS: dict[str, type[Content]] = {kind.__name__.lower(): kind for kind in get_args(Content)}
_TYPE_NAMES: dict[type, str] = {
    str: "a text",
    int: "a whole number from 1 on",
    float: f"a number from 0 to {OLDEST_MONTHS:g}",
    bool: "true or false",
    list: "three numbers",
    tuple: "a list of texts",
    NoneType: "null",
}


class Stopped(Exception):
    """The user stopped the request."""


class StopRequest:
    """Whether the user wants a request to end early; set by one thread, asked by another."""

    def __init__(self) -> None:
        self.wanted = False  # at all, be it with or without a result
        self.without_result = False

    def ask(self, *, keep: bool) -> None:
        """Ask for the end; what was asked for without a result stays so."""
        self.without_result |= not keep
        self.wanted = True

    def check(self, *, may_keep: bool = False) -> None:
        """Raise `Stopped` if the end is wanted; where there ``may`` be a result to ``keep``, only if without it."""
        if self.without_result if may_keep else self.wanted:
            raise Stopped


@dataclass(frozen=True)
class Request:
    """A request with its id, and the request to stop it that may come later."""

    id: Identifier
    content: Content
    stop: StopRequest = field(default_factory=StopRequest)

    def content_as(self, kind: type[Kind]) -> Kind:
        """The content, whose kind the caller knows.

        Raises:
            TypeError: it is of another kind.
        """
        if not isinstance(self.content, kind):
            raise TypeError(f"the request asks to {type(self.content).__name__.lower()}; expected {kind.__name__}")
        return self.content


class BadRequest(UserError):
    """A line that is no request.

    Attributes:
        id: of the request, as far as it could be read.
    """

    def __init__(self, identifier: Identifier, sentence: str) -> None:
        super().__init__(sentence)
        self.id = identifier


def parse(line: bytes) -> Request:
    """Understand a line.

    Raises:
        BadRequest: it is no JSON object, or a field is unknown, missing or of a wrong type.
    """
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRequest(
            None, f"The line {_shorten(line)} is no JSON ({error}); expected one JSON object per line; send that."
        ) from error
    if not isinstance(message, dict):
        raise BadRequest(None, f"The line {_shorten(line)} is no JSON object; expected one per line; send that.")
    identifier = message.pop("id", None)
    if not isinstance(identifier, Identifier) or (isinstance(identifier, float) and not math.isfinite(identifier)):
        raise BadRequest(None, "The field id is no text, number, true, false or null; expected one of these; send one.")
    name = message.pop("request", None)
    if not isinstance(name, str) or name not in _KINDS:
        raise BadRequest(
            identifier,
            f"The field request is {_shorten(name)}; expected one of {', '.join(_KINDS)}; "
            "use a panel of this worker's version.",
        )
    fields_of_request = _checked_fields(identifier, name, message)
    try:
        return Request(identifier, _KINDS[name](**fields_of_request))
    except UserError as error:  # options that exclude each other
        raise BadRequest(identifier, str(error)) from error


def _checked_fields(identifier: Identifier, name: str, message: dict[str, Any]) -> dict[str, Any]:
    expected = {field_name: _types_of(hint) for field_name, hint in get_type_hints(_KINDS[name]).items()}
    for unknown in message.keys() - expected.keys():
        known = ", ".join(expected) or "none"
        raise BadRequest(
            identifier, f"The request {name} has the field {_shorten(unknown)}; expected {known}; leave it out."
        )
    defaults = {entry.name: entry.default for entry in fields(_KINDS[name]) if entry.default is not MISSING}
    for field_name, types in expected.items():
        value = message.setdefault(field_name, defaults.get(field_name))  # a field that may be null may be missing
        if float in types and type(value) is int:
            value = message[field_name] = float(value)
        if tuple in types and isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = message[field_name] = tuple(value)
        if type(value) not in types or not _is_in_range(value):
            raise BadRequest(
                identifier,
                f"The field {field_name} of the request {name} is {_shorten(value)}; "
                f"expected {' or '.join(_TYPE_NAMES[kind] for kind in types)}; send that.",
            )
    return message


def _types_of(hint: Any) -> tuple[type, ...]:
    """The types of a field's values: of ``str | None`` both, of ``tuple[str, ...]`` tuple."""
    if get_origin(hint) is tuple:
        return (tuple,)
    return get_args(hint) or (hint,)


def _is_in_range(value: object) -> bool:
    if type(value) is int:
        return value >= 1
    if type(value) is float:
        return 0 <= value <= OLDEST_MONTHS
    if isinstance(value, list):
        return len(value) == 3 and all(type(part) in (int, float) and math.isfinite(part) for part in value)
    return True


def check_plain_name(field_name: str, name: str) -> None:
    """Say whether a text of a request is a plain file name.

    Raises:
        UserError: it has a separator, begins with a dot, or is none that a file can have.
    """
    if (
        not name.isprintable()
        or not 0 < len(os.fsencode(name)) <= 200
        or name[0] == "."
        or set(name) & set('/\\:*?"<>|')
    ):
        raise UserError(
            f"The field {field_name} is {_shorten(name)}; expected the plain name of a file in the opened folder, "
            "without separators and without a dot at its beginning; choose another name."
        )


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
