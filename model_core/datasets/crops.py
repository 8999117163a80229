"""Training crops for networks that want intensities standardised over the volume and know where a crop lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from model_core.datasets.subjects import LabelledPair, PatchSampler
from model_core.inference.plan import place_of
from model_core.inference.standardisation import standardise_volume
from model_core.networks.input_form import InputForm

MARGIN = 4  # voxels around the brain's box in which crops may begin: inference sees its surroundings, too
MISSING_SCAN = 0.2  # part of the crops that lack T1 or T2, so that the network learns to do with one
MIRRORED = 0.5
# Changes of the standardised intensities of a crop: a factor, a shift and noise, each scan its own.
GAIN = (0.85, 1.15)
SHIFT = 0.1
LARGEST_NOISE = 0.12


@dataclass(frozen=True)
class Box:
    """A labelled pair cut to its brain.

    Attributes:
        images: (2, D, H, W) float16, T1 and T2 standardised over the brain, 0 outside.
        labels: (D, H, W) uint8, 0 to 3.
        brain: first and last voxel + 1 of the brain along each axis, (3, 2).
    """

    images: np.ndarray
    labels: np.ndarray
    brain: np.ndarray


class Crops(NamedTuple):
    """Some crops of one size.

    Attributes:
        images: (n, 2, w, w, w) float32.
        labels: (n, w, w, w) uint8.
        places: (n, 3, 2) float32, where the crops' borders lie in the brain's box, which reaches from -1 to 1.
    """

    images: np.ndarray
    labels: np.ndarray
    places: np.ndarray


def cut_box(t1: np.ndarray, t2: np.ndarray, labels: np.ndarray, brain: np.ndarray, crop: int) -> Box:
    """Standardise a pair and cut it to its brain and a margin, at least one crop large.

    Args:
        t1: (D, H, W) intensities.
        t2: the same of T2.
        labels: (D, H, W), 0 to 3.
        brain: (D, H, W) bool, with at least one voxel.
        crop: side of the crops in voxels.
    """
    inside = ndimage.find_objects(brain.astype(np.uint8))[0]
    lacking = [max(crop - (side.stop - side.start), 2 * MARGIN) for side in inside]
    padding = [(missing // 2, missing - missing // 2) for missing in lacking]
    images = np.stack(
        [np.pad(standardise_volume(scan[inside], brain[inside]), padding).astype(np.float16) for scan in (t1, t2)]
    )
    at = np.array(
        [(before, before + side.stop - side.start) for (before, _), side in zip(padding, inside, strict=True)]
    )
    return Box(images, np.pad(labels[inside], padding).astype(np.uint8), at)


def draw_crops(boxes: Sequence[Box], crop: int, size: int, rng: np.random.Generator) -> Crops:
    """Cut crops at random places of random boxes, mirrored and changed at random.

    Args:
        boxes: of at least one pair, from ``cut_box``.
        crop: side of the crops in voxels.
        size: number of crops.
        rng: where the random numbers come from.
    """
    images = np.empty((size, 2, *(crop,) * 3), np.float32)
    labels = np.empty((size, *(crop,) * 3), np.uint8)
    places = np.empty((size, 3, 2), np.float32)
    for image, label, place in zip(images, labels, places, strict=True):
        box = boxes[int(rng.integers(len(boxes)))]
        starts = rng.integers(np.array(box.labels.shape) - crop + 1)
        cut = tuple(slice(start, start + crop) for start in starts)
        image[:], label[:], place[:] = (
            box.images[(slice(None), *cut)],
            box.labels[cut],
            place_of(starts, label.shape, box.brain),
        )
        if rng.random() < MIRRORED:
            image[:], label[:], place[0] = image[:, ::-1].copy(), label[::-1].copy(), -place[0, ::-1]
        _change_intensities(image, rng)
    return Crops(images, labels, places)


def _change_intensities(image: np.ndarray, rng: np.random.Generator) -> None:
    """Change gain, offset and noise of each scan of a crop (2, w, w, w), or leave one scan out; in place."""
    outside = image == 0
    for scan in image:
        noise = rng.standard_normal(scan.shape, np.float32) * np.float32(rng.uniform(0, LARGEST_NOISE))
        scan[:] = scan * np.float32(rng.uniform(*GAIN)) + np.float32(SHIFT * rng.standard_normal()) + noise
    image[outside] = 0
    if rng.random() < MISSING_SCAN:
        image[rng.integers(len(image))] = 0


class CropSampler:
    """Random crops of labelled pairs in memory; a batch depends on the seed and its iteration's number alone.

    Args:
        pairs: one or more.
        crop: side of the crops in voxels.
        seed: 0 or more.
    """

    def __init__(self, pairs: Sequence[LabelledPair], *, crop: int, seed: int) -> None:
        if not pairs:
            raise ValueError("pairs is empty; at least one subject is expected")
        self._boxes = [_box_of(pair, crop) for pair in pairs]
        self._crop, self._seed = crop, seed

    def batch(self, iteration: int, size: int) -> Crops:
        """Cut the crops of one iteration, as ``draw_crops`` does."""
        return draw_crops(self._boxes, self._crop, size, np.random.default_rng((self._seed, iteration)))


def _box_of(pair: LabelledPair, crop: int) -> Box:
    brain = ndimage.binary_fill_holes((pair.t1 != 0) | (pair.t2 != 0))
    if not brain.any():
        raise ValueError(f"{pair.name} of shape {brain.shape} is 0 everywhere; a brain is expected")
    return cut_box(pair.t1, pair.t2, pair.labels, brain, crop)


def sampler_for(
    pairs: Sequence[LabelledPair], form: InputForm, *, window: int, seed: int
) -> PatchSampler | CropSampler:
    """Give random windows or crops of labelled pairs, as a network wants them."""
    if form.standardised_over == "volume":
        return CropSampler(pairs, crop=window, seed=seed)
    return PatchSampler(pairs, window=window, seed=seed)
