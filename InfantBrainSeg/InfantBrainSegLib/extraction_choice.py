"""What finds the brain in raw scans: the network that comes along, or a tool that the worker found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .core_paths import make_core_importable

make_core_importable()
from model_core.segmentation_options import BRAIN_EXTRACTIONS, BUILT_IN  # noqa: E402

TITLES = {"synthstrip": "SynthStrip", "hd-bet": "HD-BET"}  # names; what stands for ours is translated


class ExtractionChoice:
    """Combo box, shown for raw scans; out of use where a mask tells where the brain is.

    Args:
        ui: the panel's widgets.
        onChosen: called with a name of ``BRAIN_EXTRACTIONS`` when the user chooses one.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], Any]) -> None:
        self._ui, self._onChosen = ui, onChosen
        self._refreshing = False
        self._listed: list[tuple[str, str]] = []
        ui.brainExtractionComboBox.connect("currentIndexChanged(int)", self._selected)

    def refresh(self, chosen: str, *, raw: bool, mask: Any, info: dict[str, Any] | None) -> None:
        """Show what there is and which is chosen.

        Args:
            chosen: the parameter, a name of ``BRAIN_EXTRACTIONS``.
            raw: whether the scans are raw.
            mask: the mask's node, or None.
            info: the worker's `ready` event, which names what is installed; None while there is none.
        """
        ui = self._ui
        for widget in (ui.brainExtractionLabel, ui.brainExtractionComboBox):
            widget.setVisible(raw)
            widget.enabled = mask is None
        installed = [BUILT_IN, *((info or {}).get("brain_extractions") or [])]
        entries = [
            (name, _title(name) if info is None or name in installed else _not_installed(name))
            for name in BRAIN_EXTRACTIONS
            if name == chosen or name in installed
        ]
        self._refreshing = True
        if entries != self._listed:
            self._listed = entries
            ui.brainExtractionComboBox.clear()
            for name, title in entries:
                ui.brainExtractionComboBox.addItem(title, name)
        ui.brainExtractionComboBox.currentIndex = ui.brainExtractionComboBox.findData(chosen)
        self._refreshing = False

    def _selected(self, index: int) -> None:
        if not self._refreshing and index >= 0:
            self._onChosen(self._ui.brainExtractionComboBox.itemData(index))


def _title(name: str) -> str:
    return _("Built-in network (seconds)") if name == BUILT_IN else TITLES[name]


def _not_installed(name: str) -> str:
    return _("{tool} (not found)").format(tool=_title(name))
