"""Labelled T1/T2 pairs for training: found in a folder, read onto the network grid, cut into random windows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage

from model_core.datasets.bids_layout import find_bids, looks_like_scan
from model_core.datasets.layouts import Found, Subject, find_iseg, find_plain, list_volumes, natural_order
from model_core.errors import UserError
from model_core.findings import Finding
from model_core.preprocessing import PreparedPair, prepare_pair
from model_core.tissues import BACKGROUND
from model_core.volumes import Volume, as_labels, read_label_values, read_mask, read_volume, resample

__all__ = [
    "LabelledPair",
    "PatchSampler",
    "Subject",
    "SubjectList",
    "cut_to_brain",
    "describe_subjects",
    "draw_windows",
    "find_subjects",
    "leave_one_out",
    "load_pair",
    "prepare_subject",
    "read_subject_labels",
]

SMALLEST_SHARE_IN_BRAIN = 0.5  # of the labelled volume; less means that labels and T1 are not of one place
LAYOUTS = (
    "subject-1-T1.hdr, subject-1-T2.hdr, subject-1-label.hdr (iSeg); sub-01/anat/sub-01_T1w.nii.gz, _T2w.nii.gz with "
    "derivatives/…/sub-01_dseg.nii.gz (BIDS, with or without ses-*); or one folder a subject with T1.nii.gz, "
    "T2.nii.gz, labels.nii.gz"
)


class SubjectList(list[Subject]):
    """The subjects of a folder in natural order.

    Attributes:
        incomplete: for each pair of scans of which one is missing, a phrase that says which.
        unused: sentences on files that look like scans and are not used, and why.
    """

    def __init__(self, subjects: Sequence[Subject], incomplete: Sequence[str], unused: Sequence[str] = ()) -> None:
        super().__init__(subjects)
        self.incomplete = list(incomplete)
        self.unused = list(unused)


def find_subjects(folder: str | os.PathLike[str]) -> SubjectList:
    """Find the T1/T2 pairs below a folder, with their label maps where there are any.

    Three layouts are known, and may be mixed: iSeg-2017 and iSeg-2019, BIDS with segmentations in its derivatives,
    and plain folders, one per subject. Of several scans of a session the headers are read, else no file is opened. A
    pair that is there twice, by links, is used once.

    Raises:
        UserError: the folder is missing or holds no complete pair.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; expected one with T1/T2 pairs; check the path.")
    volumes = list_volumes(folder)
    found = Found(unused=[*volumes.unused, *name_unreadable(folder, volumes.others)])
    for find in (find_iseg, find_bids, find_plain):
        found.add(find(folder, volumes))
    subjects = SubjectList(
        _without_twins(sorted(found.subjects, key=lambda subject: natural_order(Path(subject.name))), found),
        sorted(found.incomplete.values(), key=lambda phrase: natural_order(Path(phrase))),
        found.unused,
    )
    if not subjects:
        incomplete = f" ({'; '.join(subjects.incomplete[:5])})" if subjects.incomplete else ""
        raise UserError(
            f"{folder} holds no complete T1/T2 pair among its {len(volumes)} volume files{incomplete}; expected "
            f"{LAYOUTS}; rename the files or give another folder."
        )
    return subjects


def name_unreadable(folder: Path, others: Sequence[Path]) -> list[str]:
    """Say which files have the name of a scan and a suffix that cannot be read."""
    return [
        f"{path.relative_to(folder)} is not used, because its suffix is none that can be read; convert it to .nii.gz."
        for path in others
        if looks_like_scan(path)
    ]


def _without_twins(subjects: Sequence[Subject], found: Found) -> list[Subject]:
    """Keep one of several subjects whose T1 and T2 are the same files, reached by links."""
    first: dict[tuple[str, str], Subject] = {}
    for subject in subjects:
        files = os.path.realpath(subject.t1), os.path.realpath(subject.t2)
        if (twin := first.setdefault(files, subject)) is not subject:
            found.unused.append(f"{subject.name} is not used, because its scans are those of {twin.name}.")
    return list(first.values())


