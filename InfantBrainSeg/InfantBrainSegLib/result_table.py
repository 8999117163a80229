"""The panel's table: a row a tissue with its volume, the range of the Dice to expect, and the scores once there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .core_paths import make_core_importable
from .score_table import format_score

make_core_importable()
from model_core.metric_table import METRIC  # noqa: E402
from model_core.tissues import TISSUES  # noqa: E402

EXPECTED_KEY = "expected"
# Columns: keys of the rows of scores, and the range to expect.
SHOWN = ("volume_ml", EXPECTED_KEY, "dice", "mhd_3d", "asd_mm", "hd95_mm", "volume_difference_percent")
HEADINGS = {EXPECTED_KEY: _("Expected"), "volume_difference_percent": _("Diff. %")}  # the latter's title is too long
WITHOUT_REFERENCE = ("volume_ml", EXPECTED_KEY)
NARROW = (EXPECTED_KEY,)  # columns that beside scores are as wide as what stands in them; the others share the rest
EXPECTED = _(
    "Expected agreement (Dice) with a person's labels: eight of ten maps lie within this range. It is estimated from "
    "how far the network's members disagree, calibrated on synthetic brains; it is no measurement."
)
NOT_EXPECTED = _("Not known for these weights: their card says nothing of what to expect.")
ROW_HEIGHT = 24  # pixels; Qt may need more for its font
SWATCH = 12  # pixels of the tissue's colour in its row


class ResultTable:
    """Fills the table; what a click on it does is the caller's.

    Args:
        table: QTableWidget.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        self._fill_headings()

    def show(
        self,
        volumes_ml: Mapping[str, float],
        expected: Mapping[str, Sequence[float]],
        scores: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Show a result.

        Args:
            volumes_ml: by tissue key.
            expected: lowest and highest Dice to expect, by tissue key; empty where it is not known.
            scores: one row a tissue, as model_core.metrics.scores gives them; none without a reference.
        """
        by_tissue = {row["tissue"]: row for row in scores}
        for row, tissue in enumerate(TISSUES):
            values = {"volume_ml": volumes_ml.get(tissue.key), **by_tissue.get(tissue.key, {})}
            for column, key in enumerate(SHOWN, 1):
                if key == EXPECTED_KEY:
                    text = format_range(expected.get(tissue.key))
                    self._set_cell(row, column, text, EXPECTED if text != "–" else NOT_EXPECTED)
                else:
                    self._set_cell(row, column, format_score(key, values.get(key)))
        header = self._table.horizontalHeader()
        for column, key in enumerate(SHOWN, 1):
            is_narrow = bool(scores) and key in NARROW
            header.setSectionResizeMode(
                column, qt.QHeaderView.ResizeToContents if is_narrow else qt.QHeaderView.Stretch
            )
            self._table.setColumnHidden(column, not scores and key not in WITHOUT_REFERENCE)

    def _fill_headings(self) -> None:
        table = self._table
        table.setRowCount(len(TISSUES))
        table.setColumnCount(len(SHOWN) + 1)
        table.verticalHeader().setVisible(False)
        table.setWordWrap(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Stretch)
        table.setHorizontalHeaderItem(0, qt.QTableWidgetItem(_("Tissue")))
        header.setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        for column, key in enumerate(SHOWN, 1):
            heading, explanation = _describe(key)
            item = qt.QTableWidgetItem(heading)
            item.setToolTip(explanation)
            table.setHorizontalHeaderItem(column, item)
        for row, tissue in enumerate(TISSUES):
            item = qt.QTableWidgetItem(tissue.name)
            swatch = qt.QPixmap(SWATCH, SWATCH)
            swatch.fill(qt.QColor(*tissue.color))
            item.setIcon(qt.QIcon(swatch))
            table.setItem(row, 0, item)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        rows = sum(table.rowHeight(row) for row in range(len(TISSUES)))
        table.setFixedHeight(header.sizeHint.height() + rows + 2 * table.frameWidth)

    def _set_cell(self, row: int, column: int, text: str, tooltip: str = "") -> None:
        item = qt.QTableWidgetItem(text)
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        item.setToolTip(tooltip)
        self._table.setItem(row, column, item)


def _describe(key: str) -> tuple[str, str]:
    """Return a column's heading and what it means."""
    if key == EXPECTED_KEY:
        return HEADINGS[key], EXPECTED
    metric = METRIC[key]
    explanation = _(metric.explanation)
    return HEADINGS.get(key, _(metric.title)), f"{explanation} ({metric.unit})" if metric.unit else explanation


def format_range(limits: Sequence[float] | None) -> str:
    """Return a lowest and a highest Dice as the panel shows them: ".82–.90"."""
    if limits is None:
        return "–"
    return "–".join(f"{limit:.2f}".removeprefix("0") for limit in limits)
