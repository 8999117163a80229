"""The panel and its worker process: devices, crashes, deaf and foreign programs. A pretend worker plays the part."""

import os
import shlex
import signal
import sys
import time

import numpy as np
import pytest
from pretend_worker import DONE, map_of, progress, result_of

PUBLISHED_WEIGHTS = "nonlocal_unet.safetensors"

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]


def test_devices_are_listed_by_name_and_a_gpu_makes_step_8_the_usual_one(open_panel, pretend):
    gpu = {"name": "cuda:0", "title": "NVIDIA X, 12 GB", "usable": True, "reason": None}
    old = {"name": "cuda:1", "title": "NVIDIA Old, 2 GB", "usable": False, "reason": "It is too old for this PyTorch."}
    cpu = {"name": "cpu", "title": "CPU, 2 cores", "usable": True, "reason": None}
    ready = {"devices": [gpu, old, cpu], "default_device": "cuda:0", "note": "The driver is out of date; update it."}
    opened = open_panel(pretend(ready=ready))
    box = opened.ui.deviceComboBox
    assert box.currentText == "Automatic: looking for devices…"
    opened.wait_until_ready()
    assert [box.itemText(index) for index in range(box.count)] == [
        "Automatic: NVIDIA X, 12 GB", "NVIDIA X, 12 GB", "CPU, 2 cores",
    ]  # fmt: skip
    assert "NVIDIA Old, 2 GB: It is too old for this PyTorch." in box.toolTip
    assert "The driver is out of date; update it." in box.toolTip
    opened.panel.parameters.weightsFile = PUBLISHED_WEIGHTS
    assert opened.ui.stepRow2RadioButton.checked
    box.currentIndex = 2
    assert opened.panel.parameters.device == "cpu"
    assert opened.ui.stepRow3RadioButton.checked


def test_a_device_of_another_computer_stays_chosen_and_is_said_not_to_be_here(open_panel, pretend):
    opened = open_panel(pretend())
    opened.wait_until_ready()
    opened.panel.parameters.device = "cuda:3"
    assert opened.ui.deviceComboBox.currentText == "cuda:3 (not found)"


def test_the_expected_time_is_known_after_a_run(open_panel, pretend, label_file):
    opened = open_panel(pretend(segment=result_of(label_file)))
    opened.wait_until_ready()
    opened.add_pair()
    opened.panel.parameters.weightsFile = PUBLISHED_WEIGHTS
    assert opened.ui.stepRow2TimeLabel.text == "not measured yet"
    assert opened.run().state.value == "done"
    # 24³ voxels of brain and the margin make one window at every step; each took 4 s / 8 windows.
    assert [getattr(opened.ui, f"stepRow{row}TimeLabel").text for row in (1, 2, 3, 4)] == ["1 s"] * 4


def test_a_banner_and_lines_in_pieces_do_not_matter(open_panel, pretend, label_file):
    banner = [{"raw": "Welcome to the cluster\n{not JSON}\n[1, 2]\n"}]
    pieces = [{"raw": '{"event": "prog'}, {"sleep": 0.2}, {"raw": 'ress", "id": null}\n'}]
    opened = open_panel(pretend(start=banner + pieces, segment=result_of(label_file)))
    opened.wait_until_ready()
    opened.add_pair()
    assert opened.run().state.value == "done"
    assert "Welcome to the cluster" in opened.worker.client.log


def test_a_worker_that_ends_before_it_is_ready(open_panel, pretend):
    opened = open_panel(pretend(start=[{"log": "no module named nothing"}, {"exit": 3}]))
    opened.wait(lambda: opened.worker.problem)
    assert opened.ui.deviceComboBox.currentText == "Automatic: the worker could not start"
    opened.add_pair()
    job = opened.run()
    assert job.state.value == "failed"
    assert opened.ui.statusLabel.text == job.error
    assert "status 3" in job.error
    assert "no module named nothing" in job.error
    assert "Advanced" in job.error


def test_a_package_that_the_worker_misses_is_named(open_panel, pretend):
    sentence = "The package torch is missing in the worker's Python; expected it there; install it."
    error = {"event": "error", "kind": "missing_package", "package": "torch", "sentence": sentence, "detail": ""}
    opened = open_panel(pretend(start=[{"send": error}, {"exit": 1}]))
    opened.wait(lambda: opened.worker.problem)
    opened.add_pair()
    assert opened.run().error == sentence
    assert opened.ui.statusLabel.text == sentence


