"""The button for scores and its sentence: when a comparison can start, what it compares, how it ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from .errors import SegmentationError
from .jobs import Job, JobState
from .logic import SegmentationLogic
from .results_view import ResultsView
from .scoring_job import ScoringJob


class ScoringControls:
    """Starts comparisons and shows their outcome.

    Args:
        ui: the panel's widgets.
        logic: what scores.
        results: shows the scores.
        parameters: called for the parameters that the panel follows, None while there are none.
        onChanged: called when a comparison has started or its state has changed.

    Attributes:
        job: the newest comparison, or None.
    """

    def __init__(
        self,
        ui: Any,
        logic: SegmentationLogic,
        results: ResultsView,
        parameters: Callable[[], Any],
        onChanged: Callable[[], Any],
    ) -> None:
        self._ui, self._logic, self._results = ui, logic, results
        self._parameters, self._onChanged = parameters, onChanged
        self.job: ScoringJob | None = None

    @property
    def is_running(self) -> bool:
        """Whether a comparison is going on."""
        return self.job is not None and not self.job.isFinished

    def start(self) -> None:
        """Score the segmentation, as it is now, against the reference."""
        parameters = self._parameters()
        try:
            self.job = self._logic.startScoring(
                parameters.output, parameters.reference, parameters.scoreTable, onChanged=self._job_changed
            )
            self._ui.scoreLabel.text = _("Computing the scores…")
        except SegmentationError as error:
            self._ui.scoreLabel.text = str(error)
        self._onChanged()

    def refresh(self) -> None:
        """Let the button say whether it can be used, or why not."""
        button, reason = self._ui.scoreButton, self._reason()
        button.enabled = not reason
        button.toolTip = reason or _("Score the segmentation as it is now against the reference; again after editing.")

    def tell_edited(self) -> None:
        """Say that the scores are those of the segmentation before it was edited."""
        if self._results.scoring is not None:
            self._ui.scoreLabel.text = _("The segmentation was edited after these scores; compute them again.")

    def cancel(self) -> None:
        """Stop a comparison that is going on."""
        if self.job is not None and not self.job.isFinished:
            self.job.cancel()

    def scene_closed(self) -> None:
        """Forget what was compared."""
        if self.job is not None:
            self.job.scene_closed()
        self.job = None
        self._ui.scoreLabel.text = ""

    def _reason(self) -> str:
        """Why there can be no scores now, or an empty text."""
        parameters = self._parameters()
        if self._logic.worker.is_busy:
            return _("A run is in progress; wait for its end.")
        if parameters.output is None:
            return _("There is no segmentation yet; segment first, or choose one above.")
        if parameters.reference is None:
            return _("No reference is chosen; choose a label map or a segmentation under Inputs.")
        if parameters.reference is parameters.output:
            return _("The reference is the segmentation itself; choose another one under Inputs.")
        return ""

    def _job_changed(self, changed: Job) -> None:
        parameters, job = self._parameters(), self.job
        if parameters is None or job is None or changed is not job:
            return
        if job.state is JobState.DONE:
            parameters.scoreTable = job.tableNode
            self._results.show_scores(job)
            grid = _("resampled onto the reference's grid") if job.wasResampled else _("on one grid")
            sentence = _("{result} against {reference}, {grid}. Choose a tissue to see where they differ most.")
            names = {"result": job.resultNode.GetName(), "reference": job.referenceNode.GetName()}
            self._ui.scoreLabel.text = sentence.format(**names, grid=grid)
        elif job.state is JobState.FAILED:
            self._ui.scoreLabel.text = job.error
        elif job.state is JobState.CANCELLED:
            self._ui.scoreLabel.text = ""
        self._onChanged()
