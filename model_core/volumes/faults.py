"""Sentences for volume files that do not hold what they promise."""

from __future__ import annotations

import gzip
import math
import os
import re
import zlib
from pathlib import Path

from model_core.errors import UserError

# What stands in the place of a file whose content was not fetched: git-annex's pointers and Git LFS's.
POINTERS = {
    re.compile(rb"(/annex/objects/|\.\./.*\.git/annex/objects/)"): "git annex get",
    re.compile(rb"version https://git-lfs\.github\.com/spec/"): "git lfs pull --include",
}
LARGEST_POINTER_BYTES = 32_768
MAX_VOXELS = 800**3  # 0.25 mm over a head; more than that is a damaged header, not a brain scan
GZIP_MAGIC = b"\x1f\x8b"
NIFTI_HEADER_SIZES = (348, 540)
# Endings of files that hold volumes which have to be unpacked or converted first, and by what.
TO_UNPACK = {".bz2": "bunzip2", ".xz": "unxz", ".zst": "unzstd", ".zip": "unzip", ".7z": "7z x", ".tgz": "tar xf"}
TO_CONVERT = {".mgz": "mri_convert", ".mgh": "mri_convert", ".mnc": "mnc2nii", ".dcm": "dcm2niix", ".ima": "dcm2niix"}


def truncated(path: Path, expected: int, found: str) -> UserError:
    """A file that holds ``found`` bytes and promises ``expected``."""
    return UserError(
        f"{path} holds {found} bytes but its header promises {expected:,}; the file is truncated or damaged; "
        "copy or export it again."
    )


def half_missing(path: Path, missing: Path) -> UserError:
    """A header without its voxels, or the other way round."""
    return UserError(f"{path} is half of a pair and {missing} is missing; put both files into one folder.")


def damaged_header(path: Path, what: str) -> UserError:
    """A header that no program writes."""
    return UserError(f"{path} cannot be read (its header {what}); expected a complete volume; copy or export it again.")


def unknown_suffix(path: str | Path, suffixes: tuple[str, ...]) -> UserError:
    """A name whose ending tells no format that can be read or written."""
    ending = Path(path).suffix.lower()
    expected = f"{path} has no known suffix; expected one of {', '.join(suffixes)}"
    if ending in TO_UNPACK:
        return UserError(f"{expected}; unpack it ({TO_UNPACK[ending]}) first.")
    if ending in TO_CONVERT:
        return UserError(f"{expected}; convert it ({TO_CONVERT[ending]}) first.")
    return UserError(f"{expected}; rename or convert it.")


def check_content(path: str | Path) -> None:
    """Refuse a file whose content is somewhere else: a link that leads nowhere, or a pointer of a version control.

    Raises:
        UserError: the content is not there.
    """
    if os.path.islink(path) and not os.path.exists(path):
        target = os.readlink(path)
        how = f"git annex get or datalad get {path}" if "annex/objects" in target.replace("\\", "/") else ""
        raise UserError(
            f"{path} is a link to {target}, which is not there; expected the file's content; "
            f"{f'get it ({how})' if how else 'bring the file that it leads to, or mount its disk'}."
        )
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > LARGEST_POINTER_BYTES:
            return
        with open(path, "rb") as file:
            beginning = file.read(200)
    except OSError:
        return  # whoever reads it says why it cannot be read
    for pattern, command in POINTERS.items():
        if pattern.match(beginning):
            raise UserError(
                f"{path} holds the pointer of a file whose content is not there; expected the content; get it "
                f"({command} {path}{', or datalad get' if 'annex' in command else ''})."
            )


def wrongly_packed(path: Path) -> None:
    """Refuse a file whose name says that it is packed, or that it is not, and whose content says otherwise.

    Raises:
        UserError: the name is wrong.
    """
    packed_by_name = path.name.lower().endswith(".gz")
    with open(path, "rb") as file:
        beginning = file.read(512)
    if packed_by_name and _is_nifti(beginning):
        raise UserError(
            f"{path} is not packed, although its name ends in .gz; expected a gzip file; rename it to "
            f"{path.name[:-3]}, or pack it (gzip)."
        )
    if not packed_by_name and beginning.startswith(GZIP_MAGIC):
        try:
            inside = zlib.decompressobj(wbits=31).decompress(beginning, 8)
        except (zlib.error, gzip.BadGzipFile):
            return
        if _is_nifti(inside):
            raise UserError(
                f"{path} is packed (gzip), although its name ends in {path.suffix}; expected an unpacked file; rename "
                f"it to {path.name}.gz, or unpack it (gunzip)."
            )


def _is_nifti(beginning: bytes) -> bool:
    """Whether a file begins with the size of a NIfTI or Analyze header, in either byte order."""
    return any(int.from_bytes(beginning[:4], order) in NIFTI_HEADER_SIZES for order in ("little", "big"))


def check_is_file(path: str | Path) -> None:
    """Refuse what is no file with a content.

    Raises:
        UserError: a folder, nothing, a content that was not fetched, or an empty file.
    """
    if os.path.isdir(path):
        raise UserError(f"{path} is a folder; expected a volume file; name the file inside it.")
    check_content(path)
    if not os.path.exists(path):
        raise UserError(f"{path} does not exist; expected a volume file; check the path.")
    if os.path.getsize(path) == 0:
        raise UserError(f"{path} is empty (0 bytes); expected a volume; copy or export the file again.")


def check_shape_and_type(path: Path, shape: tuple[int, ...], type_name: str, is_real: bool) -> tuple[int, int, int]:
    """Return the shape without trailing ones.

    Args:
        path: of the file, for the sentence.
        shape: that its header promises.
        type_name: of its voxels.
        is_real: whether these are real numbers.

    Raises:
        UserError: this is no scan of one brain.
    """
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    sides = "×".join(str(side) for side in shape)
    if len(shape) == 3 and 1 in shape:
        raise UserError(
            f"{path} has a single slice ({sides} voxels); expected a 3-D volume; choose the 3-D scan of this "
            "examination."
        )
    if len(shape) != 3:
        raise UserError(
            f"{path} has {len(shape)} dimensions ({sides}); expected one 3-D volume; extract a single volume from it."
        )
    if min(shape) < 1:
        raise UserError(f"{path} has no voxels ({sides}); expected a 3-D volume; copy or export the file again.")
    if math.prod(shape) > MAX_VOXELS:
        raise UserError(
            f"{path} claims {sides} voxels; expected at most {MAX_VOXELS:,}; crop the scan, or export it again."
        )
    if not is_real:
        raise UserError(
            f"{path} holds {type_name} voxels; expected one real number a voxel (gray values or labels); "
            "convert it to a scalar volume."
        )
    return shape
