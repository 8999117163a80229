"""Segments the sample subject in the panel; run by `make panel` through Testing.slicer_stand_in.run_panel.

Environment: STEP, the overlap step (what the weights are best at unless given).
"""

import os

from InfantBrainSegLib.sample_data import load_sample

stand_in, panel = globals()["stand_in"], globals()["panel"]  # set by run_panel
LIMIT_SECONDS = 3600


def segment_sample(step: int) -> None:
    """Load the sample subject, segment it, score it, and show the surfaces."""
    *_, reference = load_sample()
    parameters = panel.panel.parameters
    parameters.reference, parameters.overlapStep = reference, step
    panel.ui.segmentButton.click()
    job = panel.panel.job
    stand_in.pump(lambda: job.isFinished, seconds=LIMIT_SECONDS)
    job.result()  # raises with the reason if there is none
    stand_in.pump(lambda: panel.panel.scoringJob.isFinished, seconds=LIMIT_SECONDS)
    panel.ui.show3DButton.click()


segment_sample(int(os.environ.get("STEP") or 0))
