"""A cohort's subjects and their states for another program: one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

from model_core.cohorts.files import ResultFiles
from model_core.cohorts.rows import CohortRow, collect_rows
from model_core.cohorts.subjects import NAME, Cohort
from model_core.system.text_files import printable


def describe_subjects(output: Path, cohort: Cohort) -> list[str]:
    """Give a line for each subject, those with a missing scan included.

    Fields: name, participant, session (empty where there are none), state ("complete", "failed", "pending" or
    "incomplete"), sentence (why it is not complete), and as absolute paths, empty for incomplete ones: t1, labels and
    sidecar (the result's, there or not), failure (the file that says why there is none).
    """
    return [_line(output, row) for row in collect_rows(output, cohort, {})]


def _line(output: Path, row: CohortRow) -> str:
    match = NAME.fullmatch(row.name)
    entry = {
        "name": row.name,
        "participant": match["participant"] if match else row.name,
        "session": (match["session"] or "") if match else "",
        "state": row.state,
        "sentence": row.sentence,
        **dict.fromkeys(("t1", "labels", "sidecar", "failure"), ""),
    }
    if row.subject is not None:
        files = ResultFiles(output, row.subject)
        paths = {"t1": row.subject.t1, "labels": files.labels, "sidecar": files.sidecar, "failure": files.failure}
        entry |= {name: str(path) for name, path in paths.items()}
    return printable(json.dumps(entry, ensure_ascii=False))
