"""The one button, its bar and its sentence: the one place that turns a state into what the user sees of it."""

from __future__ import annotations

from typing import Any

from .jobs import JobProgress, JobState
from .step_choice import format_seconds

STAGES = {
    "starting": "Starting the worker",
    "loading": "Loading scans and network",
    "preparing": "Preparing the scans",
    "aligning": "Aligning T2 to T1",
    "correcting": "Correcting the bias fields",
    "extracting": "Extracting the brain (minutes without a GPU)",
    "checking": "Checking the scans",
    "segmenting": "Segmenting",
    "writing": "Writing the map",
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
        ui.segmentButton.text = "Segment"
        ui.segmentButton.enabled = not reason
        ui.segmentButton.toolTip = reason or "Segment the pair into CSF, gray matter and white matter."
        ui.keepButton.setVisible(False)
        ui.progressBar.setVisible(False)
        ui.statusLabel.text = reason or message
        ui.statusLabel.styleSheet = ERROR_STYLE if is_error and not reason else ""

    def show_running(self, progress: JobProgress, state: JobState, *, can_keep: bool) -> None:
        """A run is in progress."""
        ui = self._ui
        stopping = state is JobState.STOPPING
        ui.segmentButton.text = "Cancel"
        ui.segmentButton.enabled = not stopping
        ui.segmentButton.toolTip = "The run is being stopped." if stopping else "Stop; the scene stays as it was."
        ui.keepButton.setVisible(True)
        ui.keepButton.enabled = can_keep
        ui.keepButton.toolTip = (
            f"Stop now and keep the map of step {progress.step_reached}, refined as far as the run has come."
            if can_keep
            else "The first complete map is not there yet."
        )
        ui.progressBar.setVisible(True)
        ui.progressBar.maximum = progress.windows_total or BUSY_VALUE
        ui.progressBar.value = progress.windows_done
        ui.progressBar.setFormat(describe_progress(progress))
        ui.statusLabel.styleSheet = ""
        ui.statusLabel.text = "Stopping…" if stopping else self._sentence(progress)

    @staticmethod
    def _sentence(progress: JobProgress) -> str:
        sentence = STAGES.get(progress.stage, progress.stage.capitalize())
        if progress.step_reached:
            return f"{sentence}; the views show the map of step {progress.step_reached}."
        return f"{sentence}…"


def describe_progress(progress: JobProgress) -> str:
    """Return the text on the bar."""
    if not progress.windows_total:
        return ""
    left = f" · {format_seconds(progress.seconds_left)} left" if progress.seconds_left is not None else ""
    return f"{progress.windows_done:,} of {progress.windows_total:,} windows{left}"


def describe_result(done: dict[str, Any]) -> str:
    """Return one line on a finished run: step, windows, time, device, from the worker's `done` event."""
    early = " (stopped early)" if done.get("stopped") else ""
    return (
        f"Done{early}: step {done['step_reached']}, {done['windows_done']:,} windows in "
        f"{format_seconds(done['seconds'])} on {done['device_title']}."
    )
