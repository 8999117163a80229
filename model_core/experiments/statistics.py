"""Statistics over folds: mean and spread, and the paired Wilcoxon signed-rank test with what it can show at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

MOST_PERMUTED = 13  # pairs up to which all 2ⁿ signs are tried where differences tie


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation.

    Attributes:
        n: how many values.
        mean: nan without values.
        deviation: with n - 1 in the denominator; nan for fewer than two values.
    """

    n: int
    mean: float
    deviation: float


@dataclass(frozen=True)
class PairedTest:
    """A two-sided Wilcoxon signed-rank test of paired values.

    Attributes:
        n: pairs of which both values are finite.
        difference: mean of first minus second; nan without pairs.
        p: nan without pairs.
        smallest_p: the smallest p that so many pairs can give, 2 / 2ⁿ; pairs that are equal say nothing and do not
            count in n here.
    """

    n: int
    difference: float
    p: float
    smallest_p: float


def spread(values: Sequence[float]) -> Spread:
    """Mean and spread of some values; an infinite one makes the mean infinite, nan ones do not count."""
    known = np.array([value for value in values if not math.isnan(value)], dtype=float)
    if not len(known):
        return Spread(0, math.nan, math.nan)
    finite = len(known) > 1 and bool(np.isfinite(known).all())
    return Spread(len(known), float(known.mean()), float(known.std(ddof=1)) if finite else math.nan)


def paired_test(first: Sequence[float], second: Sequence[float]) -> PairedTest:
    """Compare two models over the same folds.

    The exact distribution is used: Wilcoxon's table, or where differences tie all signs (from 14 pairs on the
    normal approximation). Equal pairs are left out, as Wilcoxon did.

    Args:
        first: a value a fold.
        second: of the same folds, in the same order.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values; as many of each were expected")
    known = np.isfinite(first) & np.isfinite(second)
    differences = np.subtract(np.array(first)[known], np.array(second)[known])
    if not len(differences):
        return PairedTest(0, math.nan, math.nan, math.nan)
    # Differences of decimal numbers that should be equal differ in the last bits.
    rounded = np.round(differences, 12)
    rounded = rounded[rounded != 0]
    n, smallest = len(rounded), min(1.0, 2.0 ** (1 - len(rounded)))
    p = _p_value(rounded) if n else 1.0
    return PairedTest(len(differences), float(differences.mean()), p, smallest)


def _p_value(differences: np.ndarray) -> float:
    n = len(differences)
    if len(np.unique(np.abs(differences))) == n:
        return float(stats.wilcoxon(differences, method="exact").pvalue)
    if n > MOST_PERMUTED:
        return float(stats.wilcoxon(differences, method="approx").pvalue)
    return float(stats.wilcoxon(differences, method=stats.PermutationMethod(n_resamples=2**n)).pvalue)
