"""Volumes: image array + affine, read, checked, brought to canonical orientation, resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage

from model_core.errors import UserError
from model_core.findings import Finding
from model_core.volumes.geometry import check_affine
from model_core.volumes.label_values import to_labels
from model_core.volumes.reading import LoadedFile, grid_of, load

SAME_GRID_TOLERANCE = 0.01  # of a voxel: rounding of affines in file headers stays far below
SMALLEST_EXTENT_MM, FEWEST_SLICES = 60.0, 20  # of a scan that is taken where there are several
ROUNDING = 1e-3  # label values may be stored as floating-point numbers this far off


@dataclass(frozen=True)
class Volume:
    """An image array with its affine, in the file's own voxel order.

    Attributes:
        array: (I, J, K).
        affine: (4, 4), float64, from voxel to RAS mm.
        path: the file it came from, for error sentences.
        header: of a NIfTI or Analyze file, as it stands there, so that a result can state its place in the same words;
            None for volumes that came from other formats or were moved since.
        findings: what a person should know of how the file was understood.
    """

    array: np.ndarray
    affine: np.ndarray
    path: str = ""
    header: Any = None
    findings: tuple[Finding, ...] = ()

    @property
    def spacing(self) -> tuple[float, float, float]:
        """Lengths of the voxel's three sides in mm."""
        i, j, k = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(i), float(j), float(k)

    @property
    def description(self) -> str:
        """Shape and spacing for error sentences, like ``144×192×256 voxels at 1.0×1.0×1.0 mm``."""
        shape = "×".join(str(side) for side in self.array.shape)
        return f"{shape} voxels at {'×'.join(f'{side:.3g}' for side in self.spacing)} mm"


def read_volume(path: str | Path) -> Volume:
    """Read a scan as float32.

    Args:
        path: .nii, .nii.gz, .hdr or .img (Analyze or NIfTI pair, also packed), .nrrd, .nhdr, .mha, .mhd.

    Raises:
        UserError: the file is missing, damaged or truncated, is no single 3-D volume of finite real
            numbers, is constant, or its affine or spacing makes no sense.
    """
    file = _load(path)
    with np.errstate(over="ignore"):
        array = np.ascontiguousarray(file.array, dtype=np.float32)
    not_finite = array.size - int(np.isfinite(array).sum())
    if not_finite:
        raise UserError(
            f"{path} has {not_finite:,} voxels that are NaN or infinite; expected finite numbers only; "
            "set them to 0 and save the scan again."
        )
    if array.min() == array.max():
        raise UserError(f"{path} has the value {array.flat[0]:g} in every voxel; expected a scan; check the export.")
    return Volume(array, file.affine, str(path), file.header, file.findings)


def _load(path: str | Path) -> LoadedFile:
    file = load(path)
    check_affine(str(path), file.array.shape, file.affine)
    return file


def explain_unusable(path: str | Path) -> str:
    """Say by the header alone why a scan cannot be segmented; empty where nothing speaks against it."""
    try:
        shape, affine = grid_of(path)
        check_affine(str(path), shape, affine)
    except UserError as error:
        return str(error).removeprefix(f"{path} ").split(";")[0]
    extent = np.linalg.norm(affine[:3, :3], axis=0) * shape
    if extent.min() < SMALLEST_EXTENT_MM:
        return f"covers {' × '.join(f'{side:.0f}' for side in extent)} mm only"
    if len(shape) == 3 and min(shape) < FEWEST_SLICES:
        return f"has {min(shape)} slices only"
    return ""


def read_mask(path: str | Path) -> Volume:
    """Read a brain mask as bool: every voxel that is not 0 is brain.

    Raises:
        UserError: as `read_volume`, and when the mask is empty or soft.
    """
    file = _load(path)
    if file.array.dtype.kind == "f" and not _are_whole(file.array).all():
        found = file.array[~_are_whole(file.array)]
        raise UserError(
            f"{path} is no mask of yes and no: {found.size:,} voxels hold values such as {found[0]:.3g}; expected 0 "
            "outside the brain and 1 inside; cut it at a threshold (0.5 for a map of probabilities) and save it again."
        )
    if not file.array.any():
        raise UserError(f"{path} is an empty mask; expected the brain's voxels to be 1; make the mask again.")
    return Volume(np.abs(file.array) > ROUNDING, file.affine, str(path), file.header, file.findings)


