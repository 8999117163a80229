"""What a cohort's report knows of each subject, read from the sidecars of its results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from model_core.cohorts.files import ResultFiles
from model_core.cohorts.subjects import Cohort, CohortSubject, describe_inputs
from model_core.metric_table import SCORES
from model_core.system.text_files import read_json
from model_core.tissues import TISSUES

# Iglewicz and Hoaglin, How to Detect and Handle Outliers (1993): modified z scores beyond 3.5.
OUTLIER_Z, NORMAL_MAD = 3.5, 0.6745
FEWEST_FOR_OUTLIERS = 5  # with fewer, the median deviation says next to nothing
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
        outliers: phrases on volumes far from the others'.
        warnings: sentences of the checks at segmentation.
        inputs: what the result is made from, and what was left aside.
        settings: what may differ between subjects and should not.
        picture, report: paths relative to the output, empty where there is none.
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
    inputs: str = ""
    settings: str = ""
    seconds: float | None = None
    picture: str = ""
    report: str = ""


def collect_rows(output: Path, cohort: Cohort) -> list[Row]:
    """Read what there is of each subject of the data set, in its order."""
    rows = [_row(ResultFiles(output, subject)) for subject in cohort.subjects]
    return rows + [Row(name, INCOMPLETE, sentence=phrase) for name, phrase in cohort.incomplete.items()]


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


def _settings(sidecar: dict[str, Any]) -> str:
    fingerprint = sidecar.get("fingerprint")
    if not isinstance(fingerprint, dict):
        return ""
    files, options = fingerprint.get("files", {}), fingerprint.get("options", {})
    used = {name: value for name, value in options.items() if name.startswith("--") and value not in (False, [], None)}
    said = ", ".join(name if value is True else f"{name} {value}" for name, value in used.items())
    return f"weights {str(files.get('the weights'))[:8]}, {said}, version {fingerprint.get('program')}"


def mark_outliers(rows: Sequence[Row]) -> None:
    """Give the complete rows modified z scores of their volumes, and phrases on those far out."""
    complete = [row for row in rows if row.state == COMPLETE]
    if len(complete) < FEWEST_FOR_OUTLIERS:
        return
    names = {tissue.key: tissue.name for tissue in TISSUES} | {"total": "CSF + GM + WM"}
    for key, name in names.items():
        volumes = [row.volumes[key] for row in complete]
        middle = median(volumes)
        spread = median(abs(volume - middle) for volume in volumes)
        if not spread:
            continue
        for row in complete:
            row.z[key] = NORMAL_MAD * (row.volumes[key] - middle) / spread
            if abs(row.z[key]) > OUTLIER_Z:
                side = "above" if row.z[key] > 0 else "below"
                found = f"{name} {row.volumes[key]:.0f} ml"
                row.outliers.append(f"{found} is far {side} the median of {middle:.0f} ml (z {row.z[key]:+.1f})")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _objects(entries: object) -> list[dict[str, Any]]:
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
