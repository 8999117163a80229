"""A raw subject: a synthetic pair inside a borrowed head, T2 in a space of its own, and the truth of both."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy import ndimage

from model_core.synthesis.acquisition import FWHM_PER_SIGMA, acquire
from model_core.synthesis.anatomies import Anatomy
from model_core.synthesis.contrast import Contrast
from model_core.synthesis.contrast import paint as paint_brain
from model_core.synthesis.deformation import deform
from model_core.synthesis.draw import Draw
from model_core.synthesis.head_contrast import paint as paint_head
from model_core.synthesis.head_maps import AIR, BONE, CSF, MEMBRANES, NAMES, PARENCHYMA, SOFT_TISSUE, VENTRICLES, Head
from model_core.volumes import Volume, resample

# Voxels of 1 mm around the brain's box, before and after it: ears, face and nape, neck and scalp.
AROUND = ((22, 22), (26, 55), (55, 22))
# Layers that are at least there around the brain, mm: membranes, an infant's skull, scalp.
MEMBRANE_MM, SKULL_MM, SCALP_MM = 1.0, 3.0, 3.5
# Intensity of cortex in the files, and what scanners set to 0.
CORTEX, BLACK_BELOW = 120.0, 0.1
SKIN, CORD = NAMES.index("skin"), NAMES.index("spinal cord")


@dataclass(frozen=True)
class RawSubject:
    """A head with its skull, as a scanner gives it, and what is true of it.

    Attributes:
        t1: (D, H, W) float32, whole numbers.
        affine: (4, 4) of T1, labels and brain, voxel to RAS mm.
        t2: (D', H', W') float32, on a grid of its own.
        t2_affine: (4, 4) that T2's file states.
        t2_true_affine: (4, 4) that would put T2 over T1.
        labels: (D, H, W) uint8, 0 background (cerebellum and brain stem included), 1 CSF, 2 gray, 3 white matter.
        brain: (D, H, W) bool, what brain extraction should find.
    """

    t1: np.ndarray
    affine: np.ndarray
    t2: np.ndarray
    t2_affine: np.ndarray
    t2_true_affine: np.ndarray
    labels: np.ndarray
    brain: np.ndarray


def synthesize_raw(
    anatomy: Anatomy,
    head: Head,
    seed: int | tuple[int, ...],
    *,
    contrast: Contrast = "six-month",
    t2_degrees: float = 12.0,
    t2_mm: float = 15.0,
    voxel_mm: float = 1.0,
) -> RawSubject:
    """Put a synthetic brain into a head and scan both.

    Args:
        anatomy: of the brain.
        head: whose skull, scalp, face and neck are borrowed, stretched to the brain.
        seed: the same seed gives the same subject.
        contrast: of the brain.
        t2_degrees: how far T2's header is turned from the truth.
        t2_mm: how far it is shifted.
        voxel_mm: side of T1's voxels, 1 or more; T2's slices are half as thick again.
    """
    draw = Draw(seed)
    shape = deform(anatomy, draw, with_cerebellum=True)
    brain = np.pad(ndimage.binary_fill_holes(shape.brain.numpy()), AROUND)
    labels = np.pad(shape.labels.numpy(), AROUND)
    structures = torch.from_numpy(_borrowed(head, brain))
    fading = torch.from_numpy(ndimage.gaussian_filter(brain.astype(np.float32), 0.6))
    painted = []
    for of_brain, of_head in zip(
        paint_brain(shape, draw, contrast), paint_head(structures, draw, "infant"), strict=True
    ):
        inner = torch.from_numpy(np.pad(of_brain.numpy(), AROUND, mode="edge"))
        painted.append(fading * inner + (1 - fading) * of_head)
    affine = np.eye(4)
    affine[:3, 3] = -(np.asarray(brain.shape) - 1) / 2
    t2, moved = _elsewhere(painted[1], affine, t2_degrees, t2_mm, draw)
    own = partial(_with_voxels, affine=affine, sides=np.full(3, voxel_mm))
    t1, t1_affine = own(_as_counts(acquire(painted[0], draw, 0)), order=1)
    t2, t2_affine = own(_as_counts(acquire(t2, draw, 1)), sides=voxel_mm * np.array([1, 1, 1.5]), order=1)
    return RawSubject(
        t1=t1.round(),
        affine=t1_affine,
        t2=t2.round(),
        t2_affine=t2_affine,
        t2_true_affine=moved @ t2_affine,
        labels=own(labels, order=0)[0],
        brain=own(brain, order=0)[0],
    )


def _borrowed(head: Head, brain: np.ndarray) -> np.ndarray:
    """Structures of a head around another's brain: (D, H, W) uint8, indices of ``NAMES``."""
    theirs, ours = (ndimage.find_objects(mask.astype(np.uint8))[0] for mask in (head.brain.numpy(), brain))
    scale = np.array([(a.stop - a.start) / (b.stop - b.start) for a, b in zip(theirs, ours, strict=True)])
    offset = np.array([a.start - b.start * factor for a, b, factor in zip(theirs, ours, scale, strict=True)])
    structures = ndimage.affine_transform(head.labels.numpy(), scale, offset, output_shape=brain.shape, order=0)
    inner = np.isin(structures, (*PARENCHYMA, VENTRICLES)) & ~brain
    bottom = np.flatnonzero(brain.any(axis=(0, 1)))[0]
    canal = np.isin(structures, (CORD, CSF)) & (np.arange(brain.shape[2]) < bottom)
    structures[inner | ((structures == CSF) & ~canal)] = SOFT_TISSUE
    distance = ndimage.distance_transform_edt(~brain)
    bare = np.isin(structures, (AIR, SOFT_TISSUE, SKIN))
    for inside, outside, structure in (
        (0.0, MEMBRANE_MM, MEMBRANES),
        (MEMBRANE_MM, MEMBRANE_MM + SKULL_MM, BONE),
    ):
        structures[(distance > inside) & (distance <= outside) & ~canal] = structure
    scalp = distance - MEMBRANE_MM - SKULL_MM
    structures[(scalp > 0) & (scalp <= SCALP_MM) & (bare | inner)] = SOFT_TISSUE
    return structures


def _elsewhere(
    image: torch.Tensor, affine: np.ndarray, degrees: float, millimetres: float, draw: Draw
) -> tuple[torch.Tensor, np.ndarray]:
    """An image on a grid turned and shifted by so much in a random direction, and that movement, (4, 4) in mm."""
    axis = draw.numbers.standard_normal(3)
    shift = draw.numbers.standard_normal(3)
    turned = np.eye(4)
    turned[:3, :3] = _about(axis / np.linalg.norm(axis), np.deg2rad(degrees))
    turned[:3, 3] = millimetres * shift / np.linalg.norm(shift)
    to_source = np.linalg.inv(affine) @ turned @ affine
    moved = ndimage.affine_transform(image.numpy(), to_source[:3, :3], to_source[:3, 3], order=1)
    return torch.from_numpy(moved), turned


def _with_voxels(array: np.ndarray, *, affine: np.ndarray, sides: np.ndarray, order: int) -> tuple[np.ndarray, ...]:
    """An array of 1 mm in voxels of other sides, and its affine."""
    if (sides == 1).all():
        return array, affine
    grid = affine @ np.diag([*sides, 1.0])
    grid[:3, 3] = (affine @ [*((sides - 1) / 2), 1.0])[:3]
    scan = Volume(array, affine)
    if order:
        scan = Volume(ndimage.gaussian_filter(array, np.sqrt(sides**2 - 1) / FWHM_PER_SIGMA), affine)
    shape = tuple(int(side / size) for side, size in zip(array.shape, sides, strict=True))
    return resample(scan, shape, grid, order=order).array, grid


def _about(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation matrix (3, 3) about a unit vector, by Rodrigues' formula."""
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _as_counts(image: torch.Tensor) -> np.ndarray:
    return (CORTEX * torch.where(image < BLACK_BELOW, torch.zeros(()), image)).round().clamp_min(0).numpy()
