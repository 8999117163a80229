"""pytest fixtures and helpers for tests of the panel on the stand-in."""

import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

MODULE_FILE = Path(__file__).resolve().parents[2] / "InfantBrainSeg" / "InfantBrainSeg.py"
PRETEND_WORKER = Path(__file__).with_name("pretend_worker.py")
SIDE = 32  # voxels of the scans that go to a pretend worker


class Opened:
    """The open panel: `widget`, `panel`, `ui`, `logic`, and what a user does with it."""

    def __init__(self, stand_in, widget):
        self.stand_in, self.widget = stand_in, widget
        self.panel, self.ui, self.logic = widget.panel, widget.ui, widget.logic

    @property
    def worker(self):
        return self.logic.worker

    def wait(self, until, seconds=60):
        assert self.stand_in.pump(until, seconds=seconds), "it took too long"

    def wait_until_ready(self):
        self.wait(lambda: self.worker.info is not None or self.worker.problem)
        assert self.worker.problem == ""

    @staticmethod
    def is_alive(pid):
        """Whether a process runs; one that has ended and that nobody collects does not."""
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    def add_pair(self, shape=(SIDE, SIDE, SIDE)):
        """Add a T1 and a T2, which the panel takes up by their names."""
        import slicer

        array = np.zeros(shape, np.int16)
        array[4:-4, 4:-4, 4:-4] = 100
        return tuple(slicer.util.addVolumeFromArray(array, name=name) for name in ("A T1", "A T2"))

    def run(self):
        """Press the button, and wait for the end; return the job."""
        self.ui.segmentButton.click()
        assert self.panel.job is not None, self.ui.statusLabel.text
        self.wait(lambda: self.panel.job.isFinished)
        return self.panel.job


@pytest.fixture
def open_panel(stand_in, tmp_path):
    """Call it with a command line for the worker (or None for the real one in Slicer's Python) to open the panel."""

    def open_with(command=None):
        stand_in.load_module(MODULE_FILE)
        from InfantBrainSegLib.worker_command import WorkerCommand, WorkerKind

        if command is not None:
            WorkerCommand(WorkerKind.COMMAND, command).save()
        return Opened(stand_in, stand_in.open_module("InfantBrainSeg"))

    yield open_with
    if stand_in.app.moduleManager().module("InfantBrainSeg") is not None:
        stand_in.unload_module("InfantBrainSeg")


@pytest.fixture
def pretend(tmp_path):
    """Return the command line of a pretend worker that follows a script, given as keywords by request."""

    def command(program=sys.executable, **script):
        file = tmp_path / "worker script.json"
        file.write_text(json.dumps(script))
        return shlex.join([str(program), str(PRETEND_WORKER), str(file)])

    return command


@pytest.fixture
def label_file(stand_in, tmp_path):
    """A label map file of a SIDE³ grid with all tissues: what a pretend worker gives as its result."""
    import slicer

    array = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    for label in (1, 2, 3):
        array[3 + label : 29 - label, 3 + label : 29 - label, 3 + label : 29 - label] = label
    node = slicer.util.addVolumeFromArray(array, nodeClassName="vtkMRMLLabelMapVolumeNode")
    path = tmp_path / "labels.nii"
    assert slicer.util.saveNode(node, str(path))
    stand_in.close_scene()
    return path
