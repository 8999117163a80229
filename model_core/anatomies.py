"""From a FreeSurfer-style label map to the smooth tissue groups that synthesis deforms and paints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from tqdm import tqdm

from model_core.devices import available_cores
from model_core.errors import UserError
from model_core.tissues import CSF, FREESURFER_CEREBELLUM_AND_BRAINSTEM, GRAY_MATTER, WHITE_MATTER
from model_core.volumes import Volume, read_label_values, resample, to_canonical

# Channels of an anatomy: what has an intensity of its own.
GROUPS = ("sulcal CSF", "ventricles", "cortex", "deep gray matter", "white matter", "cerebellum and brain stem")
SULCAL_CSF, VENTRICLES, CORTEX, DEEP_GRAY, WHITE, CEREBELLUM = range(len(GROUPS))
GROUP_LABELS = (CSF.label, CSF.label, GRAY_MATTER.label, GRAY_MATTER.label, WHITE_MATTER.label, 0)
NOTHING = -1

CORTEX_VALUES = (3, 42)
SULCAL_CSF_VALUE = 24
FOURTH_VENTRICLE_VALUE = 15
# Lesions of the white matter, marked apart in some adult label maps.
LESION_VALUES = (25, 57)
# Sulcal CSF farther than this from gray or white matter never belongs to a skull-stripped brain.
WIDEST_SULCAL_CSF_MM = 8.0
# A gap of up to twice this between gray matter is a sulcus or fissure, kept whole.
SULCUS_HALF_WIDTH_MM = 5.0
# Closing radius (voxels of 1 mm) inside which unlabelled voxels count as holes of the anatomy.
HOLE_RADIUS = 2
# Blur of the one-hot groups: gives sub-voxel boundaries that can be moved by weighting (see synthesis.py).
GROUP_BLUR_MM = 0.7


@dataclass(frozen=True)
class Anatomy:
    """A label map made ready for synthesis, on a 1 mm RAS grid cropped to the brain.

    It is kept small, so that training can hold many.

    Attributes:
        group: (D, H, W) int8, index of ``GROUPS``, -1 outside the brain.
        sulcal_distance: (D, H, W) float32, mm from the nearest gray or white matter, 0 within sulci.
        parenchyma_ml: volume of cerebral gray and white matter in ml.
        gray_to_white: ratio of their volumes.
        name: of the file it was made from.
    """

    group: torch.Tensor
    sulcal_distance: torch.Tensor
    parenchyma_ml: float
    gray_to_white: float
    name: str

    @property
    def groups(self) -> torch.Tensor:
        """(6, D, H, W) float32, blurred membership of each of ``GROUPS``, 0 to 1; computed at every call."""
        return blur(torch.stack([self.group == index for index in range(len(GROUPS))]).float(), GROUP_BLUR_MM)


def read_anatomies(paths: Sequence[str | os.PathLike[str]], *, keep_cerebellum: bool = False) -> list[Anatomy]:
    """Read label maps and prepare them, on all cores, with a progress bar; raises as ``prepare_anatomy``."""
    label_maps = [read_label_values(path) for path in paths]
    with ThreadPoolExecutor(available_cores()) as pool:
        prepared = pool.map(partial(prepare_anatomy, keep_cerebellum=keep_cerebellum), label_maps)
        return list(tqdm(prepared, "Preparing anatomies", len(label_maps), unit="map", disable=None))


def prepare_anatomy(label_map: Volume, *, keep_cerebellum: bool = False) -> Anatomy:
    """Group, clean and blur a FreeSurfer-style label map.

    Sulcal CSF is taken from value 24 and, where the map has none, filled in around the cortex.

    Args:
        label_map: integer values of FreeSurfer's ``aseg``; values above 100 are no brain.
        keep_cerebellum: keep cerebellum and brain stem as a visible group (their label stays background).

    Raises:
        UserError: the map holds no cortex or no white matter.
    """
    group = _group_of_each_voxel(_at_one_millimetre(label_map).array)
    for needed in (CORTEX, WHITE):
        if not (group == needed).any():
            raise UserError(
                f"{label_map.path or 'The label map'} holds no {GROUPS[needed]}; a FreeSurfer-style label map (cortex "
                "3 and 42, white matter 2 and 41) was expected; give an anatomy with these values."
            )
    group = _fill_holes(_crop_to_brain(_keep_largest_piece(_crop_to_brain(group))))
    parenchyma = np.isin(group, (CORTEX, DEEP_GRAY, WHITE))
    sulcal_distance = ndimage.distance_transform_edt(~parenchyma).astype(np.float32)
    # CSF between two banks is never cut away, however wide the sulcus.
    sulci = ndimage.distance_transform_edt(sulcal_distance <= SULCUS_HALF_WIDTH_MM) > SULCUS_HALF_WIDTH_MM
    group = _settle_sulcal_csf(group, sulcal_distance, sulci)
    sulcal_distance[sulci] = 0
    if not keep_cerebellum:
        group[group == CEREBELLUM] = NOTHING
    return Anatomy(
        group=torch.from_numpy(group),
        sulcal_distance=torch.from_numpy(sulcal_distance),
        parenchyma_ml=float(parenchyma.sum()) / 1000,
        gray_to_white=float(parenchyma.sum() / (group == WHITE).sum()) - 1,
        name=Path(label_map.path).name,
    )


def blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (C, D, H, W) images, sigma in voxels, edges replicated."""
    radius = max(1, int(np.ceil(3 * sigma)))
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float32, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    kernel = kernel / kernel.sum()
    blurred = images[:, None]
    for axis in range(3):
        shape, padding = [1, 1, 1, 1, 1], [0] * 6
        shape[2 + axis] = len(kernel)
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = radius
        blurred = F.conv3d(F.pad(blurred, padding, mode="replicate"), kernel.reshape(shape))
    return blurred[:, 0]


