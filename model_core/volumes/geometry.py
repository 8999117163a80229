"""Where a file says that its voxels lie: units, the two forms of NIfTI, files that do not say it, and what is odd.

A NIfTI header may state two places (sform and qform), and readers differ in which they take: nibabel, FSL and SPM
take the sform, ITK (so Slicer and ITK-SNAP) mostly the qform; where a header states none, they place its voxels each in
their own way. So a result gets the very fields of its T1, and lies on T1 whoever reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header
from nibabel.spatialimages import HeaderDataError, SpatialImage

from model_core.errors import UserError
from model_core.findings import Finding

SPACING_RANGE_MM = (0.1, 10.0)  # of one voxel side; outside of it the header is wrong, or not of a head scan
MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units of NIfTI: metre, millimetre, micrometre
UNIT_NAMES = {1: "metres", 2: "millimetres", 3: "micrometres"}
SPACE_UNITS = 7  # the bits of xyzt_units that are about space
PLACE_FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
FEW_SLICES = 40  # thick slices, and no more of them than this, are those of a localizer
CORNERS = np.indices((2, 2, 2)).reshape(3, -1)


def nifti_affine(header: Any, shape: tuple[int, int, int], path: str) -> tuple[np.ndarray, list[Finding]]:
    """Work out where a NIfTI or Analyze header places the voxels.

    Args:
        header: nibabel's, checked.
        shape: (I, J, K).
        path: of the file, for the sentences.

    Returns:
        The affine (4, 4), from voxel to RAS mm, whatever the unit of the header; and what a person should know.
    """
    affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    if not isinstance(header, Nifti1Header):
        if (matrix := matrix_beside(path)) is not None:
            return matrix, []
        return affine, [_not_stated(path, "an Analyze file, a format that has no place for it", affine)]
    unit, findings = _unit_of(header, affine, path)
    affine = unit @ affine
    codes = int(header["sform_code"]), int(header["qform_code"])
    if codes == (0, 0):
        findings.append(_not_stated(path, "the codes of its sform and its qform are both 0", affine))
    elif min(codes) > 0:
        findings += _disagreement(affine, header, unit, shape, path)
    return affine, findings


def matrix_beside(path: str) -> np.ndarray | None:
    """The affine (4, 4) that SPM's matrix beside an Analyze file states; None where there is none such."""
    if not Path(path).with_suffix(".mat").is_file():
        return None
    try:
        return np.asarray(cast("SpatialImage", nibabel.load(path)).affine, dtype=np.float64)
    except Exception:  # another program's file of that suffix; scipy raises whatever it likes on it
        return None


def _unit_of(header: Any, affine: np.ndarray, path: str) -> tuple[np.ndarray, list[Finding]]:
    """The scaling (4, 4) from the header's unit to mm."""
    unit = int(header["xyzt_units"]) & SPACE_UNITS
    scaling = np.diag([*(MM_PER_UNIT.get(unit, 1.0),) * 3, 1.0])
    if not np.isfinite(affine).all() or _is_plausible(scaling @ affine) or not _is_plausible(affine):
        return scaling, []
    sides = " × ".join(f"{side:g}" for side in np.linalg.norm(affine[:3, :3], axis=0))
    return np.eye(4), [
        Finding(
            "unit",
            f"{path} states {UNIT_NAMES[unit]} as its unit and voxels of {sides}; expected voxels of a head; they were "
            "taken as millimetres: correct xyzt_units in the header.",
        )
    ]


def _is_plausible(affine: np.ndarray) -> bool:
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return bool(SPACING_RANGE_MM[0] <= spacing.min() and spacing.max() <= SPACING_RANGE_MM[1])


def _not_stated(path: str, why: str, affine: np.ndarray) -> Finding:
    place = "with the origin that SPM's field names" if not _is_centred(affine) else "with 0 in the middle"
    axes = "right to left, from back to front, from bottom to top"
    return Finding(
        "place-not-stated",
        f"{path} does not say how it lies ({why}); expected a header that does; its voxels were taken to run from "
        f"{axes}, {place}, as the Analyze format, nibabel, FSL and SPM have it (ITK turns back and front): check "
        "left and right against another source, for no image shows them.",
    )


def _is_centred(affine: np.ndarray) -> bool:
    """Whether an affine without rotation has 0 in the middle of a volume: origin and first axis of opposite sign."""
    halves = -affine[:3, 3] / np.diag(affine)[:3]
    return bool((np.abs(halves * 2 - np.rint(halves * 2)) < 1e-3).all() and (halves >= 0).all())


