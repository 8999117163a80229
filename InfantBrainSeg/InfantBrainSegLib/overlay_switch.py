"""A check box that lays a map over the slice views, and takes it away again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class OverlaySwitch:
    """One of the overlays; only one is shown at a time.

    Args:
        box: the check box.
        fillBox: the check box of the filled tissues, which would hide the overlay; outlines do not.
        hide: called with what `show` returned, or with None.
    """

    def __init__(self, box: Any, fillBox: Any, hide: Callable[[Any], Any]) -> None:
        self._box, self._fillBox, self._hide = box, fillBox, hide
        self._show: Callable[[], Any] | None = None
        self._shown: Any = None
        self._fill_again = False
        self.others: list[OverlaySwitch] = []
        box.connect("toggled(bool)", self._toggled)

    @property
    def is_on(self) -> bool:
        """Whether the overlay is shown."""
        return self._shown is not None

    def offer(self, show: Callable[[], Any]) -> None:
        """Let the user switch an overlay on: `show` adds it and returns what is to be hidden, or None."""
        self.withdraw()
        self._show = show
        self._box.enabled = True

    def withdraw(self) -> None:
        """Take the overlay and the choice away."""
        self.turn_off()
        self._show = None
        self._box.enabled = False

    def turn_on(self) -> None:
        """Show it."""
        self._box.checked = True

    def turn_off(self) -> None:
        """Hide it."""
        self._box.checked = False

    def _toggled(self, on: bool) -> None:
        self._hide_it()
        if on:
            for other in self.others:
                other.turn_off()
            self._fill_again = self._fillBox.checked
            self._fillBox.checked = False
            self._shown = self._show() if self._show is not None else None
        elif self._fill_again:
            self._fillBox.checked = True

    def _hide_it(self) -> None:
        shown, self._shown = self._shown, None
        self._hide(shown)
