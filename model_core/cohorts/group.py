"""The group level: one table of volumes, scores, outliers and warnings of all subjects, and a page to look at."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_core.cohorts.page import write_cohort_sections, write_page
from model_core.cohorts.rows import (
    COMPLETE,
    EXPECTED,
    FEWEST_FOR_OUTLIERS,
    OUTLIER_Z,
    Row,
    collect_rows,
    mark_outliers,
)
from model_core.cohorts.subjects import Cohort
from model_core.errors import UserError
from model_core.metric_table import SCORES
from model_core.program import PROGRAM_VERSION
from model_core.ratings import LEVELS, RATINGS_FILE, Rating, read_ratings
from model_core.system.text_files import write_json, write_text
from model_core.tissues import TISSUES


def write_group(output: Path, cohort: Cohort) -> Path:
    """Write group.tsv, group.json and index.html from what the subjects' sidecars and ratings.tsv say.

    Results that are rated bad stay in the table, and out of the statistics. The page of each subject gets a section on
    how it lies among the others.

    Returns:
        The path of index.html.
    """
    ratings, notes = _ratings(output, cohort)
    rows = collect_rows(output, cohort, ratings)
    mark_outliers(rows)
    complete = [row for row in rows if row.state == COMPLETE]
    columns = _columns(complete)
    lines = ["\t".join(columns)]
    lines += ["\t".join(_cell(value) for value in _values(row, columns)) for row in complete]
    write_text(output / "group.tsv", "\n".join(lines) + "\n")
    notes = [*_notes(complete), *notes, *cohort.notes]
    content = {
        **columns,  # where BIDS looks for them
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": PROGRAM_VERSION,
        "notes": notes,
        "unused": cohort.unused,
        "subjects": [_json_row(row, columns) for row in rows],
    }
    write_json(output / "group.json", content)
    write_cohort_sections(output, complete)
    return write_page(output, rows, notes, ratings.values(), cohort.unused)


def _ratings(output: Path, cohort: Cohort) -> tuple[dict[str, Rating], list[str]]:
    """Ratings by the results' names, and sentences on those that cannot be used."""
    try:
        ratings = read_ratings(output)
    except UserError as error:
        return {}, [f"{error} No rating is used."]
    known = {*(subject.name for subject in cohort.subjects), *cohort.incomplete}
    notes = [
        f"{RATINGS_FILE} rates {name}, which the data set has not; expected the names of its subjects and sessions; it "
        "is not used: correct it."
        for name in ratings.by_name
        if name not in known
    ]
    return ratings.by_name, [*ratings.notes, *notes]


def _notes(complete: Sequence[Row]) -> list[str]:
    notes = []
    made = Counter(row.settings for row in complete if row.counts)
    if len(made) > 1:
        listed = "; ".join(f"{count} with {settings}" for settings, count in made.most_common())
        notes.append(f"The subjects were not all made in one way: {listed}. Volumes may not be comparable.")
    bad = [f"{row.name} ({row.comment})" if row.comment else row.name for row in complete if not row.counts]
    if bad:
        notes.append(f"Rated bad and left out of medians, z scores and outliers: {', '.join(bad)}.")
    return notes


def _columns(complete: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """Names of the table's columns, with what BIDS wants to be said of them."""
    columns: dict[str, dict[str, Any]] = {
        "participant_id": {"Description": "Participant"},
        "session_id": {"Description": "Session, where there are any"},
        "age_months": {"Description": "Age at the scan", "Units": "months"},
    }
    for tissue in TISSUES:
        columns[f"{tissue.key}_ml"] = {"Description": f"Volume of {tissue.name}", "Units": "ml"}
    columns["total_ml"] = {"Description": "CSF, gray and white matter together", "Units": "ml"}
    for key in (*(tissue.key for tissue in TISSUES), "total"):
        columns[f"{key}_z"] = {"Description": f"Modified z score of {key}_ml among the subjects"}
    with_expected = any(row.expected for row in complete)
    for metric in SCORES if any(row.scores for row in complete) else ():
        for tissue in TISSUES:
            units = {"Units": metric.unit} if metric.unit else {}
            columns[f"{metric.key}_{tissue.key}"] = {"Description": f"{metric.title} of {tissue.name}", **units}
    for key in (f"{tissue.key}_{name}" for tissue in TISSUES for name in EXPECTED) if with_expected else ():
        description = f"Dice expected without a reference, {key.replace('_', ', ')} of its range"
        columns[f"expected_dice_{key}"] = {"Description": description}
    if with_expected:
        columns["mean_uncertainty"] = {"Description": "Mean entropy over the brain, 0 sure to 1 no idea"}
    rule = f"modified z score beyond {OUTLIER_Z}, from {FEWEST_FOR_OUTLIERS} subjects on"
    columns["outliers"] = {"Description": f"Number of values far from the others': {rule}"}
    columns["warnings"] = {"Description": "Number of warnings of the checks at segmentation"}
    columns["rating"] = {"Description": "What a person thinks of the segmentation", "Levels": LEVELS}
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
        **{f"expected_dice_{key}": value for key, value in row.expected.items()},
        "mean_uncertainty": row.uncertainty,
        "outliers": len(row.outliers),
        "warnings": len(row.warnings),
        "rating": row.rating or None,
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
        "comment": row.comment or None,
        "picture": row.picture or None,
    }
    return {"name": row.name, "state": row.state, "sentence": row.sentence or None, **values, **more}