def _disagreement(
    sform: np.ndarray, header: Any, unit: np.ndarray, shape: tuple[int, int, int], path: str
) -> list[Finding]:
    """Say so where sform (in mm) and qform (in the header's unit) place a voxel more than a voxel apart."""
    try:
        qform = unit @ header.get_qform()
    except (ValueError, HeaderDataError):
        return []  # no rotation at all; readers pass it over
    corners = np.vstack([CORNERS * (np.array(shape)[:, None] - 1), np.ones(8)])
    apart = float(np.linalg.norm(((sform - qform) @ corners)[:3], axis=0).max())
    if not apart > np.linalg.norm(sform[:3, :3], axis=0).min():
        return []
    return [
        Finding(
            "forms-disagree",
            f"{path} states two places, sform and qform, up to {apart:.1f} mm apart; expected one; the sform was "
            "taken, as nibabel, FSL and SPM do, while ITK, Slicer and ITK-SNAP may show it, and results on it, by the "
            "qform: find out which is right, and set the other one to it.",
        )
    ]


def check_affine(path: str, shape: tuple[int, int, int], affine: np.ndarray) -> None:
    """Refuse an affine that no scan of a head has.

    Args:
        path: of the file, for the sentence.
        shape: (I, J, K).
        affine: (4, 4), from voxel to RAS mm.

    Raises:
        UserError: entries that are no numbers, voxels too small or too large, axes that fall together.
    """
    if not np.isfinite(affine).all():
        raise UserError(f"{path} has an affine with NaN or infinite entries; expected numbers; export it again.")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    smallest, largest = SPACING_RANGE_MM
    sides = " × ".join(f"{side:g}" for side in spacing)
    thick = spacing > largest
    if thick.sum() == 1 and shape[int(thick.argmax())] <= FEW_SLICES and spacing.min() >= smallest:
        raise UserError(
            f"{path} has {shape[int(thick.argmax())]} slices {spacing.max():g} mm apart, like a localizer "
            f"(spacing of {sides} mm); expected a whole brain in voxels of {smallest:g} to {largest:g} mm a side; "
            "choose the 3-D scan of this examination."
        )
    if spacing.min() < smallest or spacing.max() > largest:
        raise UserError(
            f"{path} has a spacing of {sides} mm; expected {smallest:g} to "
            f"{largest:g} mm a side; correct the voxel size (and its unit) in the header."
        )
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 0.1:  # 1 for axes at right angles
        raise UserError(
            f"{path} has an affine whose axes (nearly) fall together; expected three axes in space; "
            "export the file again with its geometry."
        )


def copy_place(source: Any, target: Any, affine: np.ndarray) -> None:
    """Let a NIfTI header state the place of its voxels as another file does.

    Args:
        source: header of that file, as it stands there: NIfTI or Analyze.
        target: NIfTI header, of the source's version, of an image of the same shape; changed.
        affine: (4, 4), that nibabel's rules give the source, from voxel to RAS.
    """
    target["pixdim"][:4] = source["pixdim"][:4]
    if isinstance(source, Nifti1Header):
        for field in PLACE_FIELDS:
            target[field] = source[field]
        target["xyzt_units"] = source["xyzt_units"]
        return
    target["pixdim"][0] = 1
    target.set_sform(None, 0)
    target.set_qform(None, 0)
    target.set_xyzt_units("mm")
    if np.allclose(target.get_best_affine(), affine):
        return
    # SPM's origin or matrix, which ITK passes over: one form for those who know them, the other one for ITK.
    target.set_sform(affine, 2)
    target.set_qform(np.diag([*(-1, -1, 1) * np.abs(source["pixdim"][1:4]), 1.0]), 1)


def analyze_like(source: AnalyzeHeader, array: np.ndarray, matrix: np.ndarray | None) -> Any:
    """Make an Analyze image of an array with the place of another Analyze file.

    Args:
        source: header of that file.
        array: (I, J, K), of a type that the format knows.
        matrix: (4, 4), its affine where that stands in SPM's matrix beside it, to be written beside the image, too.
    """
    image_class = next(
        image_class
        for image_class in (nibabel.Spm2AnalyzeImage, nibabel.Spm99AnalyzeImage, nibabel.AnalyzeImage)
        if image_class.header_class is type(source)
    )
    header = image_class.header_class()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    for field in ("pixdim", "orient", "origin"):
        if field in header:
            header[field] = source[field]
    return image_class(array, matrix, header)
