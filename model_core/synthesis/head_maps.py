"""Label maps of whole heads: made small from SynthSeg's, and made ready for synthetic heads.

python model_core/synthesis/head_maps.py --output Resources/heads training_seg_01.nii.gz training_seg_02.nii.gz ...
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the repository root, so that `model_core` imports

import numpy as np
import torch
from scipy import ndimage

from model_core.errors import UserError
from model_core.system.command_line import run_command
from model_core.system.devices import available_cores
from model_core.volumes import Volume, read_label_values, to_canonical, write_volume

SAMPLES = 3
VOXEL_MM = 1.75  # of the small maps; heads of infants are made smaller from them, and images have voxels of 2 mm

# What has an intensity of its own, and its values in SynthSeg's label maps: FreeSurfer's, and those of 500 and more for
# what lies around the brain. An index of this table is a value of the small maps.
STRUCTURES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("air", (0,)),
    ("CSF around the brain", (24,)),
    ("ventricles", (4, 5, 14, 15, 31, 43, 44, 63, 30, 62, 72)),
    ("gray matter", (3, 42, 10, 11, 12, 13, 17, 18, 26, 28, 49, 50, 51, 52, 53, 54, 58, 60, 136, 137, 163, 164)),
    ("white matter", (2, 41, 25, 57, 77, 85)),
    ("cerebellar gray matter", (8, 47)),
    ("cerebellar white matter", (7, 46)),
    ("brain stem", (16,)),
    ("arteries", (502,)),
    ("eyes", (506,)),
    ("soft tissue", (507,)),
    ("eye muscles", (508,)),
    ("mucosa", (509,)),
    ("skin", (511,)),
    ("spinal cord", (512,)),
    ("veins", (514,)),
    ("compact bone", (515,)),
    ("marrow", (516,)),
    ("optic nerves", (530,)),
)
NAMES = (*(name for name, _ in STRUCTURES), "membranes")  # the last one is in no map: synthesis puts it in CSF's place
AIR, CSF, VENTRICLES = 0, 1, 2
SOFT_TISSUE, BONE, MEMBRANES = (NAMES.index(name) for name in ("soft tissue", "compact bone", "membranes"))
IN_FISSURES = (AIR, NAMES.index("arteries"), NAMES.index("veins"))
PARENCHYMA = range(NAMES.index("gray matter"), NAMES.index("brain stem") + 1)
NECK_MM = 70.0  # below the brain, kept in the small maps

# CSF farther than this from the brain is no more the brain's: adults have more room in their skulls than infants.
WIDEST_CSF_MM = 8.0
# Fluid in a gap of up to twice the first between parts of the brain is in a sulcus, a fissure or a cistern, its own at
# any depth: these are adults, and some have wide ones. In narrow gaps vessels are, too.
SULCUS_HALF_WIDTH_MM, FISSURE_HALF_WIDTH_MM = 9.0, 5.0
THICKNESS_MM = 9.0  # of the layers around the brain, skull and scalp, that are thinned in infants


@dataclass(frozen=True)
class Head:
    """A small map made ready.

    Attributes:
        labels: (D, H, W) uint8, indices of ``NAMES``, right, anterior and superior.
        brain: (D, H, W) bool: brain, cerebellum, brain stem and the CSF around them.
        csf_depth: (D, H, W) float32, how many mm the CSF around brain and sulci lies away from them; 0 elsewhere.
        outward: (3, D, H, W) float32, the direction away from the brain, rising from 0 at its surface to length 1
            beyond the skull.
        centre: (3,) voxel of the brain's middle.
        name: of the file it was made from.
    """

    labels: torch.Tensor
    brain: torch.Tensor
    csf_depth: torch.Tensor
    outward: torch.Tensor
    centre: np.ndarray
    name: str


def shrink_map(label_map: Volume) -> Volume:
    """Merge the structures of a SynthSeg label map and resample it to ``VOXEL_MM``, cropped to the head.

    Each voxel gets the structure with the largest part of it.

    Args:
        label_map: SynthSeg's values, any orientation.

    Returns:
        uint8, indices of ``STRUCTURES``; right, anterior, superior.

    Raises:
        UserError: the map holds no gray matter or no bone.
    """
    canonical = to_canonical(label_map)
    for name in ("gray matter", "compact bone"):
        if not np.isin(canonical.array, STRUCTURES[NAMES.index(name)][1]).any():
            raise UserError(
                f"{label_map.path} holds no {name}; a whole head with SynthSeg's values (gray matter 3 and 42, bone "
                "515) was expected; give one of its training label maps."
            )
    step = VOXEL_MM / np.asarray(canonical.spacing)
    labels = _largest_piece(_largest_parts(canonical.array.astype(np.int32), step))
    box = list(_box(labels > 0))
    lowest = _box(np.isin(labels, PARENCHYMA))[2].start - round(NECK_MM / VOXEL_MM)
    box[2] = slice(max(box[2].start, lowest), box[2].stop)
    affine = canonical.affine @ np.diag([*step, 1.0])
    affine[:3, 3] = (canonical.affine @ [*((step - 1) / 2), 1])[:3]
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return Volume(labels[tuple(box)], affine, label_map.path)


def _largest_parts(values: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The structure with the largest part of each voxel of ``step`` voxels a side, from ``SAMPLES``³ points in it."""
    structure = np.zeros(values.max() + 1, np.uint8)
    for index, (_, of_structure) in enumerate(STRUCTURES):
        structure[[value for value in of_structure if value < len(structure)]] = index
    shape = [math.ceil(side / size) for side, size in zip(values.shape, step, strict=True)]
    places = [
        (((np.arange(n * SAMPLES) + 0.5) * size / SAMPLES).astype(int).clip(max=side - 1)).reshape(n, SAMPLES).T
        for n, size, side in zip(shape, step, values.shape, strict=True)
    ]
    points = [structure[values[np.ix_(*ways)]] for ways in itertools.product(*places)]
    largest, labels = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for index in range(len(STRUCTURES)):
        part = np.stack([point == index for point in points]).sum(axis=0, dtype=np.uint8)
        larger = part > largest
        labels[larger], largest[larger] = index, part[larger]
    return labels


