"""The subjects of a BIDS data set, one a session, with their masks, references and ages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model_core.cohorts.ages import Ages
from model_core.datasets.bids_layout import find_bids
from model_core.datasets.layouts import Subject, list_volumes, natural_order
from model_core.datasets.subjects import name_unreadable
from model_core.errors import UserError
from model_core.program import PROGRAM_NAME
from model_core.volumes.label_values import made_by
from model_core.volumes.suffixes import split_suffix

NAME = re.compile(r"sub-(?P<participant>[^_]+)(_ses-(?P<session>[^_]+))?")
CHOICE = re.compile(r"[a-z]+-[A-Za-z0-9]+")


@dataclass(frozen=True)
class CohortSubject:
    """One T1/T2 pair of a BIDS data set.

    Attributes:
        participant: label without ``sub-``.
        session: label without ``ses-``, empty where there are no sessions.
        stem: name of the T1 file without ``_T1w`` and suffix; names of results begin with it.
        t1, t2: the scans, absolute paths.
        mask: brain mask, None where there is none.
        reference: label map of the data set's derivatives to score against, None where there is none.
        age_months: age at the scan, 0 to 24, None where it is not known.
        notes: phrases on what was taken of several files, and what was left aside.
    """

    participant: str
    session: str
    stem: str
    t1: Path
    t2: Path
    mask: Path | None = None
    reference: Path | None = None
    age_months: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Like ``sub-01`` or ``sub-01_ses-06mo``; unique in the data set."""
        return "_".join(self.folder.parts)

    @property
    def folder(self) -> Path:
        """Relative folder of the subject, or of its session."""
        return Path(f"sub-{self.participant}", *([f"ses-{self.session}"] if self.session else []))


def describe_inputs(subject: CohortSubject) -> str:
    """What a subject's result is made from and compared with, for people."""
    words = [f"T1 {subject.t1.name}", f"T2 {subject.t2.name}"]
    words += [f"brain mask {subject.mask.name}" if subject.mask else "no brain mask"]
    words += [f"reference {subject.reference.name}" if subject.reference else "no reference"]
    words += ["no age" if subject.age_months is None else f"{subject.age_months:g} months"]
    return "; ".join([", ".join(words), *subject.notes])


@dataclass
class Cohort:
    """What a data set holds.

    Attributes:
        subjects: the complete pairs in natural order.
        incomplete: name -> phrase that says which scan is missing.
        notes: sentences on what could not be used.
        unused: sentences on files that look like scans and are not used, and why.
    """

    subjects: list[CohortSubject]
    incomplete: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)


def find_cohort(bids: Path, output: Path, chosen: Sequence[str] = ()) -> Cohort:
    """Find the T1/T2 pairs of a BIDS data set; earlier results of this program are never taken for references.

    Args:
        bids: folder of the data set.
        output: folder of the results; it may lie inside the data set.
        chosen: entities like ``acq-mprage`` of the scans to take, where a session has several.

    Raises:
        UserError: a folder does not serve, or there is no complete pair.
    """
    bids, output = bids.resolve(), output.resolve()
    if not bids.is_dir():
        raise UserError(f"{bids} is not a folder; expected a BIDS data set; check the path.")
    if bids.is_relative_to(output):
        raise UserError(
            f"The output folder {output} holds the data set {bids}; expected a folder of its own for the results; "
            f"choose {bids / 'derivatives' / PROGRAM_NAME.lower()}, say."
        )
    listed = list_volumes(bids)
    ours: dict[Path, bool] = {}

    def is_result(path: Path) -> bool:
        return path.is_relative_to(output) or any(_is_ours(folder, ours) for folder in _between(path, bids))

    volumes = [path for path in listed if not is_result(path)]
    ages = Ages(bids)
    found = find_bids(bids, volumes, chosen)
    cohort = Cohort([], dict(sorted(found.incomplete.items(), key=lambda entry: natural_order(Path(entry[0])))))
    for files in sorted(found.subjects, key=lambda subject: natural_order(Path(subject.name))):
        cohort.subjects.append(_subject(files, ages))
    cohort.notes += ages.notes
    cohort.unused += [*listed.unused, *name_unreadable(bids, listed.others), *found.unused]
    if not cohort.subjects:
        missing = f" ({'; '.join(list(cohort.incomplete.values())[:3])})" if cohort.incomplete else ""
        raise UserError(
            f"{bids} holds no complete T1/T2 pair among its {len(volumes)} volume files{missing}; expected "
            "sub-*/[ses-*/]anat/sub-*_T1w.nii.gz and _T2w.nii.gz; rename the files or give another --bids."
        )
    return cohort


def _between(path: Path, top: Path) -> list[Path]:
    return [top.joinpath(*path.relative_to(top).parts[:depth]) for depth in range(1, len(path.relative_to(top).parts))]


def _is_ours(folder: Path, known: dict[Path, bool]) -> bool:
    """Whether a folder holds derivatives that this program made."""
    if folder not in known:
        known[folder] = PROGRAM_NAME in made_by(folder)
    return known[folder]


def _subject(files: Subject, ages: Ages) -> CohortSubject:
    match = NAME.fullmatch(files.name)
    if match is None:
        raise ValueError(f"{files.name} is no name of a BIDS subject")
    participant, session = match["participant"], match["session"] or ""
    return CohortSubject(
        participant=participant,
        session=session,
        stem=split_suffix(files.t1.name)[0].removesuffix("_T1w"),
        t1=files.t1,
        t2=files.t2,
        mask=files.mask,
        reference=files.labels,
        age_months=ages.of(participant, session),
        notes=files.notes,
    )


def choose_subjects(cohort: Cohort, participants: Sequence[str], sessions: Sequence[str]) -> list[CohortSubject]:
    """Keep the subjects with the given labels, with or without ``sub-`` and ``ses-``; no labels keep all.

    Raises:
        UserError: a label fits no complete pair.
    """
    chosen = cohort.subjects
    for option, prefix, labels, label_of in (
        ("--participant-label", "sub-", participants, lambda subject: subject.participant),
        ("--session-label", "ses-", sessions, lambda subject: subject.session),
    ):
        wanted = [label.removeprefix(prefix) for label in labels]
        there = [label_of(subject) for subject in chosen]
        for label in wanted:
            if label not in there:
                raise UserError(_explain_unknown(option, prefix + label, prefix, there, cohort))
        chosen = [subject for subject in chosen if not wanted or label_of(subject) in wanted]
    return chosen


def _explain_unknown(option: str, label: str, prefix: str, there: Sequence[str], cohort: Cohort) -> str:
    missing = [phrase for name, phrase in cohort.incomplete.items() if label in name.split("_")]
    known = [prefix + other for other in dict.fromkeys(there) if other]
    listed = ", ".join(known[:8]) + (", …" if len(known) > 8 else "") or "none"
    found = f"names {label}, of which a scan is missing ({missing[0]})" if missing else f"names the unknown {label}"
    return f"{option} {found}; expected one of {listed}; correct the label or add the scans."
