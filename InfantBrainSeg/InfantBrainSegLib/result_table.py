"""The panel's table: a row a tissue with its volume, the range of the Dice to expect, and the scores once there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .core_paths import make_core_importable
from .score_table import COLUMNS, format_score

make_core_importable()
from model_core.tissues import TISSUES  # noqa: E402

# Column: heading, key of a row of scores (or "expected").
SHOWN = (
    (_("Volume"), "volume_ml"),
    (_("Expected"), "expected"),
    (_("Dice"), "dice"),
    (_("3D-MHD"), "mhd_3d"),
    (_("ASD"), "asd_mm"),
    (_("HD95"), "hd95_mm"),
    (_("Diff. %"), "volume_difference_percent"),
)
WITHOUT_REFERENCE = ("volume_ml", "expected")
NARROW = ("expected",)  # columns as wide as what stands in them; the others share the rest
EXPECTED = _(
    "Expected agreement (Dice) with a person's labels: eight of ten maps lie within this range. It is estimated from "
    "how far the network's members disagree, calibrated on synthetic brains; it is no measurement."
)
NOT_EXPECTED = _("Not known for these weights: their card says nothing of what to expect.")
ROW_HEIGHT = 24  # pixels; Qt may need more for its font
SWATCH = 12  # pixels of the tissue's colour in its row
EXPLANATIONS = {key: f"{explanation} ({unit})" if unit else explanation for _name, key, unit, explanation in COLUMNS}


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
            for column, (_heading, key) in enumerate(SHOWN, 1):
                if key == "expected":
                    text = format_range(expected.get(tissue.key))
                    self._set_cell(row, column, text, EXPECTED if text != "–" else NOT_EXPECTED)
                else:
                    self._set_cell(row, column, format_score(key, values.get(key)))
        for column, (_heading, key) in enumerate(SHOWN, 1):
            self._table.setColumnHidden(column, not scores and key not in WITHOUT_REFERENCE)

    def _fill_headings(self) -> None:
        table = self._table
        table.setRowCount(len(TISSUES))
        table.setColumnCount(len(SHOWN) + 1)
        table.verticalHeader().setVisible(False)
        table.setWordWrap(False)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Stretch)
        for column, (heading, key) in enumerate(((_("Tissue"), ""), *SHOWN)):
            item = qt.QTableWidgetItem(heading)
            if column:
                item.setToolTip(EXPLANATIONS.get(key, EXPECTED))
            table.setHorizontalHeaderItem(column, item)
            if not key or key in NARROW:
                header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
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


def format_range(limits: Sequence[float] | None) -> str:
    """Return a lowest and a highest Dice as the panel shows them: ".82–.90"."""
    if limits is None:
        return "–"
    return "–".join(f"{limit:.2f}".removeprefix("0") for limit in limits)
