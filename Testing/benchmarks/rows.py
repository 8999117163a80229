"""The rows of the bench's table: their figures, medians, targets, and how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

HEADINGS = ("", "against", "ours", "theirs", "median", "min–max", "target", "met")
SUPERSCRIPTS = "¹²³⁴⁵⁶⁷⁸⁹"


@dataclass(frozen=True)
class Target:
    """What a figure shall reach.

    Attributes:
        limit: in the figure's unit.
        at_least: whether larger figures are better.
    """

    limit: float
    at_least: bool = True

    def is_met_by(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit


@dataclass(frozen=True)
class Row:
    """One figure of the table.

    Attributes:
        section: what the row belongs to, such as "Inference".
        measure: what was measured.
        figures: one a repeat.
        unit: of the figures: "×" where they say how many times the peer's is ours.
        against: the peer; empty where there is none.
        ours: median of what the figure was made from, None if it is the figure itself.
        theirs: the same of the peer.
        measured_in: unit of both.
        target: None where there is none.
        is_check: whether a missed target means wrong results, not slow ones.
        note: how the figure came about, where it does not speak for itself; goes under the table.
    """

    section: str
    measure: str
    figures: tuple[float, ...]
    unit: str
    against: str = ""
    ours: float | None = None
    theirs: float | None = None
    measured_in: str = ""
    target: Target | None = None
    is_check: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.figures)

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        return None if self.target is None else self.target.is_met_by(self.median)

    def as_dict(self) -> dict[str, object]:
        """For JSON, with median, spread and whether the target is met."""
        spread = {"median": self.median, "min": min(self.figures), "max": max(self.figures)}
        return {**asdict(self), **spread, "is_met": self.is_met}


def ratio_row(
    section: str, measure: str, against: str, ours: Sequence[float], theirs: Sequence[float], measured_in: str, **other
) -> Row:
    """How many times the peer's figure is ours, round by round."""
    return Row(
        section, measure, tuple(their / our for their, our in zip(theirs, ours, strict=True)), "×", against,
        median(ours), median(theirs), measured_in, **other,
    )  # fmt: skip


def format_table(rows: Sequence[Row]) -> str:
    """The table, in Markdown with aligned columns, and its notes."""
    notes = list(dict.fromkeys(row.note for row in rows if row.note))
    lines: list[Sequence[str]] = []
    for number, row in enumerate(rows):
        if number == 0 or row.section != rows[number - 1].section:
            lines.append([f"**{row.section}**", *[""] * (len(HEADINGS) - 1)])
        lines.append(_cells(row, notes))
    widths = [max(map(len, column)) for column in zip(HEADINGS, *lines, strict=True)]
    rule = ["-" * width if index < 2 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    table = "\n".join(_line(cells, widths) for cells in (HEADINGS, rule, *lines))
    footnotes = [f"{SUPERSCRIPTS[number]} {note}" for number, note in enumerate(notes)]
    return "\n\n".join([table, *footnotes])


def _cells(row: Row, notes: list[str]) -> list[str]:
    measure = row.measure + (SUPERSCRIPTS[notes.index(row.note)] if row.note else "")
    spread = [_quantity(figure, row.unit) for figure in (min(row.figures), max(row.figures))]
    target = "" if row.target is None else f"{'≥' if row.target.at_least else '≤'} {_limit(row.target.limit, row.unit)}"
    return [
        measure,
        row.against,
        "" if row.ours is None else _quantity(row.ours, row.measured_in),
        "" if row.theirs is None else _quantity(row.theirs, row.measured_in),
        _quantity(row.median, row.unit),
        "–".join(spread) if len(row.figures) > 1 else "",
        target,
        {None: "", True: "yes", False: "no"}[row.is_met],
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    aligned = (
        cell.ljust(width) if index < 2 else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"| {' | '.join(aligned)} |"


def _quantity(value: float, unit: str) -> str:
    return number(value) + _with_space(unit)


def _limit(value: float, unit: str) -> str:
    return f"{value:g}".replace("e-0", "e-") + _with_space(unit)


def _with_space(unit: str) -> str:
    return unit if unit in ("×", "") else f" {unit}"


def number(value: float) -> str:
    """Three significant digits; shares near 100 keep what tells them from it."""
    if 99 < value < 100:
        return f"{int(value * 1000) / 1000:.3f}"  # never rounded up to 100
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}" if value == 0 or abs(value) >= 0.001 else f"{value:.1e}"
