"""What is remembered on this machine, outside of any scene: Slicer's user settings, below InfantBrainSeg/."""

from __future__ import annotations

import json
from typing import Any

import qt
import slicer

_GROUP = "InfantBrainSeg/"


def read_setting(name: str, default: str) -> str:
    """Return a text."""
    return str(slicer.util.settingsValue(_GROUP + name, default))


def write_setting(name: str, value: str) -> None:
    """Keep a text."""
    qt.QSettings().setValue(_GROUP + name, value)


class Timings:
    """Measured seconds per window by device and network, so that expected times are never guessed."""

    _NAME = "SecondsPerWindow"

    def record(self, device: str, network: str, seconds_per_window: float) -> None:
        """Keep the newest measurement of a device (its title) and a network (its name)."""
        measured = self._all()
        measured[f"{device}|{network}"] = seconds_per_window
        write_setting(self._NAME, json.dumps(measured))

    def seconds_per_window(self, device: str, network: str) -> float | None:
        """Return the newest measurement, None where nothing was run yet."""
        return self._all().get(f"{device}|{network}")

    def _all(self) -> dict[str, Any]:
        try:
            measured = json.loads(read_setting(self._NAME, "{}"))
        except ValueError:
            return {}
        if not isinstance(measured, dict):
            return {}
        return {name: value for name, value in measured.items() if isinstance(value, int | float) and value > 0}
