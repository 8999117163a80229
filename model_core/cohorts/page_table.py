"""The columns of the table on a cohort's page: what a cell shows, and by what it is sorted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from model_core.cohorts.rows import OUTLIER_Z, Row
from model_core.metric_table import METRIC
from model_core.tissues import TISSUES

SHOWN_SCORES = ("dice", "asd_mm")  # the others are in group.tsv
UNDEFINED, INFINITE = "–", "∞"


@dataclass(frozen=True)
class Cell:
    """One value.

    Attributes:
        text: for people.
        order: for sorting, the smallest number first; empty where there is none, which comes last.
        is_outlier: whether it is far from the others'.
    """

    text: str
    order: str
    is_outlier: bool = False


@dataclass(frozen=True)
class Column:
    """One column of numbers.

    Attributes:
        group: heading of neighbouring columns, may be empty.
        title: heading.
        said: what the heading means, in full.
        cell: of a row.
    """

    group: str
    title: str
    said: str
    cell: Callable[[Row], Cell]


def columns_of(rows: Sequence[Row]) -> list[Column]:
    """The columns of which any row has a value."""
    columns = []
    if any(row.age_months is not None for row in rows):
        columns.append(Column("", "Age", "Age at the scan in months", lambda row: _cell(row.age_months, 1)))
    names = {tissue.key: (tissue.key.upper(), tissue.name) for tissue in TISSUES}
    for key, (title, name) in (names | {"total": ("Total", "CSF, gray and white matter together")}).items():
        columns.append(Column("Volume (ml)", title, f"Volume of {name} in ml", partial(_volume, key)))
    for tissue in TISSUES if any(row.expected for row in rows) else ():
        said = f"Dice of {tissue.name} to expect, estimated without a reference"
        range_of = partial(_range, tissue.key)
        columns.append(Column("Expected Dice", tissue.key.upper(), said, range_of))
    if any(row.uncertainty is not None for row in rows):
        said = "Mean uncertainty over the brain: 0 sure, 1 no idea"
        columns.append(Column("", "Unsure", said, lambda row: _cell(row.uncertainty, 2)))
    for metric in (METRIC[key] for key in SHOWN_SCORES) if any(row.scores for row in rows) else ():
        for tissue in TISSUES:
            said = f"{metric.title} of {tissue.name} with the reference"
            score_of = partial(_score, f"{metric.key}_{tissue.key}", metric.short_digits)
            columns.append(Column(metric.heading, tissue.key.upper(), said, score_of))
    return columns


def groups_of(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """The headings of neighbouring columns, with how many these are."""
    return [(group, len(list(found))) for group, found in itertools.groupby(columns, key=lambda column: column.group)]


def _volume(key: str, row: Row) -> Cell:
    return _cell(row.volumes[key], 1, is_outlier=abs(row.z.get(key, 0.0)) > OUTLIER_Z)


def _score(name: str, digits: int, row: Row) -> Cell:
    return _cell(row.scores.get(name), digits)


def _range(key: str, row: Row) -> Cell:
    """A range of the Dice as ``.82–.90``, in the order of its middle."""
    if not row.expected:
        return Cell(UNDEFINED, "")
    low, high = (f"{row.expected[f'{key}_{end}']:.2f}".removeprefix("0") for end in ("low", "high"))
    return Cell(f"{low}–{high}", f"{row.expected[f'{key}_middle']:.6g}")


def _cell(value: float | None, digits: int, *, is_outlier: bool = False) -> Cell:
    if value is None or math.isnan(value):
        return Cell(UNDEFINED, "")
    if math.isinf(value):
        return Cell(INFINITE, "1e99")
    return Cell(f"{value:.{digits}f}", f"{value:.6g}", is_outlier)
