"""The report's plots, as PNG. What this run measured is filled, what the papers print is a hollow diamond."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, NullLocator

from model_core.experiments.published import Scores
from model_core.experiments.results import COLUMNS, HEADINGS, Evaluation
from model_core.metric_table import Metric
from model_core.reports.plot_style import CURVE_COLORS, PLOT_STYLE
from model_core.tissues import TISSUES
from model_core.training.history import HistoryRow

HERE_COLOR, PAPER_COLOR = "#33415c", "#c7700a"
MODEL_COLORS = ("#2f6fb3", "#b3402f", "#3c8f5a", "#7a5ba6")
AVERAGE_COLOR = "#1b2330"
PAPER_STYLE: dict[str, Any] = {
    "marker": "D", "markersize": 8, "markerfacecolor": "none", "markeredgecolor": PAPER_COLOR, "markeredgewidth": 1.8,
    "color": PAPER_COLOR, "linestyle": "none", "zorder": 4,
}  # fmt: skip
JITTER = 0.18  # to either side, over which the subjects of one model are spread
HERE_OFFSET, PAPER_OFFSET = -0.18, 0.28  # from the place of a model


def draw_scores(metric: Metric, models: Mapping[str, Sequence[Evaluation]], published: Mapping[str, Scores]) -> bytes:
    """Draw a score of some models, a panel for each tissue and one for the average.

    Args:
        metric: what is drawn.
        models: title -> evaluations, one per subject.
        published: title -> the paper's row; titles without one get no diamond.

    Returns:
        A PNG: a dot for each subject, mean and standard deviation, the paper's value beside them.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        width = max(10.0, 4 * (0.6 + 0.42 * len(models)))
        figure = Figure(figsize=(width, 4.6), layout="constrained")
        panels = figure.subplots(1, len(COLUMNS))
        for index, (axis, column, heading) in enumerate(zip(panels, COLUMNS, HEADINGS, strict=True)):
            for place, (title, evaluations) in enumerate(models.items()):
                values = [entry.scores[metric.key][column] for entry in evaluations]
                _draw_subjects(axis, place, [value for value in values if math.isfinite(value)])
                if any(map(math.isinf, values)):
                    axis.text(place + HERE_OFFSET, 0.95, "∞", transform=axis.get_xaxis_transform(), ha="center")
                if title in published:
                    _draw_published(axis, place + PAPER_OFFSET, published[title], index)
                if place % 2:
                    axis.axvspan(place - 0.5, place + 0.5, color="#f1f3f7", zorder=0, linewidth=0)
            axis.set_title(heading, fontweight="bold")
            axis.set_xticks(range(len(models)), list(models), rotation=30, ha="right", rotation_mode="anchor")
            axis.set_xlim(-0.5, len(models) - 0.5)
            axis.grid(axis="x", visible=False)
            axis.yaxis.set_major_locator(MaxNLocator(6))
        panels[0].set_ylabel(f"{metric.heading}, {metric.better} is better")
        _name_markers(figure, panels[0], with_means=max(map(len, models.values())) > 1, with_paper=bool(published))
        return _png(figure)


def draw_curves(histories: Mapping[str, Sequence[HistoryRow]]) -> bytes:
    """Draw training loss and mean validation Dice of some models over the iterations.

    Args:
        histories: title -> rows, some of them with a validation.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(10, 4.2), layout="constrained")
        losses, scores = figure.subplots(1, 2)
        for (title, rows), color in zip(histories.items(), MODEL_COLORS, strict=False):
            validated = [row for row in rows if row.dice]
            losses.plot([row.iteration for row in rows], [row.loss for row in rows], color=color, label=title)
            scores.plot(
                [row.iteration for row in validated], [row.mean_dice for row in validated], "o-", color=color,
                markersize=4, label=title,
            )  # fmt: skip
        losses.set_yscale("log")
        losses.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        losses.yaxis.set_major_formatter("{x:g}")
        losses.yaxis.set_minor_formatter(NullFormatter())
        losses.set(xlabel="Iteration", ylabel="Cross entropy")
        losses.set_title("Training loss", loc="left", fontweight="bold")
        scores.set(xlabel="Iteration", ylabel="Mean Dice of CSF, GM and WM")
        scores.set_title("Validation on the subject left out", loc="left", fontweight="bold")
        for axis in (losses, scores):
            axis.set_xlim(left=0)
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            axis.xaxis.set_major_formatter("{x:,.0f}")
            axis.legend()
        return _png(figure)


def draw_dice_against(
    label: str, evaluations: Mapping[int, Evaluation], published: tuple[int, Scores], *, doubling: bool = False
) -> bytes:
    """Draw Dice by tissue against an overlap step or the side of the windows.

    Args:
        label: of the horizontal axis.
        evaluations: place on that axis -> the subject's evaluation there.
        published: place on that axis and the row that the paper prints there.
        doubling: whether the places double from one to the next.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(7, 4.4), layout="constrained")
        axis = figure.subplots()
        places = sorted(evaluations)
        colors = [*(CURVE_COLORS[tissue.key] for tissue in TISSUES), AVERAGE_COLOR]
        for column, heading, color in zip(COLUMNS, HEADINGS, colors, strict=True):
            values = [evaluations[place].scores["dice"][column] for place in places]
            axis.plot(places, values, "o-", color=color, label=heading)
        at, scores = published
        figures = [*scores.tissues, *([scores.average] if scores.average else [])]
        for figure_printed, color in zip(figures, colors, strict=False):
            axis.plot([at], [figure_printed.mean], **_paper_style(color))
        axis.plot([], [], **_paper_style("gray"), label=f"the paper's table, at {at}")
        _set_places(axis, sorted({*places, at}), doubling=doubling)
        axis.set(xlabel=label, ylabel="Dice")
        axis.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
        return _png(figure)


