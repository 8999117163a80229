"""From a FreeSurfer-style label map to the smooth tissue groups that a synthetic pair is made from."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from tqdm import tqdm

from model_core.errors import UserError
from model_core.synthesis.draw import blur
from model_core.system.devices import available_cores
from model_core.tissues import CSF, GRAY_MATTER, WHITE_MATTER
from model_core.volumes import Volume, read_label_values, resample, to_canonical

# Channels of an anatomy: what has an intensity of its own. What lies below the tentorium comes last: iSeg's images lack
# it, so its label is background.
GROUPS = (
    "sulcal CSF",
    "ventricles",
    "cortex",
    "deep gray matter",
    "white matter",
    "cerebellar gray matter",
    "cerebellar white matter and brain stem",
    "CSF below the tentorium",
)
(
    SULCAL_CSF,
    VENTRICLES,
    CORTEX,
    DEEP_GRAY,
    WHITE,
    CEREBELLAR_GRAY,
    CEREBELLAR_WHITE,
    CSF_BELOW,
) = range(len(GROUPS))
GROUP_LABELS = (CSF.label, CSF.label, GRAY_MATTER.label, GRAY_MATTER.label, WHITE_MATTER.label, 0, 0, 0)
CEREBRAL_GROUPS = 5
NOTHING = -1

CORTEX_VALUES = (3, 42)
SULCAL_CSF_VALUE = 24
CEREBELLAR_GRAY_VALUES = (8, 47, 172)
CEREBELLAR_WHITE_VALUES = (7, 46, 16)
FOURTH_VENTRICLE_VALUE = 15
# Lesions of the white matter, marked apart in some adult label maps.
LESION_VALUES = (25, 57)
# Sulcal CSF farther than this from gray or white matter never belongs to a skull-stripped brain.
WIDEST_SULCAL_CSF_MM = 8.0
# A gap of up to twice this between gray matter is a sulcus or fissure, kept whole.
SULCUS_HALF_WIDTH_MM = 5.0
# Closing radius (voxels of 1 mm) inside which unlabelled voxels count as holes of the anatomy.
HOLE_RADIUS = 2
# Blur of the one-hot groups: gives sub-voxel boundaries that can be moved by weighting (see deformation.py).
GROUP_BLUR_MM = 0.7


@dataclass(frozen=True)
class Anatomy:
    """A label map made ready for synthesis, on a 1 mm RAS grid cropped to the brain.

    It is kept small, so that training can hold many.

    Attributes:
        group: (D, H, W) int8, index of ``GROUPS``, -1 outside the brain.
        closed: (D, H, W) int8, the same with the ventricles closed: each of their voxels has the nearest tissue's.
        ventricle_depth: (D, H, W) float32, mm from a ventricle's wall, 0 outside of ventricles.
        outer_distance: (D, H, W) float32, mm from the nearest gray or white matter, that of cerebellum and brain stem
            included; 0 within sulci.
        parenchyma_ml: volume of cerebral gray and white matter in ml.
        gray_to_white: ratio of their volumes.
        name: of the file it was made from.
    """

    group: torch.Tensor
    closed: torch.Tensor
    ventricle_depth: torch.Tensor
    outer_distance: torch.Tensor
    parenchyma_ml: float
    gray_to_white: float
    name: str

    def groups(self, count: int, ventricles_ml: float) -> torch.Tensor:
        """Give the blurred membership, 0 to 1, of each of the first ``count`` of ``GROUPS``.

        Args:
            count: 1 to the number of groups.
            ventricles_ml: ventricles larger than this are narrowed, from their walls inwards, to this volume.

        Returns:
            (count, D, H, W) float32.
        """
        group = torch.where(self.ventricle_depth > self._depth_kept(ventricles_ml), self.group, self.closed)
        return blur(torch.stack([group == index for index in range(count)]).float(), GROUP_BLUR_MM)

    def _depth_kept(self, ventricles_ml: float) -> float:
        """The distance from the wall, in mm, beyond which ventricles hold this volume."""
        depths = self.ventricle_depth[self.ventricle_depth > 0]
        surplus = len(depths) - int(1000 * ventricles_ml)
        return float(depths.kthvalue(surplus).values) if surplus > 0 else 0.0


def read_anatomies(paths: Sequence[str | Path]) -> list[Anatomy]:
    """Read label maps and prepare them, on all cores, with a progress bar; raises as ``prepare_anatomy``."""
    label_maps = [read_label_values(path) for path in paths]
    with ThreadPoolExecutor(available_cores()) as pool:
        prepared = pool.map(prepare_anatomy, label_maps)
        return list(tqdm(prepared, "Preparing anatomies", len(label_maps), unit="map", disable=None))


def prepare_anatomy(label_map: Volume) -> Anatomy:
    """Group, clean and blur a FreeSurfer-style label map.

    Sulcal CSF is taken from value 24 and, where the map has none, filled in around the cortex.

    Args:
        label_map: integer values of FreeSurfer's ``aseg``; values above 100 are no brain.

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
    below = np.isin(group, (CEREBELLAR_GRAY, CEREBELLAR_WHITE))
    distance = ndimage.distance_transform_edt(~parenchyma)
    distance_below = ndimage.distance_transform_edt(~below) if below.any() else np.full(group.shape, np.inf)
    # CSF between two banks is never cut away, however wide the sulcus.
    sulci = ndimage.distance_transform_edt(distance <= SULCUS_HALF_WIDTH_MM) > SULCUS_HALF_WIDTH_MM
    group = _settle_csf(group, distance, distance_below, sulci)
    distance = np.minimum(distance, distance_below).astype(np.float32)
    distance[sulci] = 0
    return Anatomy(
        group=torch.from_numpy(group),
        closed=torch.from_numpy(_close_ventricles(group)),
        ventricle_depth=torch.from_numpy(ndimage.distance_transform_edt(group == VENTRICLES)).float(),
        outer_distance=torch.from_numpy(distance),
        parenchyma_ml=float(parenchyma.sum()) / 1000,
        gray_to_white=float(parenchyma.sum() / (group == WHITE).sum()) - 1,
        name=Path(label_map.path).name,
    )


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
    of_value[list(CEREBELLAR_GRAY_VALUES)] = CEREBELLAR_GRAY
    of_value[list(CEREBELLAR_WHITE_VALUES)] = CEREBELLAR_WHITE
    of_value[FOURTH_VENTRICLE_VALUE] = CSF_BELOW
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


