"""The table of a batch: a row a subject with its state and its rating."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .batch_subjects import COMPLETE, FAILED, INCOMPLETE, PENDING, BatchSubject
from .core_paths import make_core_importable

make_core_importable()
from model_core.ratings import BAD, GOOD, USABLE, Rating  # noqa: E402

HEADINGS = (_("Subject"), _("State"), _("Rating"))
STATES = {
    COMPLETE: _("segmented"),
    FAILED: _("failed"),
    PENDING: _("not segmented yet"),
    INCOMPLETE: _("a scan is missing"),
}
RATING_NAMES = {GOOD: _("good"), USABLE: _("usable"), BAD: _("bad")}
ROW_HEIGHT = 22  # pixels
MOST_ROWS = 6  # that are seen without scrolling


class BatchTable:
    """Fills the table; what a choice in it leads to is the caller's.

    Args:
        table: QTableWidget.
    """

    def __init__(self, table: Any) -> None:
        self._table = table
        table.setColumnCount(len(HEADINGS))
        table.setWordWrap(False)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        header = table.horizontalHeader()
        for column, heading in enumerate(HEADINGS):
            table.setHorizontalHeaderItem(column, qt.QTableWidgetItem(heading))
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(1, qt.QHeaderView.Stretch)
        table.setFixedHeight(header.sizeHint.height() + MOST_ROWS * ROW_HEIGHT + 2 * table.frameWidth)

    @property
    def chosen(self) -> int:
        """The row that is chosen, -1 if none is."""
        items = self._table.selectedItems()
        return items[0].row() if items else -1

    def show(self, subjects: Sequence[BatchSubject], ratings: Mapping[str, Rating]) -> None:
        """Show subjects anew, with the ratings that there are by subject's name."""
        self._table.clearSelection()
        self._table.setRowCount(len(subjects))
        for row, subject in enumerate(subjects):
            self.show_row(row, subject, ratings.get(subject.name))

    def show_row(self, row: int, subject: BatchSubject, rating: Rating | None) -> None:
        """Show one subject as it is now; the row stays chosen if it was."""
        state = STATES.get(subject.state, subject.state)
        told = f"{state}: {subject.sentence}" if subject.state == FAILED and subject.sentence else state
        name = RATING_NAMES[rating.rating] if rating is not None else "–"
        cells = ((subject.name, ""), (told, subject.sentence), (name, rating.comment if rating is not None else ""))
        for column, (text, tooltip) in enumerate(cells):
            item = self._table.item(row, column)
            if item is None:
                item = qt.QTableWidgetItem()
                self._table.setItem(row, column, item)
            item.setText(text)
            item.setToolTip(tooltip)
