"""The panel: built from its file, its widgets and the scene's parameters, what it says when a run cannot start."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import slicer
from infant_brain_helpers import (
    PUBLISHED_WEIGHTS,
    OpenPanel,
    add_label_map,
    add_pair,
    add_volume,
    assert_sentence,
    crop,
    kept_log,
    tool_tip,
    wait_until,
)


class PanelTest(OpenPanel, unittest.TestCase):
    """What the user sees before a run."""

    def test_the_panel_is_built_from_its_file(self):
        module = slicer.modules.infantbrainseg
        assert module.title == "Segment infant brain"
        assert tuple(module.categories) == ("Segmentation",)
        assert self.ui.segmentButton.text == "Segment"
        headings = [self.ui.scoreTable.horizontalHeaderItem(column).text() for column in range(8)]
        assert headings == ["Tissue", "Volume", "Expected", "Dice", "3D-MHD", "ASD", "HD95", "Diff. %"]
        hidden = [self.ui.scoreTable.isColumnHidden(column) for column in range(8)]
        assert hidden == [False, False, False, True, True, True, True, True]  # until there is a comparison
        tissues = [self.ui.scoreTable.item(row, 0).text() for row in range(3)]
        assert tissues == ["CSF", "Gray matter", "White matter"]
        table = self.ui.scoreTable
        rows = sum(table.rowHeight(row) for row in range(3))
        assert rows + table.horizontalHeader().sizeHint.height() + 2 * table.frameWidth <= table.maximumHeight

    def test_results_take_the_place_of_the_inputs_after_a_run_until_the_scene_is_closed(self):
        inputs, results = self.ui.inputsCollapsibleButton, self.ui.resultsCollapsibleButton
        assert (inputs.collapsed, results.collapsed) == (False, True)
        self.choose(*add_pair(), overlapStep=32)
        self.run_to_the_end()
        assert (inputs.collapsed, results.collapsed) == (True, False)
        slicer.mrmlScene.Clear(0)
        assert (inputs.collapsed, results.collapsed) == (False, True)

    def test_the_sample_subject_is_proposed_as_the_pair_and_its_windows_are_counted(self):
        from InfantBrainSegLib.sample_data import load_sample

        t1, t2, _ = load_sample()
        slicer.app.processEvents()
        assert (self.parameters.t1, self.parameters.t2) == (t1, t2)
        assert self.ui.t1Selector.currentNode() is t1
        # Its network grid has 132 x 160 x 125 voxels: 3 x 3 x 2 windows of 64 at step 64, 4 x 4 x 3 at step 32.
        rows = (self.ui.stepRow1WindowsLabel, self.ui.stepRow2WindowsLabel, self.ui.stepRow3WindowsLabel)
        assert [row.text for row in rows] == ["1", "18", "48"]
        self.parameters.weightsFile = PUBLISHED_WEIGHTS
        # Windows of 32: 5 x 5 x 4 at step 32.
        assert self.ui.stepRow4WindowsLabel.text == "100"
        assert self.ui.segmentButton.enabled

    def test_the_device_is_named_before_the_run(self):
        wait_until(lambda: self.logic.worker.info is not None, "the worker is ready")
        titles = {device["name"]: device["title"] for device in self.logic.worker.info["devices"]}
        default = titles[self.logic.worker.info["default_device"]]
        assert self.ui.deviceComboBox.currentText == f"Automatic: {default}"
        self.ui.deviceComboBox.currentIndex = self.ui.deviceComboBox.findData("cpu")
        assert self.parameters.device == "cpu"
        assert self.ui.deviceComboBox.currentText == titles["cpu"]

    def test_widgets_change_the_parameters(self):
        t1, t2 = add_pair()
        self.ui.t1Selector.setCurrentNode(t2)
        self.ui.t2Selector.setCurrentNode(t1)
        self.ui.stepRow2RadioButton.click()
        self.ui.alignT2CheckBox.checked = True
        self.ui.biasCorrectionCheckBox.checked = True
        self.ui.rawCheckBox.checked = True
        self.ui.ageSpinBox.value = 7
        self.ui.labelMapCheckBox.checked = True
        self.ui.probabilitiesCheckBox.checked = True
        parameters = self.parameters
        assert (parameters.t1, parameters.t2, parameters.overlapStep) == (t2, t1, 64)
        assert parameters.alignT2
        assert parameters.biasCorrection
        assert (parameters.raw, parameters.ageMonths) == (True, 7)
        assert parameters.createLabelMap
        assert parameters.createProbabilities
        self.ui.otherStepSpinBox.value = 12
        assert parameters.overlapStep == 12
        assert not self.ui.stepRow2RadioButton.checked

    def test_parameters_change_the_widgets(self):
        t1, t2 = add_pair()
        reference = add_label_map(*crop_labels())
        output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Output")
        mask = add_label_map(*crop_labels(), name="Mask")
        self.choose(t1, t2, mask=mask, reference=reference, output=output, overlapStep=64, alignT2=True, ageMonths=8)
        assert self.ui.t1Selector.currentNode() is t1
        assert self.ui.t2Selector.currentNode() is t2
        assert self.ui.maskSelector.currentNode() is mask
        assert self.ui.referenceSelector.currentNode() is reference
        assert self.ui.outputSelector.currentNode() is output
        assert self.ui.stepRow2RadioButton.checked
        assert self.ui.alignT2CheckBox.checked
        assert self.ui.ageSpinBox.text == "8 months"
        self.parameters.ageMonths = -1
        assert self.ui.ageSpinBox.text == "unknown"
        self.parameters.overlapStep = 5
        assert self.ui.otherStepSpinBox.value == 5

    def test_parameters_survive_saving_and_loading_the_scene(self):
        t1, t2 = add_pair()
        reference = add_label_map(*crop_labels())
        self.choose(t1, t2, mask=reference, reference=reference, overlapStep=12, device="cpu", biasCorrection=True)
        self.parameters.raw, self.parameters.ageMonths = True, 7
        self.parameters.weightsFile = "/models/own weights.safetensors"
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "scene with spaces.mrb")
            assert slicer.util.saveScene(path)
            slicer.mrmlScene.Clear(0)
            assert self.panel.parameters.overlapStep == 0
            slicer.util.loadScene(path)
        parameters = self.panel.parameters
        names = [node.GetName() for node in (parameters.t1, parameters.t2, parameters.mask, parameters.reference)]
        assert names == ["Crop T1", "Crop T2", "Reference", "Reference"]
        assert (parameters.overlapStep, parameters.device, parameters.biasCorrection) == (12, "cpu", True)
        assert (parameters.raw, parameters.ageMonths) == (True, 7)
        assert parameters.weightsFile == "/models/own weights.safetensors"
        assert self.ui.t2Selector.currentNode().GetName() == "Crop T2"
        assert self.ui.otherStepSpinBox.value == 12

    def test_the_card_of_the_default_weights_is_readable(self):
        assert self.ui.cardLabel.text.startswith("Dice: CSF 0.")
        card = self.ui.cardBrowser.toPlainText()
        for part in ("Network: Fast U-Net", "Training data:", "Licence", "Scores:", "Limits:"):
            assert part in card


class BadInputTest(OpenPanel, unittest.TestCase):
    """What is wrong stands in the button's tooltip and beside the button."""

    def assert_reason(self, *parts):
        assert not self.ui.segmentButton.enabled
        assert_sentence(tool_tip(self.ui.segmentButton), *parts)
        assert self.ui.statusLabel.text == tool_tip(self.ui.segmentButton)

    def assert_run_fails(self, *parts):
        with kept_log() as log:
            self.ui.segmentButton.click()
            wait_until(lambda: self.panel.job is not None and self.panel.job.isFinished, "the run has failed")
        job = self.panel.job
        assert job.state.value == "failed", (job.state, job.progress, job.warnings)
        assert [record.levelname for record in log] == ["ERROR"]
        assert job.error in log[0].getMessage()
        assert_sentence(self.ui.statusLabel.text, *parts)
        assert self.ui.segmentButton.enabled
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []

    def test_no_volume(self):
        self.assert_reason("No T1 volume and no T2 volume is chosen", "load them")

    def test_the_same_volume_twice(self):
        t1, _ = add_pair()
        self.choose(t1, t1)
        self.assert_reason("T1 and T2 are both Crop T1", "choose another T2")

    def test_an_empty_volume(self):
        _, t2 = add_pair()
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Empty")
        self.choose(empty, t2)
        self.assert_reason("The T1 volume Empty holds no image", "load it again")

    def test_a_volume_of_colors(self):
        t1, _ = add_pair()
        colors = slicer.util.addVolumeFromArray(
            np.zeros((32, 32, 32, 3), np.uint8), name="Colors", nodeClassName="vtkMRMLVectorVolumeNode"
        )
        self.choose(t1, colors)
        self.assert_reason("The T2 volume Colors", "gray-scale", "choose another one")

    def test_a_single_slice(self):
        (t1, t2, _), matrix = crop()
        self.choose(add_volume(t1, matrix, "Scan"), add_volume(t2[15:16], matrix, "Slice"))
        self.assert_reason("The T2 volume Slice", "32×32×1")

    def test_different_transforms(self):
        t1, t2 = add_pair()
        self.choose(t1, t2)
        t2.SetAndObserveTransformNodeID(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode").GetID())
        self.panel.refresh()
        self.assert_reason("under different transforms", "harden")

    def test_t2_elsewhere_in_space(self):
        (t1, t2, _), matrix = crop()
        moved = matrix.copy()
        moved[:3, 3] += 500
        self.choose(add_volume(t1, matrix, "Scan"), add_volume(t2, moved, "Elsewhere"))
        self.assert_run_fails("Elsewhere", "switch on the alignment of T2.")

    def test_a_head_with_its_skull(self):
        (t1, t2, _), matrix = crop()
        t1, t2 = (np.where(array == 0, 50, array) for array in (t1, t2))
        self.choose(add_volume(t1, matrix, "Head T1"), add_volume(t2, matrix, "Head T2"))
        self.assert_run_fails("T1 (Head T1) does not look skull-stripped", "give a brain mask")
        assert "--" not in self.ui.statusLabel.text

    def test_scans_of_one_contrast(self):
        (t1, _, _), matrix = crop()
        self.choose(add_volume(t1, matrix, "Scan"), add_volume(t1, matrix, "Same scan"))
        self.assert_run_fails("T1 (Scan) and T2 (Same scan) show the same contrast")

    def test_a_raw_scan_that_shows_no_head(self):
        (t1, t2, _), matrix = crop()
        noise = (1 + np.indices(t1.shape).sum(axis=0) % 2).astype(t1.dtype)
        mask = add_label_map(t1 > 0, matrix, "Mask")
        self.choose(add_volume(noise, matrix, "Air"), add_volume(t2, matrix, "Head"), mask=mask, raw=True)
        self.assert_run_fails("T1 (Air) shows no head", "check the series")

    def test_a_scan_without_brain(self):
        (t1, t2, _), matrix = crop()
        self.choose(add_volume(0 * t1, matrix, "Blank"), add_volume(t2, matrix, "Scan"))
        self.assert_run_fails("Blank has the value 0 in every voxel")

    def test_wrong_weights_files(self):
        self.choose(*add_pair())
        assert self.ui.segmentButton.enabled
        with tempfile.TemporaryDirectory() as folder:
            missing, pickled, text = (Path(folder) / name for name in ("none.safetensors", "net.pth", "notes.txt"))
            pickled.write_bytes(b"PK\x03\x04 a zip file as torch.save writes it")
            text.write_text("not weights at all")
            for path, found in ((missing, "does not exist"), (pickled, "pickled checkpoint"), (text, "damaged")):
                self.parameters.weightsFile = str(path)
                self.assert_reason(path.name, found)
                assert found in self.ui.cardBrowser.toPlainText()
        self.parameters.weightsFile = ""
        assert self.ui.segmentButton.enabled
        assert self.ui.statusLabel.text == ""


def crop_labels():
    """Return the labels of a crop and their matrix."""
    (_, _, labels), matrix = crop()
    return labels, matrix
