"""Tooltips as Slicer keeps them: its application wraps long ones by turning a widget's plain text into rich text."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets


def as_slicer_keeps(owner: QtCore.QObject, text: Any) -> Any:
    """Return what is read back after a tooltip was set; the tips of actions and table items stay as they are."""
    if not isinstance(owner, QtWidgets.QWidget) or not text or QtGui.Qt.mightBeRichText(text):
        return text
    return QtGui.Qt.convertFromPlainText(text, QtCore.Qt.WhiteSpaceNormal)


def set_tool_tip(owner: QtCore.QObject, text: str) -> None:
    """The method setToolTip of any object that has a tooltip."""
    QtCore.QObject.setProperty(owner, "toolTip", as_slicer_keeps(owner, text))


def wrap_all(top: QtWidgets.QWidget) -> None:
    """Bring the tooltips of a loaded panel into the form that they have in Slicer."""
    for widget in (top, *QtCore.QObject.findChildren(top, QtWidgets.QWidget)):
        set_tool_tip(widget, QtWidgets.QWidget.toolTip(widget))
