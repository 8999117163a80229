"""Isointense T1/T2 pairs with exact labels, made from a label map.

An anatomy (see ``anatomies.py``) is deformed, its cortical ribbon and sulci are widened or narrowed, and it is
painted with the contrast measured at six months: gray matter 1, white matter brightening in T1 and darkening in
T2 with its depth and towards the back of the brain. Then come partial volume, texture, bias field, noise and a
slight shift between T1 and T2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from model_core.anatomies import (
    CEREBELLUM,
    CORTEX,
    DEEP_GRAY,
    GROUP_LABELS,
    GROUPS,
    SULCAL_CSF,
    VENTRICLES,
    WHITE,
    Anatomy,
    blur,
)
from model_core.tissues import NUM_CLASSES, WHITE_MATTER

Contrast = Literal["six-month", "wide"]
Range = tuple[float, float]

# Cerebral gray and white matter of the infant, ml: with CSF this gives 700 to 1000 ml, six months' 850-950 within.
PARENCHYMA_ML: Range = (600.0, 820.0)
LARGEST_ROTATION_DEGREES = 12.0
AXIS_SCALE: Range = (0.93, 1.07)
LARGEST_SHEAR = 0.05
# Elastic deformation: standard deviation in mm of two smooth displacement fields, and their grid spacing in voxels.
ELASTIC_MM: Range = (0.8, 2.2)
ELASTIC_SPACING = 14
FINE_ELASTIC_MM: Range = (0.2, 0.7)
FINE_ELASTIC_SPACING = 5
MARGIN_VOXELS = 4

# Exponent that sharpens the blurred groups back to boundaries about one voxel wide.
SHARPENING = 3.0
# Natural logarithms of the groups' weights: positive thickens the cortex, widens sulci or ventricles. The cortex is
# thickened by how far the anatomy's gray-to-white ratio (1.1 in adults) is from an infant's, give or take a spread
# between subjects and a variation over the brain: pairs come out with a ratio of 2.0 on average, 1.6 to 2.2.
INFANT_GRAY_TO_WHITE = 2.1
CORTEX_LOG_WEIGHT_PER_RATIO = 1.5
CORTEX_LOG_WEIGHT_SPREAD: Range = (-0.35, 0.35)
SULCAL_LOG_WEIGHT: Range = (-0.7, 0.3)
VENTRICLE_LOG_WEIGHT: Range = (-0.9, 0.1)
RIBBON_VARIATION = 0.25
# How far, in mm, CSF is kept around the brain by skull stripping.
SULCAL_REACH_MM: Range = (1.0, 4.0)

# Mean intensities of the six-month brain, cortex = 1 (measured on the UNC-UMN Baby Connectome Project atlas).
WHITE_T1_SURFACE, WHITE_T1_DEEP = 1.085, 1.23
WHITE_T2_SURFACE, WHITE_T2_DEEP = 1.01, 0.93
WHITE_DEPTH_MM = 6.5
# Change from the middle of the brain to its front: white matter matures from the back.
WHITE_T1_FRONT, WHITE_T2_FRONT = -0.09, 0.06
# Spread of the contrast between subjects, as a factor on the difference from cortex.
CONTRAST_SPREAD_T1, CONTRAST_SPREAD_T2 = 0.18, 0.35
DEEP_GRAY_T1: Range = (1.0, 1.13)
DEEP_GRAY_T2: Range = (0.86, 0.98)
CSF_T1: Range = (0.40, 0.68)
CSF_T2: Range = (1.35, 2.3)
CEREBELLUM_T1: Range = (0.95, 1.2)
CEREBELLUM_T2: Range = (0.8, 1.0)

POINT_SPREAD_MM: Range = (0.3, 0.75)
COARSE_TEXTURE: Range = (0.02, 0.06)
FINE_TEXTURE: Range = (0.015, 0.05)
BIAS: Range = (0.03, 0.09)
NOISE: Range = (0.015, 0.05)
LARGEST_MISALIGNMENT_MM, LARGEST_MISALIGNMENT_DEGREES = 0.5, 0.5
# Intensity of cortex in the images that are returned.
CORTEX_INTENSITY = 400.0


@dataclass(frozen=True)
class SyntheticPair:
    """A T1/T2 pair and its labels on one 1 mm RAS grid.

    Attributes:
        t1, t2: (D, H, W) float32, whole numbers, at least 1 where there is a label (or a cerebellum that was
            kept), 0 elsewhere.
        labels: (D, H, W) uint8, 0 background, 1 CSF, 2 gray matter, 3 white matter.
        affine: (4, 4) voxel to RAS mm.
        anatomy: name of the anatomy.
        contrast: "six-month" or "wide".
    """

    t1: np.ndarray
    t2: np.ndarray
    labels: np.ndarray
    affine: np.ndarray
    anatomy: str
    contrast: str


class _Draw:
    """Random numbers of one pair: uniform values and smooth fields, all from one seed."""

    def __init__(self, seed: int | tuple[int, ...]) -> None:
        self.numbers = np.random.default_rng(seed)
        self.noise = torch.Generator().manual_seed(int(self.numbers.integers(2**62)))

    def uniform(self, limits: Range) -> float:
        return float(self.numbers.uniform(*limits))

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        return torch.randn(shape, generator=self.noise)

    def smooth_field(self, shape: tuple[int, ...], spacing: float, channels: int = 1) -> torch.Tensor:
        """Smooth noise (channels, D, H, W) of standard deviation 1 that varies over about ``spacing`` voxels."""
        coarse = [max(4, int(np.ceil(2 * n / spacing)) + 2) for n in shape]
        field = blur(self.normal((channels, *coarse)), 1.0)
        field = field / field.std()
        return F.interpolate(field[None], size=shape, mode="trilinear", align_corners=True)[0]


def synthesize_pair(
    anatomy: Anatomy, seed: int | tuple[int, ...], *, contrast: Contrast = "six-month"
) -> SyntheticPair:
    """Make one T1/T2 pair with exact labels.

    The labels are the largest of the partial-volume fractions that the images were painted with.

    Args:
        anatomy: from ``prepare_anatomy``.
        seed: the same seed and anatomy give the same pair.
        contrast: "six-month" as measured, or "wide": drawn over what other scanners and ages show.
    """
    if contrast not in ("six-month", "wide"):
        raise ValueError(f"contrast is {contrast!r}; 'six-month' or 'wide' was expected")
    draw = _Draw(seed)
    fractions = _deformed_fractions(anatomy, draw)
    labels = _labels_of(fractions)
    fractions, labels = _crop(fractions, labels)
    brain = (labels > 0) | (fractions[CEREBELLUM] > 0.5)
    t1, t2 = _paint(fractions, labels, draw, contrast)
    t2 = _misalign(t2, draw)
    images = [_acquire(image, brain, draw) for image in (t1, t2)]
    affine = np.eye(4)
    affine[:3, 3] = -(np.asarray(labels.shape) - 1) / 2
    return SyntheticPair(images[0], images[1], labels.numpy(), affine, anatomy.name, contrast)


def _deformed_fractions(anatomy: Anatomy, draw: _Draw) -> torch.Tensor:
    """Deform the anatomy and weigh its groups: (6, D, H, W) partial-volume fractions, sum 1 or less."""
    points = _sampling_points(anatomy, draw)
    images = torch.cat([anatomy.groups, anatomy.sulcal_distance[None]])
    sampled = F.grid_sample(images[None], points[None], mode="bilinear", padding_mode="border", align_corners=True)[0]
    groups, distance = sampled[:-1], sampled[-1]
    reach = draw.uniform(SULCAL_REACH_MM) * (1 + 0.2 * draw.smooth_field(distance.shape, 25)[0])
    groups[SULCAL_CSF] *= torch.sigmoid((reach - distance) / 0.4)
    outside = (1 - groups.sum(0)).clamp_min(0)

    log_weights = torch.zeros(len(GROUPS))
    thinness = CORTEX_LOG_WEIGHT_PER_RATIO * (INFANT_GRAY_TO_WHITE - anatomy.gray_to_white)
    log_weights[CORTEX] = thinness + draw.uniform(CORTEX_LOG_WEIGHT_SPREAD)
    log_weights[SULCAL_CSF] = log_weights[CORTEX] + draw.uniform(SULCAL_LOG_WEIGHT)
    log_weights[VENTRICLES] = draw.uniform(VENTRICLE_LOG_WEIGHT)
    log_weights[CEREBELLUM] = log_weights[CORTEX]
    weighted = groups * torch.exp(log_weights)[:, None, None, None]
    weighted[CORTEX] *= torch.exp(RIBBON_VARIATION * draw.smooth_field(distance.shape, 20)[0])
    weighted = weighted**SHARPENING
    return weighted / (weighted.sum(0) + (outside * torch.exp(log_weights[CORTEX])) ** SHARPENING).clamp_min(1e-12)


def _sampling_points(anatomy: Anatomy, draw: _Draw) -> torch.Tensor:
    """Where each voxel of the pair lies in the anatomy: (D, H, W, 3) in grid_sample's coordinates (x last axis)."""
    source = np.asarray(anatomy.sulcal_distance.shape)
    scale = np.cbrt(draw.uniform(PARENCHYMA_ML) / anatomy.parenchyma_ml)
    stretch = draw.numbers.uniform(*AXIS_SCALE, size=3)
    scales = scale * stretch / np.cbrt(stretch.prod())
    angles = np.deg2rad(draw.numbers.uniform(-LARGEST_ROTATION_DEGREES, LARGEST_ROTATION_DEGREES, size=3))
    shear = np.eye(3) + np.triu(draw.numbers.uniform(-LARGEST_SHEAR, LARGEST_SHEAR, size=(3, 3)), 1)
    mirror = np.diag([draw.numbers.choice([-1.0, 1.0]), 1.0, 1.0])
    forward = _rotation(angles) @ shear @ np.diag(scales) @ mirror
    shape = tuple(int(n) for n in np.ceil(source * scales * 1.12) + 2 * MARGIN_VOXELS)
    backward = torch.from_numpy(np.linalg.inv(forward)).float()

    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    centred = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    for amplitude, spacing in ((ELASTIC_MM, ELASTIC_SPACING), (FINE_ELASTIC_MM, FINE_ELASTIC_SPACING)):
        centred += draw.uniform(amplitude) * draw.smooth_field(shape, spacing, channels=3)
    points = torch.einsum("ij,jdhw->dhwi", backward, centred)
    return (points / torch.from_numpy((source - 1) / 2).float()).flip(-1)


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix about the three axes, radians."""
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        about = np.eye(3)
        i, j = [other for other in range(3) if other != axis]
        about[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        rotation = about @ rotation
    return rotation


def _labels_of(fractions: torch.Tensor) -> torch.Tensor:
    """The class with the largest fraction: (D, H, W) uint8."""
    of_class = torch.zeros((NUM_CLASSES, *fractions.shape[1:]))
    for group, label in enumerate(GROUP_LABELS):
        of_class[label] += fractions[group]
    labels = torch.zeros(fractions.shape[1:], dtype=torch.uint8)
    largest = 1 - of_class[1:].sum(0)
    for label in range(1, NUM_CLASSES):  # several times as fast as argmax over the first axis
        larger = of_class[label] > largest
        labels[larger] = label
        largest = torch.maximum(largest, of_class[label])
    return labels


def _crop(fractions: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    inside = fractions.sum(0) > 0.5
    box = []
    for axis in range(3):
        filled = torch.nonzero(inside.amax(dim=[other for other in range(3) if other != axis]))
        box.append(slice(max(0, int(filled[0]) - MARGIN_VOXELS), int(filled[-1]) + 1 + MARGIN_VOXELS))
    return fractions[(slice(None), *box)], labels[tuple(box)]


def _paint(
    fractions: torch.Tensor, labels: torch.Tensor, draw: _Draw, contrast: Contrast
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix the groups' intensities by their fractions: T1 and T2 with cortex 1, before any artefact."""
    means = _six_month_means(labels, draw) if contrast == "six-month" else _wide_means(labels, draw)
    texture = [draw.smooth_field(labels.shape, 12), draw.smooth_field(labels.shape, 4)]
    strength = [draw.uniform(COARSE_TEXTURE), draw.uniform(FINE_TEXTURE)]
    share = fractions / fractions.sum(0).clamp_min(1e-6)
    painted = []
    for modality, mean in enumerate(means):
        own = draw.smooth_field(labels.shape, 6)[0]
        # What myelin brightens in T1 it darkens in T2; a part of the texture is each modality's own.
        sign = 1 if modality == 0 else -0.6
        relief = sign * (strength[0] * texture[0][0] + strength[1] * texture[1][0]) + strength[1] * own
        painted.append(sum(share[group] * value for group, value in enumerate(mean)) * (1 + relief))
    return painted[0], painted[1]


