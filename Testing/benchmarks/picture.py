"""The rows as a picture: how many times faster, how much memory, which shares, each beside its target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from model_core.system.files import replace_when_complete
from Testing.benchmarks.rows import Row, number

OURS_COLOR, MISSED_COLOR, TARGET_COLOR = "#1f6feb", "#bf8700", "#24292f"
TEXT_COLOR, FAINT_COLOR, BAND_COLOR = "#24292f", "#6e7781", "#f3f5f8"
INCHES_A_ROW, INCHES_A_PANEL, INCHES_AROUND, WIDTH_INCHES = 0.34, 0.75, 0.95, 10.0
LEFT, RIGHT = 0.47, 0.91
PIXELS_AN_INCH = 150

# Unit -> title of its panel, whether its axis is logarithmic; other units are in the table alone.
PANELS = {
    "×": ("Times better than the peer", True),
    "%": ("Shares, %", False),
    "MB": ("Memory in MB, less is better", False),
    "s": ("Seconds, less is better", False),
    "ms": ("Milliseconds, less is better", False),
}


def draw_rows(path: Path, rows: Sequence[Row], subtitle: str) -> None:
    """Draw all rows that are not checks.

    Args:
        path: the PNG; appears complete or not at all.
        rows: of the table.
        subtitle: the machine.
    """
    panels = {unit: [row for row in rows if row.unit == unit and not row.is_check] for unit in PANELS}
    panels = {unit: members for unit, members in panels.items() if members}
    heights = [INCHES_A_ROW * len(members) + INCHES_A_PANEL for members in panels.values()]
    total = sum(heights) + INCHES_AROUND
    figure = Figure(figsize=(WIDTH_INCHES, total), facecolor="white")
    FigureCanvasAgg(figure)
    figure.text(
        0.02, 1 - 0.2 / total, "Speed and memory beside peers", size=15, weight="bold", color=TEXT_COLOR, va="top"
    )
    figure.text(0.02, 1 - 0.52 / total, subtitle, size=9, color=FAINT_COLOR, va="top")
    top = total - INCHES_AROUND
    for (unit, members), height in zip(panels.items(), heights, strict=True):
        inner = INCHES_A_ROW * len(members)
        bottom = (top - 0.3 - inner) / total
        axes = figure.add_axes((LEFT, bottom, RIGHT - LEFT, inner / total))
        _draw_panel(axes, members, unit)
        top -= height
    _draw_key(figure, total)
    with replace_when_complete(path) as temporary:
        figure.savefig(temporary, dpi=PIXELS_AN_INCH, format="png")


def _draw_panel(axes: Axes, rows: Sequence[Row], unit: str) -> None:
    title, is_logarithmic = PANELS[unit]
    axes.set_title(title, loc="left", size=10.5, weight="bold", color=TEXT_COLOR, pad=6)
    if is_logarithmic:
        axes.set_xscale("log")
        axes.axvline(1, color=FAINT_COLOR, linewidth=1, zorder=1)
    for place, row in enumerate(rows):
        if place % 2 == 0:
            axes.axhspan(place - 0.5, place + 0.5, color=BAND_COLOR, zorder=0, linewidth=0)
        _draw_row(axes, place, row)
    shown = [figure for row in rows for figure in row.figures] + [row.target.limit for row in rows if row.target]
    axes.set_xlim(*((0.8 * min(1, *shown), 1.3 * max(shown)) if is_logarithmic else (0, 1.08 * max(shown))))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_formatter(lambda value, _: number(value))
    axes.xaxis.set_minor_formatter("")
    axes.tick_params(axis="x", labelsize=8, colors=FAINT_COLOR, length=3)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#d0d7de")


def _draw_row(axes: Axes, place: int, row: Row) -> None:
    color = MISSED_COLOR if row.is_met is False else OURS_COLOR
    from_ = 1 if row.unit == "×" else 0
    axes.barh(place, row.median - from_, height=0.52, left=from_, color=color, zorder=2)
    if len(row.figures) > 1:
        axes.hlines(place, min(row.figures), max(row.figures), color=TEXT_COLOR, linewidth=1.2, zorder=3)
    if row.target:
        axes.vlines(row.target.limit, place - 0.42, place + 0.42, color=TARGET_COLOR, linewidth=2.2, zorder=4)
    beside = {"transform": axes.get_yaxis_transform(), "va": "center"}
    against = f"against {row.against}" if row.against else ""
    above = 0.17 if against else 0
    axes.text(-0.015, place - above, row.measure, size=8.5, color=TEXT_COLOR, ha="right", **beside)
    axes.text(-0.015, place + 0.23, against, size=7, color=FAINT_COLOR, ha="right", **beside)
    unit = row.unit if row.unit in ("×", "%") else f" {row.unit}"
    axes.text(1.015, place, number(row.median) + unit, size=9, weight="bold", color=TEXT_COLOR, **beside)


def _draw_key(figure: Figure, total: float) -> None:
    marks = [
        Line2D([], [], color=OURS_COLOR, linewidth=7, label="median, target met or none set"),
        Line2D([], [], color=MISSED_COLOR, linewidth=7, label="target missed"),
        Line2D([], [], color=TARGET_COLOR, linewidth=0, marker="|", markersize=11, markeredgewidth=2.2, label="target"),
        Line2D([], [], color=TEXT_COLOR, linewidth=1.2, label="from lowest to highest repeat"),
    ]
    figure.legend(handles=marks, loc="upper left", bbox_to_anchor=(0.012, 1 - 0.66 / total), ncols=4, frameon=False,
                  fontsize=8, labelcolor=FAINT_COLOR, handlelength=1.4, columnspacing=1.6)  # fmt: skip
