"""T1 or T2 alone: what the weights do with, where the result lies, what it costs, and what needs both."""

import tempfile
import unittest
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
from infant_brain_helpers import (
    PUBLISHED_WEIGHTS,
    OpenPanel,
    add_label_map,
    add_pair,
    add_volume,
    assert_sentence,
    crop,
    labels_of,
    refuses,
    run_core,
    tool_tip,
)

WHOLE_BRAIN = 256  # the overlap step that stands for the whole brain at once


class OneScanTest(OpenPanel, unittest.TestCase):
    """The default weights do with one scan; the published networks, raw scans and the alignment need both."""

    def assert_refused(self, *parts):
        assert not self.ui.segmentButton.enabled
        assert_sentence(tool_tip(self.ui.segmentButton), *parts)
        assert self.ui.statusLabel.text == tool_tip(self.ui.segmentButton)

    def test_t1_alone_gives_the_labels_of_the_command_line_and_says_what_it_costs(self):
        t1, _ = add_pair()
        self.choose(t1, None)
        assert self.ui.segmentButton.enabled
        assert self.ui.statusLabel.text.startswith("T1 alone will be segmented; choose T2, too")
        assert self.ui.t2Selector.noneDisplay == "None: T1 alone is segmented"
        job = self.run_to_the_end()
        assert job.segmentationNode.GetName() == "Crop T1 segmentation"
        with tempfile.TemporaryDirectory() as folder:
            scan, labels = Path(folder) / "scan.nrrd", Path(folder) / "labels.nrrd"
            assert slicer.util.saveNode(t1, str(scan))
            run_core("segment.py", "--t1", scan, "--step", "whole", "--device", "cpu", "--output", labels)
            expected = sitk.GetArrayFromImage(sitk.ReadImage(str(labels)))
        assert np.array_equal(labels_of(job.segmentationNode, t1), expected)
        assert {1, 2, 3} <= set(np.unique(expected))
        (told,) = [sentence for sentence in job.warnings if "alone" in sentence]
        assert_sentence(told, "T1 alone was given", "with it the mean Dice on held-out synthetic pairs is 0.")
        assert told in self.ui.warningsLabel.text

    def test_t2_alone_gives_a_result_on_its_own_grid(self):
        (_, t2, _), matrix = crop((24, 28, 32))
        node = add_volume(t2, matrix, "Crop T2")
        segmentation = slicer.util.getModuleLogic("InfantBrainSeg").segment(t2Node=node, overlapStep=WHOLE_BRAIN)
        assert segmentation.GetName() == "Crop T2 segmentation"
        labels = labels_of(segmentation, node)
        assert labels.shape == (40, 36, 32)  # K, J, I with their rims of zeros
        assert {1, 2} <= set(np.unique(labels))  # so small a piece shows it no white matter
        assert not labels[t2 == 0].any()

    def test_the_panel_takes_t2_alone(self):
        _, t2 = add_pair()
        self.choose(None, t2)
        assert self.ui.t1Selector.noneDisplay == "None: T2 alone is segmented"
        assert self.ui.stepRow1WindowsLabel.text == "1"  # the brain's size is T2's
        job = self.run_to_the_end()
        assert self.parameters.output is job.segmentationNode
        assert any(sentence.startswith("T2 alone was given") for sentence in job.warnings)

    def test_weights_that_need_both_scans_say_which_is_missing(self):
        t1, t2 = add_pair()
        self.choose(t1, None, weightsFile=PUBLISHED_WEIGHTS)
        self.assert_refused("No T2 volume is chosen", "Non-local U-Net need T1 and T2", "does with one scan.")
        assert self.ui.t2Selector.noneDisplay == "Choose the T2 volume"
        self.choose(None, t2)
        self.assert_refused("No T1 volume is chosen")
        from InfantBrainSegLib.core_paths import weights_folder

        with refuses("No T2 volume is chosen", "need T1 and T2"):
            self.logic.startSegmentation(t1, weights=weights_folder() / PUBLISHED_WEIGHTS)
        self.parameters.weightsFile = ""
        assert self.ui.segmentButton.enabled

    def test_raw_scans_and_the_alignment_need_both(self):
        (_, _, labels), matrix = crop()
        t1, t2 = add_pair()
        self.choose(t1, None, mask=add_label_map(labels > 0, matrix, "Mask"), raw=True)
        self.assert_refused("No T2 volume is chosen", "raw scans need T1 and T2", "switch off “Raw scans”.")
        self.parameters.raw, self.parameters.alignT2 = False, True
        self.assert_refused("No T2 volume is chosen", "aligning T2 needs T1 and T2", "switch off “Align T2 to T1”.")
        self.parameters.alignT2 = False
        assert self.ui.segmentButton.enabled
        with refuses("raw scans need"):
            self.logic.startSegmentation(t2Node=t2, raw=True)
