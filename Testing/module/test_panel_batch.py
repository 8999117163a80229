"""The section Batch on a small BIDS data set, with the real cohort.py and one run of the real network."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

from model_core.ratings import Rating, read_ratings

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]

NAME, STATE, RATING = 0, 1, 2  # columns
SAMPLE = Path(__file__).resolve().parents[2] / "Resources" / "SampleSubject"


@pytest.fixture
def data(tmp_path):
    """A data set of two subjects whose scans can be read, one without T2; the second one's T1 is empty."""
    import SimpleITK as sitk

    folder = tmp_path / "data set"
    scans = [sitk.ReadImage(str(SAMPLE / f"{name}.nii.gz")) for name in ("T1", "T2")]
    crops = [sitk.ConstantPad(scan[50:74, 66:90, 42:66], [4] * 3, [4] * 3) for scan in scans]
    for name, images in (("sub-01", crops), ("sub-02", (0 * crops[0], crops[1])), ("sub-03", crops[:1])):
        anat = folder / name / "anat"
        anat.mkdir(parents=True)
        for kind, image in zip(("T1w", "T2w"), images, strict=False):
            sitk.WriteImage(image, str(anat / f"{name}_{kind}.nii.gz"))
    return folder


@pytest.fixture
def opened(open_panel):
    opened = open_panel("/nowhere/python")
    from InfantBrainSegLib.worker_command import WorkerCommand, WorkerKind

    WorkerCommand(WorkerKind.PYTHON, sys.executable).save()
    opened.panel.parameters.device = "cpu"
    opened.ui.batchCollapsibleButton.collapsed = False
    return opened


def wait_for_the_end(opened):
    opened.wait(lambda: not opened.panel.batch._process.is_running, seconds=180)


def list_subjects(opened, data):
    opened.ui.batchDataPathLineEdit.currentPath = str(data)
    opened.ui.batchListButton.click()
    wait_for_the_end(opened)


def column(opened, index):
    table = opened.ui.batchTable
    return [table.item(row, index).text() for row in range(table.rowCount)]


def pretend_result(data, name):
    """Put a result of a subject, which nobody has computed, into the folder of the results."""
    import SimpleITK as sitk

    output = data / "derivatives" / "infantbrainseg"
    anat = output / name / "anat"
    anat.mkdir(parents=True)
    (output / "dataset_description.json").write_text(json.dumps({"GeneratedBy": [{"Name": "InfantBrainSeg"}]}))
    scan = sitk.ReadImage(str(data / name / "anat" / f"{name}_T1w.nii.gz"))
    labels = sitk.Cast(scan > 0, sitk.sitkUInt8)
    sitk.WriteImage(labels, str(anat / f"{name}_space-T1w_dseg.nii.gz"))
    sidecar = {"step": 256, "volumes_ml": {"csf": 13.8, "gm": 0.0, "wm": 0.0}}
    (anat / f"{name}_space-T1w_dseg.json").write_text(json.dumps(sidecar))
    return output


def test_subjects_and_their_states_are_shown_without_blocking_and_nothing_is_written(opened, data):
    assert not opened.ui.batchRunButton.enabled
    opened.stand_in.meter.reset()
    list_subjects(opened, data)
    assert column(opened, NAME) == ["sub-01", "sub-02", "sub-03"]
    assert column(opened, STATE) == ["not segmented yet", "not segmented yet", "a scan is missing"]
    assert column(opened, RATING) == ["–"] * 3
    assert opened.ui.batchLabel.text == "3 subjects."
    assert opened.ui.batchResultsPathLineEdit.currentPath == str(data / "derivatives" / "infantbrainseg")
    assert not (data / "derivatives").exists()
    assert opened.stand_in.meter.longest_seconds < 0.5


def test_a_folder_without_a_data_set_is_refused_in_a_sentence(opened, tmp_path):
    list_subjects(opened, tmp_path / "nothing")
    assert opened.ui.batchLabel.text.endswith("is not a folder; expected a BIDS data set; check the path.")
    assert not opened.ui.batchRunButton.enabled


def test_a_worker_of_another_machine_runs_no_batch(opened, data):
    from InfantBrainSegLib.worker_command import WorkerCommand, WorkerKind

    WorkerCommand(WorkerKind.COMMAND, "ssh gpu-host worker").save()
    list_subjects(opened, data)
    assert "another Python under Advanced" in opened.ui.batchLabel.text


