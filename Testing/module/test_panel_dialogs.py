"""What a user is asked, and the progress dialog of the console's blocking calls: not there under --testing."""

import sys

import pytest
from pretend_worker import progress, result_of

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]


def test_segments_of_the_users_are_replaced_only_after_asking(stand_in, open_panel, pretend, label_file, slicer):
    opened = open_panel(pretend(segment=result_of(label_file)))
    opened.wait_until_ready()
    opened.add_pair()
    stand_in.set_testing(False)
    result = opened.run().segmentationNode
    assert opened.run().segmentationNode is result  # untouched: nothing is asked
    assert stand_in.dialogs.messages == []
    result.GetSegmentation().AddEmptySegment("mine", "mine")
    stand_in.dialogs.answer(False, True)
    last = opened.panel.job
    opened.ui.segmentButton.click()
    assert opened.panel.job is last
    assert result.GetSegmentation().GetSegment("mine") is not None
    assert opened.run().segmentationNode is result
    assert result.GetSegmentation().GetSegment("mine") is None
    assert len(stand_in.dialogs.texts("confirmOkCancel")) == 2
    assert result.GetName() in stand_in.dialogs.texts()[0]


def test_segment_shows_a_progress_dialog_and_takes_it_away(
    stand_in, open_panel, pretend, label_file, monkeypatch, slicer
):
    opened = open_panel(pretend(segment=[progress(), {"sleep": 0.2}, *result_of(label_file)]))
    opened.wait_until_ready()
    stand_in.set_testing(False)
    dialogs, made = [], slicer.util.createProgressDialog
    monkeypatch.setattr(
        slicer.util, "createProgressDialog", lambda **options: dialogs.append(made(**options)) or dialogs[0]
    )
    seen = []
    pair = opened.add_pair()
    result = opened.logic.segment(
        *pair, overlapStep=16, onProgress=lambda _: sys.modules["qt"].QTimer.singleShot(0, lambda: seen.append(
            (dialogs[0].labelText, dialogs[0].value, dialogs[0].maximum)))
    )  # fmt: skip
    assert result.GetName() == "A T1 segmentation"
    assert seen == [("Segmenting: 4 of 8 windows, step 16, 2 s left", 4, 8)]
    assert not dialogs[0].isVisible()


def test_cancel_in_the_progress_dialog_cancels(stand_in, open_panel, pretend, monkeypatch, slicer):
    stopped = [{"send": {"event": "stopped"}}]
    opened = open_panel(pretend(segment=[progress()], stop=stopped))
    opened.wait_until_ready()
    stand_in.set_testing(False)
    dialogs, made = [], slicer.util.createProgressDialog
    monkeypatch.setattr(
        slicer.util, "createProgressDialog", lambda **options: dialogs.append(made(**options)) or dialogs[0]
    )
    from InfantBrainSegLib.errors import SegmentationError

    with pytest.raises(SegmentationError, match="The run is cancelled"):
        opened.logic.segment(*opened.add_pair(), onProgress=lambda _: dialogs[0].canceled())
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
