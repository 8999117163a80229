"""Where a segmentation and its reference disagree: a map of the kinds, and the deepest place of each tissue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model_core.tissues import BACKGROUND, Tissue

AGREE, MISSED, ADDED, OTHER_TISSUE = range(4)
_EQUAL_MM = 6  # digits after the point to which depths are compared: rounding makes no place deeper than another


@dataclass(frozen=True)
class Place:
    """A voxel deep inside a disagreement.

    Attributes:
        voxel: indices (i, j, k).
        depth_mm: distance to the nearest voxel outside the disagreement.
        label_found: label of the segmentation there.
        label_expected: label of the reference there.
    """

    voxel: tuple[int, int, int]
    depth_mm: float
    label_found: int
    label_expected: int


def disagreement_map(labels: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Say of every voxel whether, and how, a segmentation differs from its reference.

    Args:
        labels: labels 0 to 3 of the segmentation.
        reference: labels 0 to 3 of the same shape.

    Returns:
        uint8 of that shape: 0 both agree, 1 a tissue of the reference is called background, 2 background of the
        reference is called a tissue, 3 one tissue is called another.
    """
    found, expected = labels != BACKGROUND.label, reference != BACKGROUND.label
    differs = labels != reference
    kinds = np.full(labels.shape, AGREE, dtype=np.uint8)
    kinds[differs & ~found] = MISSED
    kinds[differs & ~expected] = ADDED
    kinds[differs & found & expected] = OTHER_TISSUE
    return kinds


def deepest_place(labels: np.ndarray, reference: np.ndarray, spacing: Sequence[float], tissue: Tissue) -> Place | None:
    """Find the voxel deepest inside the region where exactly one of segmentation and reference has a tissue.

    Args:
        labels: labels 0 to 3 of the segmentation, (I, J, K).
        reference: labels 0 to 3 of the same shape.
        spacing: voxel size along each array axis, in mm.
        tissue: the tissue.

    Returns:
        The place with the largest Euclidean distance to a voxel outside that region, the first in C order among
        equals; None where segmentation and reference agree on the tissue everywhere. Beyond the volume there are
        voxels only for a region that fills all of it.
    """
    region = (labels == tissue.label) != (reference == tissue.label)
    if not region.any():
        return None
    # A rim of one voxel around the region holds, of all voxels outside, those nearest to it.
    sides = ndimage.find_objects(region.astype(np.uint8))[0]
    box = tuple(slice(max(side.start - 1, 0), side.stop + 1) for side in sides)
    padding = 1 if region.all() else 0
    inside = np.pad(region[box], padding)
    depths = ndimage.distance_transform_edt(inside, sampling=spacing)
    deepest = np.unravel_index(np.argmax(np.round(depths, _EQUAL_MM)), depths.shape)
    i, j, k = (int(at) - padding + side.start for at, side in zip(deepest, box, strict=True))
    return Place((i, j, k), float(depths[deepest]), int(labels[i, j, k]), int(reference[i, j, k]))
