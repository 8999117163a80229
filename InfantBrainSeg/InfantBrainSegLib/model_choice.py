"""The weights in the panel: those that ship, or a file, with the model card readable in place."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .card_text import NETWORK_NAMES, describe_card, summarise_card
from .core_paths import make_core_importable, weights_folder
from .errors import SegmentationError
from .logic import SegmentationLogic

make_core_importable()
from model_core.model_card import DEFAULT_WEIGHTS, DEFAULT_WINDOW  # noqa: E402

FROM_FILE = "file"  # data of the combo box's last entry


def resolve_weights(text: str) -> Path | None:
    """Return the weights file of the parameter `weightsFile`: None for the default, else a path."""
    if not text:
        return None
    path = Path(text)
    return weights_folder() / path if path.name == text else path


class ModelChoice:
    """Combo box of the weights, path of a file, and the card: its scores in a line, all of it behind a button.

    Args:
        ui: the panel's widgets.
        logic: reads the cards.
        onChosen: called with the parameter's new value.
    """

    def __init__(self, ui: Any, logic: SegmentationLogic, onChosen: Callable[[str], Any]) -> None:
        self._ui, self._logic, self._onChosen = ui, logic, onChosen
        self._refreshing = True
        self._shown: tuple[str, float] | None = None
        self.card: dict[str, Any] = {}
        self.problem = ""
        for path in sorted(weights_folder().glob("*.safetensors"), key=lambda path: path.name != DEFAULT_WEIGHTS.name):
            is_default = path.name == DEFAULT_WEIGHTS.name
            ui.modelSelector.addItem(self._title(path), "" if is_default else path.name)
        ui.modelSelector.addItem(_("Weights file…"), FROM_FILE)
        ui.modelSelector.connect("currentIndexChanged(int)", self._selected)
        ui.weightsPathLineEdit.connect("currentPathChanged(QString)", self._path_changed)
        ui.detailsButton.connect("toggled(bool)", ui.cardBrowser.setVisible)
        ui.cardBrowser.setVisible(False)
        self._refreshing = False

    def refresh(self, weights_file: str) -> None:
        """Show the weights of the parameter `weightsFile` and their card."""
        self._refreshing = True
        index = self._ui.modelSelector.findData(weights_file)
        is_file = index < 0 or weights_file == FROM_FILE
        self._ui.modelSelector.currentIndex = self._ui.modelSelector.count - 1 if is_file else index
        self._show_path(is_file)
        if is_file and weights_file != FROM_FILE and self._ui.weightsPathLineEdit.currentPath != weights_file:
            self._ui.weightsPathLineEdit.currentPath = weights_file
        self._refreshing = False
        self._show_card(weights_file)

    @property
    def network(self) -> str:
        """The network's name in the core, empty while no card could be read."""
        return str(self.card.get("network", ""))

    @property
    def window(self) -> int:
        """Side of the network's windows in voxels."""
        window = self.card.get("window", DEFAULT_WINDOW)
        return window if isinstance(window, int) and window > 0 else DEFAULT_WINDOW

    def _title(self, path: Path) -> str:
        try:
            name = self._logic.cardOf(path).get("network", path.stem)
        except SegmentationError:
            return path.stem
        shipped = {
            "fast_unet": _("Fast (whole brain, seconds)"),
            "nonlocal_unet": _("Non-local U-Net (as published, minutes)"),
        }
        return shipped.get(name) or NETWORK_NAMES.get(name, name)

    def _show_path(self, on: bool) -> None:
        self._ui.weightsLabel.setVisible(on)
        self._ui.weightsPathLineEdit.setVisible(on)

    def _selected(self, index: int) -> None:
        if self._refreshing:
            return
        chosen = self._ui.modelSelector.itemData(index)
        self._show_path(chosen == FROM_FILE)
        if chosen == FROM_FILE:
            chosen = self._ui.weightsPathLineEdit.currentPath or FROM_FILE
        self._onChosen(chosen)

    def _path_changed(self, path: str) -> None:
        if not self._refreshing and self._ui.modelSelector.currentIndex == self._ui.modelSelector.count - 1:
            self._onChosen(path or FROM_FILE)

    def _show_card(self, weights_file: str) -> None:
        if weights_file == FROM_FILE:
            self.card, self._shown = {}, None
            self.problem = _("No weights file is chosen; a .safetensors file is needed; choose one under Model.")
            self._tell()
            return
        path = resolve_weights(weights_file) or DEFAULT_WEIGHTS
        key = (str(path), path.stat().st_mtime if path.is_file() else 0.0)
        if key == self._shown:
            return
        self._shown = key
        try:
            self.card, self.problem = self._logic.cardOf(path), ""
        except SegmentationError as error:
            self.card, self.problem = {}, str(error)
        self._tell()

    def _tell(self) -> None:
        told = describe_card(self.card) if self.card else f"<i>{html.escape(self.problem)}</i>"
        self._ui.cardBrowser.setHtml(told)
        self._ui.cardLabel.text = summarise_card(self.card) if self.card else self.problem
