"""Which sections of the panel are unfolded: the inputs before a run, the results once there are some."""

from __future__ import annotations

from typing import Any


class Sections:
    """Folds at the turns of the work only; in between the user folds as they like.

    Args:
        ui: the panel's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui

    def before_a_run(self) -> None:
        """A new scene: inputs are to be chosen."""
        self._fold(inputs=False, results=True)

    def results_are_there(self) -> None:
        """A scene that holds a result already."""
        self._fold(results=False)

    def after_a_run(self) -> None:
        """A run has come to its end: its results take the place of the inputs."""
        self._fold(inputs=True, results=False)

    def _fold(self, **collapsed: bool) -> None:
        for name, on in collapsed.items():
            getattr(self._ui, f"{name}CollapsibleButton").collapsed = on