def _six_month_means(labels: torch.Tensor, draw: _Draw) -> list[list[torch.Tensor | float]]:
    """Intensity of each group in T1 and T2 as measured at six months; white matter by depth and front to back."""
    depth = torch.from_numpy(ndimage.distance_transform_edt(labels.numpy() == WHITE_MATTER.label)).float()
    depth = ((depth - 1) / (WHITE_DEPTH_MM - 1)).clamp(0, 1)
    to_front = torch.linspace(-1, 1, labels.shape[1])[None, :, None]
    of_pair = [
        1 + CONTRAST_SPREAD_T1 * draw.numbers.standard_normal(),
        1 + CONTRAST_SPREAD_T2 * draw.numbers.standard_normal(),
    ]
    surface, deep, front = (
        (WHITE_T1_SURFACE, WHITE_T2_SURFACE),
        (WHITE_T1_DEEP, WHITE_T2_DEEP),
        (WHITE_T1_FRONT, WHITE_T2_FRONT),
    )
    means = []
    for modality, (csf, deep_gray, cerebellum) in enumerate(
        ((CSF_T1, DEEP_GRAY_T1, CEREBELLUM_T1), (CSF_T2, DEEP_GRAY_T2, CEREBELLUM_T2))
    ):
        white = surface[modality] + (deep[modality] - surface[modality]) * depth + front[modality] * to_front
        mean: list[torch.Tensor | float] = [1.0] * len(GROUPS)
        mean[VENTRICLES] = draw.uniform(csf)
        mean[SULCAL_CSF] = mean[VENTRICLES] * draw.uniform((0.95, 1.15) if modality == 0 else (0.85, 1.05))
        mean[DEEP_GRAY] = draw.uniform(deep_gray)
        mean[WHITE] = 1 + of_pair[modality] * (white - 1)
        mean[CEREBELLUM] = draw.uniform(cerebellum)
        means.append(mean)
    return means


