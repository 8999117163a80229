"""The overlap step in the panel: four usual ones of the network, any other one, and what each costs on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from .core_paths import make_core_importable
from .settings import Timings

make_core_importable()
from model_core.grid_size import network_shape  # noqa: E402
from model_core.windows import WHOLE_BRAIN, plan_windows  # noqa: E402


@dataclass(frozen=True)
class UsualStep:
    """A row of the table: an overlap step, its name, and what it is good for."""

    step: int
    title: str
    toolTip: str


def usual_steps(whole_brain: bool) -> tuple[UsualStep, ...]:
    """Return the steps that are offered: those of a network that takes the whole brain at once, or the published."""
    if whole_brain:
        return (
            UsualStep(WHOLE_BRAIN, _("Whole brain"), _("The whole brain at once: what this network is made for.")),
            UsualStep(
                64, _("64, least memory"), _("Windows of 64 voxels side by side, for computers with little memory.")
            ),
            UsualStep(32, _("32"), _("Windows of 64 voxels that overlap by half.")),
            UsualStep(16, _("16, slowest"), _("Windows of 64 voxels that overlap by three quarters.")),
        )
    return (
        UsualStep(4, _("4, finest"), _("Smoothest outlines, about eight times the time of step 8.")),
        UsualStep(8, _("8, as published"), _("The setting of the published results.")),
        UsualStep(16, _("16, quick"), _("Close to the published setting in an eighth of the time.")),
        UsualStep(32, _("32, preview"), _("Windows side by side without overlap: a first look, with visible seams.")),
    )


ROWS = 4


class StepChoice:
    """Radio buttons of the usual steps with windows and times, and a spin box for any other step.

    Args:
        ui: the panel's widgets.
        onChosen: called with a step when the user chooses one.
    """

    def __init__(self, ui: Any, onChosen: Callable[[int], Any]) -> None:
        self._ui, self._onChosen = ui, onChosen
        self._refreshing = False
        self._sizes: dict[tuple[Any, ...], tuple[int, ...] | None] = {}
        self._rows: tuple[UsualStep, ...] = usual_steps(whole_brain=False)
        for row in range(ROWS):
            self._button(row).connect("clicked()", self._chosen_by_button(row))
        ui.otherStepSpinBox.connect("valueChanged(int)", self._chosen_in_spin_box)

    def refresh(
        self, *, step: int, window: int, whole_brain: bool, scan: Any, mask: Any, device_title: str, network: str
    ) -> None:
        """Show a step, and for all steps the windows of this brain and the time that they are measured to take.

        Args:
            step: the one in force.
            window: side of the network's windows.
            whole_brain: whether the network takes the whole brain at once.
            scan, mask: the nodes chosen, or None.
            device_title, network: what the times depend on.
        """
        self._rows = usual_steps(whole_brain)
        self._refreshing = True
        self._ui.otherStepSpinBox.maximum = window
        for row, usual in enumerate(self._rows):
            button = self._button(row)
            button.text, button.toolTip = usual.title, usual.toolTip
            button.enabled = usual.step == WHOLE_BRAIN or usual.step <= window
            button.setAutoExclusive(False)  # or the last of exclusive buttons could not be unchecked
            button.setChecked(usual.step == step)
            button.setAutoExclusive(True)
        self._ui.otherStepSpinBox.value = 0 if step in [usual.step for usual in self._rows] else step
        self._refreshing = False
        shape = self._network_shape(scan, mask)
        for row, usual in enumerate(self._rows):
            fits = shape is not None and self._button(row).enabled
            windows = count_windows(shape, window, usual.step) if fits else None
            seconds = Timings().seconds_per_window(device_title, timed_as(network, usual.step))
            self._label(row, "Windows").text = f"{windows:,}" if windows else "–"
            time = self._label(row, "Time")
            time.text = format_seconds(windows * seconds) if windows and seconds else _("not measured yet")

    def _button(self, row: int) -> Any:
        return getattr(self._ui, f"stepRow{row + 1}RadioButton")

    def _label(self, row: int, what: str) -> Any:
        return getattr(self._ui, f"stepRow{row + 1}{what}Label")

    def _chosen_by_button(self, row: int) -> Callable[[], None]:
        def chosen() -> None:
            self._onChosen(self._rows[row].step)

        return chosen

    def _chosen_in_spin_box(self, step: int) -> None:
        if not self._refreshing and step:
            self._onChosen(step)

    def _network_shape(self, scan: Any, mask: Any) -> tuple[int, ...] | None:
        """Return the size of the network grid around the brain; looked up while the volume stays as it is."""
        node = mask if mask is not None else scan
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
    if step == WHOLE_BRAIN:
        return 1
    return len(plan_windows([max(side, window) for side in shape], window, step))


def timed_as(network: str, step: int) -> str:
    """Return the name under which the time of a window is kept: a whole brain takes longer than a window."""
    return f"{network}, whole brain" if step == WHOLE_BRAIN else network


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
