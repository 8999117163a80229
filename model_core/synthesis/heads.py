"""Scans of whole heads with the brain's mask, made from label maps of heads, for the network that finds the brain.

The recipe is SynthStrip's (Hoopes et al., NeuroImage 2022): heads deformed far beyond what occurs, every structure with
an intensity drawn by itself, in T1 and T2 apart, and every fault of a scan. Part of the heads look as T1 and T2 of
infants do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

from model_core.inference.standardisation import standardise_volume
from model_core.synthesis.deformation import rotation
from model_core.synthesis.draw import Draw, Range
from model_core.synthesis.head_contrast import paint
from model_core.synthesis.head_maps import BONE, MEMBRANES, SOFT_TISSUE, THICKNESS_MM, VOXEL_MM, Head
from model_core.synthesis.head_scan import Field, scan

GRID_MM = 2.0  # of the images
SIDE = 96  # voxels of the images along each axis: 192 mm hold an infant's head and neck

INFANT = 0.85  # how often the head has an infant's size
# Brain with its CSF, ml: whole brains of 4 to 10 months have 700 to 1150; of others, from a newborn's to an adult's.
INFANT_ML: Range = (520.0, 1150.0)
ANY_ML: Range = (400.0, 1600.0)
AXIS_SCALE: Range = (0.88, 1.12)
LARGEST_SHEAR = 0.08
# Standard deviation in degrees of the rotation about each axis, and of the few heads that lie askew.
ROTATION, ASKEW, ASKEW_ROTATION = 10.0, 0.15, 30.0
# Elastic deformation: standard deviation in mm of two smooth displacement fields, and their grid spacing in voxels.
ELASTIC_MM: Range = (0.5, 3.5)
ELASTIC_SPACING = 16
FINE_ELASTIC_MM: Range = (0.2, 1.5)
FINE_ELASTIC_SPACING = 6
# How much thinner than an adult's skull and scalp are, beyond the smaller size.
THINNER: Range = (0.9, 2.4)
# CSF's width over the brain, mm on the adult's scale: membranes and bone take the place of what lies beyond.
CSF_MM: Range = (0.5, 7.0)
LITTLE_CSF, LITTLE_CSF_MM = 0.4, (0.0, 1.2)  # how often there is hardly any, and how much then
# How often an infant's skull lies close: bone then takes the place of what lies beyond the membranes, this wide.
SNUG = 0.6
MEMBRANES_MM: Range = (0.5, 3.0)
USUAL_FIELD = Field()
LARGEST_OFFSET_MM = 22.0  # of the brain's middle from that of the image


@dataclass(frozen=True)
class HeadScans:
    """A synthetic head, right, anterior and superior, with voxels of ``GRID_MM``.

    Attributes:
        t1, t2: (D, H, W) float32, 0 or more; 0 beyond the field of view.
        brain: (D, H, W) bool: brain, cerebellum, brain stem and the CSF around them, also where the field of view has
            cut them off.
        field: (D, H, W) bool, T1's field of view.
        t2_field: the same of T2.
        contrast: "random", or "infant" where the intensities are those of T1 and T2.
        name: of the anatomy.
    """

    t1: np.ndarray
    t2: np.ndarray
    brain: np.ndarray
    field: np.ndarray
    t2_field: np.ndarray
    contrast: str
    name: str


def synthesize_head(
    head: Head,
    seed: int | tuple[int, ...],
    *,
    contrast: str = "random",
    field: Field = USUAL_FIELD,
    side: int = SIDE,
    brainless: bool = False,
) -> HeadScans:
    """Make T1 and T2 of a head.

    Args:
        head: from ``prepare_head``.
        seed: the same seed and head give the same scans.
        contrast: "random" or "infant".
        field: how often what happens to the field of view.
        side: voxels of the images along each axis.
        brainless: whether flesh takes the brain's place, as in a part of the body that is no head.
    """
    draw = Draw(seed)
    infant = draw.happens(INFANT)
    points = _sampling_points(head, draw, INFANT_ML if infant else ANY_ML, side)
    width = draw.uniform(LITTLE_CSF_MM if draw.happens(LITTLE_CSF) else CSF_MM)
    taken = head.csf_depth > width
    labels = torch.where(taken, torch.tensor(MEMBRANES, dtype=torch.uint8), head.labels)
    if draw.happens(SNUG):
        beyond = head.csf_depth > width + draw.uniform(MEMBRANES_MM)
        labels = torch.where(beyond, torch.tensor(BONE, dtype=torch.uint8), labels)
    sample = partial(F.grid_sample, grid=points[None], mode="bilinear", padding_mode="zeros", align_corners=True)
    if brainless:
        labels = torch.where(head.brain | taken, torch.tensor(SOFT_TISSUE, dtype=torch.uint8), labels)
    brain = sample((head.brain & ~taken)[None, None].float())[0, 0] > 0.5
    painted = [sample(image[None, None])[0, 0] for image in paint(labels, draw, contrast)]
    (t1, field_1), (t2, field_2) = scan(painted, brain, draw, field)
    return HeadScans(
        t1=t1.numpy(),
        t2=t2.numpy(),
        brain=brain.numpy() & (not brainless),
        field=field_1.numpy(),
        t2_field=field_2.numpy(),
        contrast=contrast,
        name=head.name,
    )


def standardised(scans: HeadScans) -> np.ndarray:
    """T1 and T2 as the network gets them: (2, D, H, W) float16, standardised over each field of view."""
    return np.stack(
        [
            standardise_volume(image, field).astype(np.float16)
            for image, field in ((scans.t1, scans.field), (scans.t2, scans.t2_field))
        ]
    )


def _sampling_points(head: Head, draw: Draw, brain_ml: Range, side: int) -> torch.Tensor:
    """Where each voxel of the images lies in the head's map: (D, H, W, 3) in grid_sample's coordinates."""
    millilitres = float(head.brain.sum()) * VOXEL_MM**3 / 1000
    stretch = draw.numbers.uniform(*AXIS_SCALE, size=3)
    scales = np.cbrt(draw.uniform(brain_ml) / millilitres) * stretch / np.cbrt(stretch.prod())
    degrees = draw.numbers.standard_normal(3) * (ASKEW_ROTATION if draw.happens(ASKEW) else ROTATION)
    shear = np.eye(3) + np.triu(draw.numbers.uniform(-LARGEST_SHEAR, LARGEST_SHEAR, size=(3, 3)), 1)
    mirror = np.diag([draw.numbers.choice([-1.0, 1.0]), 1.0, 1.0])
    forward = rotation(np.deg2rad(degrees)) @ shear @ np.diag(scales) @ mirror
    backward = torch.from_numpy(np.linalg.inv(forward)).float()

    axis = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2) * GRID_MM
    centred = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    centred += torch.from_numpy(draw.numbers.uniform(-1, 1, 3) * LARGEST_OFFSET_MM).float()[:, None, None, None]
    for amplitude, spacing in ((ELASTIC_MM, ELASTIC_SPACING), (FINE_ELASTIC_MM, FINE_ELASTIC_SPACING)):
        centred += draw.uniform(amplitude) * draw.smooth_field((side,) * 3, spacing, channels=3)
    points = torch.einsum("ij,jdhw->dhwi", backward, centred) / VOXEL_MM
    points += torch.from_numpy(head.centre).float()
    half = (torch.tensor(head.labels.shape) - 1) / 2
    places = (points / half - 1).flip(-1)
    outward = F.grid_sample(head.outward[None], places[None], padding_mode="border", align_corners=True)[0]
    further = (draw.uniform(THINNER) - 1) * THICKNESS_MM / VOXEL_MM
    return ((points + further * outward.permute(1, 2, 3, 0)) / half - 1).flip(-1)
