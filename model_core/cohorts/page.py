"""The page of a cohort's report, and how each subject's own page tells where it lies among the others."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_core.cohorts.files import LOGS_FOLDER, ResultFiles
from model_core.cohorts.page_table import columns_of, groups_of
from model_core.cohorts.plot import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, Panel, plan_plot
from model_core.cohorts.rows import COMPLETE, FAILED, INCOMPLETE, OUTLIER_Z, PENDING, Row
from model_core.program import PROGRAM_NAME, PROGRAM_VERSION
from model_core.ratings import COLUMNS, LEVELS, RATINGS_FILE, Rating
from model_core.reports.pages import fill_place, render
from model_core.system.locks import LockedError, locked
from model_core.system.text_files import read_text, write_text

PAGE_FILE = "index.html"
STATES = {COMPLETE: "complete", FAILED: "failed", INCOMPLETE: "without T1 or T2", PENDING: "not segmented yet"}
UNFINISHED = (FAILED, INCOMPLETE, PENDING)


def write_page(
    output: Path, rows: Sequence[Row], notes: Sequence[str], ratings: Collection[Rating], unused: Sequence[str] = ()
) -> Path:
    """Write index.html: what failed, the volumes, and a table to sort, to open and to rate in.

    It is one file; pictures and pages of the subjects lie beside it, and nothing comes from the network.

    Args:
        output: folder of the results.
        rows: all subjects.
        notes: sentences that stand out above all.
        ratings: all that ratings.tsv has, also of what is not in the rows.
        unused: sentences on files that look like scans and are not used.

    Returns:
        The path of index.html.
    """
    complete = [row for row in rows if row.state == COMPLETE]
    columns, in_state = columns_of(complete), Counter(row.state for row in rows)
    page = render(
        "cohort.html",
        title=f"{PROGRAM_NAME}: {len(rows)} subject{'s' * (len(rows) != 1)}",
        version=PROGRAM_VERSION,
        made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        counts=[(state, count, text) for state, text in STATES.items() if (count := in_state[state])],
        flagged=sum(bool(row.flags) for row in complete),
        notes=notes,
        unfinished=[(row, STATES[row.state]) for state in UNFINISHED for row in rows if row.state == state],
        logs=LOGS_FOLDER,
        unused=unused,
        complete=complete,
        columns=columns,
        groups=groups_of(columns),
        has_expected_dice=any(row.expected for row in complete),
        outlier_z=OUTLIER_Z,
        levels=LEVELS,
        told=_told(output, ratings),
        **_plot(plan_plot(complete)),
    )
    write_text(output / PAGE_FILE, page)
    return output / PAGE_FILE


def write_cohort_sections(output: Path, complete: Sequence[Row]) -> None:
    """Tell on each subject's page how its volumes lie beside the others'; a page that is just being made has its turn
    the next time.

    Args:
        output: folder of the results.
        complete: the rows with a result.
    """
    plot = _plot(plan_plot(complete))
    for row in complete:
        if row.subject is None or not row.report:
            continue
        files = ResultFiles(output, row.subject)
        with contextlib.suppress(LockedError), locked(files.lock, row.name):
            page = read_text(files.report) or ""
            filled = fill_place(page, render("cohort_section.html", row=row, page=PAGE_FILE, **plot))
            if filled != page:
                write_text(files.report, filled)


def _plot(panels: Sequence[Panel]) -> dict[str, Any]:
    return {"panels": panels, "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": RIGHT, "bottom": BOTTOM}


def _told(output: Path, ratings: Collection[Rating]) -> dict[str, Any]:
    """What the page's script has to know: where it keeps ratings, and what ratings.tsv has."""
    # Pages of all folders may share one store in the browser.
    place = hashlib.sha256(str(output.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    rows = [[rating.participant, rating.session, rating.rating, rating.comment] for rating in ratings]
    return {"key": f"{PROGRAM_NAME} ratings {place}", "file": RATINGS_FILE, "columns": list(COLUMNS), "ratings": rows}