def _box(foreground: np.ndarray) -> tuple[slice, ...]:
    return ndimage.find_objects(foreground.astype(np.uint8))[0]


def _largest_piece(labels: np.ndarray) -> np.ndarray:
    pieces, _ = ndimage.label(labels > 0)
    return np.where(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax(), labels, 0).astype(np.uint8)


def read_heads(paths: Sequence[str | os.PathLike[str]]) -> list[Head]:
    """Read small maps and make them ready, on all cores."""
    with ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(lambda path: prepare_head(read_label_values(path)), paths))


def prepare_head(label_map: Volume) -> Head:
    """Find the brain's mask and the ways out of it in a small map of ``shrink_map``."""
    labels = label_map.array.astype(np.uint8)
    parenchyma = np.isin(labels, PARENCHYMA)
    sulci, fissures = (_closed(parenchyma, width) for width in (SULCUS_HALF_WIDTH_MM, FISSURE_HALF_WIDTH_MM))
    lowest = _box(parenchyma)[2].start
    above = np.arange(labels.shape[2]) >= lowest
    fluid = np.isin(labels, (CSF, VENTRICLES))
    inner = parenchyma | (labels == VENTRICLES) | (above & sulci & fluid)
    # Veins and arteries in fissures belong to it, and so do specks of air that the maps have there.
    inner |= above & fissures & np.isin(labels, IN_FISSURES)
    distance = ndimage.distance_transform_edt(~inner, VOXEL_MM)
    brain = inner | (above & fluid & (distance <= WIDEST_CSF_MM))
    brain = ndimage.binary_fill_holes(_opened(brain, parenchyma))
    depth = np.where((labels == CSF) & above, distance, 0)
    away, direction = ndimage.distance_transform_edt(~brain, VOXEL_MM, return_indices=True)
    outward = (np.indices(labels.shape) - direction) * VOXEL_MM / np.maximum(away, 1e-6)
    outward = outward * (1 - np.exp(-away / THICKNESS_MM))
    return Head(
        labels=torch.from_numpy(labels),
        brain=torch.from_numpy(brain),
        csf_depth=torch.from_numpy(depth).float(),
        outward=torch.from_numpy(ndimage.gaussian_filter(outward, (0, 1.5, 1.5, 1.5))).float(),
        centre=np.asarray(ndimage.center_of_mass(brain)),
        name=Path(label_map.path).name,
    )


def _closed(parenchyma: np.ndarray, half_width: float) -> np.ndarray:
    """Tissue and the gaps of up to twice this width, mm, in it."""
    far = ndimage.distance_transform_edt(~parenchyma, VOXEL_MM) > half_width
    return ndimage.distance_transform_edt(~np.pad(far, 1, mode="edge"), VOXEL_MM)[1:-1, 1:-1, 1:-1] > half_width


def _opened(brain: np.ndarray, parenchyma: np.ndarray) -> np.ndarray:
    """Drop CSF that only a thread joins to the brain, as around nerves."""
    opened = ndimage.binary_opening(brain) | parenchyma
    pieces, _ = ndimage.label(opened)
    return pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the small map of each label map that is given, under its own name."""
    title, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("maps", nargs="+", type=Path, metavar="LABELS", help="SynthSeg's training label maps")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder of the small maps")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    for path in options.maps:
        small = shrink_map(read_label_values(path))
        write_volume(options.output / path.name, small.array, small.affine)


if __name__ == "__main__":
    sys.exit(run_command(main))