def test_all_subjects_are_segmented_in_a_process_of_its_own_and_a_result_can_be_opened(opened, data, slicer):
    list_subjects(opened, data)
    opened.ui.batchRunButton.click()
    assert opened.ui.batchRunButton.text == "Stop"
    assert not opened.ui.batchListButton.enabled
    wait_for_the_end(opened)
    states = column(opened, STATE)
    assert states[0] == "segmented"
    assert states[1].startswith("failed: ")
    assert "has the value 0 in every voxel" in states[1]
    assert states[2] == "a scan is missing"
    assert opened.ui.batchLabel.text.startswith("1 failed; their row says why. 1 of 3 subjects are segmented")
    assert opened.ui.batchRunButton.text == "Segment all"
    results = data / "derivatives" / "infantbrainseg"
    assert (results / "index.html").is_file()
    opened.ui.batchTable.selectRow(0)
    opened.ui.batchOpenButton.click()
    node = opened.panel.parameters.output
    labels = slicer.util.loadLabelVolume(str(next(results.rglob("*_dseg.nii.gz"))))
    expected = slicer.util.arrayFromVolume(labels)
    found = np.zeros_like(expected)
    for label, name in enumerate(("CSF", "Gray matter", "White matter"), 1):
        segment_id = node.GetSegmentation().GetSegmentIdBySegmentName(name)
        if segment_id:
            found[slicer.util.arrayFromSegmentBinaryLabelmap(node, segment_id, labels) > 0] = label
    assert np.array_equal(found, expected)
    assert len(np.unique(expected)) == 4
    sidecar = json.loads(next(results.rglob("*_dseg.json")).read_text())
    volumes = [opened.ui.scoreTable.item(row, 1).text() for row in range(3)]
    assert volumes == [f"{sidecar['volumes_ml'][key]:.1f}" for key in ("csf", "gm", "wm")]
    assert not opened.ui.resultsCollapsibleButton.collapsed


def test_a_batch_can_be_stopped_and_ends_with_all_that_it_started(opened, data):
    list_subjects(opened, data)
    opened.ui.batchRunButton.click()
    process = opened.panel.batch._process._process
    opened.wait(lambda: (data / "derivatives").exists())
    pid = process.processId()
    opened.ui.batchRunButton.click()
    assert not opened.ui.batchRunButton.enabled
    wait_for_the_end(opened)
    assert not opened.is_alive(pid)
    assert opened.ui.batchLabel.text.startswith("Stopped; complete results stay")
    assert column(opened, STATE)[0] in ("not segmented yet", "segmented")
    assert list((data / "derivatives" / "infantbrainseg" / ".cohort").glob("stop-*")) == []


def test_closing_the_panel_ends_the_batch(opened, data, stand_in):
    list_subjects(opened, data)
    opened.ui.batchRunButton.click()
    opened.wait(lambda: (data / "derivatives").exists())
    pid = opened.panel.batch._process._process.processId()
    stand_in.unload_module("InfantBrainSeg")
    assert not opened.is_alive(pid)


def test_a_rating_is_kept_with_the_results_and_shown_again(opened, data):
    results = pretend_result(data, "sub-01")
    list_subjects(opened, data)
    opened.ui.batchTable.selectRow(1)
    assert not opened.ui.ratingButton.enabled  # there is nothing to rate yet
    opened.ui.batchTable.selectRow(0)
    assert opened.ui.ratingComboBox.currentIndex == -1
    opened.ui.ratingButton.click()
    assert opened.ui.batchLabel.text.startswith("No rating is chosen")
    opened.ui.ratingComboBox.currentIndex = opened.ui.ratingComboBox.findData("usable")
    opened.ui.ratingCommentLineEdit.text = "CSF\tleaks"
    opened.ui.ratingButton.click()
    assert column(opened, RATING) == ["usable", "–", "–"]
    assert read_ratings(results).by_name == {"sub-01": Rating("sub-01", "", "usable", "CSF leaks")}
    list_subjects(opened, data)
    assert column(opened, RATING) == ["usable", "–", "–"]
    opened.ui.batchTable.selectRow(0)
    assert opened.ui.ratingCommentLineEdit.text == "CSF leaks"
    assert opened.ui.ratingComboBox.currentText == "usable"
    shutil.rmtree(results)
    opened.ui.ratingButton.click()
    assert "cannot be written" in opened.ui.batchLabel.text


def test_a_result_whose_files_are_gone_is_not_opened(opened, data, slicer):
    pretend_result(data, "sub-01")
    list_subjects(opened, data)
    opened.ui.batchTable.selectRow(0)
    next((data / "derivatives").rglob("*_dseg.nii.gz")).unlink()
    opened.ui.batchOpenButton.click()
    assert "could not be read" in opened.ui.batchLabel.text
    assert slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") == []
