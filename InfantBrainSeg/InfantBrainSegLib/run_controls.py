"""The one button, its bar and its sentence: the one place that turns a state into what the user sees of it."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from .jobs import JobProgress, JobState
from .step_choice import format_seconds
from .step_text import WHOLE_BRAIN, describe_step

STAGES = {
    "starting": _("Starting the worker"),
    "loading": _("Loading scans and network"),
    "preparing": _("Preparing the scans"),
    "aligning": _("Aligning T2 to T1"),
    "correcting": _("Correcting the bias fields"),
    "extracting": _("Extracting the brain (minutes without a GPU)"),
    "checking": _("Checking the scans"),
    "segmenting": _("Segmenting"),
    "writing": _("Writing the map"),
}
ERROR_STYLE = "color: #c0392b;"
BUSY_VALUE = 0  # a bar from 0 to 0 shows that something goes on


class RunControls:
    """Shows a state; knows nothing of why.

    Args:
        ui: the panel's widgets.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self.show_idle("", "")

    def show_idle(self, reason: str, message: str, *, is_error: bool = False) -> None:
        """Nothing runs.

        Args:
            reason: why the button cannot be used; empty if it can.
            message: what else there is to say: the last run's outcome.
            is_error: whether the message is the sentence of a failure.
        """
        ui = self._ui
        ui.segmentButton.text = _("Segment")
        ui.segmentButton.enabled = not reason
        ui.segmentButton.toolTip = reason or _("Segment into CSF, gray matter and white matter.")
        ui.keepButton.setVisible(False)
        ui.progressBar.setVisible(False)
        ui.statusLabel.text = reason or message
        ui.statusLabel.styleSheet = ERROR_STYLE if is_error and not reason else ""

    def show_running(self, progress: JobProgress, state: JobState, *, can_keep: bool) -> None:
        """A run is in progress."""
        ui = self._ui
        stopping = state is JobState.STOPPING
        ui.segmentButton.text = _("Cancel")
        ui.segmentButton.enabled = not stopping
        ui.segmentButton.toolTip = _("The run is being stopped.") if stopping else _("Stop; the scene stays as it was.")
        ui.keepButton.setVisible(True)
        ui.keepButton.enabled = can_keep
        ui.keepButton.toolTip = (
            _("Stop now and keep the map of {step}, refined as far as the run has come.").format(
                step=describe_step(progress.step_reached)
            )
            if can_keep
            else _("The first complete map is not there yet.")
        )
        ui.progressBar.setVisible(True)
        ui.progressBar.maximum = progress.windows_total or BUSY_VALUE
        ui.progressBar.value = progress.windows_done
        ui.progressBar.setFormat(describe_progress(progress))
        ui.statusLabel.styleSheet = ""
        ui.statusLabel.text = _("Stopping…") if stopping else self._sentence(progress)

    @staticmethod
    def _sentence(progress: JobProgress) -> str:
        sentence = STAGES.get(progress.stage, progress.stage.capitalize())
        if progress.step_reached:
            return _("{stage}; the views show the map of {step}.").format(
                stage=sentence, step=describe_step(progress.step_reached)
            )
        return f"{sentence}…"


def describe_progress(progress: JobProgress) -> str:
    """Return the text on the bar."""
    if not progress.windows_total:
        return ""
    counts = {"done": f"{progress.windows_done:,}", "total": f"{progress.windows_total:,}"}
    if progress.seconds_left is None:
        return _("{done} of {total} windows").format(**counts)
    return _("{done} of {total} windows · {time} left").format(**counts, time=format_seconds(progress.seconds_left))


def describe_result(done: dict[str, Any]) -> str:
    """Return one line on a finished run: step, windows, time, device, from the worker's `done` event."""
    if done["step_reached"] == WHOLE_BRAIN:
        told = _("Done: {step} in {time} on {device}.")
        return told.format(
            step=describe_step(WHOLE_BRAIN), time=format_seconds(done["seconds"]), device=done["device_title"]
        )
    sentence = (
        _("Done (stopped early): {step}, {windows} windows in {time} on {device}.")
        if done.get("stopped")
        else _("Done: {step}, {windows} windows in {time} on {device}.")
    )
    return sentence.format(
        step=describe_step(done["step_reached"]),
        windows=f"{done['windows_done']:,}",
        time=format_seconds(done["seconds"]),
        device=done["device_title"],
    )
