"""Which files of a folder belong to which subject: iSeg and plain layouts (BIDS: bids_layout.py)."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from model_core.volumes.suffixes import split_suffix

ISEG_NAME = re.compile(r"(subject-\d+)-(T1|T2|label)", re.IGNORECASE)
PLAIN_NAMES = {
    "t1": ("t1", "t1w"),
    "t2": ("t2", "t2w"),
    "labels": ("labels", "label", "segmentation", "seg"),
    "mask": ("mask", "brain_mask", "brainmask"),
}


@dataclass(frozen=True)
class Subject:
    """One T1/T2 pair: one subject, or one session of a subject.

    Attributes:
        name: unique in its folder, like ``subject-1`` or ``sub-01_ses-06mo``.
        t1, t2: the scans.
        labels: label map, None where there is none.
        mask: brain mask, None where there is none.
        notes: phrases on what was taken of several files, and what was left aside.
    """

    name: str
    t1: Path
    t2: Path
    labels: Path | None = None
    mask: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass
class Found:
    """What a layout finds in a folder: every file that looks like a scan is in one of these.

    Attributes:
        subjects: the complete pairs.
        incomplete: name -> phrase that says which scan is missing.
        unused: sentences on files that are not used, and why.
    """

    subjects: list[Subject] = field(default_factory=list)
    incomplete: dict[str, str] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Take over what another layout has found."""
        self.subjects += other.subjects
        self.incomplete |= other.incomplete
        self.unused += other.unused


class VolumeList(list[Path]):
    """Volume files in natural order.

    Attributes:
        unused: sentences on what could not be listed.
        others: files that are no volumes which can be read, by their names.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unused: list[str] = []
        self.others: list[Path] = []


@dataclass
class Candidates:
    """The files found for one subject, by role; several where a layout offers a choice."""

    t1: list[Path] = field(default_factory=list)
    t2: list[Path] = field(default_factory=list)
    labels: list[Path] = field(default_factory=list)
    mask: list[Path] = field(default_factory=list)


def list_volumes(folder: Path) -> VolumeList:
    """List the volume files below a folder in natural order; of an .hdr/.img pair the .hdr stands for both.

    Links to folders are followed, also where several lead to one. Only a folder that is its own ancestor ends there.
    """
    volumes = VolumeList()

    def complain(error: OSError) -> None:
        volumes.unused.append(f"{error.filename} cannot be listed ({error.strerror}); what it holds is not used.")

    above = {str(folder): {os.path.realpath(folder)}}
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=complain):
        ancestors = above.pop(parent)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            real = os.path.realpath(os.path.join(parent, name))
            if real in ancestors:
                folders.remove(name)
            else:
                above[os.path.join(parent, name)] = ancestors | {real}
        present = {name.lower() for name in names}
        for name in names:
            stem, suffix = split_suffix(name)
            if name.startswith(".") or (suffix == ".img" and f"{stem.lower()}.hdr" in present):
                continue
            (volumes if suffix else volumes.others).append(Path(parent, name))
    volumes.sort(key=natural_order)
    return volumes


def natural_order(path: Path) -> list[tuple[bool, int, str]]:
    """Sort key that puts subject-2 before subject-10."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]


def find_iseg(folder: Path, volumes: Iterable[Path]) -> Found:
    """Find ``subject-1-T1.hdr``, ``-T2`` and ``-label``, as iSeg-2017 and iSeg-2019 have them."""
    groups: dict[str, Candidates] = defaultdict(Candidates)
    for path in volumes:
        match = ISEG_NAME.fullmatch(split_suffix(path.name)[0])
        if match:
            role = "labels" if match[2].lower() == "label" else match[2].lower()
            name = (path.relative_to(folder).parent / match[1]).as_posix()
            getattr(groups[name], role).append(path)
    return _first_of_each(groups)


def find_plain(folder: Path, volumes: Iterable[Path]) -> Found:
    """Find folders, one per subject, that hold ``T1``, ``T2`` and ``labels`` (or label, segmentation, seg)."""
    groups: dict[Path, Candidates] = defaultdict(Candidates)
    for path in volumes:
        for role, names in PLAIN_NAMES.items():
            if split_suffix(path.name)[0].lower() in names:
                getattr(groups[path.parent], role).append(path)
    named = {
        folder.resolve().name if parent == folder else parent.relative_to(folder).as_posix(): files
        for parent, files in groups.items()
        if files.t1 or files.t2
    }
    return _first_of_each(named)


def _first_of_each(groups: dict[str, Candidates]) -> Found:
    found = Found()
    for name, files in groups.items():
        roles = [files.t1, files.t2, files.labels, files.mask]
        if not (files.t1 and files.t2):
            missing = [f"no {scan}" for scan, paths in (("T1", files.t1), ("T2", files.t2)) if not paths]
            there = next(paths[0] for paths in roles if paths)
            found.incomplete[name] = f"{name}: {' and '.join(missing)} beside {there.name}"
            continue
        left = [path for paths in roles for path in paths[1:]]
        notes = (f"left aside, since there is another of its kind: {', '.join(path.name for path in left)}",)
        labels, mask = (paths[0] if paths else None for paths in (files.labels, files.mask))
        found.subjects.append(Subject(name, files.t1[0], files.t2[0], labels, mask, notes if left else ()))
    return found
