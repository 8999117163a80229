"""Where a segmentation is unsure: the entropy of its probabilities, what it finds of the errors, and where to look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model_core.tissues import NUM_CLASSES, TISSUES

MOST_UNCERTAIN = 0.1  # of the brain's voxels: what a person can be asked to look at
SURROUNDINGS = 2.0  # voxels, standard deviation of the mean over a voxel's surroundings
IN_QUESTION = 1 / NUM_CLASSES  # of probability, from which on a tissue may be what a voxel is


@dataclass(frozen=True)
class UncertainPlace:
    """The largest region in which a segmentation is unsure about a tissue.

    Attributes:
        voxel: indices (i, j, k) of its centre, around which the uncertainty is highest.
        voxels: of the region.
    """

    voxel: tuple[int, int, int]
    voxels: int


def uncertainty_of(probabilities: np.ndarray, brain: np.ndarray | None = None) -> np.ndarray:
    """Give the entropy of each voxel's probabilities, as a share of the most that there can be (2 bits).

    Args:
        probabilities: (4, D, H, W) float, sum 1.
        brain: (D, H, W) bool; outside of it the result is 0. None takes all voxels.

    Returns:
        (D, H, W) float32: 0 where one class has probability 1, 1 where all four have the same.
    """
    smallest = np.finfo(np.float32).tiny
    bits = np.zeros(probabilities.shape[1:], np.float32)
    for of_class in probabilities:  # one by one: whole brains are large
        bits -= of_class * np.log2(np.maximum(of_class, smallest))
    uncertainty = np.clip(bits / np.log2(np.float32(NUM_CLASSES)), 0, 1)
    return uncertainty if brain is None else np.where(brain, uncertainty, np.float32(0))


def share_of_errors_found(
    uncertainty: np.ndarray,
    labels: np.ndarray,
    reference: np.ndarray,
    brain: np.ndarray,
    looked_at: float = MOST_UNCERTAIN,
) -> float:
    """Tell which part of the wrong voxels lies among the most uncertain ones.

    Args:
        uncertainty: (D, H, W) float.
        labels: (D, H, W) of the segmentation.
        reference: (D, H, W) labels taken as true.
        brain: (D, H, W) bool; only these voxels count.
        looked_at: part of the brain's voxels that is looked at, 0 to 1, the most uncertain first.

    Returns:
        0 to 1; NaN where no voxel is wrong. By chance it is ``looked_at``.
    """
    wrong = (labels != reference)[brain]
    if not wrong.any():
        return float("nan")
    values = uncertainty[brain]
    count = round(looked_at * len(values))
    order = np.argpartition(-values, count - 1)[:count] if count else []
    return float(wrong[order].sum() / wrong.sum())


def uncertain_places(
    uncertainty: np.ndarray, probabilities: np.ndarray, brain: np.ndarray
) -> dict[str, UncertainPlace]:
    """Find where to look first for each tissue.

    The border of every tissue is unsure and a voxel thin, and tells nothing. So the uncertainty is averaged over each
    voxel's surroundings first; the tenth of the brain where it is highest falls into regions, one tissue's being
    those voxels that may well be that tissue.

    Args:
        uncertainty: (D, H, W) float32, voxels of one size along all axes.
        probabilities: (4, D, H, W) float32.
        brain: (D, H, W) bool.

    Returns:
        By tissue; without those that are in question nowhere.
    """
    around = ndimage.gaussian_filter(np.where(brain, uncertainty, 0), SURROUNDINGS)
    values = around[brain]
    if not values.any():
        return {}
    unsure = brain & (around > 0) & (around >= np.quantile(values, 1 - MOST_UNCERTAIN))
    places = {}
    for tissue in TISSUES:
        regions, count = ndimage.label(unsure & (probabilities[tissue.label] >= IN_QUESTION))
        if not count:
            continue
        sizes = np.bincount(regions.ravel())
        largest = 1 + int(sizes[1:].argmax())
        centre = np.where(regions == largest, around, -1).argmax()
        i, j, k = (int(index) for index in np.unravel_index(centre, around.shape))
        places[tissue.key] = UncertainPlace((i, j, k), int(sizes[largest]))
    return places
