"""Synthetic pairs from easy to hopeless: what can go wrong with scans and masks, in any strength.

A network's training meets scans as they should be, and a little worse. Whoever wants to know whether a map can be told
to be bad needs bad ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from model_core.synthesis.acquisition import CORTEX_INTENSITY, as_counts, move, turn
from model_core.synthesis.anatomies import Anatomy
from model_core.synthesis.contrast import OUTSIDE
from model_core.synthesis.draw import Draw, blur
from model_core.synthesis.generator import make_pair
from model_core.synthesis.shares import Shares

SHARES = Shares(wide=0.2, random=0.15)
FAULTS_SHARES = (0.25, 0.45, 0.3)  # how often a pair has none, one or two of them
MISSING = 0.15  # how often T1 or T2 is not there at all
NO_SCAN = ("no T1", "no T2")
# The strongest of each fault; the weakest is none.
LARGEST_NOISE = 0.35  # of the cortex's intensity; the generator's own reaches .07
LARGEST_BLUR_MM = 2.5  # standard deviation along one axis
LARGEST_MOTION_MM, LARGEST_MOTION_DEGREES = 8.0, 8.0
LARGEST_BIAS = 0.8  # standard deviation of the field's logarithm
BIAS_SPACING = 60
LARGEST_MISALIGNMENT_MM, LARGEST_MISALIGNMENT_DEGREES = 6.0, 6.0
LARGEST_SHIFT_MM = 8.0  # of a mask along each axis
LARGEST_CUT = 0.4  # of the brain's length, by a mask that ends too early


@dataclass
class SpoiledPair:
    """A pair with faults.

    Attributes:
        t1, t2: (D, H, W) float32, 0 outside the mask; ``None`` where the scan is missing.
        labels: (D, H, W) uint8, the true ones inside the mask, 0 outside.
        mask: (D, H, W) bool, as it was given, right or wrong.
        anatomy: name of the anatomy.
        contrast: as in ``SyntheticPair``.
        faults: names of what was done to it, with the strength of each, 0 to 1.
    """

    t1: np.ndarray | None
    t2: np.ndarray | None
    labels: np.ndarray
    mask: np.ndarray
    anatomy: str
    contrast: str
    faults: dict[str, float]


def make_spoiled_pair(anatomies: Sequence[Anatomy], seed: int, number: int) -> SpoiledPair:
    """Pair ``number`` (from 1) of a series: the anatomies take turns, contrasts and faults are drawn."""
    pair = make_pair(anatomies, seed, number, SHARES)
    draw = Draw((seed, number, 2))
    images = [torch.from_numpy(scan / CORTEX_INTENSITY) for scan in (pair.t1, pair.t2)]
    mask = torch.from_numpy(pair.mask)
    faults = draw_faults(draw)
    for name, strength in faults.items():
        if name in FAULTS:
            images, mask = FAULTS[name](images, mask, draw, strength)
    t1, t2 = (
        None if missing in faults else as_counts(image, mask & (image > 0))
        for missing, image in zip(NO_SCAN, images, strict=True)
    )
    kept = mask.numpy()
    return SpoiledPair(t1, t2, pair.labels * kept, kept, pair.anatomy, pair.contrast, faults)


def draw_faults(draw: Draw) -> dict[str, float]:
    """Draw which faults a pair has, in the order in which they happen, and the strength of each, 0 to 1."""
    names = draw.numbers.permutation(list(FAULTS))[: draw.numbers.choice(len(FAULTS_SHARES), p=FAULTS_SHARES)]
    faults = {str(name): draw.uniform((0.0, 1.0)) for name in names}
    if draw.happens(MISSING):
        faults[NO_SCAN[draw.numbers.integers(2)]] = 1.0
    return faults


Images = list[torch.Tensor]


def _noise(images: Images, mask: torch.Tensor, draw: Draw, strength: float) -> tuple[Images, torch.Tensor]:
    level = strength * LARGEST_NOISE
    noisy = [
        torch.hypot(image + level * draw.normal(image.shape), level * draw.normal(image.shape)) for image in images
    ]
    return noisy, mask


def _blur(images: Images, mask: torch.Tensor, draw: Draw, strength: float) -> tuple[Images, torch.Tensor]:
    axis, largest = int(draw.numbers.integers(3)), strength * LARGEST_BLUR_MM
    sigma = (largest * (axis == 0), largest * (axis == 1), largest * (axis == 2))
    return [blur(image[None], sigma)[0] for image in images], mask


def _motion(images: Images, mask: torch.Tensor, draw: Draw, strength: float) -> tuple[Images, torch.Tensor]:
    reach = strength * LARGEST_MOTION_MM, strength * LARGEST_MOTION_DEGREES
    return [move(image, draw, *reach) for image in images], mask


def _bias(images: Images, mask: torch.Tensor, draw: Draw, strength: float) -> tuple[Images, torch.Tensor]:
    fields = [torch.exp(strength * LARGEST_BIAS * draw.smooth_field(mask.shape, BIAS_SPACING)[0]) for _ in images]
    return [image * field for image, field in zip(images, fields, strict=True)], mask


def _misalignment(images: Images, mask: torch.Tensor, draw: Draw, strength: float) -> tuple[Images, torch.Tensor]:
    t1, t2 = images
    reach = strength * LARGEST_MISALIGNMENT_MM, strength * LARGEST_MISALIGNMENT_DEGREES
    return [t1, turn(t2, draw, *reach)], mask


def _shifted_mask(images: Images, mask: torch.Tensor, draw: Draw, strength: float) -> tuple[Images, torch.Tensor]:
    """A mask that lies beside the brain; what it takes in besides is skull, skin and air."""
    moved = turn(mask.float(), draw, strength * LARGEST_SHIFT_MM, 0.0) > 0.5
    beyond = moved & ~mask
    around = [(draw.uniform(OUTSIDE) + 0.3 * draw.smooth_field(mask.shape, 8)[0]).clamp_min(0.02) for _ in images]
    return [torch.where(beyond, other, image) for image, other in zip(images, around, strict=True)], moved


def _cut_mask(images: Images, mask: torch.Tensor, draw: Draw, strength: float) -> tuple[Images, torch.Tensor]:
    """A mask that ends too early at one side."""
    axis, far = int(draw.numbers.integers(3)), draw.happens(0.5)
    filled = torch.nonzero(mask.amax(dim=[other for other in range(3) if other != axis]))
    first, length = int(filled[0]), int(filled[-1] - filled[0]) + 1
    cut = int(strength * LARGEST_CUT * length)
    along = torch.arange(mask.shape[axis])
    kept = along < first + length - cut if far else along >= first + cut
    return images, mask & kept.reshape([-1 if other == axis else 1 for other in range(3)])


def _swapped(images: Images, mask: torch.Tensor, draw: Draw, strength: float) -> tuple[Images, torch.Tensor]:
    """T1 taken for T2 and T2 for T1: hopeless for a network of six months, in whatever strength."""
    return images[::-1], mask


FAULTS: dict[str, Callable[[Images, torch.Tensor, Draw, float], tuple[Images, torch.Tensor]]] = {
    "noise": _noise,
    "blur": _blur,
    "motion": _motion,
    "bias": _bias,
    "misalignment": _misalignment,
    "shifted mask": _shifted_mask,
    "cut mask": _cut_mask,
    "swapped scans": _swapped,
}
