"""Specks in the labels of a network that knows background inside the mask: the cerebellum is one, a speck none."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from model_core.tissues import BACKGROUND

LARGEST_SPECK = 1000  # voxels of 1 mm³; cerebellum and brain stem, which are background, have a hundred times as many


def tidy(labels: np.ndarray, probabilities: np.ndarray, brain: np.ndarray) -> None:
    """Fill specks of background that tissue encloses, and drop specks of tissue that background encloses; in place.

    A filled voxel gets its most probable tissue, a dropped one the background; the two probabilities are exchanged, so
    that the label stays the class of the highest one.

    Args:
        labels: (D, H, W) uint8.
        probabilities: (4, D, H, W) float32.
        brain: (D, H, W) bool, the mask.
    """
    background = labels == BACKGROUND.label
    enclosed = _specks(background) & brain
    if enclosed.any():
        best = probabilities[1:, enclosed].argmax(axis=0) + 1
        _exchange(labels, probabilities, enclosed, best)
    loose = _specks(labels != BACKGROUND.label)
    if loose.any():
        best = labels[loose].astype(int)
        _exchange(labels, probabilities, loose, best)
        labels[loose] = BACKGROUND.label


def _specks(foreground: np.ndarray) -> np.ndarray:
    """The pieces of a foreground (bool) that are small and not its largest."""
    pieces, count = ndimage.label(foreground)
    if count < 2:
        return np.zeros_like(foreground)
    sizes = np.bincount(pieces.ravel())
    small = sizes <= LARGEST_SPECK
    small[0] = False
    small[1 + sizes[1:].argmax()] = False
    return small[pieces]


def _exchange(labels: np.ndarray, probabilities: np.ndarray, where: np.ndarray, tissue: np.ndarray) -> None:
    """Exchange background's probability with that of a tissue for each voxel, and give it the tissue's label."""
    values = probabilities[:, where]
    places = np.arange(values.shape[1])
    values[BACKGROUND.label], values[tissue, places] = values[tissue, places].copy(), values[BACKGROUND.label].copy()
    probabilities[:, where] = values
    labels[where] = tissue
