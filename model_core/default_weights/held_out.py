"""Scores of weights on synthetic pairs of anatomies that were never trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model_core.inference import Segmenter
from model_core.inference.window_bar import window_bar
from model_core.metric_table import SCORES
from model_core.metrics import score_tissues
from model_core.synthesis.anatomies import Anatomy
from model_core.synthesis.generator import synthesize_pair
from model_core.system.files import replace_when_complete
from model_core.tissues import TISSUES

METRICS = tuple(metric.key for metric in SCORES)
SEED = 900  # of the draws; no training uses it
BOTH_SCANS = ("t1", "t2")
VOXEL_MM = (1.0, 1.0, 1.0)  # spacing of synthetic pairs


@dataclass(frozen=True)
class HeldOutPair:
    """One synthetic pair to score: an anatomy and the number of the draw, from 1."""

    anatomy: Anatomy
    number: int

    @property
    def name(self) -> str:
        """Like "adult_04 draw 2"."""
        return f"{self.anatomy.name.partition('.')[0]} draw {self.number}"


def score_draws(
    segmenter: Segmenter,
    anatomies: Sequence[Anatomy],
    draws: int,
    step: int,
    fingerprint: str,
    path: Path,
    *,
    given: Sequence[str] = BOTH_SCANS,
) -> list[dict[str, Any]]:
    """Segment and score ``draws`` six-month pairs of each anatomy; goes on with what a file holds already.

    Args:
        segmenter: with the weights.
        anatomies: never trained on.
        draws: pairs of each, 1 or more.
        step: overlap step.
        fingerprint: of the weights; scores of others in the file are not used.
        path: JSON file that gets every score as soon as it is known.
        given: the scans that the network gets, "t1", "t2" or both.

    Returns:
        One record a pair, in order: draw, anatomy, step, and the tissues' rows with Dice, 3D-MHD, ASD and HD95.
    """
    wanted = [HeldOutPair(anatomy, number) for number in range(1, draws + 1) for anatomy in anatomies]
    makers = {draw.name: partial(_score, segmenter, draw, step, given) for draw in wanted}
    return remembered(path, fingerprint, step, makers)


def remembered(
    path: Path, fingerprint: str, step: int, makers: Mapping[str, Callable[[], dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Make records that take long, and write each at once; what a file holds already is not made again.

    Args:
        path: JSON file that gets every record as soon as it is known.
        fingerprint: of the weights; records of others in the file are not used.
        step: overlap step; as with the weights.
        makers: by name, what makes the record; the record has the name under "draw".

    Returns:
        The records, in the makers' order.
    """
    known = {record["draw"]: record for record in _read(path, fingerprint, step)}
    for name, make in makers.items():
        if name not in known:
            known[name] = make()
            content = {"weights": fingerprint, "overlap_step": step, "records": list(known.values())}
            with replace_when_complete(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return [known[name] for name in makers]


def _read(path: Path, fingerprint: str, step: int) -> Iterator[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["weights"] == fingerprint and content["overlap_step"] == step:
            yield from content["records"]
    except (OSError, ValueError, KeyError, TypeError):
        return


def _score(segmenter: Segmenter, draw: HeldOutPair, step: int, given: Sequence[str]) -> dict[str, Any]:
    pair = synthesize_pair(draw.anatomy, (SEED, draw.number))
    t1, t2 = (scan if name in given else None for name, scan in (("t1", pair.t1), ("t2", pair.t2)))
    with window_bar(f"Scoring {draw.name}") as show:
        labels = segmenter.segment(t1, t2, step=step, mask=pair.mask, on_progress=show).labels
    rows = [row.as_dict() for row in score_tissues(labels, pair.labels, VOXEL_MM)]
    tissues = {row["tissue"]: {metric: row[metric] for metric in METRICS} for row in rows}
    return {"draw": draw.name, "anatomy": draw.anatomy.name.partition(".")[0], "overlap_step": step, "tissues": tissues}


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean and standard deviation (n - 1) of each metric of each tissue, over anatomies.

    The draws of an anatomy are averaged first: they are not independent.

    Returns:
        By group ("all", then each anatomy), tissue and "dice", "dice_sd", "mhd_3d", …; in a group of one anatomy the
        deviation is that of its draws. What is not defined is None: the deviation of a single value, a metric of a
        tissue that was not found at all.
    """
    anatomies = list(dict.fromkeys(record["anatomy"] for record in records))
    summary: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in ("all", *anatomies)}
    for tissue in (tissue.key for tissue in TISSUES):
        by_anatomy = {name: _values(records, name, tissue) for name in anatomies}
        means = np.array([values.mean(axis=0) for values in by_anatomy.values()])
        for name, values in {"all": means, **by_anatomy}.items():
            deviations = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(len(METRICS), np.nan)
            figures = {}
            for metric, mean, deviation in zip(METRICS, values.mean(axis=0), deviations, strict=True):
                figures |= {metric: _rounded(mean), f"{metric}_sd": _rounded(deviation)}
            summary[name][tissue] = figures
    return summary


def _values(records: Sequence[dict[str, Any]], anatomy: str, tissue: str) -> np.ndarray:
    """(draws, metrics) float of one tissue of one anatomy; NaN where a metric is not defined."""
    rows = [record["tissues"][tissue] for record in records if record["anatomy"] == anatomy]
    return np.array([[row[metric] for metric in METRICS] for row in rows], dtype=float)


def _rounded(value: float) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
