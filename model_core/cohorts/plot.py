"""The plot of a cohort's volumes: a point for each subject, outliers named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_core.cohorts.rows import OUTLIER_Z, Row
from model_core.reports.plot_style import CURVE_COLORS, PLOT_STYLE
from model_core.system.files import replace_when_complete
from model_core.system.text_files import printable
from model_core.tissues import TISSUES

# Legible on a light page as on a dark one; the background is transparent.
INK, TOTAL_COLOR, OUTLIER_COLOR = "#7f8896", "#8a63c9", "#e5484d"
STYLE: dict[Any, Any] = PLOT_STYLE | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "grid.color"), INK
)
JITTER_SEED, JITTER = 0, 0.25
FEWEST_AGES = 3  # different ones, to draw volumes over the age
LONGEST_NAME = 18  # characters beside an outlier


def draw_volumes(path: Path, rows: Sequence[Row]) -> None:
    """Draw the volumes of each tissue and of all together, over the age where it is known.

    Args:
        path: the PNG; appears complete or not at all.
        rows: complete ones, at least one.
    """
    ages = {row.age_months for row in rows} - {None}
    over_age = len(ages) >= FEWEST_AGES and all(row.age_months is not None for row in rows)
    places = (
        [float(row.age_months or 0) for row in rows]
        if over_age
        else list(np.random.default_rng(JITTER_SEED).uniform(-JITTER, JITTER, len(rows)))
    )
    panels = {tissue.key: (tissue.name, CURVE_COLORS[tissue.key]) for tissue in TISSUES}
    panels["total"] = ("CSF + GM + WM", TOTAL_COLOR)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        axes = figure.subplots(1, len(panels))
        for axis, (key, (title, color)) in zip(axes, panels.items(), strict=True):
            _draw(axis, rows, places, key, color)
            axis.set_title(title, fontweight="bold", fontsize=11)
            if over_age:
                axis.set_xlabel("Age (months)")
            else:
                axis.set_xlim(-1, 1)
                axis.set_xticks([])
        axes[0].set_ylabel("Volume (ml)")
        with replace_when_complete(path) as temporary:
            figure.savefig(temporary, dpi=150, transparent=True, format="png")


def _draw(axis: Axes, rows: Sequence[Row], places: Sequence[float], key: str, color: str) -> None:
    volumes = [row.volumes[key] for row in rows]
    axis.axhline(median(volumes), color=INK, linewidth=1, linestyle=(0, (4, 3)))
    for row, place, volume in zip(rows, places, volumes, strict=True):
        is_outlier = abs(row.z.get(key, 0.0)) > OUTLIER_Z
        marker = OUTLIER_COLOR if is_outlier else color
        axis.plot([place], [volume], "o", color=marker, markersize=6, alpha=0.8, markeredgewidth=0)
        if is_outlier:
            name = printable(row.name if len(row.name) <= LONGEST_NAME else row.name[: LONGEST_NAME - 1] + "…")
            axis.annotate(
                name, (place, volume), xytext=(0, 7), textcoords="offset points", ha="center", fontsize=8,
                color=OUTLIER_COLOR,
            )  # fmt: skip
    axis.margins(y=0.18)
