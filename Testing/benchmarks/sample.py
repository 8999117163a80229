"""What the bench runs on: the sample subject, a crop from its middle, and a pair of label maps to score."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from model_core.networks import SegmentationNetwork
from model_core.preprocessing import prepare_pair
from model_core.tissues import NUM_CLASSES
from model_core.volumes import read_labels, read_volume
from model_core.weights import load_weights

RESOURCES = Path(__file__).parents[2] / "Resources"
SUBJECT = RESOURCES / "SampleSubject"
WEIGHTS = RESOURCES / "weights" / "nonlocal_unet.safetensors"

# What makes a plausible segmentation of a reference: its borders smoothed and a little off.
SMOOTHING_VOXELS, SHIFT_VOXELS = 0.7, (0.4, -0.3, 0.3)


@dataclass(frozen=True)
class Scans:
    """T1, T2 (float32) and brain mask (bool) on the network grid, all (D, H, W)."""

    t1: np.ndarray
    t2: np.ndarray
    mask: np.ndarray

    def crop(self, side: int) -> Scans:
        """A cube from the middle."""
        box = tuple(slice((length - side) // 2, (length + side) // 2) for length in self.t1.shape)
        return Scans(self.t1[box], self.t2[box], self.mask[box])

    def save(self, path: Path) -> None:
        """For a process of its own, which then need not prepare them."""
        np.savez(path, t1=self.t1, t2=self.t2, mask=self.mask)

    @classmethod
    def load(cls, path: Path) -> Scans:
        with np.load(path) as arrays:
            return cls(arrays["t1"], arrays["t2"], arrays["mask"])


def sample_scans() -> Scans:
    """The sample subject as the network gets it."""
    pair = prepare_pair(read_volume(SUBJECT / "T1.nii.gz"), read_volume(SUBJECT / "T2.nii.gz"))
    return Scans(pair.t1, pair.t2, pair.mask)


def default_network() -> SegmentationNetwork:
    """The Non-local U-Net with the weights of this repository."""
    return load_weights(WEIGHTS)[0]


def label_pair(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A segmentation and its reference.

    Args:
        shape: of both, at least the sample's with its axes from the shortest to the longest.

    Returns:
        uint8 labels: the sample's reference in the middle of that volume, smoothed and moved by a part of a voxel;
        and as it is.
    """
    labels = read_labels(SUBJECT / "labels.nii.gz").array
    labels = labels.transpose(np.argsort(labels.shape))
    missing = np.subtract(shape, labels.shape)
    reference = np.pad(labels, [(count // 2, count - count // 2) for count in missing]).astype(np.uint8)
    shares = [
        ndimage.shift(ndimage.gaussian_filter((reference == label).astype(np.float32), SMOOTHING_VOXELS), SHIFT_VOXELS,
                      order=1, mode="nearest")
        for label in range(NUM_CLASSES)
    ]  # fmt: skip
    return np.argmax(shares, axis=0).astype(np.uint8), reference
