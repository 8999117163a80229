"""A picture of a calibration: the Dice against the agreement it is told from, and against what was expected."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from model_core.confidence.calibration import UNUSABLE_BELOW, Calibration
from model_core.tissues import TISSUES

LEARNED, HELD_OUT, BAND = "#9aa0a6", "#c2410c", "#1d4ed8"
DOTS_PER_INCH = 110
LEAST_SHOWN = 0.5  # agreement


def draw_calibration(
    calibration: Calibration, learned_from: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]]
) -> bytes:
    """Draw a column per tissue: above the curve with its range, below expected against true Dice.

    Args:
        calibration: as learned.
        learned_from: the records that it was learned from.
        held_out: records of anatomies that it was not learned from.

    Returns:
        A PNG.
    """
    figure = Figure(figsize=(12, 7.6), layout="constrained", dpi=DOTS_PER_INCH)
    axes = figure.subplots(2, len(TISSUES))
    for (above, below), tissue in zip(axes.T, TISSUES, strict=True):
        _draw_curve(above, calibration, tissue.key)
        for records, color, size in ((learned_from, LEARNED, 16), (held_out, HELD_OUT, 22)):
            agreement = [record["agreement"][tissue.key] for record in records]
            true = [record["dice"][tissue.key] for record in records]
            above.scatter(agreement, true, s=size, color=color, alpha=0.75, linewidths=0)
            if records is held_out:
                expected = [calibration.curves[tissue.key].expect(value) for value in agreement]
                middle = np.array([dice.middle for dice in expected])
                reach = np.abs(np.array([(dice.low, dice.high) for dice in expected]).T - middle)
                below.errorbar(
                    true, middle, reach, fmt="o", color=color, ecolor=color, elinewidth=0.8, markersize=4, alpha=0.7
                )
        above.set(
            title=tissue.name, xlabel="Dice between the looks", ylabel="true Dice", xlim=(LEAST_SHOWN, 1), ylim=(0, 1)
        )
        below.plot((0, 1), (0, 1), color=LEARNED, linewidth=1)
        for line in (below.axhline, below.axvline):
            line(UNUSABLE_BELOW, color=LEARNED, linewidth=1, linestyle=":")
        below.set(xlabel="true Dice, held-out anatomies", ylabel="expected Dice", xlim=(0, 1), ylim=(0, 1))
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(
        handles=[
            *(
                axes[0, 0].scatter([], [], color=color, label=label)
                for color, label in ((LEARNED, "learned from"), (HELD_OUT, "held-out anatomies"))
            ),
            axes[0, 0].plot([], [], color=BAND, label="expected, with its range")[0],
        ],
        loc="outside lower center",
        ncols=3,
        frameon=False,
    )
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def _draw_curve(axis: Axes, calibration: Calibration, key: str) -> None:
    curve = calibration.curves[key]
    values = np.linspace(LEAST_SHOWN, 1, 101)
    expected = [curve.expect(value) for value in values]
    axis.plot(values, [dice.middle for dice in expected], color=BAND, linewidth=1.6)
    axis.fill_between(
        values, [dice.low for dice in expected], [dice.high for dice in expected], color=BAND, alpha=0.13, linewidth=0
    )
