"""Between a parameter and its widget: which widget class can show which type, how it is read and written."""

import enum
import math
from collections.abc import Callable
from typing import Any

from .annotations import Decimals, SingleStep, alternatives, first, split
from .validators import Choice, Maximum, Minimum, RangeBounds, WithinRange
from .values import PATH_TYPES, FloatRange, is_node_class

LARGEST_INT = 2**31 - 1


def widget_class(widget: Any) -> str:
    """Return "qt.QCheckBox": the exact class, as Slicer compares it."""
    return f"{type(widget).__module__}.{type(widget).__name__}"


class GuiConnector:
    """One parameter in one widget. `signal` is the widget's signal that tells of a change, None where there is none."""

    def __init__(self, widget: Any, signal: str | None, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._widget, self._signal, self._read, self._write = widget, signal, read, write
        self._callback: Callable[[], None] | None = None

    def widget(self) -> Any:
        return self._widget

    def read(self) -> Any:
        return self._read()

    def write(self, value: Any) -> None:
        self._write(value)

    def changed(self) -> None:
        if self._callback is not None:
            self._callback()

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call a function at every change; None ends it."""
        if self._signal is not None:
            signal = getattr(self._widget, self._signal)
            signal.disconnect(self.changed)
            if callback is not None:
                signal.connect(self.changed)
        self._callback = callback


def _property_connector(widget: Any, signal: str | None, name: str, kind: Callable[[Any], Any]) -> GuiConnector:
    return GuiConnector(
        widget, signal, lambda: kind(getattr(widget, name)), lambda value: setattr(widget, name, kind(value))
    )


def _bounds(annotations: list[Any]) -> tuple[float | None, float | None]:
    within, low, high = (first(annotations, kind) for kind in (WithinRange, Minimum, Maximum))
    if within is not None:
        return within.minimum, within.maximum
    return (low.minimum if low is not None else None), (high.maximum if high is not None else None)


def _numeric(widget: Any, kind: type, annotations: list[Any]) -> GuiConnector:
    low, high = _bounds(annotations)
    name = type(widget).__name__
    if name in ("QSlider", "ctkSliderWidget", "qMRMLSliderWidget") and (low is None or high is None):
        raise RuntimeError(f"a {name} cannot show an unbounded number; give WithinRange(minimum, maximum)")
    whole = name in ("QSlider", "QSpinBox")
    decimals, step = first(annotations, Decimals), first(annotations, SingleStep)
    if kind is int and not whole:
        widget.decimals = 0
    elif decimals is not None:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value
    widget.minimum = low if low is not None else (-LARGEST_INT - 1 if whole else -math.inf)
    widget.maximum = high if high is not None else (LARGEST_INT if whole else math.inf)
    return _property_connector(widget, "valueChanged", "value", kind)


def _choices(widget: Any, values: list[Any], labels: list[str]) -> GuiConnector:
    widget.clear()
    for label in labels:
        widget.addItem(label)

    def write(value: Any) -> None:
        if value not in values:
            raise ValueError(f"{value!r} is none of the choices {values}")
        widget.currentIndex = values.index(value)

    return GuiConnector(widget, "currentIndexChanged", lambda: values[widget.currentIndex], write)


def _range(widget: Any, annotations: list[Any]) -> GuiConnector:
    bounds = first(annotations, RangeBounds)
    if bounds is None:
        raise RuntimeError("a FloatRange in a widget needs RangeBounds(minimum, maximum)")
    widget.setRange(bounds.minimum, bounds.maximum)
    return GuiConnector(
        widget,
        "valuesChanged",
        lambda: FloatRange(widget.minimumValue, widget.maximumValue),
        lambda value: widget.setValues(value.minimum, value.maximum),
    )


def createGuiConnector(widget: Any, datatype: Any) -> GuiConnector:
    """Return the connector of a widget for a (possibly annotated) type.

    Raises:
        RuntimeError: Slicer has no connector for this widget class with this type.
    """
    plain, annotations = split(datatype)
    name = widget_class(widget)
    connector = _plain_connector(widget, name, plain) or _special_connector(widget, name, plain, annotations)
    if connector is None:
        raise RuntimeError(f"no connector shows a parameter of type {plain} in a {name}")
    return connector


def _plain_connector(widget: Any, name: str, plain: Any) -> GuiConnector | None:
    if plain is bool and name in ("qt.QCheckBox", "ctk.ctkCheckBox"):
        return _property_connector(widget, "stateChanged", "checked", bool)
    if plain is bool and name in ("qt.QPushButton", "ctk.ctkCheckablePushButton"):
        widget.checkable = True
        return _property_connector(widget, "toggled", "checked", bool)
    if plain is str and name == "qt.QLineEdit":
        return _property_connector(widget, "textChanged", "text", str)
    if plain is str and name == "qt.QLabel":
        return _property_connector(widget, None, "text", str)
    if plain is str and name == "qt.QTextEdit":
        return GuiConnector(widget, "textChanged", widget.toPlainText, widget.setPlainText)
    if plain in PATH_TYPES and name == "ctk.ctkPathLineEdit":
        return GuiConnector(widget, "currentPathChanged", lambda: plain(widget.currentPath),
                            lambda value: setattr(widget, "currentPath", str(value)))  # fmt: skip
    if plain in PATH_TYPES and name == "ctk.ctkDirectoryButton":
        return GuiConnector(widget, "directoryChanged", lambda: plain(widget.directory),
                            lambda value: setattr(widget, "directory", str(value)))  # fmt: skip
    return None


def _special_connector(widget: Any, name: str, plain: Any, annotations: list[Any]) -> GuiConnector | None:
    if plain is int and name in ("qt.QSlider", "qt.QSpinBox"):
        return _numeric(widget, int, annotations)
    if plain in (int, float) and name in (
        "qt.QDoubleSpinBox", "ctk.ctkSliderWidget", "slicer.qMRMLSliderWidget",
        "ctk.ctkDoubleSlider", "ctk.ctkDoubleSpinBox", "slicer.qMRMLSpinBox",
    ):  # fmt: skip
        return _numeric(widget, plain, annotations)
    if name in ("qt.QComboBox", "ctk.ctkComboBox"):
        if isinstance(plain, type) and issubclass(plain, enum.Enum):
            label = getattr(plain, "label", lambda member: member.name)
            return _choices(widget, list(plain), [label(member) for member in plain])
        choice = first(annotations, Choice)
        if plain in (int, float, str, bool) and choice is None:
            raise RuntimeError("a combo box shows a plain type only with Choice([...])")
        if plain in (int, float, str, bool):
            return _choices(widget, list(choice.choices), [str(value) for value in choice.choices])
    if plain is FloatRange and name in ("ctk.ctkRangeWidget", "ctk.ctkDoubleRangeSlider", "slicer.qMRMLRangeWidget"):
        return _range(widget, annotations)
    if name == "slicer.qMRMLNodeComboBox" and all(map(is_node_class, alternatives(plain))):
        # A union with None did not connect in Slicer 5.12.3, although its source lets one expect it.
        widget.nodeTypes = [member().GetClassName() for member in alternatives(plain)]  # no instance of an abstract one
        return GuiConnector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    return None
