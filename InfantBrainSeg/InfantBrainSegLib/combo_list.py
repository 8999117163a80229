"""A combo box whose entries change with what is known: names behind titles, one of them chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class ComboList:
    """Tells of a choice only when the user makes it, not while the entries are shown anew.

    Args:
        box: the QComboBox.
        onChosen: called with the name that the user chooses.
    """

    def __init__(self, box: Any, onChosen: Callable[[str], Any]) -> None:
        self._box, self._onChosen = box, onChosen
        self._refreshing = False
        self._entries: list[tuple[str, str]] = []
        box.connect("currentIndexChanged(int)", self._selected)

    def show(self, entries: Sequence[tuple[str, str]], chosen: str) -> None:
        """Show names with their titles, in this order, and which name is chosen; no entry if it is not among them."""
        self._refreshing = True
        if list(entries) != self._entries:
            self._entries = list(entries)
            self._box.clear()
            for name, title in entries:
                self._box.addItem(title, name)
        self._box.currentIndex = self._box.findData(chosen)
        self._refreshing = False

    def _selected(self, index: int) -> None:
        if not self._refreshing and index >= 0:
            self._onChosen(self._box.itemData(index))
