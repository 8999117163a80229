"""Which files of a folder belong to which subject: iSeg, BIDS and plain layouts; the door to it is datasets.py."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from model_core.volume_reading import READABLE_SUFFIXES

ISEG_NAME = re.compile(r"(subject-\d+)-(T1|T2|label)", re.IGNORECASE)
PLAIN_NAMES = {
    "t1": ("t1", "t1w"),
    "t2": ("t2", "t2w"),
    "labels": ("labels", "label", "segmentation", "seg"),
    "mask": ("mask", "brain_mask", "brainmask"),
}
BIDS_SUFFIXES = {"T1w": "t1", "T2w": "t2", "dseg": "labels", "mask": "mask"}
BIDS_DESCRIPTIONS = ("aseg", "aparcaseg", "")  # of segmentations, the preferred first; others come after them
# Their dseg without a description numbers gray matter 1, white matter 2 and CSF 3, unlike ours.
FAST_PIPELINES = ("fmriprep", "smriprep", "nibabies")
NATIVE_SPACES = ("T1w", "orig", "T2w")  # of files that belong to a T1 without a space of its own; preferred first
NOT_RAW = ("derivatives", "sourcedata")


@dataclass(frozen=True)
class Subject:
    """One T1/T2 pair: one subject, or one session of a subject.

    Attributes:
        name: unique in its folder, like ``subject-1`` or ``sub-01_ses-06mo``.
        t1, t2: the scans.
        labels: label map, None where there is none.
        mask: brain mask, None where there is none.
    """

    name: str
    t1: Path
    t2: Path
    labels: Path | None = None
    mask: Path | None = None


@dataclass
class Candidates:
    """The files found for one subject, by role; several where a layout offers a choice."""

    t1: list[Path] = field(default_factory=list)
    t2: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    mask: list[Path] = field(default_factory=list)


def list_volumes(folder: Path) -> list[Path]:
    """List the volume files below a folder in natural order; of an .hdr/.img pair the .hdr stands for both."""
    found, seen = [], set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(parent) in seen:  # a link back to a folder above
            folders.clear()
            continue
        seen.add(os.path.realpath(parent))
        folders[:] = [name for name in folders if not name.startswith(".")]
        present = {name.lower() for name in names}
        for name in names:
            stem, suffix = split_name(name)
            if suffix and not name.startswith(".") and not (suffix == ".img" and f"{stem.lower()}.hdr" in present):
                found.append(Path(parent, name))
    return sorted(found, key=natural_order)


def split_name(name: str) -> tuple[str, str]:
    """Split a file name in stem and volume suffix (in lower case); the suffix is empty if it is no volume."""
    suffix = max((suffix for suffix in READABLE_SUFFIXES if name.lower().endswith(suffix)), key=len, default="")
    return name[: len(name) - len(suffix)], suffix


def natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key that puts subject-2 before subject-10."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def find_iseg(folder: Path, volumes: Iterable[Path]) -> Iterator[tuple[str, Subject | str]]:
    """Find ``subject-1-T1.hdr``, ``-T2`` and ``-label``, as iSeg-2017 and iSeg-2019 have them.

    Yields:
        The subject's name, and the subject or a sentence on what is missing. So do the other layouts.
    """
    groups: dict[str, Candidates] = defaultdict(Candidates)
    for path in volumes:
        match = ISEG_NAME.fullmatch(split_name(path.name)[0])
        if match:
            role = "labels" if match[2].lower() == "label" else match[2].lower()
            name = (path.relative_to(folder).parent / match[1]).as_posix()
            getattr(groups[name], role).append(path)
    for name, files in groups.items():
        yield name, _first_of_each(name, files)


def find_plain(folder: Path, volumes: Iterable[Path]) -> Iterator[tuple[str, Subject | str]]:
    """Find folders, one a subject, that hold ``T1``, ``T2`` and ``labels`` (or label, segmentation, seg)."""
    groups: dict[Path, Candidates] = defaultdict(Candidates)
    for path in volumes:
        for role, names in PLAIN_NAMES.items():
            if split_name(path.name)[0].lower() in names:
                getattr(groups[path.parent], role).append(path)
    for parent, files in groups.items():
        if files.t1 or files.t2:
            name = folder.resolve().name if parent == folder else parent.relative_to(folder).as_posix()
            yield name, _first_of_each(name, files)


def _first_of_each(name: str, files: Candidates) -> Subject | str:
    if not (files.t1 and files.t2):
        return _missing(name, files, "T1", "T2")
    return Subject(name, files.t1[0], files.t2[0], *(next(iter(found), None) for found in (files.labels, files.mask)))


def _missing(name: str, files: Candidates, t1_name: str, t2_name: str) -> str:
    missing = [f"no {wanted}" for wanted, found in ((t1_name, files.t1), (t2_name, files.t2)) if not found]
    present = (files.t1 or files.t2 or files.labels)[0]
    return f"{name}: {' and '.join(missing)} beside {present.name}"


def find_bids(folder: Path, volumes: Iterable[Path]) -> Iterator[tuple[str, Subject | str]]:
    """Find ``sub-*/[ses-*/]anat/*_T1w`` and ``_T2w``, with a ``_dseg`` and a brain ``_mask``, mostly in derivatives.

    Scans in derivatives and sourcedata are not used. Of several runs the T1 and T2 are taken that have a
    segmentation and agree best in their names.
    """
    groups: dict[str, Candidates] = defaultdict(Candidates)
    for path in volumes:
        entities, folders = _entities(path), path.relative_to(folder).parts[:-1]
        role = BIDS_SUFFIXES.get(entities["suffix"])
        processed = role in ("t1", "t2") and any(part in NOT_RAW for part in folders)
        from_fast = role == "labels" and "desc" not in entities and _is_from_fast((folder.resolve().name, *folders))
        if "sub" in entities and role and not processed and not from_fast:
            name = "_".join(f"{key}-{entities[key]}" for key in ("sub", "ses") if key in entities)
            getattr(groups[name], role).append(path)
    for name, files in groups.items():
        if files.t1 and files.t2:
            yield name, _best_match(name, files)
        elif files.t1 or files.t2 or files.labels:
            yield name, _missing(name, files, "T1w", "T2w")


def _entities(path: Path) -> dict[str, str]:
    """Split ``sub-01_ses-2_T1w.nii.gz`` in ``{"sub": "01", "ses": "2", "suffix": "T1w"}``."""
    *pairs, suffix = split_name(path.name)[0].split("_")
    return {**dict(pair.split("-", maxsplit=1) for pair in pairs if "-" in pair), "suffix": suffix}


def _is_from_fast(folders: Iterable[str]) -> bool:
    return any(part.lower().startswith(FAST_PIPELINES) for part in folders)


def _best_match(name: str, files: Candidates) -> Subject:
    def disagreement(pair: tuple[Path, Path]) -> tuple[bool, int]:
        t1, t2 = (set(_entities(path).items()) for path in pair)
        return not _belonging_to(pair[0], files.labels), len(t1 ^ t2)

    t1, t2 = min(product(files.t1, files.t2), key=disagreement)
    labels = _belonging_to(t1, files.labels)
    mask = _belonging_to(t1, [path for path in files.mask if _entities(path).get("desc") == "brain"])
    return Subject(name, t1, t2, labels[0] if labels else None, mask[0] if mask else None)


def _belonging_to(t1: Path, derived: list[Path]) -> list[Path]:
    """The files on the grid of a T1 scan, the preferred one first.

    A file that names no run or no space is taken to be of the T1's. Segmentations in the space of a template, or of
    another run, do not belong to the T1.
    """
    own = _entities(t1)
    spaces = [own["space"]] if "space" in own else [None, *NATIVE_SPACES]
    ranked = []
    for path in derived:
        theirs = _entities(path)
        space, description = theirs.get("space", spaces[0]), theirs.get("desc", "")
        if theirs.get("run", own.get("run")) == own.get("run") and space in spaces:
            known = description in BIDS_DESCRIPTIONS
            preference = BIDS_DESCRIPTIONS.index(description) if known else len(BIDS_DESCRIPTIONS)
            ranked.append((spaces.index(space), preference, natural_order(path), path))
    return [path for *_, path in sorted(ranked)]
