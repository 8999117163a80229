"""One pass of the extraction network over a whole head: arrays in, probabilities out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from model_core.inference.standardisation import standardise_volume
from model_core.networks import SegmentationNetwork
from model_core.networks.fused import fused

BRAIN = 1  # of the network's classes


class CoarseScan(NamedTuple):
    """A scan in voxels of the network's size, right, anterior, superior.

    Attributes:
        array: (D, H, W) intensities.
        field: (D, H, W) bool, as far as the scan reaches.
    """

    array: np.ndarray
    field: np.ndarray


def brain_probability(network: SegmentationNetwork, scans: Sequence[CoarseScan | None]) -> np.ndarray:
    """Tell for each voxel how probably it belongs to the brain.

    Args:
        network: of the task brain extraction, in evaluation mode.
        scans: T1 and T2 of one shape; ``None`` for one that is missing.

    Returns:
        (D, H, W) float32, 0 to 1; the mean of two looks, one of them with left and right exchanged.
    """
    shape = next(scan.array.shape for scan in scans if scan is not None)
    padded = [-(-side // network.window_multiple) * network.window_multiple for side in shape]
    given, inside = np.zeros((len(scans), *padded), np.float32), tuple(slice(side) for side in shape)
    for channel, scan in zip(given, scans, strict=True):
        if scan is not None:
            channel[inside] = standardise_volume(scan.array, scan.field)
    x, quick = torch.from_numpy(given)[None], fused(network)
    with torch.inference_mode():
        looks = [torch.softmax(quick(x), 1)[0, BRAIN], torch.softmax(quick(x.flip(2)), 1)[0, BRAIN].flip(0)]
    return ((looks[0] + looks[1]) / 2).numpy()[inside]
