"""What the self tests share: the open panel, small pairs of scans, waiting, and a look at what is left behind."""

import contextlib
import functools
import logging
import os
import signal
import subprocess
import time
import unittest
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

MODULE = "InfantBrainSeg"
PUBLISHED_WEIGHTS = "nonlocal_unet.safetensors"  # many windows: time enough to look at a run in progress
RIM = 4  # voxels of zeros around a crop, so that it counts as skull-stripped
ONE_WINDOW = (24, 24, 24)  # voxels of brain; with the network's margin a single window
BAR = (48, 24, 24)  # 2, 3 and 4 windows at the steps 32, 16 and 8
LONG_BAR = (24, 80, 24)  # 3 windows at step 32 and 57 at step 1: time enough to interrupt it
CORNER = (50, 66, 42)  # first voxel (I, J, K) of the crops: around a ventricle, with all three tissues


class OpenPanel:
    """Each test of a class that inherits from this one begins with the panel open over an empty scene."""

    @classmethod
    def setUpClass(cls):
        from InfantBrainSegLib.dependencies import missing_packages
        from InfantBrainSegLib.worker_command import WorkerCommand, WorkerKind

        super().setUpClass()
        kind = WorkerCommand.from_settings().kind
        if kind is WorkerKind.COMMAND:
            raise unittest.SkipTest("the worker runs by a command; choose a Python of this machine under Advanced")
        if kind is WorkerKind.SLICER and missing_packages():
            raise unittest.SkipTest(
                f"Slicer's Python lacks {', '.join(missing_packages())}; segment once to install it"
            )

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        self.show_panel()
        self.addCleanup(self.come_to_rest)

    def come_to_rest(self):
        """Cancel what the panel does and wait until the worker has nothing to do."""
        for job in (self.panel.job, self.panel.scoringJob):
            if job is not None:
                job.cancel()
        wait_until(lambda: not self.logic.worker.is_busy, "the worker is idle")

    def show_panel(self):
        """Open the module, and take up its panel as it is after a reload."""
        slicer.util.selectModule(MODULE)
        self.widget = slicer.util.getModuleWidget(MODULE)
        self.panel, self.ui, self.logic = self.widget.panel, self.widget.ui, self.widget.logic

    @property
    def parameters(self):
        """The parameters that the panel follows; nobody else may hold them, nor the nodes that they keep."""
        return self.panel.parameters

    def choose(self, t1, t2, **others):
        """Set parameters: the scans and whatever else is given by name. A GPU would be too quick to be interrupted."""
        for name, value in {"t1": t1, "t2": t2, "device": "cpu", **others}.items():
            setattr(self.parameters, name, value)

    def run_to_the_end(self):
        """Press the button, wait, and return the job, which succeeded."""
        self.ui.segmentButton.click()
        wait_until(lambda: self.panel.job is not None and self.panel.job.isFinished, "the run is over")
        assert self.panel.job.error == ""
        assert self.panel.job.state.value == "done"
        return self.panel.job

    def start(self, *arguments, **options):
        """Start a run by the console's call; the test's end cancels it."""
        job = self.logic.startSegmentation(*arguments, device="cpu", **options)
        self.addCleanup(job.cancel)
        return job

    def run_until_a_map_is_there(self):
        """Press the button and wait for the first map in the scene; return the job, which goes on."""
        self.ui.segmentButton.click()
        wait_for_a_map(self.panel.job)
        return self.panel.job


def wait_for_a_map(job):
    """Wait until the first map of a run is in the scene."""
    wait_until(lambda: job.isFinished or job.segmentationNode is not None, "a first map is there")
    assert not job.isFinished, job.error


def wait_until(condition, what, seconds=120):
    """Turn the event loop until a condition holds, and fail when that takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{seconds} s were not enough until {what}"
        slicer.app.processEvents()
        time.sleep(0.005)


@contextlib.contextmanager
def kept_log():
    """Keep what is logged inside the block out of the application's log, for it is expected; give it as records."""
    root, records = logging.getLogger(), []
    handler, before = logging.Handler(), root.handlers[:]
    handler.emit = records.append
    root.handlers[:] = [handler]
    try:
        yield records
    finally:
        root.handlers[:] = before


@contextlib.contextmanager
def refuses(*parts):
    """Expect the error for people inside the block, with these parts in its sentence."""
    from InfantBrainSegLib.errors import SegmentationError

    sentence = None
    try:
        with kept_log():
            yield
    except SegmentationError as error:
        sentence = str(error)
    assert sentence is not None, "nothing was refused"
    assert_sentence(sentence, *parts)


def assert_sentence(sentence, *parts):
    """The sentence is one for people: what was found, and what to do; and these parts stand in it."""
    assert sentence.endswith("."), sentence
    assert ";" in sentence, sentence
    missing = [part for part in parts if part not in sentence]
    assert not missing, f"{missing} not in: {sentence}"


