"""The group level: one table of volumes, scores, outliers and warnings of all subjects, and a page to look at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_core.cohorts.files import PROGRAM_VERSION
from model_core.cohorts.page import write_page
from model_core.cohorts.rows import (
    COMPLETE,
    FEWEST_FOR_OUTLIERS,
    OUTLIER_Z,
    Row,
    collect_rows,
    mark_outliers,
)
from model_core.cohorts.subjects import Cohort
from model_core.metric_table import SCORES
from model_core.system.text_files import write_json, write_text
from model_core.tissues import TISSUES


def write_group(output: Path, cohort: Cohort) -> Path:
    """Write group.tsv, group.json and index.html from what the subjects' sidecars say.

    Returns:
        The path of index.html.
    """
    rows = collect_rows(output, cohort)
    mark_outliers(rows)
    complete = [row for row in rows if row.state == COMPLETE]
    columns = _columns(any(row.scores for row in rows))
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(value) for value in _values(row, columns)) for row in complete]
    write_text(output / "group.tsv", "\n".join(lines) + "\n")
    content = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": PROGRAM_VERSION,
        "columns": columns,
        "outliers": f"modified z score beyond {OUTLIER_Z}, from {FEWEST_FOR_OUTLIERS} subjects on",
        "notes": [*_notes(complete), *cohort.notes],
        "unused": cohort.unused,
        "subjects": [_json_row(row, columns) for row in rows],
    }
    write_json(output / "group.json", content)
    return write_page(output, rows, content["notes"], cohort.unused)


def _notes(complete: Sequence[Row]) -> list[str]:
    made = Counter(row.settings for row in complete)
    if len(made) < 2:
        return []
    listed = "; ".join(f"{count} with {settings}" for settings, count in made.most_common())
    return [f"The subjects were not all made in one way: {listed}. Volumes may not be comparable."]


def _columns(with_scores: bool) -> dict[str, dict[str, str]]:
    """Names of the table's columns, with what BIDS wants to be said of them."""
    columns = {
        "participant_id": {"Description": "Participant"},
        "session_id": {"Description": "Session, where there are any"},
        "age_months": {"Description": "Age at the scan", "Units": "months"},
    }
    for tissue in TISSUES:
        columns[f"{tissue.key}_ml"] = {"Description": f"Volume of {tissue.name}", "Units": "ml"}
    columns["total_ml"] = {"Description": "CSF, gray and white matter together", "Units": "ml"}
    for key in (*(tissue.key for tissue in TISSUES), "total"):
        columns[f"{key}_z"] = {"Description": f"Modified z score of {key}_ml among the subjects"}
    for metric in SCORES if with_scores else ():
        for tissue in TISSUES:
            units = {"Units": metric.unit} if metric.unit else {}
            columns[f"{metric.key}_{tissue.key}"] = {"Description": f"{metric.title} of {tissue.name}", **units}
    columns["outliers"] = {"Description": "Number of volumes far from the others'"}
    columns["warnings"] = {"Description": "Number of warnings of the checks at segmentation"}
    return columns


def _values(row: Row, columns: Sequence[str] | dict[str, Any]) -> list[Any]:
    subject = row.subject
    known: dict[str, Any] = {
        "participant_id": f"sub-{subject.participant}" if subject else row.name,
        "session_id": f"ses-{subject.session}" if subject and subject.session else None,
        "age_months": row.age_months,
        **{f"{key}_ml": round(value, 3) for key, value in row.volumes.items()},
        **{f"{key}_z": round(value, 2) for key, value in row.z.items()},
        **row.scores,
        "outliers": len(row.outliers),
        "warnings": len(row.warnings),
    }
    return [known.get(name) for name in columns]


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "n/a"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _json_row(row: Row, columns: dict[str, Any]) -> dict[str, Any]:
    values = dict(zip(columns, _values(row, columns), strict=True))
    values |= {name: None for name, value in values.items() if isinstance(value, float) and math.isnan(value)}
    values |= {name: "inf" for name, value in values.items() if isinstance(value, float) and math.isinf(value)}
    more = {
        "inputs": row.inputs or None,
        "outliers": row.outliers,
        "warnings": row.warnings,
        "picture": row.picture or None,
    }
    return {"name": row.name, "state": row.state, "sentence": row.sentence or None, **values, **more}
