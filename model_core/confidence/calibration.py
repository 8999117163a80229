"""From the agreement of a network's looks to the Dice that can be expected, as learned on pairs whose truth is known.

The looks agree with each other more than with the truth, for what one gets wrong the others often get wrong, too. By
how much is learned for each tissue: a curve that never falls, through the mean Dice at a few values of the agreement
(isotonic regression), and how far beside it the Dice was of maps that it was not drawn through. The distance is
measured in units of 1 - expected Dice, for a map expected at .95 misses by far less than one expected at .6.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from model_core.errors import UserError
from model_core.tissues import TISSUES

CARD_ENTRY = "expected_dice"
# Parts of the maps, by rising agreement, whose means are the knots: small ones at the ends, where the curve bends most.
GROUPS = (0.1, 0.15, 0.25, 0.25, 0.15, 0.1)
FOLDS = 6
COVERAGE = 0.8  # of the ranges: one map in ten lies below its range, and one above
# A Dice above .7 counts as good agreement (Zijdenbos et al., IEEE Transactions on Medical Imaging, 1994). Below, what
# was seen in the scans is worth little: the labels of another brain, stretched until its box is this brain's, reach
# .28, .49 and .51 in CSF, gray and white matter (measured on five synthetic brains). And a volume may be wrong by half:
# a map of Dice .7 that lies all inside the tissue holds 54 % of it.
UNUSABLE_BELOW = 0.7
SMALLEST_SHORTFALL = 0.01  # of 1 - expected Dice, as the unit of distances


@dataclass(frozen=True)
class Range:
    """The Dice of one tissue that can be expected.

    Attributes:
        low: one map in ten lies below.
        middle: the best guess.
        high: one map in ten lies above.
    """

    low: float
    middle: float
    high: float


@dataclass(frozen=True)
class Curve:
    """From agreement to Dice for one tissue.

    Attributes:
        agreement: values of the pairwise Dice, 0 to 1, rising.
        dice: the mean Dice at each, 0 to 1, never falling; beyond the last one it is expected, too.
        below: how far the Dice reaches below what is expected, 0 or less, in units of 1 - expected Dice.
        above: how far above, 0 or more.
    """

    agreement: tuple[float, ...]
    dice: tuple[float, ...]
    below: float
    above: float

    def expect(self, agreement: float) -> Range:
        """The Dice to expect at an agreement of 0 to 1."""
        middle = float(np.interp(agreement, self.agreement, self.dice))
        unit = max(1 - middle, SMALLEST_SHORTFALL)
        return Range(max(0.0, middle + self.below * unit), middle, min(1.0, middle + self.above * unit))


def fit_curve(agreement: Sequence[float], dice: Sequence[float]) -> Curve:
    """Learn a curve from maps whose truth is known.

    Args:
        agreement: (n,) of a tissue in each map, n of 2 or more.
        dice: (n,) Dice with the truth.
    """
    order = np.argsort(agreement, kind="stable")
    x, y = np.asarray(agreement, float)[order], np.asarray(dice, float)[order]
    folds = np.arange(len(x)) % FOLDS
    expected = np.empty(len(x))
    for fold in np.unique(folds):  # as on new maps: by a curve that has not seen them
        expected[folds == fold] = np.interp(x[folds == fold], *_means(x[folds != fold], y[folds != fold]))
    distances = (y - expected) / np.maximum(1 - expected, SMALLEST_SHORTFALL)
    below, above = np.quantile(distances, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    knots, means = _means(x, y)
    return Curve(tuple(knots.tolist()), tuple(means.tolist()), round(min(0.0, below), 3), round(max(0.0, above), 3))


def _means(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of a curve that never falls through the means of values (n,) in the order of their rising x.

    It begins at 0: where nothing is agreed on, nothing is right.
    """
    ends = np.round(np.cumsum(GROUPS) * len(x)).astype(int)
    groups = [group for group in np.split(np.arange(len(x)), ends[:-1]) if len(group)]
    fitted = isotonic_regression([y[group].mean() for group in groups], weights=[len(group) for group in groups]).x
    knots, places = np.unique(np.round([0.0, *(x[group].mean() for group in groups)], 4), return_index=True)
    return knots, np.array([0.0, *fitted])[places].round(4)


@dataclass(frozen=True)
class Calibration:
    """What weights can say of their own maps.

    Attributes:
        curves: by tissue.
    """

    curves: Mapping[str, Curve]

    def expect(self, agreement: Mapping[str, float]) -> dict[str, Range]:
        """The Dice to expect of each tissue whose agreement is known.

        Args:
            agreement: of ``pairwise_dice``.
        """
        return {key: curve.expect(agreement[key]) for key, curve in self.curves.items() if key in agreement}

    def unusable(self, expected: Mapping[str, Range]) -> list[str]:
        """The tissues, in order, of which less is expected than a usable map has."""
        return [key for key, dice in expected.items() if dice.middle < UNUSABLE_BELOW]

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """As JSON values by tissue, for the card."""
        return {key: asdict(curve) for key, curve in self.curves.items()}


def calibration_of(card: Mapping[str, Any]) -> Calibration | None:
    """Read from a card what its weights can say of their own maps; None where they were never calibrated.

    Raises:
        UserError: the card holds something else in that place.
    """
    if CARD_ENTRY not in card:
        return None
    try:
        tissues = card[CARD_ENTRY]["tissues"]
        return Calibration({tissue.key: _curve_of(tissues[tissue.key]) for tissue in TISSUES})
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The weights' card holds an expected Dice that cannot be read ({type(error).__name__}: {error}); expected "
            "what make_weights.py writes; use weights as that command or train.py wrote them."
        ) from error


def _curve_of(entry: Mapping[str, Any]) -> Curve:
    agreement, dice = (tuple(float(value) for value in entry[name]) for name in ("agreement", "dice"))
    below, above = float(entry["below"]), float(entry["above"])
    known = np.array([*agreement, *dice, below, above])
    if not agreement or len(agreement) != len(dice) or not np.isfinite(known).all() or (np.diff(agreement) <= 0).any():
        raise ValueError(f"{len(agreement)} values of the agreement and {len(dice)} of the Dice")
    return Curve(agreement, dice, below, above)
