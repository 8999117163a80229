"""Intensities made alike before a network sees them: over a window, or over the brain in a whole volume."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

CLIPPED_PERCENTILES = (0.5, 99.5)


def standardise_windows(windows: Tensor) -> Tensor:
    """Give every window mean 0 and standard deviation 1 in each modality, in training and in inference.

    Args:
        windows: (N, modalities, D, H, W), any intensities.

    Returns:
        The same shape. The standard deviation (of the population) is floored at 1/√voxels, so that a
        window of one value alone becomes zeros.
    """
    voxels = windows[0, 0].numel()
    centred = windows - windows.mean(dim=(2, 3, 4), keepdim=True)
    deviation = centred.square().mean(dim=(2, 3, 4), keepdim=True).sqrt()
    return centred / deviation.clamp(min=1 / math.sqrt(voxels))


def standardise_volume(scan: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Give a scan mean 0 and standard deviation 1 inside the brain, clipped at its .5 and 99.5 percentiles.

    Args:
        scan: (D, H, W), any finite intensities.
        brain: (D, H, W) bool.

    Returns:
        (D, H, W) float32, 0 outside the brain; 0 everywhere where the brain has one intensity or no voxel, as a scan
        that is missing.
    """
    values = scan[brain].astype(np.float32)
    result = np.zeros(scan.shape, np.float32)
    if not len(values) or values.min() == values.max():
        return result
    values = values.clip(*np.percentile(values, CLIPPED_PERCENTILES))
    deviation = values.std()
    if deviation > 0:
        result[brain] = (values - values.mean()) / deviation
    return result