@pytest.mark.parametrize(
    ("command", "found"),
    [
        ("/nowhere/python worker.py", "“/nowhere/python” was not found or cannot be run"),
        ('ssh "gpu-host python3', "ends inside a quotation"),
        ("/tmp", "is a folder"),
        ("   ", "No program is given"),
    ],
)
def test_a_command_that_cannot_be_run(open_panel, command, found):
    opened = open_panel(command)
    assert opened.ui.deviceComboBox.currentText == "Automatic: the worker could not start"
    opened.add_pair()
    opened.ui.segmentButton.click()
    assert found in opened.ui.statusLabel.text
    assert "under Advanced" in opened.ui.statusLabel.text
    assert opened.ui.segmentButton.text == "Segment"
    assert opened.ui.segmentButton.enabled


def test_a_program_that_is_no_worker(open_panel):
    opened = open_panel(shlex.join([sys.executable, "-c", "print('hello')"]))
    opened.add_pair()
    assert "ended before it was ready (status 0)" in opened.run().error


def test_a_crash_in_mid_run_leaves_the_scene_as_it_was_and_the_next_run_works(open_panel, pretend, label_file, slicer):
    crash = [progress(), {"log": "terminate called without an active exception"}, {"exit": 134}]
    opened = open_panel(pretend(segment=crash))
    opened.wait_until_ready()
    opened.add_pair()
    nodes, folder = slicer.mrmlScene.GetNumberOfNodes(), opened.worker.client.folder
    job = opened.run()
    assert "status 134" in job.error
    assert "terminate called" in job.error
    assert opened.ui.statusLabel.text == job.error
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert not folder.exists()
    pretend(segment=result_of(label_file))
    assert opened.run().state.value == "done"


def test_closing_the_scene_in_mid_run_lets_go_of_every_node_at_once(open_panel, pretend, label_file, slicer):
    opened = open_panel(pretend(segment=[progress(), *map_of(32, label_file), {"sleep": 60}]))
    opened.wait_until_ready()
    gone = []

    def watch(*nodes):
        for node in nodes:
            node.AddObserver("DeleteEvent", lambda *_: gone.append(None))

    watch(*opened.add_pair())
    opened.ui.segmentButton.click()
    job = opened.panel.job
    opened.wait(lambda: job.segmentationNode is not None)
    watch(job.segmentationNode)
    opened.stand_in.close_scene()
    assert len(gone) == 3
    assert job.state.value == "stopping"


def test_the_last_words_of_an_earlier_request_are_not_given_as_the_reason_of_a_crash(open_panel, pretend, slicer):
    error = {"event": "error", "kind": "input", "sentence": "Wrong; right; do this.", "detail": ""}
    opened = open_panel(pretend(segment=[{"log": "an old trouble"}, {"send": error}], score=[{"exit": 9}]))
    opened.wait_until_ready()
    opened.add_pair()
    assert opened.run().error == "Wrong; right; do this."
    opened.wait(lambda: "an old trouble" in opened.worker.client.log)
    labels = slicer.util.addVolumeFromArray(np.ones((9, 9, 9), np.uint8), nodeClassName="vtkMRMLLabelMapVolumeNode")
    scoring = opened.logic.startScoring(labels, labels)
    opened.wait(lambda: scoring.isFinished)
    assert "(status 9);" in scoring.error
    assert "an old trouble" not in scoring.error


@pytest.mark.parametrize("kind", ["input", "out_of_memory", "internal"])
def test_an_error_of_the_worker_is_shown_as_it_is_and_the_worker_lives_on(open_panel, pretend, kind):
    error = {"event": "error", "kind": kind, "sentence": "There is too little; expected more; do this.", "detail": "x"}
    opened = open_panel(pretend(segment=[progress(), {"send": error}]))
    opened.wait_until_ready()
    opened.add_pair()
    pid = opened.worker.info["pid"]
    assert opened.run().error == "There is too little; expected more; do this."
    assert opened.panel.job.details == "x"
    assert opened.ui.statusLabel.text == "There is too little; expected more; do this."
    assert opened.is_alive(pid)
    assert opened.worker.info["pid"] == pid


def test_a_result_file_that_is_missing_or_broken_is_an_error_with_a_sentence(open_panel, pretend, tmp_path, slicer):
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    opened = open_panel(pretend(segment=[{"copy": [str(tmp_path / "broken.nii"), "labels.nii"]}, {"send": DONE}]))
    opened.add_pair()
    assert "labels.nii could not be read" in opened.run().error
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


