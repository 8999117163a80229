"""The shape of a synthetic brain: an anatomy deformed, its ribbon, sulci and ventricles widened or narrowed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from model_core.synthesis.anatomies import (
    CEREBELLAR_GRAY,
    CEREBELLAR_WHITE,
    CEREBRAL_GROUPS,
    CORTEX,
    CSF_BELOW,
    GROUP_LABELS,
    GROUPS,
    SULCAL_CSF,
    VENTRICLES,
    Anatomy,
)
from model_core.synthesis.draw import Draw, Range
from model_core.tissues import NUM_CLASSES

# Cerebral gray and white matter of the infant, ml. Lifespan charts have 560 at seven months; with CSF and cerebellum
# whole brains of 879 ± 79 ml at 4-7 months and 979 ± 85 ml at 7-10 months come out.
PARENCHYMA_ML: Range = (520.0, 780.0)
LARGEST_ROTATION_DEGREES = 12.0
AXIS_SCALE: Range = (0.93, 1.07)
LARGEST_SHEAR = 0.05
# Elastic deformation: standard deviation in mm of two smooth displacement fields, and their grid spacing in voxels.
ELASTIC_MM: Range = (0.8, 2.2)
ELASTIC_SPACING = 14
FINE_ELASTIC_MM: Range = (0.2, 0.7)
FINE_ELASTIC_SPACING = 5
MARGIN_VOXELS = 6

# Exponent that sharpens the blurred groups back to boundaries about one voxel wide.
SHARPENING = 3.0
# Natural logarithms of the groups' weights: positive thickens the cortex, widens sulci or ventricles. The cortex is
# thickened by how far the anatomy's gray-to-white ratio (1.0 to 1.3 in adults) is from the one drawn: published maps of
# infants have 1.1 to 2.2, iSeg-2017 1.52.
GRAY_TO_WHITE: Range = (0.9, 2.5)
CORTEX_LOG_WEIGHT_PER_RATIO = 1.5
SULCAL_LOG_WEIGHT: Range = (-0.6, 0.6)
VENTRICLE_LOG_WEIGHT: Range = (-0.5, 0.2)
# Ventricles of the infant, ml: 7 ± 3 at seven months by lifespan charts, with some larger; these adults have 7 to 80.
VENTRICLES_ML_MEDIAN, VENTRICLES_LOG_SPREAD = 9.0, 0.6
RIBBON_VARIATION = 0.25
# How far, in mm, CSF is kept around the brain by skull stripping.
OUTER_CSF_MM: Range = (1.5, 7.5)
# Raters place boundaries a little beside those that the scan shows: how often, and the change of the log weights.
RATERS_ERR = 1 / 3
RATERS_LOG_WEIGHT = 0.3


@dataclass(frozen=True)
class Shape:
    """A brain before it has any intensity.

    Attributes:
        fractions: (groups, D, H, W) float32, partial volumes that the images are painted from, sum 1 or less; the first
            ``len(fractions)`` of ``GROUPS``.
        labels: (D, H, W) uint8, 0 background, 1 CSF, 2 gray matter, 3 white matter.
        brain: (D, H, W) bool, all that belongs to a group.
    """

    fractions: torch.Tensor
    labels: torch.Tensor
    brain: torch.Tensor


def deform(anatomy: Anatomy, draw: Draw, *, with_cerebellum: bool) -> Shape:
    """Deform an anatomy and weigh its groups, on a 1 mm grid with a margin around the brain."""
    count = len(GROUPS) if with_cerebellum else CEREBRAL_GROUPS
    parenchyma_ml = draw.uniform(PARENCHYMA_ML)
    points = _sampling_points(anatomy, parenchyma_ml, draw)
    infant_ml = VENTRICLES_ML_MEDIAN * np.exp(VENTRICLES_LOG_SPREAD * draw.numbers.standard_normal())
    groups = anatomy.groups(count, infant_ml * anatomy.parenchyma_ml / parenchyma_ml)
    images = torch.cat([groups, anatomy.outer_distance[None]])
    sampled = F.grid_sample(images[None], points[None], mode="bilinear", padding_mode="border", align_corners=True)[0]
    groups, distance = sampled[:-1], sampled[-1]
    within_reach = _within_reach(distance, draw)
    for outer in (SULCAL_CSF, CSF_BELOW)[: 2 if with_cerebellum else 1]:
        groups[outer] *= within_reach
    log_weights = _log_weights(anatomy, draw, count)
    ribbon = RIBBON_VARIATION * draw.smooth_field(distance.shape, 20)[0]
    fractions = _weighted(groups, log_weights, ribbon)
    labels = labels_of(fractions)
    if draw.happens(RATERS_ERR):
        seen = log_weights.clone()
        seen[[SULCAL_CSF, CORTEX]] += RATERS_LOG_WEIGHT * draw.normal((2,))
        fractions = _weighted(groups, seen, ribbon + RATERS_LOG_WEIGHT * draw.smooth_field(distance.shape, 10)[0])
    brain = (labels > 0) | (fractions[CEREBRAL_GROUPS:].sum(0) > 0.5)
    box = _box(brain)
    return Shape(fractions[(slice(None), *box)], labels[box], brain[box])


def _within_reach(distance: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Share of each voxel's outer CSF that skull stripping keeps, 0 to 1, by its distance in mm from the brain."""
    reach = draw.uniform(OUTER_CSF_MM) * (1 + 0.2 * draw.smooth_field(distance.shape, 25)[0])
    return torch.sigmoid((reach - distance) / 0.4)