def describe_subjects(subjects: SubjectList) -> str:
    """List the files of each subject, and name what is missing and what is not used.

    Subjects with labels are numbered from 1, as :func:`leave_one_out` counts them once the others are left out.
    """
    lines, number = [f"T1/T2 pairs found: {len(subjects)}"], 0
    for subject in subjects:
        number += subject.labels is not None
        count = f"{number:>4}." if subject.labels else "    -"
        labels = f"labels {subject.labels.name}" if subject.labels else "no labels"
        mask = f", mask {subject.mask.name}" if subject.mask else ""
        lines.append(f"{count} {subject.name}: {subject.t1.name}, {subject.t2.name}, {labels}{mask}")
        lines += [f"      {note}" for note in subject.notes]
    if subjects.incomplete:
        lines += ["Incomplete, not used:", *(f"    - {missing}" for missing in subjects.incomplete)]
    return "\n".join([*lines, *subjects.unused])


def leave_one_out(subjects: Sequence[Subject], n: int) -> tuple[list[Subject], list[Subject]]:
    """Split subjects into all but one, for training, and that one, for validation.

    Args:
        subjects: the subjects in order.
        n: number of the subject to leave out, from 1 on.

    Raises:
        UserError: there is no such subject, or none would be left to train on.
    """
    if not 1 <= n <= len(subjects):
        raise UserError(f"There is no subject {n} to leave out; expected 1 to {len(subjects)}; choose one of the list.")
    if len(subjects) == 1:
        raise UserError("There is one subject only, and it is left out; expected two or more; add labelled subjects.")
    return [*subjects[: n - 1], *subjects[n:]], [subjects[n - 1]]


@dataclass(frozen=True)
class LabelledPair:
    """A subject in memory, on the network grid.

    Attributes:
        name: of the subject.
        t1, t2: float32 (D, H, W), 0 outside the brain, not standardised.
        labels: uint8 (D, H, W), 0 to 3.
        findings: what a person should know of how the files were understood.
    """

    name: str
    t1: np.ndarray
    t2: np.ndarray
    labels: np.ndarray
    findings: tuple[Finding, ...] = ()


def read_subject_labels(subject: Subject) -> Volume:
    """Read a subject's label map as labels 0 to 3, on its own grid.

    The file's values mean what `read_labels` says; with FreeSurfer's, cerebellum and brain stem become background,
    while the scans still show them.

    Raises:
        UserError: there is no label map, it cannot be read, or it holds other values.
    """
    return as_labels(_label_values(subject))


def _label_values(subject: Subject) -> Volume:
    if subject.labels is None:
        raise UserError(f"{subject.name} has no label map; expected one beside {subject.t1}; add it.")
    return read_label_values(subject.labels)


def load_pair(subject: Subject) -> LabelledPair:
    """Read one subject and bring it to the network grid, labels included; see :func:`prepare_subject`."""
    prepared, labels, labels_on_grid = prepare_subject(subject)
    return LabelledPair(subject.name, prepared.t1, prepared.t2, labels_on_grid, labels.findings)


def prepare_subject(subject: Subject) -> tuple[PreparedPair, Volume, np.ndarray]:
    """Read one subject, for training and for scores on the labels' own grid.

    Where T1 is not skull-stripped and there is no brain mask, all that the label map names (cerebellum and brain
    stem included) is taken as the brain.

    Returns:
        The scans on the network grid; the labels 0 to 3 on their own grid, with the findings on all files; and on the
        network grid, uint8 (D, H, W).

    Raises:
        UserError: a file is at fault, there are no labels, or labels and T1 do not lie over each other.
    """
    t1, t2, values = read_volume(subject.t1), read_volume(subject.t2), _label_values(subject)
    labels = as_labels(values)
    prepared = _prepare(t1, t2, values, None if subject.mask is None else read_mask(subject.mask))
    on_grid = resample(labels, prepared.t1.shape, prepared.affine, order=0).array
    on_grid[~prepared.mask] = BACKGROUND.label
    labelled_mm3 = np.count_nonzero(labels.array) * abs(np.linalg.det(labels.affine[:3, :3]))
    share = np.count_nonzero(on_grid) / labelled_mm3 if labelled_mm3 else 0.0  # the network grid has 1 mm³ voxels
    if share < SMALLEST_SHARE_IN_BRAIN:
        raise UserError(
            f"{share:.0%} of the labels in {labels.path} ({labels.description}) lie in the brain of {t1.path} "
            f"({t1.description}); expected nearly all; check that both are of one scan and their affines."
        )
    return prepared, replace(labels, findings=(*t1.findings, *t2.findings, *labels.findings)), on_grid


