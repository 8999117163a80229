"""What the Python console offers: segment, startSegmentation and score, with their options."""

import unittest

import numpy as np
import slicer
from infant_brain_helpers import (
    BAR,
    PUBLISHED_WEIGHTS,
    OpenPanel,
    add_label_map,
    add_pair,
    add_transform,
    add_volume,
    crop,
    ijk_to_ras,
    kept_log,
    labels_of,
    refuses,
    sample_arrays,
    scene_state,
)


class ConsoleTest(OpenPanel, unittest.TestCase):
    """The logic is the one that slicer.util.getModuleLogic gives; nothing is chosen in the panel."""

    def setUp(self):
        super().setUp()
        self.logic = slicer.util.getModuleLogic("InfantBrainSeg")

    def test_the_sample_subject_is_downloaded_without_a_network_with_its_reference(self):
        import SampleData
        from InfantBrainSegLib.sample_data import register_sample_data

        register_sample_data()  # scripts of the command line run before Slicer has done it
        register_sample_data()
        assert len(SampleData.SampleDataLogic.sampleDataSourcesByCategory("Infant brain")) == 1
        t1, t2, reference = SampleData.downloadSamples("InfantBrain")
        assert [node.GetName() for node in (t1, t2, reference)] == ["Infant T1", "Infant T2", "Infant reference"]
        (expected_t1, expected_t2, labels), matrix = sample_arrays()
        assert np.array_equal(slicer.util.arrayFromVolume(t1), expected_t1)
        assert np.array_equal(slicer.util.arrayFromVolume(t2), expected_t2)
        assert np.allclose(ijk_to_ras(t1), matrix)
        assert np.array_equal(labels_of(reference, t1), labels)
        slicer.mrmlScene.Clear(0)
        assert SampleData.downloadSample("InfantBrain").GetName() == "Infant T1"

    def test_segment_waits_for_the_result_and_score_for_the_table(self):
        t1, t2 = add_pair()
        (_, _, labels), matrix = crop()
        segmentation = self.logic.segment(t1, t2, overlapStep=32)
        assert segmentation.GetName() == "Crop T1 segmentation"
        table = self.logic.score(segmentation, add_label_map(labels, matrix))
        assert table.GetNumberOfRows() == 3
        found = labels_of(segmentation, t1)
        gray = 2 * np.sum((found == 2) & (labels == 2)) / (np.sum(found == 2) + np.sum(labels == 2))
        assert np.isclose(table.GetTable().GetColumnByName("Dice").GetValue(1), gray)

    def test_start_segmentation_returns_at_once_and_reports_progress(self):
        from InfantBrainSegLib.core_paths import weights_folder

        progress, states = [], []
        t1, t2 = add_pair(BAR)
        job = self.start(
            t1,
            t2,
            8,
            weights=weights_folder() / PUBLISHED_WEIGHTS,
            onProgress=progress.append,
            onChanged=lambda job: states.append(job.state.value),
            showMaps=False,
        )
        assert not job.isFinished
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
        with refuses("The run is", "wait for it"):
            job.result()
        assert job.wait(120)
        assert job.result() is job.segmentationNode
        assert [progress[-1].windows_done, progress[-1].windows_total, progress[-1].step_reached] == [4, 4, 8]
        stages = list(dict.fromkeys(entry.stage for entry in progress))
        assert stages == ["loading", "preparing", "checking", "segmenting", "writing"]
        assert states == ["running", "done"]
        assert str(progress[-1]).startswith("writing: 4 of 4 windows, step 8")

    def test_a_callback_that_fails_does_not_stop_the_run(self):
        with kept_log() as log:
            job = self.start(*add_pair(), 32, onProgress=lambda progress: 1 / 0)
            assert job.wait(120)
        assert {record.exc_info[0] for record in log} == {ZeroDivisionError}
        assert job.state.value == "done"

    def test_only_one_run_at_a_time(self):
        pair = add_pair(BAR)
        job = self.start(*pair, 1)
        with refuses("Another run is in progress", "cancel it"):
            self.logic.startSegmentation(*pair, 1)
        job.cancel()
        assert job.wait(120)
        with refuses("The run is cancelled"):
            job.result()

    def test_wait_gives_up_after_its_timeout(self):
        job = self.start(*add_pair(BAR), 1)
        assert not job.wait(0.01)
        assert not job.isFinished

    def test_label_map_and_probabilities_are_left_in_the_scene_on_request(self):
        t1, t2 = add_pair()
        job = self.start(t1, t2, 32, createLabelMap=True, createProbabilities=True)
        assert job.wait(120)
        labels = slicer.util.arrayFromVolume(job.labelMapNode)
        assert labels.dtype == np.uint8
        assert np.array_equal(labels, labels_of(job.result(), t1))
        assert list(job.probabilityNodes) == ["background", "csf", "gm", "wm"]
        names = [node.GetName() for node in job.probabilityNodes.values()]
        assert names[2] == "Crop T1 probability of Gray matter"
        probabilities = np.stack([slicer.util.arrayFromVolume(node) for node in job.probabilityNodes.values()])
        assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        brain = slicer.util.arrayFromVolume(t1) != 0
        assert np.array_equal(probabilities.argmax(axis=0)[brain], labels[brain])
        for node in (job.labelMapNode, *job.probabilityNodes.values()):
            assert slicer.mrmlScene.IsNodePresent(node)
            assert np.allclose(ijk_to_ras(node), ijk_to_ras(t1))

    def test_the_result_is_under_the_transform_of_its_scans(self):
        t1, t2 = add_pair()
        plain = self.logic.segment(t1, t2, overlapStep=32)
        matrix = np.eye(4)
        matrix[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]
        matrix[:3, 3] = 5, -70, 12
        transform = add_transform(matrix)
        for node in (t1, t2):
            node.SetAndObserveTransformNodeID(transform.GetID())
        moved = self.start(t1, t2, 32, createLabelMap=True)
        assert moved.wait(120)
        assert moved.result().GetParentTransformNode() is transform
        assert moved.labelMapNode.GetParentTransformNode() is transform
        assert np.array_equal(labels_of(moved.result(), t1), labels_of(plain, t1))

    def test_flipped_scans_give_the_flipped_result(self):
        (t1, t2, _), matrix = crop()
        plain = self.logic.segment(*add_pair(), overlapStep=32)
        expected = labels_of(plain, add_volume(t1, matrix, "Grid"))
        turned = np.array([[-1.0, 0, 0, t1.shape[2] - 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
        scans = [np.ascontiguousarray(scan.transpose(1, 0, 2)[:, :, ::-1]) for scan in (t1, t2)]
        nodes = [add_volume(scan, matrix @ turned, name) for scan, name in zip(scans, ("F1", "F2"), strict=True)]
        flipped = labels_of(self.logic.segment(*nodes, overlapStep=32), nodes[0])
        assert np.array_equal(flipped[:, :, ::-1].transpose(1, 0, 2), expected)

    def test_scans_with_skull_are_segmented_inside_a_mask(self):
        (t1, t2, labels), matrix = crop()
        mask = np.zeros_like(labels)
        mask[6:-6, 6:-6, 6:-6] = 1
        heads = [
            add_volume(np.where(scan == 0, 50, scan), matrix, name) for scan, name in ((t1, "Head T1"), (t2, "Head T2"))
        ]
        result = self.logic.segment(*heads, overlapStep=32, maskNode=add_label_map(mask, matrix, "Mask"))
        found = labels_of(result, heads[0])
        assert found.any()
        assert not found[mask == 0].any()

    def test_a_wrong_overlap_step_is_refused(self):
        pair = add_pair()
        before = scene_state()
        for step in (0, 65, -8, True, 8.5, "8"):
            with refuses(f"The overlap step is {step}", "from 1 to the window's 64"):
                self.logic.startSegmentation(*pair, overlapStep=step)
        assert scene_state() == before

    def test_warnings_name_what_to_look_at_for_the_age_that_was_given(self):
        job = self.start(*add_pair(), 32, ageMonths=7)
        assert job.wait(120)
        assert job.state.value == "done"
        small = [sentence for sentence in job.warnings if "together have" in sentence]  # 24³ voxels: 14 ml
        assert len(small) == 1
        assert "at 7 months" in small[0]
        assert "--" not in small[0]

    def test_a_wrong_age_is_refused(self):
        for age in (-1, 24.5, "7", True):
            with refuses(f"The age is {age!r} months", "from 0 to 24"):
                self.logic.startSegmentation(*add_pair(), ageMonths=age)

    def test_an_unknown_tool_for_the_brain_is_refused(self):
        with refuses("'bet' is no brain extraction;", "hd-bet"):
            self.logic.segment(*add_pair(), overlapStep=32, raw=True, brainExtraction="bet")

    def test_wrong_inputs_are_refused(self):
        t1, t2 = add_pair()
        with refuses("No T1 volume and no T2 volume"):
            self.logic.segment()
        with refuses("both Crop T1"):
            self.logic.segment(t1, t1)
        with refuses("The weights file", "does not exist"):
            self.logic.segment(t1, t2, weights="/nowhere/weights.safetensors")
        with refuses("cuda:7", "cpu"):
            self.logic.segment(t1, t2, overlapStep=32, device="cuda:7")
        with refuses("The T1 volume is a str", "volume node"):
            self.logic.segment("Crop T1", t2)
        removed, _ = add_pair()
        slicer.mrmlScene.RemoveNode(removed)
        with refuses("no longer in the scene"):
            self.logic.segment(removed, t2)
