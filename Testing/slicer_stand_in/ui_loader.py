"""slicer.util.loadUI on the stand-in: builds a panel from its .ui file with the stand-in classes."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from PySide6 import QtCore, QtUiTools

from . import api, pythonqt, tool_tips, ui_check
from .classes import all_constructors, make


class _Loader(QtUiTools.QUiLoader):
    """Makes our classes where the file names theirs."""

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        if class_name in api.classes():
            cls = make(class_name)
        elif class_name in ui_check.DESIGNER_ONLY or not hasattr(pythonqt.qt, class_name):
            return super().createWidget(class_name, parent, name)
        else:
            cls = getattr(pythonqt.qt, class_name)
        with all_constructors():  # as in Slicer, C++ makes the widgets of a .ui file
            widget = cls(parent) if parent is not None else cls()
        QtCore.QObject.setObjectName(widget, name)
        return widget


def _value(element: ElementTree.Element) -> Any:
    """Return the Python value of a <property>'s content; None where only Qt's own loader could tell."""
    kind = element[0].tag
    text = element[0].text or ""
    if kind == "bool":
        return text == "true"
    if kind in ("string", "cstring"):
        return text
    if kind in ("number", "double"):
        return float(text) if kind == "double" else int(text)
    if kind == "stringlist":
        return [entry.text or "" for entry in element[0].findall("string")]
    return None


def _take_properties(root: ElementTree.Element) -> list[tuple[str, str, Any]]:
    """Remove the properties that only the stand-in classes know; they are set when the widgets stand."""
    taken = []
    for widget in root.iter("widget"):
        class_name = widget.get("class", "")
        if class_name not in api.classes():
            continue
        listed = {name for entry in api.lineage(class_name) for name in entry.properties}
        for element in widget.findall("property"):
            if element.get("name") in listed:
                widget.remove(element)
                value = _value(element)
                if value is not None:
                    taken.append((widget.get("name", ""), element.get("name", ""), value))
    return taken


def load_ui(path: str | Path) -> QtCore.QObject:
    """Return the top widget of a .ui file.

    Raises:
        RuntimeError: the file is missing, or names something that Slicer does not have.
    """
    path = Path(path)
    if not path.is_file():
        raise RuntimeError(f"Could not load UI file: file not found {path}")
    wrong = ui_check.findings(path)
    if wrong:
        raise RuntimeError(f"{path}: " + "; ".join(wrong))
    root = ElementTree.parse(path).getroot()
    properties = _take_properties(root)
    connections = [
        tuple(entry.findtext(tag, "") for tag in ("sender", "signal", "receiver", "slot"))
        for entry in root.iter("connection")
    ]
    for element in root.findall("connections"):
        root.remove(element)
    top = _load_xml(ElementTree.tostring(root), path.parent)
    by_name = {QtCore.QObject.objectName(w): w for w in (top, *QtCore.QObject.findChildren(top, QtCore.QObject))}
    for widget, name, value in properties:
        setattr(by_name[widget], name, value)
    tool_tips.wrap_all(top)
    for sender, signal, receiver, slot in connections:
        by_name[sender].connect(signal, by_name[receiver], slot)
    return top


def _load_xml(text: bytes, folder: Path) -> QtCore.QObject:
    buffer = QtCore.QBuffer()
    buffer.setData(text)
    buffer.open(QtCore.QIODevice.ReadOnly)
    loader = _Loader()
    loader.setWorkingDirectory(QtCore.QDir(str(folder)))
    pythonqt.plant_children_quietly(True)
    try:
        top = loader.load(buffer)
    finally:
        pythonqt.plant_children_quietly(False)
    if top is None:
        raise RuntimeError(f"Could not load UI file: {loader.errorString()}")
    return top