def _settle_csf(group: np.ndarray, distance: np.ndarray, distance_below: np.ndarray, sulci: np.ndarray) -> np.ndarray:
    """Keep or fill in the CSF around the brain; what is nearer to the cerebellum lies below the tentorium."""
    settled = group.copy()
    lacks_sulcal_csf = not (group == SULCAL_CSF).any()
    settled[(group == NOTHING) & (sulci | lacks_sulcal_csf)] = SULCAL_CSF
    settled[(settled == SULCAL_CSF) & (distance_below < distance)] = CSF_BELOW
    settled[(settled == SULCAL_CSF) & (distance > WIDEST_SULCAL_CSF_MM)] = NOTHING
    settled[(settled == CSF_BELOW) & (distance_below > WIDEST_SULCAL_CSF_MM)] = NOTHING
    return settled


def _close_ventricles(group: np.ndarray) -> np.ndarray:
    """Give every voxel of a ventricle the group of the nearest gray or white matter."""
    ventricles = group == VENTRICLES
    tissue = np.isin(group, (CORTEX, DEEP_GRAY, WHITE))
    nearest = ndimage.distance_transform_edt(~tissue, return_distances=False, return_indices=True)
    closed = group.copy()
    closed[ventricles] = group[tuple(axis[ventricles] for axis in nearest)]
    return closed
