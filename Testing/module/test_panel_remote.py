"""A worker on another machine: the volumes go through the pipe, and the results are the same voxel by voxel."""

import json
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]

REPOSITORY = Path(__file__).resolve().parents[2]
WORKER = REPOSITORY / "model_core" / "worker.py"
WEIGHTS = REPOSITORY / "Resources" / "weights" / "fast_unet.safetensors"
REMOTE = shlex.join([sys.executable, str(Path(__file__).with_name("remote_pipe.py")), str(WORKER)])
LOCAL = shlex.join([sys.executable, str(WORKER)])


def add_scans(slicer):
    """A head of noise in one window, with a volume of zeros around it."""
    random = np.random.default_rng(0)
    scans = []
    for name in ("Noise T1", "Noise T2"):
        array = np.zeros((33, 34, 35), np.int16)
        array[5:28, 5:28, 5:28] = random.integers(50, 300, (23, 23, 23))
        scans.append(slicer.util.addVolumeFromArray(array, name=name))
    return scans


def segment_and_score(opened, slicer, **options):
    """Return label map, probabilities and rows of scores of a run."""
    t1, t2 = add_scans(slicer)
    job = opened.logic.startSegmentation(t1, t2, 32, createLabelMap=True, createProbabilities=True, **options)
    opened.wait(lambda: job.isFinished)
    assert job.error == ""
    labels = slicer.util.arrayFromVolume(job.labelMapNode)
    reference = slicer.util.addVolumeFromArray(np.roll(labels, 1, 0), nodeClassName="vtkMRMLLabelMapVolumeNode")
    scoring = opened.logic.startScoring(job.segmentationNode, reference)
    opened.wait(lambda: scoring.isFinished)
    assert scoring.error == ""
    probabilities = [slicer.util.arrayFromVolume(node) for node in job.probabilityNodes.values()]
    return labels, np.stack(probabilities), scoring.rows, slicer.util.arrayFromVolume(scoring.disagreement)


def test_a_run_over_a_pipe_equals_one_with_a_shared_folder_voxel_by_voxel(stand_in, open_panel, slicer, tmp_path):
    opened = open_panel(LOCAL)
    opened.wait_until_ready()
    assert opened.worker.client.shares_folder
    here = segment_and_score(opened, slicer)
    stand_in.unload_module("InfantBrainSeg")
    opened = open_panel(REMOTE)
    opened.wait_until_ready()
    assert not opened.worker.client.shares_folder
    own = tmp_path / "own weights.safetensors"  # sent along, as another file would be
    shutil.copy(WEIGHTS, own)
    there = segment_and_score(opened, slicer, weights=own)
    for mine, its in zip(here, there, strict=True):
        assert np.array_equal(mine, its)
    assert here[0].any()
    opened.logic.close()


def test_cancel_while_the_volumes_are_still_on_their_way(stand_in, open_panel, slicer):
    opened = open_panel(REMOTE)
    opened.wait_until_ready()
    large = np.zeros((150, 200, 150), np.float32)  # 18 MB, more than the pipe takes at once
    large[20:-20, 20:-20, 20:-20] = 1
    scans = [slicer.util.addVolumeFromArray(large, name=name) for name in ("Large T1", "Large T2")]
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    job = opened.logic.startSegmentation(*scans, 32)
    opened.wait(lambda: job.state.value == "running")
    pid, folder = opened.worker.info["pid"], opened.worker.client.folder
    job.cancel()
    opened.wait(lambda: job.isFinished)
    assert job.state.value == "cancelled"
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    stand_in.unload_module("InfantBrainSeg")
    opened.wait(lambda: not opened.is_alive(pid))
    assert not folder.exists()


def test_files_with_names_that_lead_out_of_the_folder_are_refused(open_panel, pretend, tmp_path):
    target = tmp_path / "outside.txt"
    files = [{"send": {"event": "file", "file": name, "data": "aGVsbG8=", "last": True}} for name in
             (str(target), "../../outside.txt", ".hidden", "")]  # fmt: skip
    opened = open_panel(
        pretend(open=[*files, {"send": {"event": "file", "file": "in.txt", "data": "aGk=", "last": True}}])
    )
    opened.wait(lambda: opened.worker.client.folder is not None and (opened.worker.client.folder / "in.txt").is_file())
    assert not target.exists()
    assert sorted(path.name for path in opened.worker.client.folder.iterdir()) == ["in.txt", "token"]
    assert json.dumps(opened.worker.client.log).count("refused a file") == 4