def test_a_volume_that_changes_its_size_in_mid_run_is_noticed(open_panel, pretend, label_file, slicer):
    opened = open_panel(pretend(segment=[{"sleep": 0.3}, *result_of(label_file)]))
    opened.wait_until_ready()
    t1, _ = opened.add_pair()
    opened.ui.segmentButton.click()
    opened.wait(lambda: opened.panel.job.state.value == "running")
    slicer.util.updateVolumeFromArray(t1, slicer.util.arrayFromVolume(t1)[2:].copy())
    opened.wait(lambda: opened.panel.job.isFinished)
    assert "T1 has changed" in opened.panel.job.error


def test_a_deaf_worker_behind_a_launcher_is_ended_when_it_does_not_cancel(stand_in, open_panel, pretend):
    opened = open_panel(pretend(stand_in.python_slicer, segment=[progress(), {"sleep": 60}]))
    opened.wait_until_ready()
    opened.add_pair()
    opened.ui.segmentButton.click()
    opened.wait(lambda: opened.panel.job.progress.windows_done == 4)
    pid, folder = opened.worker.info["pid"], opened.worker.client.folder
    assert opened.is_alive(pid)
    began = time.monotonic()
    opened.ui.segmentButton.click()
    opened.wait(lambda: opened.panel.job.isFinished)
    assert time.monotonic() - began < 2
    assert opened.panel.job.state.value == "cancelled"
    opened.wait(lambda: not opened.is_alive(pid))
    assert not folder.exists()


def test_unloading_the_module_in_mid_run_ends_the_worker_behind_its_launcher(stand_in, open_panel, pretend):
    opened = open_panel(pretend(stand_in.python_slicer, segment=[progress(), {"sleep": 60}]))
    opened.wait_until_ready()
    opened.add_pair()
    opened.ui.segmentButton.click()
    opened.wait(lambda: opened.panel.job.progress.windows_done == 4)
    job, pid, folder = opened.panel.job, opened.worker.info["pid"], opened.worker.client.folder
    stand_in.unload_module("InfantBrainSeg")
    opened.wait(lambda: not opened.is_alive(pid))
    assert not folder.exists()
    assert job.state.value == "cancelled"
    assert opened.panel.Observations == []
    assert opened.widget.Observations == []


def test_slicers_own_python_is_a_launcher_and_leaves_nothing_either(stand_in, open_panel):
    with stand_in.as_slicer_python():
        opened = open_panel()
        opened.wait_until_ready()
        pid, folder = opened.worker.info["pid"], opened.worker.client.folder
        assert opened.is_alive(pid)
        os.kill(pid, signal.SIGSTOP)  # as deaf as can be
        stand_in.unload_module("InfantBrainSeg")
    opened.wait(lambda: not opened.is_alive(pid))
    assert not folder.exists()


def test_another_command_takes_the_place_of_the_worker(open_panel, pretend, label_file):
    opened = open_panel(pretend(ready={"devices": [], "default_device": "none"}))
    opened.wait_until_ready()
    first = opened.worker.info["pid"]
    opened.ui.workerCommandLineEdit.text = pretend(segment=result_of(label_file)) + " again"
    opened.ui.workerCommandLineEdit.editingFinished()
    opened.wait_until_ready()
    assert opened.worker.info["pid"] != first
    opened.wait(lambda: not opened.is_alive(first))
    assert opened.ui.deviceComboBox.currentText == "Automatic: CPU, 2 cores"


def test_the_command_is_kept_on_this_machine_and_never_in_the_scene(open_panel, pretend, slicer, tmp_path):
    open_panel(pretend())
    path = tmp_path / "scene.mrml"
    assert slicer.util.saveScene(str(path))
    assert "pretend_worker" not in path.read_text()
    assert "pretend_worker" in slicer.util.settingsValue("InfantBrainSeg/WorkerCommand", "")


def test_a_foreign_python_does_not_inherit_slicers_python_environment(open_panel, monkeypatch):
    monkeypatch.setenv("PYTHONHOME", "/slicer/python")
    monkeypatch.setenv("PYTHONPATH", "/slicer/lib")
    open_panel("/nowhere/python")
    from InfantBrainSegLib.worker_command import WorkerCommand, WorkerKind

    for kind in (WorkerKind.PYTHON, WorkerKind.COMMAND):
        assert not {"PYTHONHOME", "PYTHONPATH"} & set(WorkerCommand(kind, "python3").environment())
    assert WorkerCommand(WorkerKind.SLICER).environment()["PYTHONHOME"] == "/slicer/python"
