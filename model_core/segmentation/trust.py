"""How far one result can be trusted without a reference: expected Dice, uncertainty, and where to look first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model_core.confidence.calibration import UNUSABLE_BELOW, Calibration, Range
from model_core.confidence.uncertainty import uncertain_places
from model_core.findings import Finding
from model_core.inference.accumulator import Segmentation
from model_core.preprocessing import PreparedPair
from model_core.tissues import TISSUES

DIGITS = 3  # of what is written: the calibration knows no finer differences


@dataclass(frozen=True)
class Trust:
    """What a result says of itself.

    Attributes:
        expected_dice: by tissue; empty where the weights were never calibrated.
        mean_uncertainty: over the brain, 0 sure, 1 no idea.
        uncertainty: (I, J, K) float32 on the scan's own grid, 0 to 1, 0 outside the brain; None where not wanted.
        places_mm: by tissue, (x, y, z) in mm (RAS) of the centre of the largest region in which it is in question;
            empty where the map is not wanted.
        findings: none, or that the map is not to be used.
    """

    expected_dice: Mapping[str, Range]
    mean_uncertainty: float
    uncertainty: np.ndarray | None
    places_mm: Mapping[str, tuple[float, float, float]]
    findings: list[Finding]

    def as_dict(self) -> dict[str, Any]:
        """As JSON values: expected_dice, mean_uncertainty, uncertain_places_mm."""
        return {
            "expected_dice": {
                key: {name: round(value, DIGITS) for name, value in asdict(dice).items()}
                for key, dice in self.expected_dice.items()
            },
            "mean_uncertainty": round(self.mean_uncertainty, DIGITS),
            "uncertain_places_mm": {key: [round(value, 1) for value in place] for key, place in self.places_mm.items()},
        }


def trust_of(
    segmentation: Segmentation, pair: PreparedPair, calibration: Calibration | None, *, with_map: bool
) -> Trust:
    """Ask a segmentation how sure it is.

    Args:
        segmentation: of ``pair``.
        pair: on the network grid.
        calibration: of the weights; None where they have none.
        with_map: whether uncertainty and places are wanted.
    """
    expected = calibration.expect(segmentation.agreement) if calibration else {}
    unusable = calibration.unusable(expected) if calibration else []
    findings = [Finding("expected-dice", _warning({key: expected[key] for key in unusable}))] if unusable else []
    uncertainty, inside = segmentation.uncertainty, pair.mask
    mean = float(uncertainty[inside].mean()) if inside.any() else 0.0
    if not with_map:
        return Trust(expected, mean, None, {}, findings)
    places = uncertain_places(uncertainty, segmentation.probabilities, inside)
    places_mm = {key: _in_mm(pair, place.voxel) for key, place in places.items()}
    native = np.where(pair.grid.brain, pair.grid.to_native(uncertainty, order=1), np.float32(0))
    return Trust(expected, mean, native, places_mm, findings)


def _in_mm(pair: PreparedPair, voxel: tuple[int, int, int]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in (pair.affine @ [*voxel, 1])[:3])
    return x, y, z


def describe_range(dice: Range) -> str:
    """Write an expected Dice as a range, like ".82-.90"; never as one number, which it is not."""
    return "-".join(f"{value:.2f}".removeprefix("0") for value in (dice.low, dice.high))


def describe_expected(expected: Mapping[str, Range]) -> str:
    """Write the ranges of all tissues in a line."""
    return ", ".join(
        f"{tissue.name} {describe_range(expected[tissue.key])}" for tissue in TISSUES if tissue.key in expected
    )


def _warning(unusable: Mapping[str, Range]) -> str:
    return (
        f"A Dice of {describe_expected(unusable)} is expected of this map, by how far the network agrees with itself "
        f"on these scans; {UNUSABLE_BELOW:g} or more was expected of one that can be used; check scans, mask and "
        "alignment, and correct the map before you use it."
    )
