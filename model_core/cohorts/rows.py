"""What a cohort's report knows of each subject, read from the sidecars of its results."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, TypeGuard

from model_core.cohorts.files import ResultFiles
from model_core.cohorts.subjects import Cohort, CohortSubject, describe_inputs
from model_core.metric_table import SCORES
from model_core.ratings import BAD, Rating
from model_core.system.text_files import read_json
from model_core.tissues import TISSUES

# Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993): modified z scores beyond 3.5.
OUTLIER_Z, NORMAL_MAD = 3.5, 0.6745
FEWEST_FOR_OUTLIERS = 5  # with fewer, the median deviation says next to nothing
EXPECTED = ("low", "middle", "high")  # of the range of an expected Dice
COMPLETE, FAILED, INCOMPLETE, PENDING = "complete", "failed", "incomplete", "pending"


@dataclass
class Row:
    """One subject of the report.

    Attributes:
        subject: the scans; None where one of the two is missing.
        name: like ``sub-01_ses-06mo``.
        state: COMPLETE, FAILED, INCOMPLETE (a scan is missing) or PENDING (not segmented yet).
        sentence: why it is not complete.
        volumes: tissue's key, and ``total`` -> ml.
        scores: ``dice_csf`` and so on -> value; infinite and undefined values as they are.
        z: like ``volumes`` -> modified z score, where there are enough subjects.
        outliers: phrases on volumes far from the others', and on an expected Dice far below theirs.
        warnings: sentences of the checks at segmentation.
        expected: ``csf_low``, ``csf_middle``, ``csf_high`` and so on -> expected Dice; empty where weights know none.
        uncertainty: mean over the brain, 0 to 1.
        inputs: what the result is made from, and what was left aside.
        settings: what may differ between subjects and should not.
        picture, report: paths relative to the output, empty where there is none.
        rating, comment: what a person thinks of it, empty where nobody said.
    """

    name: str
    state: str
    subject: CohortSubject | None = None
    sentence: str = ""
    age_months: float | None = None
    volumes: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)
    z: dict[str, float] = field(default_factory=dict)
    outliers: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    expected: dict[str, float] = field(default_factory=dict)
    uncertainty: float | None = None
    inputs: str = ""
    settings: str = ""
    seconds: float | None = None
    picture: str = ""
    report: str = ""
    rating: str = ""
    comment: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is part of the group's statistics."""
        return self.state == COMPLETE and self.rating != BAD

    @property
    def flags(self) -> list[str]:
        """Everything that a person should look at."""
        return [*self.outliers, *self.warnings]


def collect_rows(output: Path, cohort: Cohort, ratings: Mapping[str, Rating]) -> list[Row]:
    """Read what there is of each subject of the data set, in its order.

    Args:
        output: folder of the results.
        cohort: the data set.
        ratings: name of a result -> what a person thinks of it.
    """
    rows = [_row(ResultFiles(output, subject)) for subject in cohort.subjects]
    for row in rows:
        if row.name in ratings:
            row.rating, row.comment = ratings[row.name].rating, ratings[row.name].comment
    return rows + [
        Row(name, INCOMPLETE, sentence=phrase.removeprefix(f"{name}: ")) for name, phrase in cohort.incomplete.items()
    ]


def _row(files: ResultFiles) -> Row:
    subject = files.subject
    row = Row(subject.name, COMPLETE, subject, age_months=subject.age_months, inputs=describe_inputs(subject))
    sidecar = read_json(files.sidecar)
    failure = read_json(files.failure)
    volumes = sidecar.get("volumes_ml")
    if failure:
        row.state, row.sentence = FAILED, str(failure.get("sentence", "no reason was noted"))
    elif not isinstance(volumes, dict) or not all(_is_number(volumes.get(tissue.key)) for tissue in TISSUES):
        row.state, row.sentence = PENDING, "not segmented yet"
    else:
        row.volumes = {tissue.key: float(volumes[tissue.key]) for tissue in TISSUES}
        row.volumes["total"] = sum(row.volumes.values())
        row.scores = _scores(sidecar.get("tissues"))
        row.expected = _expected(sidecar.get("expected_dice"))
        row.uncertainty = sidecar.get("mean_uncertainty") if _is_number(sidecar.get("mean_uncertainty")) else None
        row.warnings = [str(entry.get("sentence")) for entry in _objects(sidecar.get("warnings"))]
        row.settings = _settings(sidecar)
        row.seconds = sidecar.get("seconds") if _is_number(sidecar.get("seconds")) else None
        row.picture, row.report = (
            path.relative_to(files.output).as_posix() if path.exists() else "" for path in (files.picture, files.report)
        )
    return row


