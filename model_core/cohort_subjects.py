"""The subjects of a BIDS data set, one a session, with their masks, references and ages."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model_core.dataset_layouts import Subject, find_bids, list_volumes, natural_order, split_name
from model_core.errors import UserError

PROGRAM_NAME = "InfantBrainSeg"
DESCRIPTION_FILE = "dataset_description.json"
NAME = re.compile(r"sub-(?P<participant>[^_]+)(_ses-(?P<session>[^_]+))?")
MONTHS_A_UNIT = {
    **dict.fromkeys(("month", "months", "mo", "m"), 1.0),
    **dict.fromkeys(("year", "years", "yr", "y", "a"), 12.0),
    **dict.fromkeys(("week", "weeks", "wk", "w"), 7 * 12 / 365.25),
    **dict.fromkeys(("day", "days", "d"), 12 / 365.25),
}
OLDEST_MONTHS = 24.0  # of an age that the check of the volumes takes


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
    """

    participant: str
    session: str
    stem: str
    t1: Path
    t2: Path
    mask: Path | None = None
    reference: Path | None = None
    age_months: float | None = None

    @property
    def name(self) -> str:
        """Like ``sub-01`` or ``sub-01_ses-06mo``; unique in the data set."""
        return "_".join(self.folder.parts)

    @property
    def folder(self) -> Path:
        """Relative folder of the subject, or of its session."""
        return Path(f"sub-{self.participant}", *([f"ses-{self.session}"] if self.session else []))


@dataclass
class Cohort:
    """What a data set holds.

    Attributes:
        subjects: the complete pairs in natural order.
        incomplete: name -> phrase that says which scan is missing.
        notes: sentences on what could not be used.
    """

    subjects: list[CohortSubject]
    incomplete: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_cohort(bids: Path, output: Path) -> Cohort:
    """Find the T1/T2 pairs of a BIDS data set; earlier results of this program are never taken for references.

    Args:
        bids: folder of the data set.
        output: folder of the results; it may lie inside the data set.

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
    ours: dict[Path, bool] = {}
    volumes = [
        path
        for path in list_volumes(bids)
        if not path.is_relative_to(output) and not any(_is_ours(folder, ours) for folder in _between(path, bids))
    ]
    ages = _Ages(bids)
    cohort = Cohort([])
    for name, entry in sorted(find_bids(bids, volumes), key=lambda found: natural_order(Path(found[0]))):
        if isinstance(entry, str):
            cohort.incomplete[name] = entry
        else:
            cohort.subjects.append(_subject(name, entry, ages))
    cohort.notes += ages.notes
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
        try:
            made_by = json.loads((folder / DESCRIPTION_FILE).read_text(encoding="utf-8"))["GeneratedBy"]
            known[folder] = any(entry.get("Name") == PROGRAM_NAME for entry in made_by)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            known[folder] = False
    return known[folder]


def _subject(name: str, files: Subject, ages: _Ages) -> CohortSubject:
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name} is no name of a BIDS subject")
    participant, session = match["participant"], match["session"] or ""
    return CohortSubject(
        participant=participant,
        session=session,
        stem=split_name(files.t1.name)[0].removesuffix("_T1w"),
        t1=files.t1,
        t2=files.t2,
        mask=files.mask,
        reference=files.labels,
        age_months=ages.of(participant, session),
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


class _Ages:
    """Ages from participants.tsv and the sessions' files, whose unit a JSON file beside them may say."""

    def __init__(self, bids: Path) -> None:
        self._bids = bids
        self.notes: list[str] = []
        self._participants = _read_table(bids / "participants.tsv", "participant_id")
        self._sessions: dict[str, dict[str, dict[str, str]]] = {}

    def of(self, participant: str, session: str) -> float | None:
        """Age in months, the session's before the participant's; None where it is not told or cannot be used."""
        label = f"sub-{participant}"
        table = self._bids / label / f"{label}_sessions.tsv"
        if session and participant not in self._sessions:
            self._sessions[participant] = _read_table(table, "session_id")
        row = self._sessions.get(participant, {}).get(f"ses-{session}", {})
        age = self._age(row, table, f"{label}, ses-{session}")
        if age is not None:
            return age
        return self._age(self._participants.get(label, {}), self._bids / "participants.tsv", label)

    def _age(self, row: dict[str, str], table: Path, who: str) -> float | None:
        column = next((name for name in ("age_months", "age") if row.get(name, "n/a") not in ("n/a", "")), None)
        if column is None:
            return None
        unit = "months" if column == "age_months" else _unit_of(column, table, self._bids)
        try:
            months = float(row[column]) * MONTHS_A_UNIT[unit.lower()]
        except (ValueError, KeyError):
            months = math.nan
        if 0 <= months <= OLDEST_MONTHS:
            return round(months, 2)
        self.notes.append(
            f"{table.name} gives {who} the age {row[column]} in {unit}; expected 0 to {OLDEST_MONTHS:g} months; the "
            f'age is not used: name the column age_months, or say its "Units" in {table.with_suffix(".json").name}.'
        )
        return None


def _read_table(path: Path, key: str) -> dict[str, dict[str, str]]:
    """Rows of a table by the value of a column; empty where there is no such table."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except (OSError, ValueError, csv.Error):
        return {}
    return {row[key].strip(): {name: (row[name] or "").strip() for name in row if name} for row in rows if row.get(key)}


def _unit_of(column: str, table: Path, bids: Path) -> str:
    """The unit that a JSON file states, else the one that BIDS recommends."""
    for path in (table.with_suffix(".json"), bids / ("sessions.json" if "sessions" in table.name else "_")):
        try:
            unit = json.loads(path.read_text(encoding="utf-8"))[column]["Units"]
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if isinstance(unit, str):
            return unit
    return "years"
