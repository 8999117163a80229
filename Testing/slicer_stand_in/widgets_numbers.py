"""What the ctk widgets for numbers do: spin boxes, sliders, ranges."""

import math
from typing import Any

from PySide6 import QtCore, QtWidgets

from .classes import behaviour, internal

LARGEST_SLIDER_POSITION = 10**6


def row_of(widget: QtWidgets.QWidget) -> QtWidgets.QHBoxLayout:
    """Give a widget a horizontal layout without margins."""
    layout = QtWidgets.QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    return layout


def _forwarded(name: str, convert: Any = lambda value: value) -> property:
    """Return a property that lives in the widget's inner part: `minimum` is part.minimum() and part.setMinimum()."""
    setter = "set" + name[0].upper() + name[1:]

    def write(self: Any, value: Any) -> None:
        getattr(self._state.part, setter)(convert(value))

    return property(lambda self: getattr(self._state.part, name)(), write)


def _bounded(value: float) -> float:
    return max(-1e300, min(1e300, value)) if math.isinf(value) else float(value)


@behaviour("ctkDoubleSpinBox")
class DoubleSpinBox:
    """A spin box; its value has all the decimals that are shown."""

    def initialise(self) -> None:
        self._state.part = internal(QtWidgets.QDoubleSpinBox())
        self._state.part.valueChanged.connect(lambda value: self._emit("valueChanged(double)", value))
        row_of(self).addWidget(self._state.part)

    value = _forwarded("value", float)
    minimum = _forwarded("minimum", _bounded)
    maximum = _forwarded("maximum", _bounded)
    singleStep = _forwarded("singleStep", float)
    decimals = _forwarded("decimals", int)
    prefix = _forwarded("prefix", str)
    suffix = _forwarded("suffix", str)

    def setValue(self, value: float) -> None:
        self.value = value


@behaviour("ctkSliderWidget")
class SliderWidget:
    """A slider and a spin box that show one value."""

    def initialise(self) -> None:
        state = self._state
        state.part = internal(QtWidgets.QDoubleSpinBox())
        state.slider = internal(QtWidgets.QSlider(QtCore.Qt.Horizontal))
        state.part.setRange(0.0, 99.0)
        layout = row_of(self)
        layout.addWidget(state.slider, 1)
        layout.addWidget(state.part)
        state.part.valueChanged.connect(self._value_changed)
        state.slider.valueChanged.connect(self._slider_moved)
        self._show_range()

    def _steps(self) -> int:
        part = self._state.part
        steps = (part.maximum() - part.minimum()) / (part.singleStep() or 1.0)
        return int(min(max(steps, 1), LARGEST_SLIDER_POSITION))

    def _show_range(self) -> None:
        part, slider = self._state.part, self._state.slider
        span = part.maximum() - part.minimum()
        blocked = slider.blockSignals(True)
        slider.setRange(0, self._steps())
        slider.setValue(round((part.value() - part.minimum()) / span * self._steps()) if 0 < span < 1e100 else 0)
        slider.blockSignals(blocked)

    def _value_changed(self, value: float) -> None:
        self._show_range()
        self._emit("valueIsChanging(double)", value)
        self._emit("valueChanged(double)", value)

    def _slider_moved(self, position: int) -> None:
        part = self._state.part
        part.setValue(part.minimum() + position / self._steps() * (part.maximum() - part.minimum()))

    def _range_property(name: str) -> property:
        plain = _forwarded(name, _bounded)

        def write(self: Any, value: float) -> None:
            plain.fset(self, value)
            self._show_range()

        return property(plain.fget, write)

    value = _forwarded("value", float)
    minimum = _range_property("minimum")
    maximum = _range_property("maximum")
    singleStep = _range_property("singleStep")
    decimals = _forwarded("decimals", int)
    prefix = _forwarded("prefix", str)
    suffix = _forwarded("suffix", str)
    spinBoxVisible = property(
        lambda self: not self._state.part.isHidden(), lambda self, on: self._state.part.setVisible(bool(on))
    )

    def setValue(self, value: float) -> None:
        self.value = value

    def reset(self) -> None:
        self.value = self.minimum


@behaviour("ctkDoubleSlider")
class DoubleSlider:
    def initialise(self) -> None:
        self._state.part = QtWidgets.QDoubleSpinBox()  # keeps range and value; only the slider is seen
        self._state.part.setRange(0.0, 99.0)
        self._state.part.valueChanged.connect(lambda value: self._emit("valueChanged(double)", value))
        row_of(self).addWidget(internal(QtWidgets.QSlider(QtCore.Qt.Horizontal)))

    value = _forwarded("value", float)
    minimum = _forwarded("minimum", _bounded)
    maximum = _forwarded("maximum", _bounded)
    singleStep = _forwarded("singleStep", float)

    def setValue(self, value: float) -> None:
        self.value = value


@behaviour("ctkRangeWidget", "ctkDoubleRangeSlider")
class RangeWidget:
    """Two values between two bounds."""

    def initialise(self) -> None:
        self._state.bounds, self._state.range = (0.0, 99.0), (0.0, 99.0)

    def setRange(self, minimum: float, maximum: float) -> None:
        self._state.bounds = (float(minimum), float(maximum))
        self.setValues(*self._state.range)

    def setValues(self, low: float, high: float) -> None:
        first, last = self._state.bounds
        wanted = (min(max(float(low), first), last), min(max(float(high), first), last))
        if wanted != self._state.range:
            self._state.range = wanted
            self._emit("valuesChanged(double,double)", *wanted)

    minimum = property(lambda s: s._state.bounds[0], lambda s, v: s.setRange(v, s._state.bounds[1]))
    maximum = property(lambda s: s._state.bounds[1], lambda s, v: s.setRange(s._state.bounds[0], v))
    minimumValue = property(lambda s: s._state.range[0], lambda s, v: s.setValues(v, s._state.range[1]))
    maximumValue = property(lambda s: s._state.range[1], lambda s, v: s.setValues(s._state.range[0], v))
