"""The overlap step in the panel: four usual ones, any other one, and what each costs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .core_paths import make_core_importable
from .settings import Timings

make_core_importable()
from model_core.grid_size import network_shape  # noqa: E402
from model_core.windows import plan_windows  # noqa: E402

USUAL_STEPS = (4, 8, 16, 32)


class StepChoice:
    """Radio buttons of the usual steps with windows and times, and a spin box for any other step.

    Args:
        ui: the panel's widgets.
        onChosen: called with a step when the user chooses one.
    """

    def __init__(self, ui: Any, onChosen: Callable[[int], Any]) -> None:
        self._ui, self._onChosen = ui, onChosen
        self._refreshing = False
        self._sizes: dict[tuple[Any, ...], tuple[int, ...]] = {}
        for step in USUAL_STEPS:
            self._button(step).connect("clicked()", self._chosen_by_button(step))
        ui.otherStepSpinBox.connect("valueChanged(int)", self._chosen_in_spin_box)

    def refresh(self, *, step: int, window: int, t1: Any, mask: Any, device_title: str, network: str) -> None:
        """Show a step, and for all steps the windows of this brain and the time that they are measured to take.

        Args:
            step: the one in force.
            window: side of the network's windows.
            t1, mask: the nodes chosen, or None.
            device_title, network: what the times depend on.
        """
        self._refreshing = True
        self._ui.otherStepSpinBox.maximum = window
        for usual in USUAL_STEPS:
            button = self._button(usual)
            button.enabled = usual <= window
            button.setAutoExclusive(False)  # or the last of exclusive buttons could not be unchecked
            button.setChecked(usual == step)
            button.setAutoExclusive(True)
        self._ui.otherStepSpinBox.value = 0 if step in USUAL_STEPS else step
        self._refreshing = False
        shape = self._network_shape(t1, mask)
        seconds = Timings().seconds_per_window(device_title, network)
        for usual in USUAL_STEPS:
            windows = count_windows(shape, window, usual) if shape is not None and usual <= window else None
            self._label(usual, "Windows").text = f"{windows:,}" if windows else "–"
            time = self._label(usual, "Time")
            time.text = format_seconds(windows * seconds) if windows and seconds else _("not measured yet")

    def _button(self, step: int) -> Any:
        return getattr(self._ui, f"step{step}RadioButton")

    def _label(self, step: int, what: str) -> Any:
        return getattr(self._ui, f"step{step}{what}Label")

    def _chosen_by_button(self, step: int) -> Callable[[], None]:
        def chosen() -> None:
            self._onChosen(step)

        return chosen

    def _chosen_in_spin_box(self, step: int) -> None:
        if not self._refreshing and step:
            self._onChosen(step)

    def _network_shape(self, t1: Any, mask: Any) -> tuple[int, ...] | None:
        """Return the size of the network grid around the brain; looked up while the volume stays as it is."""
        node = mask if mask is not None else t1
        if node is None or node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
            return None
        key = (node.GetID(), node.GetImageData().GetMTime(), node.GetSpacing())
        if key not in self._sizes:
            self._sizes = {key: brain_shape(node)}
        return self._sizes[key]


def brain_shape(node: Any) -> tuple[int, ...] | None:
    """Return the network grid's size (voxels along three axes) around the voxels of a volume that are not 0."""
    array = slicer.util.arrayFromVolume(node)
    if array.ndim != 3:
        return None
    plane, filled_slices = np.zeros(array.shape[1:], bool), []
    for number, image in enumerate(array):  # slice by slice: arrays of the volume's size take several times as long
        filled = image != 0
        if filled.any():
            plane |= filled
            filled_slices.append(number)
    sides = [np.flatnonzero(plane.any(axis=0)), np.flatnonzero(plane.any(axis=1)), filled_slices]  # along I, J, K
    if not filled_slices:
        return None
    return network_shape([int(side[-1] - side[0]) + 1 for side in sides], node.GetSpacing())


def count_windows(shape: tuple[int, ...], window: int, step: int) -> int:
    """Return how many windows an overlap step takes; a volume smaller than a window is padded to one."""
    return len(plan_windows([max(side, window) for side in shape], window, step))


def format_seconds(seconds: float) -> str:
    """Return a duration for people: 25 s, 2 min 30 s, 16 min, 1 h 50 min."""
    if seconds < 90:
        return _("{seconds} s").format(seconds=f"{max(seconds, 1):.0f}")
    if seconds < 600:
        tens = round(seconds / 10)
        if tens % 6:
            return _("{minutes} min {seconds} s").format(minutes=tens // 6, seconds=tens % 6 * 10)
        return _("{minutes} min").format(minutes=tens // 6)
    minutes = round(seconds / 60)
    if minutes < 90:
        return _("{minutes} min").format(minutes=minutes)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)
