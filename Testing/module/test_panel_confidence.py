"""What the panel shows of a result without a reference: volumes, the Dice to expect, and where it is unsure."""

import numpy as np
import pytest
from pretend_worker import DONE

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]

TOLD = {
    "expected_dice": {
        "csf": {"low": 0.823, "middle": 0.88, "high": 0.9},
        "gm": {"low": 0.7, "middle": 0.8, "high": 0.845},
        "wm": {"low": 0.5, "middle": 0.8, "high": 1.0},
    },
    "uncertainty": "uncertainty.nii",
    "uncertain_places_mm": {"csf": [1.0, -2.0, 3.0], "wm": [-4.0, 5.0, -6.0]},
}
VOLUME, EXPECTED, DICE = 1, 2, 3  # columns


@pytest.fixture
def uncertainty_file(stand_in, tmp_path):
    """A map that is 0 but for one voxel of 0.5 and one of 0.05."""
    import slicer

    array = np.zeros((32, 32, 32), np.float32)
    array[10, 11, 12], array[20, 21, 22] = 0.5, 0.05
    path = tmp_path / "uncertainty.nii"
    assert slicer.util.saveNode(slicer.util.addVolumeFromArray(array), str(path))
    stand_in.close_scene()
    return path


@pytest.fixture
def run(open_panel, pretend, label_file, uncertainty_file):
    """Open the panel and make a run whose `done` event tells what is given; return what is open."""

    def run_with(told, **script):
        files = [{"copy": [str(label_file), DONE["file"]]}, {"copy": [str(uncertainty_file), "uncertainty.nii"]}]
        opened = open_panel(pretend(segment=[*files, {"send": DONE | told}], **script))
        opened.add_pair()
        opened.run()
        assert opened.panel.job.error == ""
        return opened

    return run_with


def texts(opened, column):
    return [opened.ui.scoreTable.item(row, column).text() for row in range(3)]


def place_shown():
    """Return the sagittal, coronal and axial slice's place in mm (RAS)."""
    import slicer

    views = [slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode") for name in ("Yellow", "Green", "Red")]
    return tuple(view.GetSliceToRAS().GetElement(axis, 3) for axis, view in enumerate(views))


def hidden_columns(opened):
    table = opened.ui.scoreTable
    return [table.horizontalHeaderItem(column).text() for column in range(8) if table.isColumnHidden(column)]


def test_a_row_per_tissue_shows_volume_and_the_dice_to_expect(run):
    opened = run(TOLD)
    assert texts(opened, VOLUME) == ["1.0", "2.0", "3.0"]
    assert texts(opened, EXPECTED) == [".82–.90", ".70–.84", ".50–1.00"]
    assert hidden_columns(opened) == ["Dice", "3D-MHD", "ASD", "HD95", "Diff. %"]
    told = opened.ui.scoreTable.item(0, EXPECTED).toolTip()
    assert "with a person's labels" in told
    assert "no measurement" in told
    assert "no measurement" in opened.ui.scoreLabel.text
    assert opened.panel.job.confidence.expected_dice["csf"] == (0.823, 0.9)


def test_a_worker_that_does_not_tell_what_to_expect_leaves_its_column_empty(run, slicer):
    opened = run({})
    assert texts(opened, VOLUME) == ["1.0", "2.0", "3.0"]
    assert texts(opened, EXPECTED) == ["–"] * 3
    assert opened.ui.scoreTable.item(0, EXPECTED).toolTip().startswith("Not known for these weights")
    assert opened.ui.scoreLabel.text == ""
    assert not opened.ui.uncertaintyCheckBox.enabled
    before = place_shown()
    opened.ui.scoreTable.selectRow(1)
    assert place_shown() == before
    assert opened.ui.scoreLabel.text == ""


def test_choosing_a_tissue_shows_where_the_result_is_least_certain(run, slicer):
    opened = run(TOLD)
    opened.ui.scoreTable.selectRow(2)
    assert place_shown() == pytest.approx((-4, 5, -6))
    assert opened.ui.scoreLabel.text.startswith("White matter: the largest uncertain region is here")


def test_a_place_of_a_moved_scan_is_looked_for_where_the_scan_lies(run, slicer):
    opened = run(TOLD)
    moved = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 100, 200, 300
    moved.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    opened.panel.parameters.output.SetAndObserveTransformNodeID(moved.GetID())
    opened.ui.scoreTable.selectRow(0)
    assert place_shown() == pytest.approx((101, 198, 303))


def test_one_switch_shows_the_uncertainty_over_the_views_and_leaves_no_trace(run, slicer):
    opened = run(TOLD)
    t1, t2 = opened.panel.parameters.t1, opened.panel.parameters.t2
    slicer.util.setSliceViewerLayers(foreground=t2, foregroundOpacity=0.25)
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    opened.ui.uncertaintyCheckBox.click()
    composite = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")[0]
    shown = slicer.mrmlScene.GetNodeByID(composite.GetForegroundVolumeID())
    assert slicer.util.arrayFromVolume(shown)[10, 11, 12] == 0.5
    assert np.allclose(shown.GetOrigin(), t1.GetOrigin())
    display = shown.GetDisplayNode()
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 1)
    assert (display.GetLowerThreshold(), bool(display.GetApplyThreshold())) == (pytest.approx(0.25), True)
    assert not opened.ui.fillCheckBox.checked  # filled tissues would hide it
    opened.ui.uncertaintyCheckBox.click()
    assert opened.ui.fillCheckBox.checked
    assert composite.GetForegroundVolumeID() == t2.GetID()
    assert composite.GetForegroundOpacity() == 0.25
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes


SCORES = {
    "dice": 0.8, "mhd_3d": 1.0, "asd_mm": 0.5, "hd95_mm": 2.0,
    "volume_ml": 1.5, "reference_volume_ml": 2.0, "volume_difference_percent": -25.0,
}  # fmt: skip


def test_with_a_reference_scores_stand_beside_what_was_expected_and_one_overlay_is_shown_at_a_time(
    run, slicer, label_file
):
    scored = {
        "event": "done",
        "rows": [{"tissue": tissue, **SCORES} for tissue in ("csf", "gm", "wm")],
        "places": {"csf": {"position": [7.0, 8.0, 9.0], "depth_mm": 2.0, "label_found": 1, "label_expected": 2}},
        "disagreement": "disagreement.nii",
        "resampled": False,
    }
    opened = run(TOLD, score=[{"copy": [str(label_file), "disagreement.nii"]}, {"send": scored}])
    opened.ui.uncertaintyCheckBox.click()
    opened.panel.parameters.reference = slicer.util.loadLabelVolume(str(label_file))
    opened.ui.scoreButton.click()
    opened.wait(lambda: opened.panel.scoringJob.isFinished)
    assert hidden_columns(opened) == []
    assert texts(opened, EXPECTED) == [".82–.90", ".70–.84", ".50–1.00"]
    assert texts(opened, DICE) == ["0.800"] * 3
    assert texts(opened, VOLUME) == ["1.5"] * 3  # of the segmentation as it is now
    assert opened.ui.uncertaintyCheckBox.checked
    opened.ui.disagreementCheckBox.click()
    assert not opened.ui.uncertaintyCheckBox.checked
    opened.ui.uncertaintyCheckBox.click()
    assert not opened.ui.disagreementCheckBox.checked
    assert not opened.ui.fillCheckBox.checked
    opened.ui.scoreTable.selectRow(0)
    assert opened.ui.scoreLabel.text.startswith("CSF: the largest disagreement is here")


def test_another_segmentation_is_not_shown_with_the_values_of_the_last_result(run, slicer):
    opened = run(TOLD)
    opened.ui.uncertaintyCheckBox.click()
    opened.panel.parameters.output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Another")
    assert texts(opened, VOLUME) == texts(opened, EXPECTED) == ["–"] * 3
    assert not opened.ui.uncertaintyCheckBox.enabled
    assert slicer.util.getFirstNodeByClassByName("vtkMRMLScalarVolumeNode", "Uncertainty of the result") is None


def test_the_scene_can_be_closed_while_the_uncertainty_is_shown(run, stand_in):
    opened = run(TOLD)
    opened.ui.uncertaintyCheckBox.click()
    stand_in.close_scene()
    assert texts(opened, EXPECTED) == ["–"] * 3
    assert not opened.ui.uncertaintyCheckBox.checked
