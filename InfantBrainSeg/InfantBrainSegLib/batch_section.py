"""The section Batch: subjects of a BIDS data set and their states, segmenting them all, opening and rating results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from .batch_process import BatchProcess
from .batch_subjects import COMPLETE, FAILED, PROGRESS, BatchSubject, open_result
from .batch_table import RATING_NAMES, BatchTable
from .core_paths import make_core_importable
from .errors import SegmentationError
from .run_controls import ERROR_STYLE
from .settings import read_setting, write_setting

make_core_importable()
from model_core.errors import UserError  # noqa: E402
from model_core.ratings import Rating, read_ratings, write_rating  # noqa: E402

RESULTS_FOLDER = Path("derivatives", "infantbrainseg")  # within the data set, unless the user chooses another
DATA_SETTING, RESULTS_SETTING = "BatchDataSet", "BatchResults"


class BatchSection:
    """Knows nothing of the scene but how to open a result in it.

    Args:
        ui: the panel's widgets.
        options: called for the options of cohort.py that the panel stands for; may raise SegmentationError.
        onOpened: called with the segmentation node and the sidecar of a result that was opened.
    """

    def __init__(
        self, ui: Any, options: Callable[[], Sequence[str]], onOpened: Callable[[Any, dict[str, Any]], Any]
    ) -> None:
        self._ui, self._options, self._onOpened = ui, options, onOpened
        self._table = BatchTable(ui.batchTable)
        self._process = BatchProcess()
        self._subjects: list[BatchSubject] = []
        self._ratings: dict[str, Rating] = {}
        self._listed = ("", "")  # folders of data and results that the subjects are of
        self._stopping = self._segmenting = False
        for rating, name in RATING_NAMES.items():
            ui.ratingComboBox.addItem(name, rating)
        ui.batchDataPathLineEdit.currentPath = read_setting(DATA_SETTING, "")
        ui.batchResultsPathLineEdit.currentPath = read_setting(RESULTS_SETTING, "")
        ui.batchDataPathLineEdit.connect("currentPathChanged(QString)", self._data_chosen)
        ui.batchListButton.connect("clicked()", self.list_subjects)
        ui.batchRunButton.connect("clicked()", self.run_or_stop)
        ui.batchTable.connect("itemSelectionChanged()", self._show_chosen)
        ui.batchOpenButton.connect("clicked()", self.open_chosen)
        ui.ratingButton.connect("clicked()", self.rate_chosen)
        self._refresh()

    def list_subjects(self) -> None:
        """Ask cohort.py which subjects there are, and show them."""
        data, results = self._folders()
        found: list[BatchSubject] = []

        def take(line: str) -> None:
            subject = BatchSubject.from_line(line)
            if subject is not None:
                found.append(subject)

        def end(status: int, last_words: str) -> None:
            if status == 0:
                self._listed, self._subjects = (data, results), found
                write_setting(DATA_SETTING, data)
                write_setting(RESULTS_SETTING, results)
                self._read_ratings()
                self._table.show(found, self._ratings)
            self._ended(status, last_words, _("{count} subjects.").format(count=len(found)))

        self._start([data, results, "--list-subjects"], take, end, _("Looking through the data set…"))

    def run_or_stop(self) -> None:
        """Segment all subjects that are not complete and up to date, or stop doing so."""
        if self._segmenting:
            self._stopping = True
            self._tell(_("Stopping; complete results stay…"))
            self._process.stop()
            self._refresh()
            return
        try:
            options = self._options()
        except SegmentationError as error:
            self._tell(str(error), is_error=True)
            return
        self._segmenting = True
        self._start([*self._listed, *options], self._take_progress, self._run_ended, _("Starting…"))
        self._segmenting = self._process.is_running
        self._refresh()

    def open_chosen(self) -> None:
        """Load the chosen subject's T1 and result."""
        subject = self._subjects[self._table.chosen]
        try:
            node = open_result(subject)
        except SegmentationError as error:
            self._tell(str(error), is_error=True)
        else:
            self._onOpened(node, subject.read_sidecar())

    def rate_chosen(self) -> None:
        """Keep the rating of the chosen subject's result in the folder of the results."""
        row = self._table.chosen
        subject, box = self._subjects[row], self._ui.ratingComboBox
        if box.currentIndex < 0:
            self._tell(_("No rating is chosen; choose good, usable or bad beside the comment."), is_error=True)
            return
        rating, comment = box.itemData(box.currentIndex), self._ui.ratingCommentLineEdit.text
        try:
            write_rating(Path(self._listed[1]), subject.participant, subject.session, rating, comment)
        except UserError as error:
            self._tell(str(error), is_error=True)
            return
        self._read_ratings()
        self._table.show_row(row, subject, self._rating_of(subject))
        self._tell(_("{name}: the rating is kept in ratings.tsv.").format(name=subject.name))

    def close(self) -> None:
        """End what runs."""
        self._process.close()

    def _start(
        self, arguments: Sequence[str], take: Callable[[str], Any], end: Callable[[int, str], Any], message: str
    ) -> None:
        self._ui.batchProgressBar.maximum = self._ui.batchProgressBar.value = 0
        self._tell(message)
        try:
            self._process.start(arguments, take, end)
        except SegmentationError as error:
            self._tell(str(error), is_error=True)
        self._refresh()

    def _take_progress(self, line: str) -> None:
        match = PROGRESS.fullmatch(line)
        if match is None:
            return
        done, total, name, told = match.groups()
        self._ui.batchProgressBar.maximum, self._ui.batchProgressBar.value = int(total), int(done)
        self._tell(_("{done} of {total} subjects are through.").format(done=done, total=total))
        for row, subject in enumerate(self._subjects):
            if subject.name == name:
                subject.look_again(told)
                self._table.show_row(row, subject, self._rating_of(subject))
        self._show_chosen()

    def _run_ended(self, status: int, last_words: str) -> None:
        failed = sum(subject.state == FAILED for subject in self._subjects)
        complete = sum(subject.state == COMPLETE for subject in self._subjects)
        told = _("{complete} of {total} subjects are segmented; the report is {file}.").format(
            complete=complete, total=len(self._subjects), file=Path(self._listed[1], "index.html")
        )
        if self._stopping:
            status, told = 0, _("Stopped; complete results stay, and the next run goes on from there.")
        elif failed and status == 1:
            status, told = 0, _("{failed} failed; their row says why. ").format(failed=failed) + told
        self._segmenting = self._stopping = False
        self._ended(status, last_words, told)

    def _ended(self, status: int, last_words: str, told: str) -> None:
        if status == 0:
            self._tell(told)
        else:
            self._tell(last_words or _("The process ended with status {status}.").format(status=status), is_error=True)
        self._refresh()

    def _data_chosen(self, path: str) -> None:
        if path:
            self._ui.batchResultsPathLineEdit.currentPath = str(Path(path) / RESULTS_FOLDER)
        self._refresh()

    def _folders(self) -> tuple[str, str]:
        data = self._ui.batchDataPathLineEdit.currentPath
        return data, self._ui.batchResultsPathLineEdit.currentPath or str(Path(data) / RESULTS_FOLDER)

    def _read_ratings(self) -> None:
        try:
            self._ratings = read_ratings(Path(self._listed[1])).by_name
        except UserError as error:
            self._ratings = {}
            self._tell(str(error), is_error=True)

    def _rating_of(self, subject: BatchSubject) -> Rating | None:
        return self._ratings.get(subject.name)

    def _show_chosen(self) -> None:
        row = self._table.chosen
        rating = self._rating_of(self._subjects[row]) if row >= 0 else None
        box = self._ui.ratingComboBox
        box.currentIndex = box.findData(rating.rating) if rating is not None else -1
        self._ui.ratingCommentLineEdit.text = rating.comment if rating is not None else ""
        self._refresh()

    def _refresh(self) -> None:
        ui, row, is_running = self._ui, self._table.chosen, self._process.is_running
        is_complete = row >= 0 and self._subjects[row].state == COMPLETE
        for widget in (ui.batchOpenButton, ui.ratingComboBox, ui.ratingCommentLineEdit, ui.ratingButton):
            widget.enabled = is_complete
        for widget in (ui.batchDataPathLineEdit, ui.batchResultsPathLineEdit):
            widget.enabled = not is_running
        ui.batchListButton.enabled = not is_running and bool(ui.batchDataPathLineEdit.currentPath)
        ui.batchRunButton.text = _("Stop") if self._segmenting else _("Segment all")
        can_start = bool(self._subjects) and not is_running
        ui.batchRunButton.enabled = not self._stopping if self._segmenting else can_start
        ui.batchProgressBar.setVisible(is_running)

    def _tell(self, text: str, *, is_error: bool = False) -> None:
        self._ui.batchLabel.text = text
        self._ui.batchLabel.styleSheet = ERROR_STYLE if is_error else ""
