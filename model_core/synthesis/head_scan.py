"""What a scanner makes of a painted head: resolution, motion, bias, noise, a field of view too small, wrap-around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from model_core.synthesis.acquisition import move, turn
from model_core.synthesis.draw import Draw, Range, blur

VOXEL_MM = 2.0
THICK_SLICES = 0.4
SLICE_MM: Range = (2.0, 4.0)
PLANE_MM: Range = (0.8, 2.5)
FWHM_PER_SIGMA = 2.355
BIAS: Range = (0.0, 0.45)
BIAS_SPACING = 35  # voxels
NOISE = 0.07  # at most, of the image's bright end; mostly far less
MOTION = 0.15
# T2 beside T1 after their alignment: mostly little, at times more.
MISALIGNED, SMALL_MM, SMALL_DEGREES, LARGE_MM, LARGE_DEGREES = 0.15, 0.7, 0.7, 4.0, 4.0
GAMMA = 0.25  # standard deviation of the logarithm
BLACK_AIR = 0.25  # how often a scanner sets what is dark to 0
BLACK_BELOW: Range = (0.02, 0.08)  # of the bright end


@dataclass(frozen=True)
class Field:
    """What may happen to the field of view.

    Attributes:
        cut: how often an end of an axis is cut, 0 to 1.
        into_brain_mm: how far such a cut may lie within the brain.
        around_mm: how far it may lie beyond the brain.
        wrap: how often what is cut off appears at the other end.
    """

    cut: float = 0.25
    into_brain_mm: float = 35.0
    around_mm: float = 60.0
    wrap: float = 0.3


def scan(
    painted: Sequence[torch.Tensor], brain: torch.Tensor, draw: Draw, field: Field
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Scan T1 and T2 of a painted head.

    Args:
        painted: T1 and T2, (D, H, W) float32.
        brain: (D, H, W) bool.
        draw: the head's random numbers.
        field: how often what happens to the field of view.

    Returns:
        For each the image (D, H, W) float32, 0 beyond its field of view, and that field, bool.
    """
    strong = draw.happens(MISALIGNED)
    away = (LARGE_MM / VOXEL_MM, LARGE_DEGREES) if strong else (SMALL_MM / VOXEL_MM, SMALL_DEGREES)
    scans, shared = [], _field_of_view(brain, draw, field)
    for modality, image in enumerate(painted):
        if modality == 1:
            image = turn(image, draw, *away)
        view = shared if modality == 0 or draw.happens(0.6) else _field_of_view(brain, draw, field)
        if draw.happens(MOTION):
            image = move(image, draw, 1.5, 4.0)
        image = _resolve(image, draw)
        image = image * torch.exp(draw.uniform(BIAS) * draw.smooth_field(image.shape, BIAS_SPACING)[0])
        image = _wrapped(image, view, draw, field)
        image = _noisy(image, draw)
        covered = torch.zeros(image.shape, dtype=torch.bool)
        covered[view] = True
        scans.append((torch.where(covered, image, torch.zeros(())), covered))
    return scans


def _resolve(image: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Blur to the scan's voxel size; thick slices are sampled as far apart as they are thick."""
    sizes = draw.numbers.uniform(*PLANE_MM, size=3)
    thick = draw.happens(THICK_SLICES)
    axis = int(draw.numbers.integers(3))
    if thick:
        sizes[axis] = draw.uniform(SLICE_MM)
    image = blur(image[None], tuple(np.sqrt(np.maximum(sizes**2 - 1, 0.1)) / VOXEL_MM / FWHM_PER_SIGMA))[0]
    if not thick:
        return image
    fewer = [max(2, round(n * VOXEL_MM / sizes[axis])) if other == axis else n for other, n in enumerate(image.shape)]
    return _resized(_resized(image, fewer), image.shape)


def _resized(image: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    return F.interpolate(image[None, None], size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def _noisy(image: torch.Tensor, draw: Draw) -> torch.Tensor:
    bright = float(torch.quantile(image.flatten()[::37], 0.98)) or 1.0
    image = (image / bright) ** float(np.exp(GAMMA * draw.numbers.standard_normal()))
    level = NOISE * draw.uniform((0, 1)) ** 2
    image = torch.hypot(image + level * draw.normal(image.shape), level * draw.normal(image.shape))
    if draw.happens(BLACK_AIR):
        image = torch.where(image < draw.uniform(BLACK_BELOW), torch.zeros(()), image)
    return image


def _field_of_view(brain: torch.Tensor, draw: Draw, field: Field) -> tuple[slice, ...]:
    view = []
    for axis, side in enumerate(brain.shape):
        filled = torch.nonzero(brain.amax(dim=[other for other in range(3) if other != axis])).flatten()
        first, last = (int(filled[0]), int(filled[-1])) if len(filled) else (0, side - 1)
        limits = (-field.into_brain_mm / VOXEL_MM, field.around_mm / VOXEL_MM)
        low = first - round(draw.uniform(limits)) if draw.happens(field.cut) else 0
        high = last + 1 + round(draw.uniform(limits)) if draw.happens(field.cut) else side
        view.append(slice(max(0, low), min(side, high)))
    return tuple(view)


def _wrapped(image: torch.Tensor, view: tuple[slice, ...], draw: Draw, field: Field) -> torch.Tensor:
    """Add what lies beyond the field of view at its other end, along one axis, as a scan with folding shows it."""
    axis = int(draw.numbers.integers(3))
    length = view[axis].stop - view[axis].start
    if length == image.shape[axis] or not draw.happens(field.wrap):
        return image
    strength = draw.uniform((0.2, 1.0))
    folded = image.clone()
    for beyond, shift in (
        (slice(view[axis].stop, None), -length),
        (slice(0, view[axis].start), length),
    ):
        part = torch.zeros_like(image)
        where = [slice(None)] * 3
        where[axis] = beyond
        part[tuple(where)] = image[tuple(where)]
        folded += strength * torch.roll(part, shift, axis)
    return folded
