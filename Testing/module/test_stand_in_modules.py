"""Scripted modules on the stand-in: loading, leaving, reloading, parameters, child processes."""

import os
import signal
import subprocess
import sys
import time
import typing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures"]

DEMO = Path(__file__).parent / "data" / "bench_demo"
MODULE = DEMO / "BenchDemo.py"


@pytest.fixture
def panel(stand_in):
    stand_in.load_module(MODULE)
    yield stand_in.open_module("BenchDemo")
    if stand_in.app.moduleManager().module("BenchDemo") is not None:
        stand_in.unload_module("BenchDemo")


def head(slicer, name="T1"):
    """A ball in a ball: two tissues in 40 x 44 x 48 voxels."""
    z, y, x = np.mgrid[-1:1:40j, -1:1:44j, -1:1:48j]
    radius = np.sqrt(z**2 + y**2 + x**2)
    array = np.where(radius < 0.5, 200, np.where(radius < 0.9, 100, 0)).astype(np.int16)
    return slicer.util.addVolumeFromArray(array, name=name)


def test_a_module_is_loaded_opened_left_and_unloaded_as_in_slicer(stand_in, slicer, panel):
    assert slicer.modules.benchdemo.title == "Stand-in demo"
    assert slicer.modules.benchdemo.path == str(MODULE)
    assert isinstance(slicer.modules.benchdemo, slicer.qSlicerScriptedLoadableModule)
    assert slicer.util.getModuleWidget("BenchDemo") is panel
    assert slicer.util.getModuleLogic("BenchDemo") is panel.logic
    assert slicer.util.selectedModule() == "BenchDemo"
    stand_in.leave_module()
    stand_in.open_module("BenchDemo")
    stand_in.unload_module("BenchDemo")
    assert panel.calls == ["enter", "exit", "enter", "exit", "cleanup"]
    assert not hasattr(slicer.modules, "benchdemo")


def test_reload_cleans_the_old_panel_up_and_builds_a_new_one_that_is_not_entered(stand_in, slicer, panel):
    slicer.util.reloadScriptedModule("BenchDemo")
    renewed = slicer.util.getModuleWidget("BenchDemo")
    assert renewed is not panel
    assert panel.calls == ["enter", "cleanup"]
    assert renewed.calls == []
    slicer.util.selectModule("BenchDemo")  # it is shown already
    assert renewed.calls == []


def test_the_self_test_of_a_module_runs(panel, slicer):
    slicer.selfTests["BenchDemo"]()


def test_scene_connections_of_the_panel_file_reach_the_selectors(panel, slicer):
    volume = head(slicer)
    assert panel.ui.inputSelector.nodeCount() == 1
    assert panel.ui.inputSelector.currentNode() is None  # a selector never selects a node by itself
    panel.ui.inputSelector.setCurrentNode(volume)
    assert panel._parameterNode.inputVolume is volume
    slicer.mrmlScene.RemoveNode(volume)
    assert panel.ui.inputSelector.nodeCount() == 0


def test_parameters_and_widgets_follow_each_other(panel):
    parameters, ui = panel._parameterNode, panel.ui
    assert (parameters.threshold, parameters.step, parameters.mode.name, parameters.enabled) == (40.0, 8, "FAST", True)
    assert (ui.thresholdSlider.value, ui.stepBox.currentText, ui.modeBox.currentText) == (40.0, "8", "Fast")
    assert (ui.thresholdSlider.minimum, ui.thresholdSlider.maximum) == (0.0, 100.0)
    ui.thresholdSlider.value = 55
    ui.stepBox.currentIndex = 3
    ui.enabledBox.checked = False
    ui.weightsPath.currentPath = "/models/a b.safetensors"
    assert (parameters.threshold, parameters.step, parameters.enabled) == (55.0, 32, False)
    assert parameters.weights == Path("/models/a b.safetensors")
    parameters.threshold = 12.5
    parameters.mode = type(parameters.mode).EXACT
    assert (ui.thresholdSlider.value, ui.modeBox.currentText) == (12.5, "Exact")


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [("threshold", 200, ValueError), ("threshold", "1", TypeError), ("step", 5, ValueError), ("enabled", 1, TypeError),
     ("threshold", None, ValueError), ("inputVolume", "T1", TypeError)],
)  # fmt: skip
def test_a_value_that_breaks_a_condition_is_refused(panel, name, value, error):
    with pytest.raises(error):
        setattr(panel._parameterNode, name, value)