def read_label_values(path: str | Path) -> Volume:
    """Read a label map of whole numbers, whatever they stand for, as int32.

    Raises:
        UserError: as `read_volume` (constant maps are taken), and when values are not whole numbers.
    """
    file = _load(path)
    array = file.array
    if array.dtype.kind == "f":
        whole = _are_whole(array)
        if not whole.all():
            raise UserError(
                f"{path} has {int((~whole).sum()):,} voxels that are not whole numbers; expected a label map; "
                "was a scan or a probability map given in its place?"
            )
        array = np.rint(array)
    return Volume(np.ascontiguousarray(array, dtype=np.int32), file.affine, str(path), file.header, file.findings)


def _are_whole(array: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        return np.isfinite(array) & (np.abs(array - np.rint(array)) <= ROUNDING) & (np.abs(array) < 2**31)


def read_labels(path: str | Path) -> Volume:
    """Read a tissue label map as uint8 0, 1, 2, 3 (background, CSF, GM, WM).

    The values mean what the data set says (see label_values.py), else they are these labels, iSeg's 0, 10, 150, 250, or
    FreeSurfer's (aseg, aparc+aseg, wmparc), whose cerebellum and brain stem become background.

    Raises:
        UserError: as `read_label_values`, and when values are unknown or their meaning is contradictory.
    """
    return as_labels(read_label_values(path))


def as_labels(values: Volume) -> Volume:
    """Give the values that `read_label_values` read their meaning; see `read_labels`."""
    labels, findings = to_labels(values.array, values.path)
    return Volume(labels, values.affine, values.path, values.header, (*values.findings, *findings))


def have_same_grid(first: Volume, second: Volume) -> bool:
    """Say whether two volumes have one shape, and their corners lie at the same places."""
    if first.array.shape != second.array.shape:
        return False
    corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(first.array.shape)[:, None] - 1)
    shift = (first.affine - second.affine) @ np.vstack([corners, np.ones(8)])
    return bool(np.abs(shift).max() <= SAME_GRID_TOLERANCE * min(second.spacing))


def to_canonical(volume: Volume) -> Volume:
    """Reorder and flip axes so that they run most nearly to right, anterior, superior; nothing is interpolated."""
    orientation = nibabel.io_orientation(volume.affine)
    array = nibabel.apply_orientation(volume.array, orientation)
    affine = volume.affine @ nibabel.orientations.inv_ornt_aff(orientation, volume.array.shape)
    return Volume(np.ascontiguousarray(array), affine, volume.path)


def resample(volume: Volume, shape: Sequence[int], affine: np.ndarray, *, order: int) -> Volume:
    """Interpolate a volume on another grid; outside of the volume there is 0.

    Args:
        volume: the source.
        shape: of the result, (I, J, K).
        affine: (4, 4) of the result, from voxel to RAS mm.
        order: 0 nearest neighbour (keeps the array's type), 1 linear, 3 cubic (float32).
    """
    if order not in (0, 1, 3):
        raise ValueError(f"order must be 0, 1 or 3, not {order}")
    to_source = np.linalg.inv(volume.affine) @ affine
    source = volume.array if order == 0 else volume.array.astype(np.float32, copy=False)
    array = ndimage.affine_transform(
        source.astype(np.uint8) if source.dtype == bool else source,
        to_source[:3, :3],
        to_source[:3, 3],
        output_shape=tuple(shape),
        order=order,
        mode="grid-constant",  # half a voxel beyond the outermost centres still belongs to the volume
    )
    return Volume(array.astype(source.dtype, copy=False), np.asarray(affine, dtype=np.float64), volume.path)
