"""Isointense T1/T2 pairs with exact labels, made from a label map.

An anatomy (see ``anatomies.py``) is deformed, and its cortical ribbon and sulci are widened or narrowed
(``deformation.py``); it is painted with the contrast of six months or another (``contrast.py``) and scanned and
stripped as real heads are (``acquisition.py``). The numbers are chosen so that tissues overlap in the images and share
the brain as published of the ten labelled subjects of iSeg-2017; ``statistics.py`` measures that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_core.synthesis.acquisition import (
    LARGEST_MISALIGNMENT_DEGREES,
    LARGEST_MISALIGNMENT_MM,
    acquire,
    as_counts,
    holes,
    strip,
    turn,
)
from model_core.synthesis.anatomies import Anatomy
from model_core.synthesis.contrast import Contrast, paint
from model_core.synthesis.deformation import deform
from model_core.synthesis.draw import Draw
from model_core.synthesis.shares import CEREBELLUM_SHARE, Shares


@dataclass(frozen=True)
class SyntheticPair:
    """A T1/T2 pair and its labels on one 1 mm RAS grid.

    Attributes:
        t1, t2: (D, H, W) float32, whole numbers; 0 outside the mask and in holes of the scans.
        labels: (D, H, W) uint8, 0 background, 1 CSF, 2 gray matter, 3 white matter; 0 outside the mask.
        mask: (D, H, W) bool, what skull stripping kept.
        affine: (4, 4) voxel to RAS mm.
        anatomy: name of the anatomy.
        contrast: "six-month", "wide" or "random".
    """

    t1: np.ndarray
    t2: np.ndarray
    labels: np.ndarray
    mask: np.ndarray
    affine: np.ndarray
    anatomy: str
    contrast: str


def synthesize_pair(
    anatomy: Anatomy,
    seed: int | tuple[int, ...],
    *,
    contrast: Contrast = "six-month",
    cerebellum_share: float = CEREBELLUM_SHARE,
) -> SyntheticPair:
    """Make one T1/T2 pair with exact labels.

    The labels are the largest of the partial volumes that the images were painted with, or were painted a little
    beside, as raters place them.

    Args:
        anatomy: from ``prepare_anatomy``.
        seed: the same seed and anatomy give the same pair.
        contrast: "six-month" as published; "wide": over what other scanners and ages show; "random": any.
        cerebellum_share: probability, 0 to 1, that the images show cerebellum and brain stem.
    """
    draw = Draw(seed)
    shape = deform(anatomy, draw, with_cerebellum=draw.happens(cerebellum_share))
    t1, t2 = paint(shape, draw, contrast)
    t2 = turn(t2, draw, LARGEST_MISALIGNMENT_MM, LARGEST_MISALIGNMENT_DEGREES)
    t1, t2 = acquire(t1, draw, 0), acquire(t2, draw, 1)
    mask = strip(shape, draw)
    visible = mask & ~holes(shape, t1, draw)
    affine = np.eye(4)
    affine[:3, 3] = -(np.asarray(mask.shape) - 1) / 2
    return SyntheticPair(
        t1=as_counts(t1, visible),
        t2=as_counts(t2, visible),
        labels=(shape.labels * mask).numpy(),
        mask=mask.numpy(),
        affine=affine,
        anatomy=anatomy.name,
        contrast=contrast,
    )


def make_pair(anatomies: Sequence[Anatomy], seed: int, number: int, shares: Shares) -> SyntheticPair:
    """Pair ``number`` (from 1) of a series: the anatomies take turns, contrasts are drawn by their shares."""
    place = np.random.default_rng((seed, number, 1)).random()
    contrast: Contrast = "six-month"
    if place < shares.wide + shares.random:
        contrast = "wide" if place < shares.wide else "random"
    anatomy = anatomies[(number - 1) % len(anatomies)]
    return synthesize_pair(anatomy, (seed, number), contrast=contrast, cerebellum_share=shares.cerebellum)