def tool_tip(widget):
    """Return what a widget's tooltip says; Slicer keeps it as rich text."""
    import qt

    document = qt.QTextDocument()
    document.setHtml(widget.toolTip)
    return document.toPlainText()


# Scans


@functools.cache
def sample_arrays():
    """Return T1, T2 and labels of the sample subject as arrays (K, J, I), and their IJK to RAS matrix."""
    from InfantBrainSegLib.core_paths import sample_folder

    images = [sitk.ReadImage(str(sample_folder() / f"{name}.nii.gz")) for name in ("T1", "T2", "labels")]
    lps_to_ras = np.diag([-1.0, -1.0, 1.0])
    matrix = np.eye(4)
    matrix[:3, :3] = lps_to_ras @ np.reshape(images[0].GetDirection(), (3, 3)) * images[0].GetSpacing()
    matrix[:3, 3] = lps_to_ras @ images[0].GetOrigin()
    return [sitk.GetArrayFromImage(image) for image in images], matrix


def crop(size=ONE_WINDOW):
    """Return T1, T2 and labels of a part of the sample (voxels along I, J, K) within zeros, and their matrix."""
    arrays, matrix = sample_arrays()
    box = tuple(slice(first, first + side) for first, side in zip(CORNER[::-1], size[::-1], strict=True))
    cropped = [np.pad(array[box], RIM) for array in arrays]
    matrix = matrix.copy()
    matrix[:3, 3] += matrix[:3, :3] @ (np.array(CORNER) - RIM)
    return cropped, matrix


def add_pair(size=ONE_WINDOW):
    """Add T1 and T2 of a part of the sample to the scene, and return the two volume nodes."""
    (t1, t2, _), matrix = crop(size)
    return add_volume(t1, matrix, "Crop T1"), add_volume(t2, matrix, "Crop T2")


def add_volume(array, matrix, name):
    """Add a volume node with an array (K, J, I)."""
    return slicer.util.addVolumeFromArray(array, ijkToRAS=matrix, name=name)


def add_label_map(array, matrix, name="Reference"):
    """Add a label map node with an array (K, J, I) of labels."""
    array = array.astype(np.uint8)
    return slicer.util.addVolumeFromArray(array, matrix, name, "vtkMRMLLabelMapVolumeNode")


def add_segmentation(array, matrix, names=("CSF", "Gray matter", "White matter")):
    """Add a segmentation node: a segment a name, from the labels 1, 2, 3 of an array (K, J, I)."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Reference segmentation")
    grid = add_label_map(array, matrix, "Grid of the reference")
    node.SetReferenceImageGeometryParameterFromVolumeNode(grid)
    for label, name in enumerate(names, 1):
        segment_id = node.GetSegmentation().AddEmptySegment("", name)
        slicer.util.updateSegmentBinaryLabelmapFromArray((array == label).astype(np.uint8), node, segment_id, grid)
    return node


def add_transform(matrix):
    """Add a linear transform node with a matrix (4, 4)."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


def ijk_to_ras(node):
    """Return a volume node's matrix as an array (4, 4)."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def labels_of(segmentation, volume):
    """Return a result as labels (K, J, I) on the grid of a volume node: the segments' names say which is which."""
    labels = np.zeros(slicer.util.arrayFromVolume(volume).shape, np.uint8)
    for label, name in enumerate(("CSF", "Gray matter", "White matter"), 1):
        segment_id = segmentation.GetSegmentation().GetSegmentIdBySegmentName(name)
        if segment_id:
            labels[slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segment_id, volume) > 0] = label
    return labels


# What is left behind


def scene_state():
    """Return what a run must not change: the nodes by ID and name, and what the slice views show."""
    nodes = [slicer.mrmlScene.GetNthNode(index) for index in range(slicer.mrmlScene.GetNumberOfNodes())]
    layers = {
        node.GetID(): (node.GetBackgroundVolumeID(), node.GetForegroundVolumeID(), node.GetLabelVolumeID())
        for node in nodes
        if node.IsA("vtkMRMLSliceCompositeNode")
    }
    return {node.GetID(): node.GetName() for node in nodes}, layers


def is_alive(pid):
    """Return whether a process of this machine runs; one that has ended but is not yet collected does not."""
    if os.name == "nt":
        listed = subprocess.run(["tasklist", "/NH", "/FI", f"PID eq {pid}"], capture_output=True, text=True)
        return str(pid) in listed.stdout
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.is_file() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def kill(pid):
    """Kill a process of this machine, as a system short of memory does."""
    os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))


def run_core(script, *arguments):
    """Run a command of the model core with the Python that runs the worker, and return what it printed."""
    from InfantBrainSegLib.core_paths import core_parent
    from InfantBrainSegLib.worker_command import WorkerCommand

    command = WorkerCommand.from_settings()
    program, _ = command.program_and_arguments()
    line = [program, str(core_parent() / "model_core" / script), *map(str, arguments)]
    return _output_of(line, command)


def _output_of(line, command):
    finished = subprocess.run(line, env=command.environment(), capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout
