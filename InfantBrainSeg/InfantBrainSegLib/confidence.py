"""What a run says of its own result: the Dice to expect, and where it is unsure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .scene_display import read_scalar_volume


@dataclass(frozen=True)
class Confidence:
    """Estimated from the disagreement of the network's members; empty where the weights do not give it.

    Attributes:
        expected_dice: lowest and highest Dice to expect, by tissue key.
        uncertain_places: centre of the largest uncertain region, in mm (RAS) of the scan's own space, by tissue key.
        uncertainty: scalar volume node outside of the scene on the scan's grid, 0 (all agree) to 1; or None.
    """

    expected_dice: dict[str, tuple[float, float]] = field(default_factory=dict)
    uncertain_places: dict[str, list[float]] = field(default_factory=dict)
    uncertainty: Any = None

    @classmethod
    def told_by_sidecar(cls, sidecar: dict[str, Any]) -> Confidence:
        """Take what the sidecar of a result in a file tells."""
        return cls(expected_dice=_limits(sidecar))

    @classmethod
    def told_by(cls, event: dict[str, Any], folder: Path, scan: Any) -> Confidence:
        """Read what the worker's `done` event tells, which may be nothing.

        Args:
            event: of the worker.
            folder: where its files lie.
            scan: the volume node on whose grid the result lies.

        Raises:
            SegmentationError: the map cannot be read.
        """
        uncertainty = None
        if event.get("uncertainty"):
            uncertainty = read_scalar_volume(folder / event["uncertainty"])
            uncertainty.CopyOrientation(scan)
        return cls(_limits(event), event.get("uncertain_places_mm") or {}, uncertainty)


def _limits(told: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """Return lowest and highest Dice to expect by tissue key, of an event or a sidecar; empty where it has none."""
    expected = told.get("expected_dice") or {}
    return {tissue: (dice["low"], dice["high"]) for tissue, dice in expected.items()}
