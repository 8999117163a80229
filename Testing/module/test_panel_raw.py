"""Raw scans in the panel: the switch, the offer of Slicer's HD Brain Extraction, the warnings."""

import sys

import numpy as np
import pytest
from pretend_worker import DONE, result_of

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

pytest_plugins = ["Testing.slicer_stand_in.fixtures", "panel_fixtures"]

# The calls of the extension HD Brain Extraction; here the brain is where T1 exceeds a threshold.
STAND_IN = """
import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleLogic


class HDBrainExtractionTool(ScriptedLoadableModule):
    pass


class HDBrainExtractionToolLogic(ScriptedLoadableModuleLogic):
    calls, threshold, error = [], 50, None

    def setupPythonRequirements(self):
        self.calls.append("setupPythonRequirements")

    def process(self, inputVolume, outputVolume, outputSegmentation, device=None):
        self.calls.append((inputVolume.GetName(), outputVolume, device))
        if self.error:
            raise self.error
        segment = outputSegmentation.GetSegmentation().AddEmptySegment("", "brain")
        brain = (slicer.util.arrayFromVolume(inputVolume) > self.threshold).astype("uint8")
        slicer.util.updateSegmentBinaryLabelmapFromArray(brain, outputSegmentation, segment, inputVolume)
"""


@pytest.fixture
def extension(stand_in, tmp_path):
    """The stand-in's logic class, its module loaded."""
    file = tmp_path / "HDBrainExtractionTool.py"
    file.write_text(STAND_IN)
    stand_in.load_module(file)
    yield sys.modules["HDBrainExtractionTool"].HDBrainExtractionToolLogic
    stand_in.unload_module("HDBrainExtractionTool")
    del sys.modules["HDBrainExtractionTool"]
    sys.path.remove(str(tmp_path))


@pytest.fixture
def opened(open_panel, pretend, label_file):
    opened = open_panel(pretend(segment=result_of(label_file)))
    opened.wait_until_ready()
    opened.add_pair()
    return opened


def test_raw_scans_are_aligned_and_corrected_anyway_and_their_brain_is_not_known_yet(opened):
    ui = opened.ui
    assert ui.stepRow3WindowsLabel.text != "–"
    own = ui.alignT2CheckBox.toolTip
    ui.rawCheckBox.checked = True
    assert not ui.alignT2CheckBox.enabled
    assert not ui.biasCorrectionCheckBox.enabled
    assert "in any case" in ui.alignT2CheckBox.toolTip
    assert ui.maskSelector.noneDisplay == "None: the brain is found"
    assert ui.stepRow3WindowsLabel.text == "–"
    ui.rawCheckBox.checked = False
    assert ui.alignT2CheckBox.enabled
    assert ui.alignT2CheckBox.toolTip == own
    assert ui.maskSelector.noneDisplay == "None: the scans are skull-stripped"
    assert ui.stepRow3WindowsLabel.text != "–"


def test_switch_and_age_reach_the_worker(opened):
    fields = opened.run().request()[0]
    assert (fields["raw"], fields["age_months"], fields["brain_extraction"]) == (False, None, "built-in")
    opened.ui.rawCheckBox.checked = True
    opened.ui.ageSpinBox.value = 0
    fields = opened.run().request()[0]
    assert (fields["raw"], fields["age_months"]) == (True, 0)


# ---- What finds the brain ----------------------------------------------------------------------------------


def brain_choices(ui):
    box = ui.brainExtractionComboBox
    return [box.itemText(index) for index in range(box.count)]


@pytest.fixture
def opened_with_synthstrip(open_panel, pretend, label_file):
    opened = open_panel(pretend(segment=result_of(label_file), ready={"brain_extractions": ["built-in", "synthstrip"]}))
    opened.wait_until_ready()
    opened.add_pair()
    return opened


def test_the_tools_that_the_worker_found_can_be_chosen_for_raw_scans(opened_with_synthstrip):
    opened = opened_with_synthstrip
    ui = opened.ui
    assert ui.brainExtractionComboBox.isHidden()
    ui.rawCheckBox.checked = True
    assert not ui.brainExtractionComboBox.isHidden()
    assert brain_choices(ui) == ["Built-in network (seconds)", "SynthStrip"]
    assert ui.brainExtractionComboBox.currentText == "Built-in network (seconds)"
    ui.brainExtractionComboBox.setCurrentIndex(1)
    assert opened.panel.parameters.brainExtraction == "synthstrip"
    assert opened.run().request()[0]["brain_extraction"] == "synthstrip"
    assert opened.panel._batch_options()[-2:] == ["--brain-extraction", "synthstrip"]
    ui.rawCheckBox.checked = False
    assert ui.brainExtractionComboBox.isHidden()
    assert opened.run().request()[0]["brain_extraction"] == "built-in"
    assert "--brain-extraction" not in opened.panel._batch_options()


def test_a_mask_puts_the_choice_out_of_use(opened, slicer):
    opened.ui.rawCheckBox.checked = True
    assert opened.ui.brainExtractionComboBox.enabled
    opened.panel.parameters.mask = slicer.util.addVolumeFromArray(np.ones((9, 9, 9)), name="Mask")
    assert not opened.ui.brainExtractionComboBox.enabled


def test_a_tool_that_a_scene_brings_and_the_worker_lacks_is_shown_as_such(opened_with_synthstrip):
    opened = opened_with_synthstrip
    opened.panel.parameters.raw = True
    opened.panel.parameters.brainExtraction = "hd-bet"
    assert opened.ui.brainExtractionComboBox.currentText == "HD-BET (not found)"
    opened.panel.parameters.brainExtraction = "built-in"
    assert brain_choices(opened.ui) == ["Built-in network (seconds)", "SynthStrip"]