def _log_weights(anatomy: Anatomy, draw: Draw, count: int) -> torch.Tensor:
    log_weights = torch.zeros(len(GROUPS))
    log_weights[CORTEX] = CORTEX_LOG_WEIGHT_PER_RATIO * (draw.uniform(GRAY_TO_WHITE) - anatomy.gray_to_white)
    log_weights[SULCAL_CSF] = log_weights[CORTEX] + draw.uniform(SULCAL_LOG_WEIGHT)
    log_weights[VENTRICLES] = draw.uniform(VENTRICLE_LOG_WEIGHT)
    log_weights[[CEREBELLAR_GRAY, CEREBELLAR_WHITE]] = float(log_weights[CORTEX])
    log_weights[CSF_BELOW] = log_weights[SULCAL_CSF]
    return log_weights[:count]


def _weighted(groups: torch.Tensor, log_weights: torch.Tensor, ribbon: torch.Tensor) -> torch.Tensor:
    """Partial volumes (groups, D, H, W) with the boundaries moved by the weights; ``ribbon`` adds to the cortex's."""
    outside = (1 - groups.sum(0)).clamp_min(0)
    weighted = groups * torch.exp(log_weights)[:, None, None, None]
    weighted[CORTEX] *= torch.exp(ribbon)
    weighted = weighted**SHARPENING
    return weighted / (weighted.sum(0) + (outside * torch.exp(log_weights[CORTEX])) ** SHARPENING).clamp_min(1e-12)


def _sampling_points(anatomy: Anatomy, parenchyma_ml: float, draw: Draw) -> torch.Tensor:
    """Where each voxel of the pair lies in the anatomy: (D, H, W, 3) in grid_sample's coordinates (x last axis)."""
    source = np.asarray(anatomy.outer_distance.shape)
    scale = np.cbrt(parenchyma_ml / anatomy.parenchyma_ml)
    stretch = draw.numbers.uniform(*AXIS_SCALE, size=3)
    scales = scale * stretch / np.cbrt(stretch.prod())
    angles = np.deg2rad(draw.numbers.uniform(-LARGEST_ROTATION_DEGREES, LARGEST_ROTATION_DEGREES, size=3))
    shear = np.eye(3) + np.triu(draw.numbers.uniform(-LARGEST_SHEAR, LARGEST_SHEAR, size=(3, 3)), 1)
    mirror = np.diag([draw.numbers.choice([-1.0, 1.0]), 1.0, 1.0])
    forward = rotation(angles) @ shear @ np.diag(scales) @ mirror
    shape = tuple(int(n) for n in np.ceil(source * scales * 1.12) + 2 * MARGIN_VOXELS)
    backward = torch.from_numpy(np.linalg.inv(forward)).float()

    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
    centred = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    for amplitude, spacing in ((ELASTIC_MM, ELASTIC_SPACING), (FINE_ELASTIC_MM, FINE_ELASTIC_SPACING)):
        centred += draw.uniform(amplitude) * draw.smooth_field(shape, spacing, channels=3)
    points = torch.einsum("ij,jdhw->dhwi", backward, centred)
    return (points / torch.from_numpy((source - 1) / 2).float()).flip(-1)


def rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) about the three axes, one after the other; angles in radians."""
    turned = np.eye(3)
    for axis, angle in enumerate(angles):
        about = np.eye(3)
        i, j = [other for other in range(3) if other != axis]
        about[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turned = about @ turned
    return turned


def labels_of(fractions: torch.Tensor) -> torch.Tensor:
    """The class with the largest partial volume: (groups, D, H, W) -> (D, H, W) uint8."""
    of_class = torch.zeros((NUM_CLASSES, *fractions.shape[1:]))
    for group, fraction in enumerate(fractions):
        of_class[GROUP_LABELS[group]] += fraction
    labels = torch.zeros(fractions.shape[1:], dtype=torch.uint8)
    largest = 1 - of_class[1:].sum(0)
    for label in range(1, NUM_CLASSES):  # several times as fast as argmax over the first axis
        larger = of_class[label] > largest
        labels[larger] = label
        largest = torch.maximum(largest, of_class[label])
    return labels


def _box(brain: torch.Tensor) -> tuple[slice, ...]:
    """The brain's bounding box with the margin."""
    box = []
    for axis in range(3):
        filled = torch.nonzero(brain.amax(dim=[other for other in range(3) if other != axis]))
        box.append(slice(max(0, int(filled[0]) - MARGIN_VOXELS), int(filled[-1]) + 1 + MARGIN_VOXELS))
    return tuple(box)