def _prepare(t1: Volume, t2: Volume, values: Volume, mask: Volume | None) -> PreparedPair:
    try:
        return prepare_pair(t1, t2, mask)
    except UserError:
        if mask is not None or not values.array.any():
            raise
    return prepare_pair(t1, t2, Volume(values.array != 0, values.affine, values.path))


class PatchSampler:
    """Random windows inside the brain's bounding box, for training.

    Example:
        >>> sampler = PatchSampler(pairs, window=32, seed=0)
        >>> images, labels = sampler.batch(iteration=0, size=5)
    """

    def __init__(self, pairs: Sequence[LabelledPair], *, window: int, seed: int) -> None:
        """Cut every pair to its brain's bounding box; boxes smaller than the window get zeros around them.

        Args:
            pairs: one or more subjects; all are equally likely, whatever their size.
            window: side of the windows in voxels.
            seed: 0 or more.
        """
        if not pairs:
            raise ValueError("pairs is empty; at least one subject is expected")
        self.window = window
        self.seed = seed
        self._boxes = [cut_to_brain(pair, window) for pair in pairs]

    def batch(self, iteration: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut the windows of one iteration; the same for the same seed, iteration and size, whatever came before.

        Args:
            iteration: 0 or more.
            size: number of windows.

        Returns:
            Images, float32 (size, 2, w, w, w), T1 and T2, not standardised; labels, uint8 (size, w, w, w).
        """
        return draw_windows(self._boxes, self.window, size, np.random.default_rng((self.seed, iteration)))


def draw_windows(
    boxes: Sequence[Sequence[np.ndarray]], window: int, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut windows at random places of random subjects; see :meth:`PatchSampler.batch`.

    Args:
        boxes: T1, T2 and labels of each subject, from :func:`cut_to_brain`.
        window: side of the windows in voxels.
        size: number of windows.
        rng: where the random numbers come from.
    """
    images = np.empty((size, 2, *(window,) * 3), np.float32)
    labels = np.empty((size, *(window,) * 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        t1, t2, box_labels = boxes[int(rng.integers(len(boxes)))]
        starts = rng.integers(np.array(t1.shape) - window + 1)
        place = tuple(slice(start, start + window) for start in starts)
        image[0], image[1], label[:] = t1[place], t2[place], box_labels[place]
    return images, labels


def cut_to_brain(pair: LabelledPair, window: int) -> list[np.ndarray]:
    """Cut T1, T2 and labels to the bounding box of the brain, padded with zeros to at least one window."""
    arrays = [pair.t1, pair.t2, pair.labels]
    if len({array.shape for array in arrays}) != 1 or pair.t1.ndim != 3:
        raise ValueError(f"{pair.name} has arrays of the shapes {[array.shape for array in arrays]}; one is expected")
    brain = (pair.t1 != 0) | (pair.t2 != 0)
    if not brain.any():
        raise ValueError(f"{pair.name} of shape {brain.shape} is 0 everywhere; a brain is expected")
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    lacking = [max(window - (side.stop - side.start), 0) for side in box]
    padding = [(missing // 2, missing - missing // 2) for missing in lacking]
    return [np.pad(array[box], padding) if any(lacking) else array[box] for array in arrays]