# ---- Warnings ----------------------------------------------------------------------------------------------


def test_warnings_stand_at_the_volumes_in_the_panels_words_until_the_next_run(
    open_panel, pretend, label_file, stand_in
):
    found = [
        {"code": "t2-not-aligned", "sentence": "T2 (t2.nrrd) lies apart; expected it on T1; align it (--align-t2)."}
    ]
    found.append({"code": "cut-off", "sentence": "The brain is cut; expected it whole; check <it> (--skip bias)."})
    script = result_of(label_file)
    script[1] = {"send": DONE | {"warnings": found}}
    opened = open_panel(pretend(segment=script))
    opened.wait_until_ready()
    opened.add_pair()
    label = opened.ui.warningsLabel
    assert label.isHidden()
    job = opened.run()
    assert job.warnings == [
        "T2 (A T2) lies apart; expected it on T1; align it.",
        "The brain is cut; expected it whole; check <it>.",
    ]
    assert not label.isHidden()
    assert label.text == "• " + "\n• ".join(job.warnings)
    assert stand_in.dialogs.messages == []
    opened.ui.segmentButton.click()
    assert label.isHidden()
    opened.wait(lambda: opened.panel.job.isFinished)
    assert not label.isHidden()
    stand_in.close_scene()
    assert label.isHidden()
    assert label.text == ""


def test_a_worker_that_sends_no_warnings_gives_none(opened):
    assert opened.run().warnings == []
    assert opened.ui.warningsLabel.isHidden()


# ---- Slicer's HD Brain Extraction --------------------------------------------------------------------------


def test_it_is_offered_only_for_raw_scans_without_a_mask_and_where_it_is_installed(opened, slicer, extension):
    ui = opened.ui
    assert ui.extractButton.isHidden()
    ui.rawCheckBox.checked = True
    assert not ui.extractButton.isHidden()
    assert not ui.extractLabel.isHidden()
    opened.panel.parameters.mask = slicer.util.addVolumeFromArray(np.ones((9, 9, 9)), name="Mask")
    assert ui.extractButton.isHidden()
    opened.panel.parameters.mask = None
    assert ui.extractButton.enabled
    opened.panel.parameters.t1 = None
    assert not ui.extractButton.enabled


def test_without_the_extension_nothing_is_offered(opened):
    opened.ui.rawCheckBox.checked = True
    assert opened.ui.extractButton.isHidden()
    assert opened.ui.extractLabel.isHidden()


def test_it_makes_the_mask_after_a_question_and_it_is_chosen(stand_in, opened, slicer, extension):
    t1 = opened.panel.parameters.t1
    t1.SetSpacing(1.5, 1, 2)
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.eye(4)
    matrix[:3, 3] = 20, -5, 7
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    t1.SetAndObserveTransformNodeID(transform.GetID())
    opened.ui.rawCheckBox.checked = True
    stand_in.dialogs.answer(False, True)
    opened.ui.extractButton.click()
    assert extension.calls == []
    assert opened.panel.parameters.mask is None
    opened.ui.extractButton.click()
    assert "Slicer cannot be used meanwhile" in stand_in.dialogs.texts("confirmOkCancel")[0]
    assert extension.calls == ["setupPythonRequirements", ("A T1", None, None)]
    mask = opened.panel.parameters.mask
    assert mask.GetName() == "A T1 brain mask"
    assert opened.ui.maskSelector.currentNode() is mask
    assert np.array_equal(slicer.util.arrayFromVolume(mask), slicer.util.arrayFromVolume(t1) > 50)
    assert mask.GetSpacing() == t1.GetSpacing()
    assert mask.GetParentTransformNode() is transform
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"error": ModuleNotFoundError("No module named 'HD_BET.run'")},
            "failed (ModuleNotFoundError: No module named",
        ),
        ({"threshold": 1000}, "found no brain in A T1"),
    ],
)
def test_what_goes_wrong_in_it_is_a_sentence_and_the_scene_stays_as_it_was(
    stand_in, opened, slicer, extension, monkeypatch, changes, words
):
    for name, value in changes.items():
        monkeypatch.setattr(extension, name, value)
    opened.ui.rawCheckBox.checked = True
    nodes = slicer.mrmlScene.GetNumberOfNodes()
    stand_in.dialogs.answer(True)
    opened.ui.extractButton.click()
    assert words in opened.ui.statusLabel.text
    assert opened.ui.statusLabel.text.count(";") == 2
    assert opened.panel.parameters.mask is None
    assert slicer.mrmlScene.GetNumberOfNodes() == nodes
    assert not sys.modules["qt"].QApplication.overrideCursor()


# ---- The worker's own children -----------------------------------------------------------------------------


def test_slicers_python_finds_the_clean_environment_for_the_programs_that_the_worker_starts(opened, monkeypatch):
    from InfantBrainSegLib.worker_command import WorkerCommand, WorkerKind

    from model_core.system.environment import TOOL_ENVIRONMENT, tool_environment

    monkeypatch.setenv("PYTHONHOME", "/Slicer/lib/Python")
    slicers = WorkerCommand(WorkerKind.SLICER).environment()
    assert slicers["PYTHONHOME"] == "/Slicer/lib/Python"
    monkeypatch.setenv(TOOL_ENVIRONMENT, slicers[TOOL_ENVIRONMENT])
    tools = tool_environment()
    assert tools["PATH"]
    assert "PYTHONHOME" not in tools
    assert TOOL_ENVIRONMENT not in WorkerCommand(WorkerKind.PYTHON, sys.executable).environment()
