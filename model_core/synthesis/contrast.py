"""The intensities of a synthetic brain, in T1 and in T2, before any scanner has seen it."""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal, get_args

import numpy as np
import torch
from scipy import ndimage

from model_core.synthesis.anatomies import (
    CEREBELLAR_GRAY,
    CEREBELLAR_WHITE,
    CSF_BELOW,
    DEEP_GRAY,
    GROUP_LABELS,
    GROUPS,
    SULCAL_CSF,
    VENTRICLES,
    WHITE,
)
from model_core.synthesis.deformation import Shape
from model_core.synthesis.draw import Draw, Range
from model_core.tissues import BACKGROUND, CSF, GRAY_MATTER, TISSUES, WHITE_MATTER

Contrast = Literal["six-month", "wide", "random"]
CONTRASTS: tuple[str, ...] = get_args(Contrast)
Mean = torch.Tensor | float

# Mean intensities of the six-month brain, cortex = 1: how they change with depth and from back to front was measured on
# the UNC-UMN Baby Connectome Project atlas, an average of many heads; how far apart gray and white matter lie, on
# single ones (iSeg-2017: Fisher ratio .27 in T1, .00 in T2).
WHITE_T1_SURFACE, WHITE_T1_DEEP = 1.055, 1.18
WHITE_T2_SURFACE, WHITE_T2_DEEP = 1.095, 1.03
WHITE_DEPTH_MM = 6.5
# Change from the middle of the brain to its front: white matter matures from the back.
WHITE_T1_FRONT, WHITE_T2_FRONT = -0.06, 0.05
# Spread of the contrast between subjects: a factor on the difference from cortex in T1, a shift in T2.
CONTRAST_SPREAD_T1, CONTRAST_SPREAD_T2 = 0.25, 0.02
DEEP_GRAY_T1: Range = (1.0, 1.1)
DEEP_GRAY_T2: Range = (0.88, 1.0)
CSF_T1: Range = (0.47, 0.74)
CSF_T2: Range = (1.5, 2.3)
# Sulcal CSF lies between vessels and membranes: brighter in T1 and darker in T2 than that of the ventricles.
SULCAL_CSF_T1: Range = (1.0, 1.25)
SULCAL_CSF_T2: Range = (0.85, 1.02)
CEREBELLAR_T1: Range = (0.95, 1.2)
CEREBELLAR_T2: Range = (0.8, 1.05)

# Regions of each tissue with an intensity of their own: how many, over how many mm, how clearly apart, and the standard
# deviation of their intensities in T1 and T2. What myelin brightens in T1 it darkens in T2.
CLUSTERS = (2, 4)
CLUSTER_SPACING = 22
CLUSTER_SHARPNESS = 3.0
CLUSTER_SPREAD = {CSF.label: (0.14, 0.22), GRAY_MATTER.label: (0.06, 0.05), WHITE_MATTER.label: (0.06, 0.11)}
CLUSTER_CORRELATION = -0.4
COARSE_TEXTURE: Range = (0.02, 0.06)
FINE_TEXTURE: Range = (0.01, 0.04)
# Vessels and membranes in the sulci: the share of their CSF, and intensities; flowing blood is dark in T2.
VESSELS_SHARE: Range = (0.0, 0.3)
VESSELS_T1: Range = (0.7, 1.4)
VESSELS_T2: Range = (0.3, 1.1)
# Beyond the brain: skull, membranes, fat, and what a mask that is too wide lets in.
OUTSIDE: Range = (0.1, 1.6)


