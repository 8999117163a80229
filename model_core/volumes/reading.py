"""From files to image array + affine: NIfTI, Analyze, NRRD and MetaImage.

NIfTI and Analyze headers are understood by nibabel, NRRD and MetaImage files by SimpleITK. A file is
refused, with one sentence, before memory is taken for voxels that it cannot hold.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import math
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header, Nifti1PairHeader
from nibabel.nifti2 import Nifti2Header, Nifti2PairHeader
from nibabel.spm2analyze import Spm2AnalyzeHeader
from nibabel.spm99analyze import Spm99AnalyzeHeader

from model_core.errors import UserError
from model_core.findings import Finding
from model_core.volumes.faults import (
    check_content,
    check_is_file,
    check_shape_and_type,
    half_missing,
    truncated,
    wrongly_packed,
)
from model_core.volumes.geometry import nifti_affine
from model_core.volumes.itk_headers import DEFLATE_BEST_RATIO, read_text_header
from model_core.volumes.suffixes import ITK_SUFFIXES, NIFTI_SUFFIXES, suffix_of

LARGEST_TAIL_BYTES = 64 << 20  # that may follow the voxels in a packed file

# NIfTI-1 pairs and Analyze share the suffixes; the order is nibabel's own: the more telling header first.
_PAIR_HEADERS = (Nifti1PairHeader, Nifti2PairHeader, Spm2AnalyzeHeader, Spm99AnalyzeHeader, AnalyzeHeader)
_SINGLE_HEADERS = (Nifti1Header, Nifti2Header)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)  # header repairs are told as errors, or not at all
sitk.ProcessObject.SetGlobalWarningDisplay(False)


@dataclass(frozen=True)
class LoadedFile:
    """What a volume file holds.

    Attributes:
        array: (I, J, K) of real numbers, scale slope and intercept applied, in the file's own voxel order.
        affine: (4, 4), from voxel to RAS mm.
        header: nibabel's header of a NIfTI or Analyze file as it stands there, nothing repaired; None for others.
        findings: what a person should know of where the voxels were taken to lie.
    """

    array: np.ndarray
    affine: np.ndarray
    header: Any = None
    findings: tuple[Finding, ...] = ()


def load(path: str | Path) -> LoadedFile:
    """Read one volume.

    Analyze 7.5 files hold no orientation. They are taken as that format's standard says and nibabel
    reads them: voxels run from right to left, back to front, bottom to top, with the origin in the
    middle. Files that end in .hdr/.img but carry the NIfTI magic are read as NIfTI, affine included. A fourth
    dimension of length 1 is dropped; micrometres and metres become millimetres.

    Raises:
        UserError: missing, unreadable, truncated, not three-dimensional, not real-valued.
    """
    check_is_file(path)
    suffix = suffix_of(path)
    with _told_in_a_sentence(path, suffix):
        return _load_itk(Path(path)) if suffix in ITK_SUFFIXES else _load_nibabel(Path(path), suffix)


def shape_of(path: str | Path) -> tuple[int, int, int]:
    """Return the shape (I, J, K) that the header of a volume promises; no voxel is read.

    Raises:
        UserError: as `load`, for what the header shows.
    """
    return grid_of(path)[0]


def grid_of(path: str | Path) -> tuple[tuple[int, int, int], np.ndarray]:
    """Return the shape (I, J, K) and the affine (4, 4) that the header of a volume states; no voxel is read.

    Raises:
        UserError: as `load`, for what the header shows.
    """
    check_is_file(path)
    suffix = suffix_of(path)
    with _told_in_a_sentence(path, suffix):
        if suffix in ITK_SUFFIXES:
            reader, shape = _read_itk_header(Path(path))
            return shape, _itk_affine(reader)
        file = _read_nifti_header(Path(path), suffix)
        return file.shape, nifti_affine(file.header, file.shape, str(path))[0]


@contextlib.contextmanager
def _told_in_a_sentence(path: str | Path, suffix: str) -> Generator[None]:
    try:
        yield
    except (UserError, MemoryError):
        raise
    except PermissionError as error:
        raise UserError(f"No permission to read {path}; change its permissions or choose another file.") from error
    except Exception as error:  # nibabel, SimpleITK and zlib raise whatever they like on damaged files
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise UserError(
            f"{path} cannot be read ({reason}); expected a complete {suffix} volume; copy or export the file again."
        ) from error


# ---- NIfTI and Analyze -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _NiftiFile:
    """A NIfTI or Analyze header that has passed the checks, as nibabel repaired it and as it stands; its voxels."""

    header: Any
    as_it_stands: Any
    shape: tuple[int, int, int]
    image_path: Path


def _read_nifti_header(path: Path, suffix: str) -> _NiftiFile:
    single = suffix in NIFTI_SUFFIXES
    header_path, image_path = (path, path) if single else _find_pair(path, suffix)
    for file in {header_path, image_path}:
        wrongly_packed(file)
    with _open(header_path) as stream:
        block = stream.read(Nifti2Header.sizeof_hdr)
    candidates = _SINGLE_HEADERS if single else _PAIR_HEADERS
    header_class = next((known for known in candidates if known.may_contain_header(block)), None)
    if header_class is None:
        raise UserError(
            f"{header_path} has no NIfTI{'' if single else ' or Analyze'} header; expected a {suffix} volume; "
            "the file may be damaged or of another format, export it again."
        )
    as_it_stands = header_class(block[: header_class.sizeof_hdr], check=False)
    _check_spacing_is_stated(header_path, as_it_stands)
    header = header_class(block[: header_class.sizeof_hdr])

    data_type = header.get_data_dtype()
    is_real = data_type.fields is None and data_type.kind in "iuf"
    type_name = "RGB" if data_type.fields else str(data_type)
    shape = check_shape_and_type(header_path, tuple(int(side) for side in header.get_data_shape()), type_name, is_real)
    return _NiftiFile(header, as_it_stands, shape, image_path)


def _load_nibabel(path: Path, suffix: str) -> LoadedFile:
    file = _read_nifti_header(path, suffix)
    header, data_type, offset = file.header, file.header.get_data_dtype(), int(file.header.get_data_offset())
    content = _read_exactly(file.image_path, offset + math.prod(file.shape) * data_type.itemsize)
    array = np.frombuffer(content, dtype=data_type, offset=offset).reshape(file.shape, order="F")
    slope, intercept = header.get_slope_inter()
    if slope not in (None, 1.0) or intercept not in (None, 0.0):
        array = array * float(slope or 1.0) + float(intercept or 0.0)
    affine, findings = nifti_affine(header, file.shape, str(path))
    return LoadedFile(array, affine, file.as_it_stands, tuple(findings))


def _check_spacing_is_stated(path: Path, header: Any) -> None:
    """nibabel replaces a spacing of 0 by 1 mm; refuse it instead where the affine would be made of it."""
    has_own_affine = "sform_code" in header and int(header["sform_code"]) > 0
    spacing = np.asarray(header["pixdim"][1:4], dtype=float)
    if not has_own_affine and not (np.isfinite(spacing).all() and (spacing != 0).all()):
        raise UserError(
            f"{path} gives a spacing of {' × '.join(f'{side:g}' for side in spacing)} mm; expected three positive "
            "numbers; export the file again with its voxel size."
        )


def _find_pair(path: Path, suffix: str) -> tuple[Path, Path]:
    """Return header and image file of an Analyze or NIfTI pair, either one packed or not."""
    stem = path.name[: -len(suffix)]

    def partner(kind: str) -> Path:
        if kind in suffix:
            return path
        names = [f"{stem}{kind}", f"{stem}{kind}.gz", f"{stem}{kind.upper()}"]
        found = [path.with_name(name) for name in names if path.with_name(name).is_file()]
        if not found:
            check_content(path.with_name(names[0]))
            raise half_missing(path, path.with_name(names[0]))
        return found[0]

    return partner(".hdr"), partner(".img")


def _open(path: Path) -> Any:
    return gzip.open(path, "rb") if path.name.lower().endswith(".gz") else open(path, "rb")


def _read_exactly(path: Path, count: int) -> np.ndarray:
    """Read ``count`` bytes; a packed file is read to its end, so that its checksum is checked too.

    Little may come after the voxels: a small file can unpack to more than a lifetime has seconds for.
    """
    packed = path.name.lower().endswith(".gz")
    on_disk = os.path.getsize(path)
    if on_disk * (DEFLATE_BEST_RATIO if packed else 1) < count:
        raise truncated(path, count, f"{on_disk:,}{' packed' if packed else ''}")
    content = np.empty(count, dtype=np.uint8)
    filled = 0
    with _open(path) as stream:
        while filled < count:
            read = stream.readinto(content.data[filled : filled + (1 << 24)])
            if not read:
                raise truncated(path, count, f"{filled:,}")
            filled += read
        left = LARGEST_TAIL_BYTES
        while packed and (read := len(stream.read(1 << 20))):
            left -= read
            if left < 0:
                raise UserError(
                    f"{path} goes on for more than {LARGEST_TAIL_BYTES >> 20} MB after the {count:,} bytes that its "
                    "header promises; expected its end; the header is damaged, export the file again."
                )
    return content


# ---- NRRD and MetaImage ------------------------------------------------------------------------------------


@contextlib.contextmanager
def silent_libraries() -> Generator[None]:
    """Keep what ITK's libraries print on stderr from the user, who gets one sentence instead."""
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        try:
            os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _read_itk_header(path: Path) -> tuple[sitk.ImageFileReader, tuple[int, int, int]]:
    """Return a reader that knows the file, whose header has passed the checks, and the shape."""
    header = read_text_header(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with silent_libraries():
        reader.ReadImageInformation()
    type_name = sitk.GetPixelIDValueAsString(reader.GetPixelID())
    is_real = reader.GetNumberOfComponents() == 1 and "complex" not in type_name and "label" not in type_name
    shape = check_shape_and_type(path, tuple(int(side) for side in reader.GetSize()), type_name, is_real)
    bytes_a_voxel = sitk.Image([1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    header.check_holds(math.prod(shape), bytes_a_voxel)
    return reader, shape


def _load_itk(path: Path) -> LoadedFile:
    reader, shape = _read_itk_header(path)
    with silent_libraries():
        image = reader.Execute()
    array = sitk.GetArrayFromImage(image).T.reshape(shape)
    return LoadedFile(array, _itk_affine(image))


def _itk_affine(image: sitk.Image | sitk.ImageFileReader) -> np.ndarray:
    """The affine (4, 4) to RAS mm of an image, or of a file whose header was read."""
    dimension = image.GetDimension()
    direction = np.reshape(image.GetDirection(), (dimension, dimension))[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = direction * np.asarray(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return LPS_TO_RAS @ affine
