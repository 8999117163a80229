"""The application answers while a run goes on: how long one call in its process lasts, on a whole brain.

On a computer with nothing else to do the calls stay below 0.1 s; the limit here leaves room for a loaded one.
"""

from pathlib import Path

import pytest
from pretend_worker import map_of, progress, result_of

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]

SAMPLE_LABELS = Path(__file__).resolve().parents[2] / "Resources" / "SampleSubject" / "labels.nii.gz"
LONGEST_CALL = 0.5  # seconds


@pytest.fixture
def whole_brain(stand_in, open_panel, pretend, tmp_path, slicer):
    """The panel with the sample subject and a worker that gives three maps of it."""
    node = slicer.util.loadLabelVolume(str(SAMPLE_LABELS))
    labels = tmp_path / "labels.nii"
    slicer.util.saveNode(node, str(labels))
    stand_in.close_scene()
    pause = {"sleep": 0.2}
    steps = [progress(), pause, *map_of(32, labels), pause, *map_of(16, labels), pause, *result_of(labels)]
    opened = open_panel(pretend(segment=steps))
    opened.wait_until_ready()
    from InfantBrainSegLib.sample_data import load_sample

    load_sample()
    stand_in.pump(lambda: opened.panel.parameters.t2 is not None)
    return opened


def test_no_call_lasts_long_while_the_scans_go_out_and_the_first_map_comes_in(stand_in, whole_brain):
    stand_in.meter.reset()
    whole_brain.ui.segmentButton.click()
    job = whole_brain.panel.job
    whole_brain.wait(lambda: job.progress.windows_done == 4)
    assert stand_in.meter.longest_seconds < LONGEST_CALL, stand_in.meter.longest_slot
    whole_brain.wait(lambda: job.isFinished)
    assert job.state.value == "done"
    assert stand_in.meter.longest_seconds < 3 * LONGEST_CALL, (
        stand_in.meter.longest_slot
    )  # a map is loaded in one piece


def test_no_call_lasts_long_when_the_result_goes_out_to_be_scored(stand_in, whole_brain, slicer):
    result = whole_brain.run().segmentationNode
    reference = slicer.util.getNode("Infant reference")
    stand_in.meter.reset()
    scoring = whole_brain.logic.startScoring(result, reference)
    whole_brain.wait(lambda: scoring.state.value == "running")
    assert stand_in.meter.longest_seconds < LONGEST_CALL, stand_in.meter.longest_slot


def test_opening_the_panel_and_choosing_a_step_are_quick(stand_in, whole_brain):
    stand_in.leave_module()
    stand_in.meter.reset()
    stand_in.open_module("InfantBrainSeg")
    stand_in.pump(seconds=0.05)
    for button in ("stepRow1RadioButton", "stepRow4RadioButton", "stepRow2RadioButton"):
        getattr(whole_brain.ui, button).click()
        stand_in.pump(seconds=0.02)
    assert stand_in.meter.longest_seconds < LONGEST_CALL, stand_in.meter.longest_slot