def _scores(tissues: object) -> dict[str, float]:
    scores = {}
    for entry in _objects(tissues):
        for metric in SCORES:
            value = entry.get(metric.key)
            # As a score row writes them: "inf" where one of the maps has none of a tissue, null where both.
            number = math.inf if value == "inf" else float(value) if _is_number(value) else math.nan
            scores[f"{metric.key}_{entry.get('tissue')}"] = number
    return scores


def _expected(tissues: object) -> dict[str, float]:
    """The expected Dice of all tissues; nothing where it is not complete."""
    known = {
        f"{tissue.key}_{name}": tissues[tissue.key].get(name)
        for tissue in TISSUES
        for name in EXPECTED
        if isinstance(tissues, dict) and isinstance(tissues.get(tissue.key), dict)
    }
    whole = len(known) == len(TISSUES) * len(EXPECTED) and all(map(_is_number, known.values()))
    return {name: float(value) for name, value in known.items()} if whole else {}


def _settings(sidecar: dict[str, Any]) -> str:
    fingerprint = sidecar.get("fingerprint")
    if not isinstance(fingerprint, dict):
        return ""
    files, options = fingerprint.get("files", {}), fingerprint.get("options", {})
    used = {name: value for name, value in options.items() if name.startswith("--") and value not in (False, [], None)}
    said = ", ".join(name if value is True else f"{name} {value}" for name, value in used.items())
    return f"weights {str(files.get('the weights'))[:8]}, {said}, version {fingerprint.get('program')}"


def mark_outliers(rows: Sequence[Row]) -> None:
    """Give the rows that count modified z scores of their volumes, and phrases on what is far out."""
    counted = [row for row in rows if row.counts]
    if len(counted) < FEWEST_FOR_OUTLIERS:
        return
    names = {tissue.key: tissue.name for tissue in TISSUES} | {"total": "CSF + GM + WM"}
    for key, name in names.items():
        middle, scores = _modified_z([row.volumes[key] for row in counted])
        for row, z in zip(counted, scores, strict=False):
            row.z[key] = z
            if abs(z) > OUTLIER_Z:
                side = "above" if z > 0 else "below"
                found = f"{name} {row.volumes[key]:.0f} ml"
                row.outliers.append(f"{found} is far {side} the median of {middle:.0f} ml (z {z:+.1f})")
    _mark_doubtful([row for row in counted if row.expected])


def _mark_doubtful(rows: Sequence[Row]) -> None:
    """Give phrases on maps of which far less is expected than of the others; far more is no fault."""
    if len(rows) < FEWEST_FOR_OUTLIERS:
        return
    for tissue in TISSUES:
        middle, scores = _modified_z([row.expected[f"{tissue.key}_middle"] for row in rows])
        for row, z in zip(rows, scores, strict=False):
            if z < -OUTLIER_Z:
                low, high = row.expected[f"{tissue.key}_low"], row.expected[f"{tissue.key}_high"]
                found = f"The expected Dice of {tissue.name}, {low:.2f} to {high:.2f},"
                row.outliers.append(f"{found} is far below the median of {middle:.2f} (z {z:+.1f})")


def _modified_z(values: Sequence[float]) -> tuple[float, list[float]]:
    """The median, and how far each value lies from it in robust standard deviations; nothing where they are equal."""
    middle = median(values)
    spread = median(abs(value - middle) for value in values)
    return middle, [NORMAL_MAD * (value - middle) / spread for value in values] if spread else []


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _objects(entries: object) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
