"""Training windows from synthetic heads that are made while the network trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_core.synthesis.head_maps import Head
from model_core.synthesis.heads import HeadScans, standardised, synthesize_head
from model_core.synthesis.no_head import synthesize_no_head
from model_core.synthesis.sampler import StockSampler

RANDOM_SHARE = 0.45  # of the heads, with any contrast; the others have an infant's
BRAINLESS_SHARE = 0.04  # have flesh in the brain's place
NO_HEAD_SHARE = 0.08  # are no heads
MISSING_SCAN = 0.4  # of the windows, T1 or T2 is left out
MIRRORED = 0.5
GAIN, SHIFT, LARGEST_NOISE = (0.8, 1.25), 0.15, 0.15
RENEW_EVERY = 4  # iterations after which the oldest head makes room for a new one


@dataclass(frozen=True)
class HeadBox:
    """A synthetic head as the network gets it.

    Attributes:
        images: (2, D, H, W) float16, standardised T1 and T2, 0 beyond their fields of view.
        brain: (D, H, W) bool.
        fields: (2, D, H, W) bool, the fields of view.
    """

    images: np.ndarray
    brain: np.ndarray
    fields: np.ndarray


class HeadSampler(StockSampler[HeadBox]):
    """Random windows of synthetic heads; labels are 1 in the brain and 0 elsewhere.

    Args:
        heads: one or more; they take turns.
        window: side of the windows in voxels.
        seed: 0 or more; of the heads and the windows' places.
        workers: threads that make heads.
    """

    def __init__(self, heads: Sequence[Head], *, window: int, seed: int, workers: int = 1) -> None:
        if not heads:
            raise ValueError("heads is empty; at least one is expected")

        def make(number: int) -> HeadBox:
            rng = np.random.default_rng((seed, number, 1))
            contrast = "random" if rng.random() < RANDOM_SHARE else "infant"
            head, kind = heads[(number - 1) % len(heads)], rng.random()
            if kind < NO_HEAD_SHARE:
                return box_of(synthesize_no_head((seed, number), contrast=contrast))
            brainless = kind > 1 - BRAINLESS_SHARE
            return box_of(synthesize_head(head, (seed, number), contrast=contrast, brainless=brainless))

        super().__init__(make, draw_head_windows, window=window, seed=seed, workers=workers, renew_every=RENEW_EVERY)


def box_of(scans: HeadScans) -> HeadBox:
    """Standardise a head's scans as inference does."""
    return HeadBox(standardised(scans), scans.brain, np.stack([scans.field, scans.t2_field]))


def draw_head_windows(
    boxes: Sequence[HeadBox], window: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut windows at random places of random heads, mirrored and changed at random.

    Args:
        boxes: of at least one head.
        window: side of the windows in voxels, at most that of the boxes.
        size: number of windows.
        rng: where the random numbers come from.

    Returns:
        Images (size, 2, w, w, w) float32 and labels (size, w, w, w) uint8.
    """
    images = np.empty((size, 2, *(window,) * 3), np.float32)
    labels = np.empty((size, *(window,) * 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        box = boxes[int(rng.integers(len(boxes)))]
        starts = rng.integers(np.array(box.brain.shape) - window + 1)
        cut = tuple(slice(start, start + window) for start in starts)
        image[:], fields = box.images[(slice(None), *cut)], box.fields[(slice(None), *cut)].copy()
        for scan, field in zip(image, fields, strict=True):
            noise = rng.standard_normal(scan.shape, np.float32) * np.float32(rng.uniform(0, LARGEST_NOISE))
            scan[:] = scan * np.float32(rng.uniform(*GAIN)) + np.float32(SHIFT * rng.standard_normal()) + noise
            scan[~field] = 0
        if rng.random() < MISSING_SCAN:
            missing = rng.integers(len(image))
            image[missing], fields[missing] = 0, False
        label[:] = box.brain[cut] & fields.any(axis=0)
        if rng.random() < MIRRORED:
            image[:], label[:] = image[:, ::-1].copy(), label[::-1].copy()
    return images, labels