def paint(shape: Shape, draw: Draw, contrast: Contrast) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix the groups' intensities by their partial volumes.

    Args:
        shape: the brain.
        draw: the pair's random numbers.
        contrast: "six-month" as measured; "wide": over what other scanners and ages show; "random": any intensity for
            any group, in T1 and T2 apart.

    Returns:
        T1 and T2 (D, H, W) float32, cortex about 1; what lies beyond the brain has an intensity, too.
    """
    if contrast not in CONTRASTS:
        raise ValueError(f"contrast is {contrast!r}; one of {', '.join(CONTRASTS)} was expected")
    make_means = {"six-month": _six_month_means, "wide": _wide_means, "random": _random_means}[contrast]
    means = make_means(shape, draw)
    regions = torch.softmax(CLUSTER_SHARPNESS * draw.smooth_field(shape.labels.shape, CLUSTER_SPACING, CLUSTERS[1]), 0)
    offsets = _cluster_offsets(draw)
    texture = [draw.smooth_field(shape.labels.shape, spacing)[0] for spacing in (12, 4)]
    strength = [draw.uniform(COARSE_TEXTURE), draw.uniform(FINE_TEXTURE)]
    outside = 1 - shape.fractions.sum(0)
    of_tissue = _tissue_fractions(shape)
    vessels = _vessels(shape, draw)
    painted = []
    for modality, mean in enumerate(means):
        image = outside * (draw.uniform(OUTSIDE) + 0.3 * draw.smooth_field(shape.labels.shape, 8)[0]).clamp_min(0.02)
        for fraction, value in zip(shape.fractions, mean, strict=False):
            image += fraction * value
        for tissue, fraction in of_tissue.items():
            image += fraction * torch.tensordot(offsets[tissue][modality], regions, dims=1)
        image += vessels * (draw.uniform((VESSELS_T1, VESSELS_T2)[modality]) - mean[SULCAL_CSF])
        own = draw.smooth_field(shape.labels.shape, 6)[0]
        sign = 1 if modality == 0 else -0.6
        relief = sign * (strength[0] * texture[0] + strength[1] * texture[1]) + strength[1] * own
        painted.append((image * (1 + relief)).clamp_min(0.02))
    return painted[0], painted[1]


def _tissue_fractions(shape: Shape) -> dict[int, torch.Tensor]:
    """Partial volume of each tissue, cerebellum and brain stem with gray and white matter: label -> (D, H, W)."""
    painted_as = (*GROUP_LABELS[:CEREBELLAR_GRAY], GRAY_MATTER.label, WHITE_MATTER.label, CSF.label)
    fractions = {tissue.label: torch.zeros(shape.labels.shape) for tissue in TISSUES}
    for label, fraction in zip(painted_as, shape.fractions, strict=False):
        if label != BACKGROUND.label:
            fractions[label] += fraction
    return fractions


def _vessels(shape: Shape, draw: Draw) -> torch.Tensor:
    """Partial volume of vessels and membranes among the sulcal CSF: (D, H, W)."""
    field = draw.smooth_field(shape.labels.shape, 4)[0]
    threshold = NormalDist().inv_cdf(1 - max(draw.uniform(VESSELS_SHARE), 0.01))
    return shape.fractions[SULCAL_CSF] * torch.sigmoid(6 * (field - threshold))


def _cluster_offsets(draw: Draw) -> dict[int, torch.Tensor]:
    """Intensity of each region beside its tissue's mean: label -> (2 modalities, regions)."""
    offsets = {}
    for tissue in TISSUES:
        count = int(draw.numbers.integers(CLUSTERS[0], CLUSTERS[1], endpoint=True))
        t1, own = draw.numbers.standard_normal((2, count))
        t2 = CLUSTER_CORRELATION * t1 + np.sqrt(1 - CLUSTER_CORRELATION**2) * own
        spread = np.reshape(CLUSTER_SPREAD[tissue.label], (2, 1))
        t1, t2 = t1 - t1.mean(), t2 - t2.mean()  # the tissue's own mean stays
        of_region = np.arange(CLUSTERS[1]) % count  # of fewer clusters than regions, some take two regions
        offsets[tissue.label] = torch.from_numpy((spread * np.stack([t1, t2]))[:, of_region]).float()
    return offsets


