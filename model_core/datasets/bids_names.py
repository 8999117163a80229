"""Names of files in a BIDS data set: their entities, and whether one belongs to another."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from model_core.volumes.suffixes import split_suffix

SCAN_SUFFIXES = ("T1w", "T2w")
# Entities that a derivative has besides those of the image that it was made from.
DERIVED = ("space", "res", "den", "desc", "label", "atlas", "seg", "suffix")
SLICER_SEGMENTATION = ".seg"  # before .nrrd, in the names that Slicer gives to segmentations
NATIVE_SPACES = ("T1w", "orig")  # of files on a T1 that names no space of its own; preferred first
DATA_TYPES = (
    *("func", "dwi", "fmap", "perf", "pet", "meg", "eeg", "ieeg", "beh", "micr", "nirs", "motion", "mrs", "figures"),
    *("log", "xfm", "surf"),
)


def entities_of(path: Path) -> dict[str, str]:
    """Split ``sub-01_ses-2_T1w.nii.gz`` in ``{"sub": "01", "ses": "2", "suffix": "T1w"}``.

    Slicer's ``sub-01_dseg.seg.nrrd`` is a ``dseg``.
    """
    *pairs, suffix = split_suffix(path.name)[0].removesuffix(SLICER_SEGMENTATION).split("_")
    return {**dict(pair.split("-", maxsplit=1) for pair in pairs if "-" in pair), "suffix": suffix}


def have_same_value(key: str, first: str | None, second: str | None) -> bool:
    """Whether two values of an entity are one; indices like that of a run may have zeros in front."""
    if key in ("run", "echo", "inv") and first and second and first.isdecimal() and second.isdecimal():
        return int(first) == int(second)
    return first == second


def why_not_of(scan: dict[str, str], path: Path) -> str:
    """Say why a derivative does not belong to a scan; empty where it does.

    It has to lie in ``anat`` or in no folder of a kind of data, may name no entity that the scan has not, or has
    otherwise, and its space has to be the scan's. A file that names no space is taken to be on the scan's grid.

    Args:
        scan: entities of the T1.
        path: of the derivative.
    """
    if kind := folder_of_other_data(path):
        return f"it lies in {kind}"
    theirs = entities_of(path)
    for key, value in theirs.items():
        if key not in DERIVED and not have_same_value(key, value, scan.get(key)):
            return f"it is of {key}-{value}"
    if "space" in theirs and theirs["space"] not in spaces_of(scan):
        return f"it is in the space {theirs['space']}"
    return ""


def spaces_of(scan: dict[str, str]) -> list[str]:
    """Names that the space of a scan may have, the preferred first."""
    return [scan["space"]] if "space" in scan else [*NATIVE_SPACES]


def folder_of_other_data(path: Path) -> str:
    """The folder of a kind of data other than anat in which a file lies; empty where there is none."""
    return path.parent.name if path.parent.name in DATA_TYPES else ""


def contradiction_with_folders(path: Path) -> str:
    """Say where the folders above a file name another subject or session than its name; empty where they do not."""
    named = entities_of(path)
    for folder in path.parents:
        key, dash, value = folder.name.partition("-")
        if dash and key in ("sub", "ses") and "sub" in named and named.get(key) != value:
            return f"it lies in {folder.name}"
        if key == "sub" and dash:
            break
    return ""


def listed(paths: Iterable[Path], most: int = 4) -> str:
    """Names of files with commas, the first ones of many."""
    names = [path.name for path in paths]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
