"""The plot of a cohort's volumes as numbers for a template: a panel for each tissue, a point for each subject."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median

import numpy as np

from model_core.cohorts.rows import OUTLIER_Z, Row
from model_core.reports.plot_style import CURVE_COLORS
from model_core.tissues import TISSUES

TOTAL_COLOR = "#7a55b8"
WIDTH, HEIGHT = 320, 230  # of a panel, in units of SVG
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 34, 40
JITTER_SEED, JITTER = 0, 0.25  # of the panel's width, where no ages spread the points
MARGIN = 0.12  # of the values' range, above and below
FEWEST_AGES = 3  # different ones, to draw volumes over the age
MOST_TICKS = 5
LONGEST_NAME = 18  # characters beside an outlier
NO_AGE_WIDTH = 34  # of the place for those whose age is not known


@dataclass(frozen=True)
class Point:
    """One subject in a panel.

    Attributes:
        x, y: place in the panel.
        name: of the subject.
        label: the same, short enough to stand in the panel.
        said: what it is, for people.
        is_outlier: far from the others.
        counts: whether it is part of the statistics.
    """

    x: float
    y: float
    name: str
    label: str
    said: str
    is_outlier: bool
    counts: bool


@dataclass(frozen=True)
class Panel:
    """The volumes of one tissue.

    Attributes:
        title: the tissue.
        color: of its points.
        points: of the subjects whose value lies in the panel.
        median: height of the line.
        x_ticks, y_ticks: (place, text).
        x_title: what the horizontal axis is; empty where it is nothing.
    """

    title: str
    color: str
    points: list[Point]
    median: float
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_title: str

    @cached_property
    def dots(self) -> str:
        """Path of all points that count: lines without length, whose round ends are seen."""
        return "".join(f"M{point.x} {point.y}h0" for point in self.points if point.counts)

    @cached_property
    def by_name(self) -> dict[str, Point]:
        """The points by their subjects' names."""
        return {point.name: point for point in self.points}


def plan_plot(rows: Sequence[Row]) -> list[Panel]:
    """Place the volumes of each tissue and of all together, over the age where it is known.

    The panels reach as far as the rows that count; a result that is rated bad and lies further out has no point.

    Args:
        rows: complete ones; with none that counts there is no panel.
    """
    counted = [row for row in rows if row.counts]
    if not counted:
        return []
    places, x_ticks, x_title = _places(rows)
    panels = []
    titles = {tissue.key: (tissue.name, CURVE_COLORS[tissue.key]) for tissue in TISSUES}
    for key, (title, color) in (titles | {"total": ("CSF + GM + WM", TOTAL_COLOR)}).items():
        volumes = [row.volumes[key] for row in counted]
        low, high = _stretched(min(volumes), max(volumes))
        height = _scale(low, high, HEIGHT - BOTTOM, TOP)
        points = [
            _point(row, key, place, height(row.volumes[key]))
            for row, place in zip(rows, places, strict=True)
            if low <= row.volumes[key] <= high
        ]
        y_ticks = [(height(value), f"{value:g}") for value in ticks(low, high)]
        panels.append(Panel(title, color, points, height(median(volumes)), x_ticks, y_ticks, x_title))
    return panels


def _point(row: Row, key: str, x: float, y: float) -> Point:
    age = "" if row.age_months is None else f" at {row.age_months:g} months"
    label = row.name if len(row.name) <= LONGEST_NAME else row.name[: LONGEST_NAME - 1] + "…"
    left_out = "" if row.counts else ", rated bad and left out"
    said = f"{row.name}: {row.volumes[key]:.1f} ml{age}{left_out}"
    return Point(x, y, row.name, label, said, abs(row.z.get(key, 0.0)) > OUTLIER_Z, row.counts)


def _places(rows: Sequence[Row]) -> tuple[list[float], list[tuple[float, str]], str]:
    """Where each row's points lie from left to right, the ticks, and the axis's title."""
    ages = {row.age_months for row in rows if row.age_months is not None}
    if len(ages) < FEWEST_AGES:
        jitter = np.random.default_rng(JITTER_SEED).uniform(-JITTER, JITTER, len(rows))
        middle, width = (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT - LEFT
        return [round(middle + width * float(shift), 1) for shift in jitter], [], ""
    without = any(row.age_months is None for row in rows)
    right = WIDTH - RIGHT - (NO_AGE_WIDTH if without else 0)
    low, high = _stretched(min(ages), max(ages))
    place = _scale(low, high, LEFT, right)
    x_ticks = [(place(age), f"{age:g}") for age in ticks(low, high)]
    nowhere = WIDTH - RIGHT - NO_AGE_WIDTH / 2
    x_ticks += [(nowhere, "no age")] if without else []
    places = [nowhere if row.age_months is None else place(row.age_months) for row in rows]
    return places, x_ticks, "Age (months)"


def _stretched(low: float, high: float) -> tuple[float, float]:
    margin = MARGIN * (high - low) or max(abs(high), 1.0) * MARGIN
    return low - margin, high + margin


def _scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    return lambda value: round(begin + (end - begin) * (value - low) / (high - low), 1)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from ``low`` to ``high``, in steps of 1, 2, 2.5 or 5 times a power of ten, five of them at most."""
    power = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
    for factor in (1, 2, 2.5, 5, 10, 20):
        step = power * factor
        first, last = math.ceil(low / step), math.floor(high / step)
        if last - first < MOST_TICKS:
            return [round(number * step, 10) for number in range(first, last + 1)]
    raise AssertionError("a step of 20 times the power leaves five ticks at most")
