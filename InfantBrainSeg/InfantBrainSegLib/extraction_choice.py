"""What finds the brain in raw scans: the network that comes along, or a tool that the worker found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .combo_list import ComboList
from .core_paths import make_core_importable

make_core_importable()
from model_core.segmentation_options import BRAIN_EXTRACTIONS, BUILT_IN, TOOL_TITLES  # noqa: E402


class ExtractionChoice:
    """Combo box, shown for raw scans; out of use where a mask tells where the brain is.

    Args:
        ui: the panel's widgets.
        onChosen: called with a name of ``BRAIN_EXTRACTIONS`` when the user chooses one.
    """

    def __init__(self, ui: Any, onChosen: Callable[[str], Any]) -> None:
        self._ui, self._list = ui, ComboList(ui.brainExtractionComboBox, onChosen)

    def refresh(self, chosen: str, *, raw: bool, mask: Any, info: dict[str, Any] | None) -> None:
        """Show what there is and which is chosen.

        Args:
            chosen: the parameter, a name of ``BRAIN_EXTRACTIONS``.
            raw: whether the scans are raw.
            mask: the mask's node, or None.
            info: the worker's `ready` event, which names what is installed; None while there is none.
        """
        for widget in (self._ui.brainExtractionLabel, self._ui.brainExtractionComboBox):
            widget.setVisible(raw)
            widget.enabled = mask is None
        installed = [BUILT_IN, *((info or {}).get("brain_extractions") or [])]
        entries = [
            (name, _title(name) if info is None or name in installed else _not_installed(name))
            for name in BRAIN_EXTRACTIONS
            if name == chosen or name in installed
        ]
        self._list.show(entries, chosen)


def _title(name: str) -> str:
    return _("Built-in network (seconds)") if name == BUILT_IN else TOOL_TITLES[name]


def _not_installed(name: str) -> str:
    return _("{tool} (not found)").format(tool=_title(name))
