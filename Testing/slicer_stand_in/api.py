"""The names that Slicer shows to Python, read from data/slicer_api.json; what is not there does not exist in Slicer."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

DATA_FILE = Path(__file__).parent / "data" / "slicer_api.json"


@dataclass(frozen=True)
class ApiClass:
    """One class of ctk or slicer as Python sees it.

    `properties` maps a name to {"type", "readOnly", "notify", "write"}; `signals`, `slots` and `methods` hold
    normalised C++ signatures; `enums` maps a registered enum to its keys and values.
    """

    name: str
    module: str
    bases: tuple[str, ...]
    qt_base: str
    constructible: bool = True
    properties: dict[str, dict[str, Any]] = field(default_factory=dict)
    signals: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    enums: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def callables(self) -> tuple[str, ...]:
        return self.slots + self.methods


@cache
def document() -> dict[str, Any]:
    """Return the whole data file."""
    return json.loads(DATA_FILE.read_text(encoding="utf-8"))


@cache
def classes() -> dict[str, ApiClass]:
    """Return every known class of ctk and slicer by name."""
    return {name: _class_from(name, entry) for name, entry in document()["classes"].items()}


def _class_from(name: str, entry: dict[str, Any]) -> ApiClass:
    return ApiClass(
        name=name,
        module=entry["module"],
        bases=tuple(entry["bases"]),
        qt_base=entry["qtBase"],
        constructible=entry.get("constructible", True),
        properties=entry.get("properties", {}),
        signals=tuple(entry.get("signals", ())),
        slots=tuple(entry.get("slots", ())),
        methods=tuple(entry.get("methods", ())),
        enums=entry.get("enums", {}),
    )


def module_names(module: str) -> set[str]:
    """Return the public names of one of Slicer's Python modules, e.g. "slicer.util"."""
    return set(document()["modules"][module])


def gui_connectors() -> list[dict[str, list[str]]]:
    """Return which widget classes can show which parameter types: [{"python": [...], "widgets": ["qt.QCheckBox"]}]."""
    return document()["guiConnectors"]


def lineage(name: str) -> Iterator[ApiClass]:
    """Yield the class and its ctk/slicer ancestors, nearest first."""
    entry = classes()[name]
    yield entry
    for base in entry.bases:
        yield from lineage(base)


def simple_name(signature: str) -> str:
    """Return `valueChanged` for `valueChanged(double)`."""
    return signature.split("(", 1)[0]


def public_names(name: str) -> set[str]:
    """Return every property, signal, slot, method and enum key of a class and its ctk/slicer ancestors."""
    found: set[str] = set()
    for entry in lineage(name):
        found.update(entry.properties)
        found.update(simple_name(signature) for signature in entry.signals + entry.callables)
        for values in entry.enums.values():
            found.update(values)
    return found


def signals_by_name(name: str) -> dict[str, list[str]]:
    """Return {"valueChanged": ["valueChanged(double)"]} for a class with its ctk/slicer ancestors."""
    found: dict[str, list[str]] = {}
    for entry in lineage(name):
        for signature in entry.signals:
            found.setdefault(simple_name(signature), []).append(signature)
    return found
