"""The record of a training run: history.csv, the training curve, and the TensorBoard log."""

from __future__ import annotations

import csv
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from model_core.reports.plot_style import CURVE_COLORS, PLOT_STYLE
from model_core.system.files import replace_when_complete
from model_core.tissues import TISSUES

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

HISTORY_FILE, CURVE_FILE, TENSORBOARD_FOLDER = "history.csv", "training_curve.png", "tensorboard"
DICE_COLUMNS = {tissue.key: f"validation_dice_{tissue.key}" for tissue in TISSUES}
COLUMNS = ("iteration", "loss", "learning_rate", "patches_per_second", *DICE_COLUMNS.values())

LOSS_COLOR = "#33415c"
CURVE_SECONDS = 60.0  # drawing takes half a second, so no more often than this
SMOOTHED_PART = 1 / 12  # of the rows: the width of the centred mean that smooths the loss


@dataclass(frozen=True)
class HistoryRow:
    """One row of the history.

    Attributes:
        iteration: iterations done.
        loss: mean cross entropy over the iterations since the row before.
        learning_rate: rate of the last of them.
        patches_per_second: training windows per second over them, validation and saving not counted.
        dice: whole-volume validation Dice by tissue key, 0 to 1; empty where none was measured.
    """

    iteration: int
    loss: float
    learning_rate: float
    patches_per_second: float
    dice: dict[str, float]

    @property
    def mean_dice(self) -> float:
        """Mean Dice of the three tissues, NaN where none was measured."""
        return sum(self.dice.values()) / len(self.dice) if self.dice else float("nan")


class History:
    """The rows of a run, kept on disk as they come.

    Args:
        folder: the run's output folder.
        resume_at: iteration at which the run goes on; rows after it, written by the part of the
            run that was lost, are dropped. 0 begins a new history.
    """

    def __init__(self, folder: Path, resume_at: int = 0) -> None:
        self.folder = folder
        self.rows = [row for row in read_history(folder / HISTORY_FILE) if row.iteration <= resume_at]
        with replace_when_complete(folder / HISTORY_FILE) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *(_cells(row) for row in self.rows)])
        self._writer = _open_tensorboard(folder / TENSORBOARD_FOLDER, resume_at)
        self._drawn = time.monotonic()

    @property
    def last_iteration(self) -> int:
        """Iteration of the last row, 0 without rows."""
        return self.rows[-1].iteration if self.rows else 0

    @property
    def best_dice(self) -> float:
        """Highest mean validation Dice so far, -1 without one."""
        return max((row.mean_dice for row in self.rows if row.dice), default=-1.0)

    def append(self, row: HistoryRow) -> None:
        """Add a row to the file and to the TensorBoard log."""
        self.rows.append(row)
        with open(self.folder / HISTORY_FILE, "a", newline="") as file:
            csv.writer(file).writerow(_cells(row))
        if self._writer is not None:
            for name in ("loss", "learning_rate", "patches_per_second"):
                self._writer.add_scalar(f"training/{name}", getattr(row, name), row.iteration)
            for key, value in row.dice.items():
                self._writer.add_scalar(f"validation_dice/{key}", value, row.iteration)
            self._writer.flush()

    def draw(self, *, at_once: bool = False) -> None:
        """Write the training curve, if the last one is old enough or ``at_once`` is given."""
        if self.rows and (at_once or time.monotonic() - self._drawn > CURVE_SECONDS):
            draw_curve(self.rows, self.folder / CURVE_FILE)
            self._drawn = time.monotonic()

    def close(self) -> None:
        """Close the TensorBoard log."""
        if self._writer is not None:
            self._writer.close()


def read_history(path: Path) -> list[HistoryRow]:
    """Read the rows of a history.csv, without a last line that a kill cut short; none if there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        complete = [line for line in file if line.endswith("\n")]
    rows = []
    for cells in csv.DictReader(complete):
        dice = {key: float(cells[column]) for key, column in DICE_COLUMNS.items() if cells[column]}
        numbers = (float(cells[column]) for column in COLUMNS[1:4])
        rows.append(HistoryRow(int(cells["iteration"]), *numbers, dice))
    return rows


def draw_curve(rows: list[HistoryRow], path: Path) -> None:
    """Draw loss (as measured and smoothed) and validation Dice by tissue over the iterations.

    Args:
        rows: at least one row.
        path: PNG to write.
    """
    validated = [row for row in rows if row.dice]
    with matplotlib.rc_context(PLOT_STYLE):
        figure = Figure(figsize=(8, 6 if validated else 3.5), layout="constrained")
        axes = figure.subplots(2 if validated else 1, 1, sharex=True, squeeze=False)
        _draw_loss(axes[0, 0], rows)
        if validated:
            _draw_dice(axes[1, 0], validated)
        axes[-1, 0].set_xlabel("Iteration")
        axes[-1, 0].set_xlim(left=0)
        with replace_when_complete(path) as temporary:
            figure.savefig(temporary, dpi=150, format="png")


def _draw_loss(axis: Axes, rows: list[HistoryRow]) -> None:
    iterations = [row.iteration for row in rows]
    losses = np.array([row.loss for row in rows])
    around = np.ones(1 + 2 * int(len(losses) * SMOOTHED_PART / 2))
    smoothed = np.convolve(losses, around, "same") / np.convolve(np.ones_like(losses), around, "same")
    axis.plot(
        iterations, losses, color=LOSS_COLOR, alpha=0.25, linewidth=1, label=f"mean over {iterations[0]} iterations"
    )
    axis.plot(iterations, smoothed, color=LOSS_COLOR, linewidth=2, label="smoothed")
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_ylabel("Cross entropy")
    axis.set_title("Training loss", loc="left", fontweight="bold")
    axis.legend(frameon=False)


def _draw_dice(axis: Axes, rows: list[HistoryRow]) -> None:
    iterations = [row.iteration for row in rows]
    for tissue in TISSUES:
        values = [row.dice[tissue.key] for row in rows]
        label = f"{tissue.name} {values[-1]:.3f}"
        axis.plot(iterations, values, "o-", color=CURVE_COLORS[tissue.key], linewidth=2, markersize=4, label=label)
    axis.set_ylabel("Dice")
    axis.set_title("Validation, whole volume (legend: last value)", loc="left", fontweight="bold")
    axis.legend(frameon=False, loc="lower right")


def _cells(row: HistoryRow) -> list[str]:
    dice = [repr(row.dice[key]) if key in row.dice else "" for key in DICE_COLUMNS]
    return [str(row.iteration), repr(row.loss), repr(row.learning_rate), f"{row.patches_per_second:.4g}", *dice]


def _open_tensorboard(folder: Path, resume_at: int) -> SummaryWriter | None:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print(
            "TensorBoard is not installed, so no event log is written (history.csv holds the same numbers); "
            "pip install tensorboard adds it.",
            file=sys.stderr,
        )
        return None
    return SummaryWriter(str(folder), purge_step=resume_at + 1)
