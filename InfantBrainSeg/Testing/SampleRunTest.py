"""One run on the whole sample subject, held against the command line."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
from infant_brain_helpers import OpenPanel, labels_of, run_core, wait_until

WHOLE_BRAIN = 256  # stands for the overlap step where the whole brain is one window
CATEGORY = "SCT^123037004^Anatomical Structure"
TISSUES = (  # name, type code, red, green, blue, as Slicer's users know them
    ("CSF", "SCT^280371009^Brain cerebrospinal fluid pathway", (85, 188, 255)),
    ("Gray matter", "SCT^389081007^Gray Matter", (200, 200, 235)),
    ("White matter", "SCT^389080008^White Matter", (250, 250, 210)),
)


class SampleRunTest(OpenPanel, unittest.TestCase):
    """The run is made once; its tests look at the same scene."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        from InfantBrainSegLib.core_paths import sample_folder
        from InfantBrainSegLib.sample_data import load_sample

        slicer.mrmlScene.Clear(0)
        opened = cls("show_panel")
        opened.show_panel()
        cls.t1, cls.t2, cls.reference = load_sample()
        opened.choose(cls.t1, cls.t2, reference=cls.reference, device="cpu")
        cls.job = opened.run_to_the_end()
        wait_until(lambda: opened.panel.scoringJob is not None and opened.panel.scoringJob.isFinished, "it is scored")
        cls.scoring = opened.panel.scoringJob
        sample = sample_folder()
        with tempfile.TemporaryDirectory() as folder:
            labels, scores = Path(folder) / "labels.nii.gz", Path(folder) / "scores.json"
            scans = ("--t1", sample / "T1.nii.gz", "--t2", sample / "T2.nii.gz")
            run_core("segment.py", *scans, "--step", "whole", "--device", "cpu", "--output", labels)
            cls.expected_labels = sitk.GetArrayFromImage(sitk.ReadImage(str(labels)))
            files = ("--prediction", labels, "--reference", sample / "labels.nii.gz")
            run_core("evaluate.py", *files, "--json", scores)
            cls.expected_scores = json.loads(scores.read_text(encoding="utf-8"))["tissues"]

    def setUp(self):
        self.show_panel()

    def test_the_labels_are_those_of_the_command_line(self):
        labels = labels_of(self.job.segmentationNode, self.t1)
        assert np.array_equal(labels, self.expected_labels)
        assert set(np.unique(labels)) == {0, 1, 2, 3}

    def test_the_scores_are_those_of_the_command_line(self):
        assert self.scoring.rows == self.expected_scores
        assert [self.ui.scoreTable.item(row, 3).text() for row in range(3)] == [
            f"{tissue['dice']:.3f}" for tissue in self.expected_scores
        ]

    def test_the_segments_are_coded_and_colored_in_one_shared_layer(self):
        segmentation = self.job.segmentationNode.GetSegmentation()
        assert segmentation.GetNumberOfLayers() == 1
        segments = [segmentation.GetSegment(segment_id) for segment_id in segmentation.GetSegmentIDs()]
        assert [segment.GetName() for segment in segments] == [name for name, _, _ in TISSUES]
        assert [segment.GetLabelValue() for segment in segments] == [1, 2, 3]
        for segment, (_, code, color) in zip(segments, TISSUES, strict=True):
            assert np.allclose(segment.GetColor(), np.array(color) / 255, atol=0.002)
            assert segment.GetTerminology().split("~")[1:3] == [CATEGORY, code]

    def test_the_result_lies_on_the_grid_of_t1_and_is_told_in_one_line(self):
        node = self.job.segmentationNode
        assert self.parameters.output is node
        assert node.GetName() == "Infant T1 segmentation"
        assert self.ui.statusLabel.text.startswith("Done: whole brain in ")
        assert self.job.stepReached == WHOLE_BRAIN
        assert self.ui.stepRow1TimeLabel.text != "not measured yet"

    def test_the_volumes_are_counted_voxels(self):
        counts = np.bincount(self.expected_labels.ravel())[1:]
        volumes = [f"{count / 1000:.1f}" for count in counts]  # voxels of 1 mm, 1000 to the ml
        assert [self.ui.scoreTable.item(row, 1).text() for row in range(3)] == volumes

    def test_the_table_node_holds_the_scores_in_full(self):
        table = self.scoring.tableNode
        assert self.parameters.scoreTable is table
        assert table.GetLocked()
        assert [table.GetCellText(row, 0) for row in range(3)] == [name for name, _, _ in TISSUES]
        columns = {"Dice": "dice", "3D-MHD": "mhd_3d", "ASD": "asd_mm", "HD95": "hd95_mm", "Volume": "volume_ml"}
        for name, key in columns.items():
            values = table.GetTable().GetColumnByName(name)
            assert [values.GetValue(row) for row in range(3)] == [tissue[key] for tissue in self.expected_scores]
        assert table.GetColumnUnitLabel("HD95") == "mm"