def _six_month_means(shape: Shape, draw: Draw) -> list[list[Mean]]:
    """Intensity of each group in T1 and T2 as measured at six months; white matter by depth and front to back."""
    depth = torch.from_numpy(ndimage.distance_transform_edt(shape.labels.numpy() == WHITE_MATTER.label)).float()
    depth = ((depth - 1) / (WHITE_DEPTH_MM - 1)).clamp(0, 1)
    to_front = torch.linspace(-1, 1, shape.labels.shape[1])[None, :, None]
    white = [
        WHITE_T1_SURFACE + (WHITE_T1_DEEP - WHITE_T1_SURFACE) * depth + WHITE_T1_FRONT * to_front,
        WHITE_T2_SURFACE + (WHITE_T2_DEEP - WHITE_T2_SURFACE) * depth + WHITE_T2_FRONT * to_front,
    ]
    white[0] = 1 + (1 + CONTRAST_SPREAD_T1 * draw.numbers.standard_normal()) * (white[0] - 1)
    white[1] = white[1] + CONTRAST_SPREAD_T2 * draw.numbers.standard_normal()
    means = []
    for modality, (csf, sulcal, deep_gray, cerebellar) in enumerate(
        ((CSF_T1, SULCAL_CSF_T1, DEEP_GRAY_T1, CEREBELLAR_T1), (CSF_T2, SULCAL_CSF_T2, DEEP_GRAY_T2, CEREBELLAR_T2))
    ):
        mean: list[Mean] = [1.0] * len(GROUPS)
        mean[VENTRICLES] = draw.uniform(csf)
        mean[SULCAL_CSF] = mean[VENTRICLES] * draw.uniform(sulcal)
        mean[DEEP_GRAY] = draw.uniform(deep_gray)
        mean[WHITE] = white[modality]
        mean[CEREBELLAR_GRAY] = draw.uniform(cerebellar)
        mean[CEREBELLAR_WHITE] = draw.uniform(cerebellar)
        mean[CSF_BELOW] = mean[SULCAL_CSF]
        means.append(mean)
    return means


def _wide_means(shape: Shape, draw: Draw) -> list[list[Mean]]:
    """Intensities drawn over what other scanners, sequences and ages show (younger than and past six months)."""
    to_front = torch.linspace(-1, 1, shape.labels.shape[1])[None, :, None]
    means = []
    for csf, white, slope in (((0.15, 0.9), (0.88, 1.5), -0.04), ((1.15, 3.0), (0.65, 1.15), 0.03)):
        mean: list[Mean] = [1.0] * len(GROUPS)
        mean[VENTRICLES] = draw.uniform(csf)
        mean[SULCAL_CSF] = mean[VENTRICLES] * draw.uniform((0.85, 1.15))
        white_mean = draw.uniform(white)
        mean[WHITE] = white_mean + slope * to_front
        mean[DEEP_GRAY] = 1 + draw.uniform((-0.2, 0.8)) * (white_mean - 1)
        mean[CEREBELLAR_GRAY] = 1 + draw.uniform((-0.3, 0.5)) * (white_mean - 1)
        mean[CEREBELLAR_WHITE] = 1 + draw.uniform((0.3, 1.2)) * (white_mean - 1)
        mean[CSF_BELOW] = mean[SULCAL_CSF]
        means.append(mean)
    return means


def _random_means(shape: Shape, draw: Draw) -> list[list[Mean]]:
    """Any intensity for any group, white matter brighter or darker than gray matter, in T1 and T2 apart."""
    means = []
    for _ in range(2):
        mean: list[Mean] = list(draw.numbers.uniform(0.2, 1.8, len(GROUPS)))
        mean[SULCAL_CSF] = mean[VENTRICLES] * draw.uniform((0.85, 1.15))
        mean[DEEP_GRAY] += draw.uniform((0.5, 1.0)) * (mean[GROUPS.index("cortex")] - mean[DEEP_GRAY])
        mean[CSF_BELOW] = mean[SULCAL_CSF]
        means.append(mean)
    return means
