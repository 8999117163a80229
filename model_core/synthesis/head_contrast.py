"""The intensities of a synthetic head, in T1 and in T2, before any scanner has seen it."""

from __future__ import annotations

import numpy as np
import torch

from model_core.synthesis.draw import Draw, Range, blur
from model_core.synthesis.head_maps import AIR, CSF, NAMES, SOFT_TISSUE, VENTRICLES

# Intensities of T1 and T2 where they are an infant's, gray matter = 1, from a newborn's to a grown-up's.
T1: dict[str, Range] = {
    "air": (0.0, 0.06),
    "CSF around the brain": (0.25, 0.8),
    "ventricles": (0.2, 0.7),
    "gray matter": (1.0, 1.0),
    "white matter": (0.85, 1.5),
    "cerebellar gray matter": (0.9, 1.15),
    "cerebellar white matter": (0.9, 1.5),
    "brain stem": (0.9, 1.4),
    "arteries": (0.2, 1.8),
    "eyes": (0.2, 0.7),
    "soft tissue": (0.6, 1.1),
    "eye muscles": (0.6, 1.1),
    "mucosa": (0.4, 1.4),
    "skin": (0.5, 2.2),
    "spinal cord": (0.8, 1.3),
    "veins": (0.3, 1.5),
    "compact bone": (0.03, 0.45),
    "marrow": (0.3, 2.2),
    "optic nerves": (0.6, 1.3),
    "membranes": (0.1, 1.0),
}
T2: dict[str, Range] = {
    "air": (0.0, 0.06),
    "CSF around the brain": (1.2, 3.0),
    "ventricles": (1.3, 3.2),
    "gray matter": (1.0, 1.0),
    "white matter": (0.6, 1.3),
    "cerebellar gray matter": (0.85, 1.1),
    "cerebellar white matter": (0.6, 1.1),
    "brain stem": (0.6, 1.1),
    "arteries": (0.05, 0.6),
    "eyes": (1.3, 3.2),
    "soft tissue": (0.2, 0.8),
    "eye muscles": (0.2, 0.8),
    "mucosa": (0.5, 2.2),
    "skin": (0.3, 1.5),
    "spinal cord": (0.6, 1.1),
    "veins": (0.05, 1.3),
    "compact bone": (0.03, 0.4),
    "marrow": (0.15, 1.6),
    "optic nerves": (0.5, 1.3),
    "membranes": (0.05, 0.8),
}
# Fat, which the maps do not tell from other soft tissue.
FAT: tuple[Range, Range] = ((1.0, 2.8), (0.4, 2.2))
FAT_SPACING, FAT_SHARE = 9, 0.5
DARK_AIR = 0.8  # of random contrasts, how often air is dark as in scans
SAME_CSF = 0.7  # of random contrasts, how often CSF in the ventricles and around the brain are alike
LARGEST_TEXTURE = 0.12
LARGEST_BLUR = 0.7  # standard deviation in voxels of the map


def paint(labels: torch.Tensor, draw: Draw, contrast: str) -> list[torch.Tensor]:
    """Give every structure its intensity.

    Args:
        labels: (D, H, W) uint8, indices of ``NAMES``.
        draw: the head's random numbers.
        contrast: "infant": as in T1 and T2; "random": any, in both apart.

    Returns:
        T1 and T2, (D, H, W) float32, 0 or more.
    """
    index = labels.long()
    fatty = draw.smooth_field(labels.shape, FAT_SPACING)[0] > draw.uniform((-FAT_SHARE, 2 * FAT_SHARE))
    # What the maps call one is two in scans; the second of each is fat among soft tissue, or a patch of another grey.
    index += fatty * len(NAMES)
    images = []
    for modality in range(2):
        means = _random_means(draw) if contrast == "random" else _infant_means(draw, modality)
        texture = torch.from_numpy(draw.numbers.uniform(0, LARGEST_TEXTURE, len(means))).float()
        texture[[AIR, AIR + len(NAMES)]] = 0
        field = 0.7 * draw.smooth_field(labels.shape, 3)[0] + 0.7 * draw.smooth_field(labels.shape, 11)[0]
        image = torch.from_numpy(means).float()[index] * (1 + texture[index] * field)
        images.append(blur(image.clamp_min(0)[None], draw.uniform((0.2, LARGEST_BLUR)))[0])
    return images


def _infant_means(draw: Draw, modality: int) -> np.ndarray:
    ranges = (T1, T2)[modality]
    means = np.array([draw.uniform(ranges[name]) for name in NAMES])
    means[CSF] = means[VENTRICLES] * draw.uniform((0.85, 1.2))
    second = means.copy()
    second[SOFT_TISSUE] = draw.uniform(FAT[modality])
    second[NAMES.index("skin")] = draw.uniform(FAT[modality])
    return np.concatenate([means, second])


def _random_means(draw: Draw) -> np.ndarray:
    means = draw.numbers.uniform(0, 1, len(NAMES))
    if draw.happens(DARK_AIR):
        means[AIR] = draw.uniform((0, 0.05))
    if draw.happens(SAME_CSF):
        means[CSF] = means[VENTRICLES]
    second = means + draw.numbers.uniform(-0.1, 0.1, len(NAMES))
    second[SOFT_TISSUE] = draw.numbers.uniform(0, 1)
    second[AIR] = means[AIR]
    return np.concatenate([means, second.clip(0)])
