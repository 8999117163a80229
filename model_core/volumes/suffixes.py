"""The suffixes of volume files."""

from __future__ import annotations

from pathlib import Path

from model_core.volumes.faults import unknown_suffix

NIFTI_SUFFIXES = (".nii", ".nii.gz")
PAIR_SUFFIXES = (".hdr", ".img", ".hdr.gz", ".img.gz")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
READABLE_SUFFIXES = (*NIFTI_SUFFIXES, *PAIR_SUFFIXES, *ITK_SUFFIXES)


def suffix_of(path: str | Path, suffixes: tuple[str, ...] = READABLE_SUFFIXES) -> str:
    """Return the volume suffix of a path in lower case, ``.nii.gz`` and the like as one.

    Raises:
        UserError: the path ends in none of ``suffixes``.
    """
    name = Path(path).name.lower()
    found = [suffix for suffix in suffixes if name.endswith(suffix) and len(name) > len(suffix)]
    if not found:
        raise unknown_suffix(path, suffixes)
    return max(found, key=len)


def split_suffix(name: str) -> tuple[str, str]:
    """Split a file name in stem and volume suffix (in lower case); the suffix is empty if it is no volume."""
    suffix = max((suffix for suffix in READABLE_SUFFIXES if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(suffix)], suffix