def test_parameters_survive_saving_and_loading_the_scene(stand_in, slicer, panel, tmp_path):
    parameters = panel._parameterNode
    parameters.inputVolume = head(slicer)
    parameters.reference = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "reference")
    parameters.threshold, parameters.step = 7.5, 16
    parameters.names.append("first")
    path = tmp_path / "scene with a space.mrb"
    assert slicer.util.saveScene(str(path))
    stand_in.close_scene()
    slicer.util.loadScene(str(path))
    panel.initializeParameterNode()
    parameters = panel._parameterNode
    assert (parameters.threshold, parameters.step, list(parameters.names)) == (7.5, 16, ["first"])
    assert (parameters.inputVolume.GetName(), parameters.reference.GetName()) == ("T1", "reference")
    assert panel.ui.inputSelector.currentNode().GetName() == "T1"


def test_disconnected_widgets_no_longer_change_the_parameters(panel):
    parameters = panel._parameterNode
    parameters.disconnectGui(panel._guiTag)
    panel.ui.thresholdSlider.value = 99
    assert parameters.threshold == 40.0


def test_names_that_the_wrapper_needs_and_unbounded_sliders_are_refused(stand_in, slicer):
    wrap = slicer.parameterNodeWrapper.parameterNodeWrapper
    with pytest.raises(ValueError, match="reserved"):
        wrap(type("Reserved", (), {"__annotations__": {"default": int}}))
    with pytest.raises(RuntimeError, match="unbounded"):
        slicer.parameterNodeWrapper.createGuiConnector(sys.modules["ctk"].ctkSliderWidget(), float)
    with pytest.raises(TypeError, match="not stored"):
        wrap(type("Strange", (), {"__annotations__": {"value": typing.Callable}}))


def test_a_run_in_a_child_process_reports_progress_and_ends(stand_in, panel):
    panel.ui.runButton.click()
    assert not panel.ui.runButton.enabled
    assert stand_in.pump(lambda: panel.ui.runButton.enabled, seconds=20)
    assert (panel.ui.statusLabel.text, panel.ui.progressBar.value) == ("done (0)", 5)


def test_the_meter_sees_a_slot_that_blocks(stand_in):
    def sleepy():
        time.sleep(0.12)

    sys.modules["qt"].QTimer.singleShot(0, sleepy)
    stand_in.meter.reset()
    stand_in.pump(seconds=0.2)
    assert stand_in.meter.longest_seconds >= 0.12
    assert "sleepy" in stand_in.meter.longest_slot


def test_processing_events_inside_a_long_call_counts_as_an_answer(stand_in, slicer):
    def patient():
        for _ in range(6):
            time.sleep(0.03)
            slicer.app.processEvents()

    sys.modules["qt"].QTimer.singleShot(0, patient)
    stand_in.meter.reset()
    stand_in.pump(seconds=0.3)
    assert stand_in.meter.longest_slot_seconds >= 0.18
    assert stand_in.meter.longest_seconds < stand_in.meter.longest_slot_seconds


def test_killing_the_launcher_leaves_its_child_alive(stand_in):
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(30)"
    launcher = subprocess.Popen([stand_in.python_slicer, "-c", child], stdout=subprocess.PIPE, text=True)
    process_id = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    os.kill(process_id, 0)  # raises ProcessLookupError if it were gone
    os.kill(process_id, signal.SIGKILL)
    launcher.stdout.close()