def _wide_means(labels: torch.Tensor, draw: _Draw) -> list[list[torch.Tensor | float]]:
    """Intensities drawn over what other scanners, sequences and ages show (younger than and past six months)."""
    to_front = torch.linspace(-1, 1, labels.shape[1])[None, :, None]
    means = []
    for csf, white, slope in (((0.15, 0.9), (0.88, 1.5), -0.04), ((1.15, 3.0), (0.65, 1.15), 0.03)):
        mean: list[torch.Tensor | float] = [1.0] * len(GROUPS)
        mean[VENTRICLES] = draw.uniform(csf)
        mean[SULCAL_CSF] = mean[VENTRICLES] * draw.uniform((0.85, 1.15))
        white_mean = draw.uniform(white)
        mean[WHITE] = white_mean + slope * to_front
        mean[DEEP_GRAY] = 1 + draw.uniform((-0.2, 0.8)) * (white_mean - 1)
        mean[CEREBELLUM] = 1 + draw.uniform((0, 1)) * (white_mean - 1)
        means.append(mean)
    return means


def _misalign(image: torch.Tensor, draw: _Draw) -> torch.Tensor:
    """Shift and turn an image by a fraction of a voxel, as is left after registering T2 to T1."""
    angles = np.deg2rad(draw.numbers.uniform(-1, 1, 3) * LARGEST_MISALIGNMENT_DEGREES)
    shift = draw.numbers.uniform(-1, 1, 3) * LARGEST_MISALIGNMENT_MM
    half = (np.asarray(image.shape) - 1) / 2
    matrix = np.zeros((3, 4))
    # grid_sample wants the axes in reverse order and sides from -1 to 1.
    matrix[:, :3] = (np.diag(1 / half) @ _rotation(angles) @ np.diag(half))[::-1, ::-1]
    matrix[:, 3] = (shift / half)[::-1]
    grid = F.affine_grid(torch.from_numpy(matrix).float()[None], [1, 1, *image.shape], align_corners=True)
    return F.grid_sample(image[None, None], grid, padding_mode="border", align_corners=True)[0, 0]


def _acquire(image: torch.Tensor, brain: torch.Tensor, draw: _Draw) -> np.ndarray:
    """Point spread, bias field and Rician noise; whole numbers, 0 outside the brain."""
    image = blur(image[None], draw.uniform(POINT_SPREAD_MM))[0]
    image = image * torch.exp(draw.uniform(BIAS) * draw.smooth_field(image.shape, 60)[0])
    noise = draw.uniform(NOISE)
    image = torch.hypot(image + noise * draw.normal(image.shape), noise * draw.normal(image.shape))
    counts = (CORTEX_INTENSITY * image).round().clamp_min(1)
    return torch.where(brain, counts, torch.zeros(())).numpy()
