"""The report's tables: what was measured here, under it what the paper prints, and paired tests."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from model_core.experiments.published import Figure, Scores
from model_core.experiments.results import COLUMNS, HEADINGS, Evaluation
from model_core.experiments.statistics import paired_test, spread
from model_core.metric_table import METRIC, Metric
from model_core.reports.document import Table

NONE = "–"


def scores_table(
    caption: str,
    metric: Metric,
    models: Mapping[str, Sequence[Evaluation]],
    published: Mapping[str, Scores],
    published_n: int | str,
) -> Table:
    """Mean ± standard deviation of a score by tissue, each model's row above the paper's.

    Args:
        caption: of the table.
        metric: which score.
        models: title -> evaluations, one per subject; none where no job is finished.
        published: title -> the paper's row.
        published_n: subjects behind it.
    """
    rows = []
    for title, evaluations in models.items():
        values = [[entry.scores[metric.key][column] for entry in evaluations] for column in COLUMNS]
        rows.append([f"{title}, here", str(len(evaluations)), *(_mean(column, metric.digits) for column in values)])
        if title in published:
            scores = published[title]
            figures = (*scores.tissues, scores.average)
            rows.append([f"{title}, paper", str(published_n), *(printed(figure, scores.digits) for figure in figures)])
    return Table(caption, ["Model", "n", *HEADINGS], rows)


def tests_table(
    first: tuple[str, Mapping[str, Evaluation]],
    second: tuple[str, Mapping[str, Evaluation]],
    metrics: Sequence[str],
) -> Table | None:
    """Wilcoxon signed-rank tests of two models over the subjects that both have; None without such subjects.

    Args:
        first: title, and subject -> evaluation.
        second: likewise.
        metrics: keys of the scores.
    """
    subjects = [subject for subject in first[1] if subject in second[1]]
    if not subjects:
        return None
    rows = []
    for key in metrics:
        for column, heading in zip(COLUMNS, HEADINGS, strict=True):
            values = [[model[1][subject].scores[key][column] for subject in subjects] for model in (first, second)]
            rows.append([f"{METRIC[key].heading}, {heading}", *test_cells(values[0], values[1], METRIC[key].digits)])
    caption = f"{first[0]} minus {second[0]}, paired Wilcoxon signed-rank test over the same subjects (two-sided)"
    return Table(caption, ["Score", "Mean difference", "n", "p", "Smallest p for this n"], rows)


def test_cells(first: Sequence[float], second: Sequence[float], digits: int) -> list[str]:
    """Mean difference, n, p and the smallest p that so many pairs can give."""
    test = paired_test(first, second)
    difference = NONE if math.isnan(test.difference) else f"{test.difference:+.{digits}f}"
    return [difference, str(test.n), _p(test.p), _p(test.smallest_p)]


def printed(figure: Figure | None, digits: int) -> str:
    """A paper's number."""
    if figure is None:
        return NONE
    deviation = "" if figure.deviation is None else f" ± {figure.deviation:.{digits}f}"
    return f"{figure.mean:.{digits}f}{deviation}"


def _mean(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation; with fewer than two values the mean alone."""
    measured = spread(values)
    if not measured.n:
        return NONE
    if math.isinf(measured.mean):
        return "∞"
    deviation = "" if math.isnan(measured.deviation) else f" ± {measured.deviation:.{digits}f}"
    left_out = f" (n = {measured.n})" if measured.n < len(values) else ""
    return f"{measured.mean:.{digits}f}{deviation}{left_out}"


def minutes_cell(seconds: Sequence[float]) -> str:
    """Mean ± standard deviation of times, in minutes."""
    return _mean([value / 60 for value in seconds], 2)


def _p(p: float) -> str:
    if math.isnan(p):
        return NONE
    return f"{p:.3f}" if p >= 0.001 else f"{p:.1e}"
