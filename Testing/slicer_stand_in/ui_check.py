"""Hold .ui files against what Slicer has: classes, properties, signals and slots of connections, parameter names.

    python -m Testing.slicer_stand_in.ui_check InfantBrainSeg/Resources/UI/InfantBrainSeg.ui

Prints one line a finding; exit status 1 when there is any.
"""

import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path

from PySide6 import QtCore, QtGui, QtWidgets

from . import api
from .qt_tables import normalised

PARAMETER_PROPERTY = "SlicerParameterName"
DESIGNER_ONLY = {"Line", "Spacer"}  # classes that exist in .ui files alone


def qt_meta_object(class_name: str) -> QtCore.QMetaObject | None:
    """Return the meta object of one of Qt's own classes, None for an unknown name."""
    for library in (QtWidgets, QtGui, QtCore):
        found = getattr(library, class_name, None)
        if found is not None and hasattr(found, "staticMetaObject"):
            return found.staticMetaObject
    return None


def is_known_class(class_name: str) -> bool:
    return class_name in api.classes() or class_name in DESIGNER_ONLY or qt_meta_object(class_name) is not None


def _qt_base(class_name: str) -> QtCore.QMetaObject | None:
    if class_name in api.classes():
        return qt_meta_object(api.classes()[class_name].qt_base)
    return qt_meta_object("QFrame" if class_name == "Line" else class_name)


def has_property(class_name: str, name: str) -> bool:
    """Return whether Slicer's class (or its Qt base) has a property."""
    if class_name in api.classes() and any(name in entry.properties for entry in api.lineage(class_name)):
        return True
    meta = _qt_base(class_name)
    designer_names = {"orientation"} if class_name == "Line" else set()
    return name in designer_names or (meta is not None and meta.indexOfProperty(name) >= 0)


def has_signal(class_name: str, signature: str) -> bool:
    """Return whether Slicer's class (or its Qt base) emits a signal of exactly this signature."""
    signature = normalised(signature)
    if class_name in api.classes() and any(signature in entry.signals for entry in api.lineage(class_name)):
        return True
    meta = _qt_base(class_name)
    return meta is not None and meta.indexOfSignal(signature) >= 0


def has_slot(class_name: str, signature: str) -> bool:
    """Return whether a connection in a .ui file can end in this slot (or signal)."""
    signature = normalised(signature)
    if class_name in api.classes() and any(signature in entry.slots for entry in api.lineage(class_name)):
        return True
    meta = _qt_base(class_name)
    return (meta is not None and meta.indexOfSlot(signature) >= 0) or has_signal(class_name, signature)


def classes_for_parameters() -> set[str]:
    """Return the widget classes that a parameter node wrapper can be connected to."""
    return {widget.split(".")[-1] for entry in api.gui_connectors() for widget in entry["widgets"] if "." in widget}


def _widget_findings(widget: ElementTree.Element) -> Iterator[str]:
    class_name, name = widget.get("class", ""), widget.get("name", "")
    if not is_known_class(class_name):
        yield f"{name}: Slicer has no class {class_name}"
        return
    for entry in widget.findall("property"):
        property_name = entry.get("name", "")
        if property_name == PARAMETER_PROPERTY:
            if class_name not in classes_for_parameters():
                yield f"{name}: no parameter can be connected to a {class_name} ({PARAMETER_PROPERTY})"
        elif entry.get("stdset") != "0" and not has_property(class_name, property_name):
            yield f"{name}: {class_name} has no property {property_name}"


def _connection_findings(root: ElementTree.Element, class_of: dict[str, str]) -> Iterator[str]:
    for connection in root.iter("connection"):
        sender, signal, receiver, slot = (
            connection.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot")
        )
        for end in (sender, receiver):
            if end not in class_of:
                yield f"connection: there is no object {end}"
        if sender in class_of and not has_signal(class_of[sender], signal):
            yield f"connection: {class_of[sender]} has no signal {signal}"
        if receiver in class_of and not has_slot(class_of[receiver], slot):
            yield f"connection: {class_of[receiver]} has no slot {slot}"


def _custom_widget_findings(root: ElementTree.Element) -> Iterator[str]:
    declared = {entry.findtext("class", ""): entry.findtext("extends", "") for entry in root.iter("customwidget")}
    used = {widget.get("class", "") for widget in root.iter("widget")}
    for class_name, extended in declared.items():
        if class_name not in api.classes():
            continue
        allowed = {entry.name for entry in api.lineage(class_name)} | {"QWidget"}
        meta = _qt_base(class_name)
        while meta is not None:
            allowed.add(meta.className())
            meta = meta.superClass()
        if extended and extended not in allowed:
            yield f"customwidget {class_name} does not extend {extended}"
    for class_name in sorted(used & set(api.classes()) - set(declared)):
        yield f"{class_name} is used without a customwidget entry; Designer and uic need one"


def findings(path: Path | str) -> list[str]:
    """Return what in a .ui file Slicer would not understand, one sentence each; an empty list is a sound file."""
    root = ElementTree.parse(path).getroot()
    class_of = {entry.get("name", ""): entry.get("class", "") for entry in root.iter("widget")}
    names = [entry.get("name", "") for entry in root.iter("widget")]
    found = [
        f"the name {name} is used {names.count(name)} times" for name in sorted(set(names)) if names.count(name) > 1
    ]
    for widget in root.iter("widget"):
        found.extend(_widget_findings(widget))
    found.extend(_connection_findings(root, class_of))
    found.extend(_custom_widget_findings(root))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.ui")
    files = parser.parse_args(arguments).files
    lines = [f"{path}: {finding}" for path in files for finding in findings(path)]
    print("\n".join([*lines, f"{len(files)} files, {len(lines)} findings"]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