def draw_window_counts(counts: Mapping[int, int], published: Mapping[int, int]) -> bytes:
    """Draw the number of windows against the overlap step, on logarithmic axes.

    Args:
        counts: step -> windows of the last subject.
        published: step -> the paper's number.
    """
    with matplotlib.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axis = figure.subplots()
        steps = sorted(counts)
        axis.plot(steps, [counts[step] for step in steps], "o-", color=HERE_COLOR, label="here")
        axis.plot(list(published), list(published.values()), **PAPER_STYLE, label="the paper's subject")
        axis.set_yscale("log")
        axis.yaxis.set_major_formatter("{x:,.0f}")
        for step in steps:
            axis.annotate(
                f"{counts[step]:,}", (step, counts[step]), xytext=(7, 7), textcoords="offset points", color=HERE_COLOR
            )
        _set_places(axis, sorted({*steps, *published}), doubling=True)
        axis.set(xlabel="Overlap step (voxels)", ylabel="Windows of one subject")
        axis.legend()
        return _png(figure)


def _paper_style(edge: str) -> dict[str, Any]:
    return PAPER_STYLE | {"markeredgecolor": edge}


def _draw_subjects(axis: Axes, place: float, values: Sequence[float]) -> None:
    """A dot for each value; of several the mean as a line, too, and the standard deviation as a bar."""
    place += HERE_OFFSET
    if len(values) < 2:
        axis.plot([place] * len(values), values, "o", color=HERE_COLOR, markersize=7)
        return
    around = np.linspace(-JITTER, JITTER, len(values))
    axis.plot(place + around, values, "o", color=HERE_COLOR, markersize=5, alpha=0.55, markeredgewidth=0)
    axis.errorbar(
        [place], [float(np.mean(values))], yerr=[float(np.std(values, ddof=1))], fmt="_", color=HERE_COLOR,
        markersize=18, markeredgewidth=2.2, capsize=4, zorder=3,
    )  # fmt: skip


def _draw_published(axis: Axes, place: float, scores: Scores, index: int) -> None:
    figures = (*scores.tissues, scores.average)
    if (printed := figures[index]) is not None:
        deviation = [printed.deviation] if printed.deviation else None
        axis.errorbar([place], [printed.mean], yerr=deviation, capsize=4, **PAPER_STYLE)


def _name_markers(figure: Figure, axis: Axes, *, with_means: bool, with_paper: bool) -> None:
    handles: list[Any] = [axis.plot([], [], "o", color=HERE_COLOR, label="here, one subject")[0]]
    if with_means:
        label = "here, mean ± standard deviation"
        handles.append(
            axis.errorbar([], [], yerr=[], fmt="_", color=HERE_COLOR, markersize=16, markeredgewidth=2.2, label=label)
        )
    if with_paper:
        handles.append(axis.plot([], [], **PAPER_STYLE, label="the paper (± where printed)")[0])
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def _set_places(axis: Axes, places: Sequence[int], *, doubling: bool) -> None:
    if doubling:
        axis.set_xscale("log", base=2)
        axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xticks(places, [str(place) for place in places])


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, dpi=130, format="png")
    return content.getvalue()