def _at_one_millimetre(label_map: Volume) -> Volume:
    canonical = to_canonical(label_map)
    spacing = np.asarray(canonical.spacing)
    if np.allclose(spacing, 1, atol=1e-3):
        return canonical
    shape = tuple(int(n) for n in np.ceil(np.asarray(canonical.array.shape) * spacing))
    affine = canonical.affine.copy()
    affine[:3, :3] /= spacing
    return resample(canonical, shape, affine, order=0)


def _group_of_each_voxel(values: np.ndarray) -> np.ndarray:
    """Map values to indices of ``GROUPS``; NOTHING where a voxel is no brain."""
    of_value = np.full(max(int(values.max()), 255) + 1, NOTHING, dtype=np.int8)
    of_value[list(CSF.freesurfer_values)] = VENTRICLES
    of_value[list(GRAY_MATTER.freesurfer_values)] = DEEP_GRAY
    of_value[list(WHITE_MATTER.freesurfer_values + LESION_VALUES)] = WHITE
    of_value[list(CORTEX_VALUES)] = CORTEX
    of_value[SULCAL_CSF_VALUE] = SULCAL_CSF
    of_value[[*FREESURFER_CEREBELLUM_AND_BRAINSTEM, FOURTH_VENTRICLE_VALUE]] = CEREBELLUM
    return of_value[np.clip(values, 0, None)]


def _crop_to_brain(group: np.ndarray) -> np.ndarray:
    margin = int(WIDEST_SULCAL_CSF_MM) + 2
    brain = (group != NOTHING) & (group != SULCAL_CSF)
    padded = np.pad(group, margin, constant_values=NOTHING)
    box = ndimage.find_objects(brain.astype(np.int8))[0]
    return padded[tuple(slice(side.start, side.stop + 2 * margin) for side in box)].copy()


def _fill_holes(group: np.ndarray) -> np.ndarray:
    """Give unlabelled voxels enclosed by the brain (choroid plexus, rare structures) the nearest group."""
    inside = group != NOTHING
    # Sulci are deep and open: only cavities that the closing of everything but sulcal CSF encloses are holes.
    core = inside & (group != SULCAL_CSF)
    holes = ndimage.binary_erosion(ndimage.binary_fill_holes(_close(core, HOLE_RADIUS))) & ~inside
    if not holes.any():
        return group
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    filled = group.copy()
    filled[holes] = group[tuple(axis[holes] for axis in nearest)]
    return filled


def _keep_largest_piece(group: np.ndarray) -> np.ndarray:
    """Drop labels that float outside the brain."""
    pieces, count = ndimage.label((group != NOTHING) & (group != SULCAL_CSF))
    if count < 2:
        return group
    largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    return np.where((pieces == largest) | (group == SULCAL_CSF), group, NOTHING)


def _close(mask: np.ndarray, radius: float) -> np.ndarray:
    """Binary closing by a ball, by distances: far faster than a structuring element at these radii."""
    widened = ndimage.distance_transform_edt(~mask) <= radius
    return ndimage.distance_transform_edt(widened) > radius


def _settle_sulcal_csf(group: np.ndarray, sulcal_distance: np.ndarray, sulci: np.ndarray) -> np.ndarray:
    """Keep or fill in the CSF around the cerebrum; that below the tentorium goes with the cerebellum."""
    settled = group.copy()
    lacks_sulcal_csf = not (group == SULCAL_CSF).any()
    settled[(group == NOTHING) & (sulci | lacks_sulcal_csf)] = SULCAL_CSF
    far = sulcal_distance > WIDEST_SULCAL_CSF_MM
    cerebellum = group == CEREBELLUM
    if cerebellum.any():
        far |= ndimage.distance_transform_edt(~cerebellum) < sulcal_distance
    settled[(settled == SULCAL_CSF) & far] = NOTHING
    return settled
