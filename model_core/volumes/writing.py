"""From image array + affine to files, complete or not at all: NIfTI, NRRD and MetaImage."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import SimpleITK as sitk
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header

from model_core.errors import UserError
from model_core.system.files import check_can_replace, replace_when_complete
from model_core.volumes.geometry import analyze_like, copy_place, matrix_beside
from model_core.volumes.itk_headers import check_name
from model_core.volumes.reading import LPS_TO_RAS, load, silent_libraries
from model_core.volumes.suffixes import ITK_SUFFIXES, NIFTI_SUFFIXES, suffix_of

if TYPE_CHECKING:
    from model_core.volumes.volume import Volume

WRITABLE_SUFFIXES = (*NIFTI_SUFFIXES, ".hdr", ".img", *ITK_SUFFIXES)
LARGEST_SHEAR = 1e-4  # cosine between two axes; rounding of float32 affines stays far below
ALIGNED = 2  # NIfTI's code for coordinates aligned to another file: those of the T1 scan


def check_can_write(path: str | Path, suffixes: tuple[str, ...] = WRITABLE_SUFFIXES) -> None:
    """Raise the UserError now that writing ``path`` would raise after minutes of work.

    Args:
        path: an output that is to be written later; nothing is left behind by the check.
        suffixes: what it may end in.
    """
    suffix_of(path, suffixes)
    check_can_replace(path)


def write_volume(path: str | Path, array: np.ndarray, affine: np.ndarray, like: Volume | None = None) -> None:
    """Write a volume, in the format that the suffix names; it appears complete or not at all.

    NIfTI gets the affine as sform, exactly (to float32), and as qform; .hdr/.img is written as a NIfTI
    pair, since an Analyze file cannot hold an affine. The type of the array is kept (bool as uint8).

    With ``like`` the file states its place as that scan's file does, so that every reader, whichever of a header's
    words it goes by, puts the two on each other: NIfTI gets its version, forms, codes, voxel size and unit; NRRD and
    MetaImage the place where ITK, which alone reads them, sees that file; and .hdr/.img becomes Analyze where that is.

    Args:
        path: ends in .nii, .nii.gz, .hdr or .img (a pair), .nrrd, .nhdr, .mha, .mhd (with .raw).
        array: (I, J, K).
        affine: (4, 4) from voxel to RAS mm.
        like: a scan as it was read from its file, of the same shape and affine.

    Raises:
        UserError: unknown suffix, place that cannot be written to, full disk, or a sheared affine in a
            format that holds only rotations and spacings.
    """
    if array.ndim != 3 or np.shape(affine) != (4, 4):
        raise ValueError(f"array must have 3 dimensions and affine shape (4, 4), not {array.shape}, {np.shape(affine)}")
    array = array.astype(np.uint8) if array.dtype == bool else array
    affine = np.asarray(affine, dtype=np.float64)
    suffix = suffix_of(path, WRITABLE_SUFFIXES)
    check_name(Path(os.path.realpath(path)))
    with replace_when_complete(path) as temporary:
        if suffix in ITK_SUFFIXES:
            _save_itk(path, temporary, array, affine, like)
        else:
            _save_nifti(temporary, array, affine, like, is_pair=suffix not in NIFTI_SUFFIXES)


def _save_nifti(temporary: Path, array: np.ndarray, affine: np.ndarray, like: Volume | None, *, is_pair: bool) -> None:
    stated = None if like is None else like.header
    if is_pair and like is not None and stated is not None and not isinstance(stated, Nifti1Header):
        analyze_like(stated, array, matrix_beside(like.path)).to_filename(temporary)
        return
    kinds = (nibabel.Nifti1Image, nibabel.Nifti1Pair)
    if isinstance(stated, Nifti2Header):  # whose numbers have more digits than the first version holds
        kinds = (nibabel.Nifti2Image, nibabel.Nifti2Pair)
    # Without an affine nibabel leaves the words of the header as they are.
    image = kinds[is_pair](array, affine if stated is None else None)
    if stated is None:
        image.set_sform(affine, code=ALIGNED)
        image.set_qform(affine, code=ALIGNED, strip_shears=True)
        image.header.set_xyzt_units("mm")
    else:
        copy_place(stated, image.header, affine)
    image.to_filename(temporary)


def has_right_angles(affine: np.ndarray) -> bool:
    """Say whether the voxel axes of an affine (4, 4) stand at right angles, as NRRD, MetaImage and ITK want them."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= LARGEST_SHEAR)


def itk_image(array: np.ndarray, affine: np.ndarray) -> sitk.Image:
    """Make a SimpleITK image (LPS) of an array (I, J, K) and its affine (RAS) with axes at right angles."""
    lps = LPS_TO_RAS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _save_itk(path: str | Path, temporary: Path, array: np.ndarray, affine: np.ndarray, like: Volume | None) -> None:
    if not has_right_angles(affine) and (like is None or like.header is not None):  # ITK sees its own files' shear
        raise UserError(
            f"{path} cannot hold the affine of this scan, whose axes are not at right angles; "
            "NRRD and MetaImage hold rotations and spacings only; write a .nii.gz instead."
        )
    try:
        image = None if like is None else _itk_image_like(like, array)
        with silent_libraries():
            compress = temporary.suffix.lower() != ".mhd"
            sitk.WriteImage(
                itk_image(array, affine) if image is None else image, str(temporary), useCompression=compress
            )
        complete = np.array_equal(load(temporary).array, array)
    except (RuntimeError, UserError):
        complete = False
    if not complete:  # ITK does not always say that a write failed, nor why
        full = shutil.disk_usage(temporary.parent).free < array.nbytes
        raise OSError(errno.ENOSPC if full else errno.EIO, "the file that was written is not complete", str(path))


def _itk_image_like(like: Volume, array: np.ndarray) -> sitk.Image | None:
    """Make a SimpleITK image of an array where ITK sees the file of a scan; None where ITK cannot read that."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(like.path)
    try:
        with silent_libraries():
            reader.ReadImageInformation()
    except RuntimeError:
        return None
    if tuple(reader.GetSize()[:3]) != array.shape:
        return None
    dimension = reader.GetDimension()
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing(reader.GetSpacing()[:3])
    image.SetOrigin(reader.GetOrigin()[:3])
    image.SetDirection(np.reshape(reader.GetDirection(), (dimension, dimension))[:3, :3].ravel().tolist())
    return image
