"""How well T2 lies over T1: normalised mutual information, compared with that of displaced copies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from model_core.volumes import Volume

DISPLACED_MM = 10.0  # of the copies that a result is compared with, along each axis
JUDGED_VOXELS = 40_000
JUDGED_PERCENTILES = (0.5, 99.5)  # what is darker or brighter counts as these
JUDGED_SEED = 20190524
HISTOGRAM_BINS = 32


def judge_alignment(t2: Volume, t1: Volume, region: np.ndarray) -> tuple[float, float]:
    """Measure how well T2 lies over T1, by their affines.

    Args:
        t2: any grid.
        t1: any grid.
        region: bool, shape of T1: the voxels that are compared.

    Returns:
        The similarity there; and its ratio to the mean of the same with T2 displaced by 1 cm along each axis, both
        ways: a contrast near 1 means that T2 fits no better here.
    """
    shifts = [shifted_by(sign * DISPLACED_MM * axis) for axis in np.eye(3) for sign in (1, -1)]
    here, *aside = similarities(t2, t1, region, [np.eye(4), *shifts])
    return here, here / max(float(np.mean(aside)), 1e-6)


def shifted_by(shift: np.ndarray) -> np.ndarray:
    """Return the transform (4, 4) by a vector in mm."""
    transform = np.eye(4)
    transform[:3, 3] = shift
    return transform


def similarities(t2: Volume, t1: Volume, region: np.ndarray, transforms: Sequence[np.ndarray]) -> list[float]:
    """Compare T1 with T2 as it lies, and moved.

    Args:
        t2: any grid.
        t1: any grid.
        region: bool, shape of T1: the voxels that are compared.
        transforms: (4, 4) each, from points of T1 to those of T2 that they are compared with, RAS mm.

    Returns:
        For each the normalised mutual information 2·I(T1, T2) / (H(T1) + H(T2)), 0 to 1.
    """
    voxels = np.flatnonzero(region)
    chosen = np.random.default_rng(JUDGED_SEED).choice(voxels, min(JUDGED_VOXELS, len(voxels)), replace=False)
    places = np.stack([*np.unravel_index(chosen, region.shape), np.ones(len(chosen))])
    fixed = _clipped(t1.array.ravel()[chosen])
    values = t2.array.astype(np.float32, copy=False)
    to_t2 = np.linalg.inv(t2.affine)
    found = []
    for transform in transforms:
        there = (to_t2 @ transform @ t1.affine @ places)[:3]
        moving = ndimage.map_coordinates(values, there, order=1, mode="constant")
        found.append(_normalised_mutual_information(fixed, _clipped(moving)))
    return found


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(values, *np.percentile(values, JUDGED_PERCENTILES))


def _normalised_mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    counts, _, _ = np.histogram2d(first, second, HISTOGRAM_BINS)
    joint = counts / counts.sum()

    def entropy(shares: np.ndarray) -> float:
        return -float((shares[shares > 0] * np.log(shares[shares > 0])).sum())

    apart = entropy(joint.sum(axis=0)) + entropy(joint.sum(axis=1))
    return 2 * (apart - entropy(joint)) / apart if apart > 0 else 0.0
