"""The device in the panel, by name before the run; and, under Advanced, the Python that the worker runs in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .combo_list import ComboList
from .dependencies import missing_packages
from .worker_command import WorkerCommand, WorkerKind

KINDS = (WorkerKind.SLICER, WorkerKind.PYTHON, WorkerKind.COMMAND)  # in the order of the combo box
PLACEHOLDERS = {
    WorkerKind.SLICER: "",
    WorkerKind.PYTHON: _("path of a Python that has PyTorch, such as C:\\Python312\\python.exe"),
    WorkerKind.COMMAND: "ssh gpu-host python3 InfantBrainSeg/model_core/worker.py",
}


class DeviceChoice:
    """Combo box of the devices that the worker found.

    Args:
        ui: the panel's widgets.
        onChosen: called with the device's name when the user chooses one.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], Any]) -> None:
        self._box, self._list = ui.deviceComboBox, ComboList(ui.deviceComboBox, onChosen)

    def refresh(self, device: str, info: dict[str, Any] | None, waiting_text: str) -> None:
        """Show the devices and which one is chosen.

        Args:
            device: the parameter: "auto" or a name.
            info: the worker's `ready` event, or None while there is none.
            waiting_text: what to say instead of a device's name while there is no worker.
        """
        titles = {item["name"]: item["title"] for item in usable_devices(info)}
        automatic = titles.get((info or {}).get("default_device"), waiting_text)
        entries = [("auto", _("Automatic: {device}").format(device=automatic)), *titles.items()]
        if device not in dict(entries):
            entries.append((device, _("{device} (not found)").format(device=device) if info else device))
        self._list.show(entries, device)
        self._box.toolTip = _tooltip(info)


def usable_devices(info: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the worker's devices that passed its probe."""
    return [item for item in (info or {}).get("devices", []) if item.get("usable")]


def device_title(device: str, info: dict[str, Any] | None) -> str:
    """Return the title of the device that a choice leads to, empty while the worker has not said."""
    name = (info or {}).get("default_device") if device == "auto" else device
    return next((item["title"] for item in (info or {}).get("devices", []) if item["name"] == name), "")


def _tooltip(info: dict[str, Any] | None) -> str:
    lines = [_("Where the network runs. “Automatic” takes a GPU if PyTorch can use one.")]
    for item in (info or {}).get("devices", []):
        if not item.get("usable"):
            lines.append(f"{item['title']}: {item.get('reason') or _('not usable')}")
    if info and info.get("note"):
        lines.append(info["note"])
    return "\n".join(lines)


class WorkerChoice:
    """Combo box and line under Advanced: which program runs the worker. Kept on this machine, not in the scene.

    Args:
        ui: the panel's widgets.
        onChosen: called when the user changed it.
    """

    def __init__(self, ui: Any, onChosen: Callable[[], Any]) -> None:
        self._ui, self._onChosen = ui, onChosen
        command = WorkerCommand.from_settings()
        ui.workerKindComboBox.currentIndex = KINDS.index(command.kind)
        ui.workerCommandLineEdit.text = command.text
        ui.workerKindComboBox.connect("currentIndexChanged(int)", self._changed)
        ui.workerCommandLineEdit.connect("editingFinished()", self._changed)
        self._show()

    def _show(self) -> None:
        kind = KINDS[self._ui.workerKindComboBox.currentIndex]
        self._ui.workerCommandLineEdit.placeholderText = PLACEHOLDERS[kind]
        for widget in (self._ui.workerCommandLabel, self._ui.workerCommandLineEdit):
            widget.setVisible(kind is not WorkerKind.SLICER)

    def _changed(self) -> None:
        self._show()
        kind = KINDS[self._ui.workerKindComboBox.currentIndex]
        chosen = WorkerCommand(kind, "" if kind is WorkerKind.SLICER else self._ui.workerCommandLineEdit.text.strip())
        if chosen != WorkerCommand.from_settings() and (chosen.text or kind is WorkerKind.SLICER):
            chosen.save()
            self._onChosen()


def why_no_device(problem: str) -> str:
    """Return what stands in the place of the devices while they are not known; `problem` is the worker's, or empty."""
    if problem:
        return _("the worker could not start")
    if WorkerCommand.from_settings().runs_in_slicer_python and missing_packages():
        return _("known once PyTorch is installed (at the first run)")
    return _("looking for devices…")
