"""Runs in progress: maps that sharpen, cancel, keep this map, a worker that is killed."""

import time
import unittest

import slicer
from infant_brain_helpers import (
    BAR,
    LONG_BAR,
    PUBLISHED_WEIGHTS,
    OpenPanel,
    add_label_map,
    add_pair,
    add_segmentation,
    assert_sentence,
    crop,
    is_alive,
    kept_log,
    kill,
    labels_of,
    scene_state,
    tool_tip,
    wait_for_a_map,
    wait_until,
)


class InterruptedRunTest(OpenPanel, unittest.TestCase):
    """The step 1 takes 57 windows here: each of these runs is stopped when its first map is there."""

    def add_long_bar(self):
        self.t1, self.t2 = add_pair(LONG_BAR)
        self.choose(self.t1, self.t2, overlapStep=1, weightsFile=PUBLISHED_WEIGHTS)
        self.before = scene_state()

    def start_into_a_segmentation_of_the_users(self, size, step):
        """Add a pair and a segmentation of one segment, and start to segment into that one by the console's call."""
        self.t1, self.t2 = add_pair(size)
        (_, _, labels), matrix = crop(size)
        self.output = add_segmentation(labels, matrix, ["mine"])
        self.output.CreateDefaultDisplayNodes()
        self.before = scene_state()
        return self.start(self.t1, self.t2, step, outputNode=self.output)

    def test_maps_appear_and_sharpen_while_it_runs(self):
        t1, t2 = add_pair(BAR)
        self.choose(t1, t2, overlapStep=8, weightsFile=PUBLISHED_WEIGHTS)
        self.ui.segmentButton.click()
        job, seen = self.panel.job, []

        def look(job):
            node = job.segmentationNode
            if node is not None and not job.isFinished:
                assert slicer.mrmlScene.IsNodePresent(node)
                seen.append((node.GetName(), bool(labels_of(node, t1).any())))

        job.callbacks.changed.append(look)
        wait_until(lambda: job.isFinished, "the run is over")
        assert list(dict.fromkeys(seen)) == [
            ("Crop T1 segmentation (step 32, running)", True),
            ("Crop T1 segmentation (step 16, running)", True),
        ]
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        assert [node.GetName() for node in nodes] == ["Crop T1 segmentation"]
        assert nodes[0] is job.segmentationNode
        assert (job.summary["windows_done"], job.stepReached) == (4, 8)

    def test_progress_is_shown_in_windows(self):
        self.add_long_bar()
        job = self.run_until_a_map_is_there()
        assert self.ui.segmentButton.text == "Cancel"
        assert self.ui.progressBar.maximum == 57
        assert 3 <= self.ui.progressBar.value < 57
        assert "of 57 windows" in self.ui.progressBar.text
        assert self.ui.statusLabel.text == f"Segmenting; the views show the map of step {job.progress.step_reached}."
        assert job.progress.stage == "segmenting"

    def test_cancel_takes_less_than_two_seconds_and_leaves_the_scene_as_it_was(self):
        self.add_long_bar()
        job = self.run_until_a_map_is_there()
        assert scene_state() != self.before
        began = time.monotonic()
        self.ui.segmentButton.click()
        assert not self.ui.segmentButton.enabled
        wait_until(lambda: job.isFinished, "the run is cancelled")
        assert time.monotonic() - began < 2
        assert job.state.value == "cancelled"
        assert scene_state() == self.before
        assert self.ui.segmentButton.text == "Segment"
        assert self.ui.segmentButton.enabled
        assert self.ui.statusLabel.text == "Cancelled; the scene is as it was."
        assert self.parameters.output is None

    def test_a_background_that_the_user_has_chosen_meanwhile_stays(self):
        self.add_long_bar()
        job = self.run_until_a_map_is_there()
        slicer.util.setSliceViewerLayers(background=self.t2)
        job.cancel()
        wait_until(lambda: job.isFinished, "the run is cancelled")
        composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        assert composite.GetBackgroundVolumeID() == self.t2.GetID()

    def test_cancel_before_the_first_window_leaves_the_scene_as_it_was(self):
        self.add_long_bar()
        self.ui.segmentButton.click()
        job = self.panel.job
        self.ui.segmentButton.click()
        wait_until(lambda: job.isFinished, "the run is cancelled")
        assert job.state.value == "cancelled"
        assert scene_state() == self.before

    def test_the_worker_ends_with_its_folder(self):
        wait_until(lambda: self.logic.worker.info is not None, "the worker is ready")
        pid, folder = self.logic.worker.info["pid"], self.logic.worker.client.folder
        assert is_alive(pid)
        assert folder.is_dir()
        self.logic.close()
        wait_until(lambda: not is_alive(pid), "the process is gone")
        assert not folder.exists()
        assert self.logic.worker.info is None

    def test_keep_this_map_stops_early_and_says_which_step_was_reached(self):
        self.add_long_bar()
        assert not self.ui.keepButton.isVisibleTo(self.ui.keepButton.parent())
        job = self.run_until_a_map_is_there()
        assert self.ui.keepButton.enabled
        self.ui.keepButton.click()
        wait_until(lambda: job.isFinished, "the map is kept")
        assert job.state.value == "done"
        assert job.stepReached in (32, 16, 8, 4, 2)
        assert job.summary["stopped"]
        assert job.summary["windows_done"] < 57
        node = self.parameters.output
        assert node.GetName() == "Crop T1 segmentation"
        assert node.GetAttribute("InfantBrainSeg.OverlapStep") == str(job.stepReached)
        assert labels_of(node, self.t1).any()
        assert self.ui.statusLabel.text.startswith(f"Done (stopped early): step {job.stepReached}, ")

    def test_a_killed_worker_gives_a_sentence_and_the_next_run_works(self):
        self.add_long_bar()
        job = self.run_until_a_map_is_there()
        pid, folder = self.logic.worker.info["pid"], self.logic.worker.client.folder
        with kept_log():
            kill(pid)
            wait_until(lambda: job.isFinished, "the end of the worker is noticed")
        assert job.state.value == "failed"
        assert_sentence(self.ui.statusLabel.text, "ended unexpectedly", "segment again")
        assert scene_state() == self.before
        assert not folder.exists()
        self.parameters.overlapStep = 32
        assert self.run_to_the_end().stepReached == 32

    def test_the_chosen_segmentation_is_replaced_only_at_the_end(self):
        job, seen = self.start_into_a_segmentation_of_the_users(BAR, 16), []

        def look(job):
            if job.segmentationNode is not None and not job.isFinished:
                segments = self.output.GetSegmentation().GetNumberOfSegments()
                visible = bool(self.output.GetDisplayNode().GetVisibility())
                seen.append((job.segmentationNode is self.output, segments, visible))

        job.callbacks.changed.append(look)
        wait_until(lambda: job.isFinished, "the run is over")
        assert set(seen) == {(False, 1, False)}  # the old result is hidden, not changed
        assert job.result() is self.output
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [self.output]
        assert self.output.GetDisplayNode().GetVisibility()
        assert not self.output.GetSegmentation().GetSegmentIdBySegmentName("mine")
        assert self.output.GetSegmentation().GetSegmentIdBySegmentName("Gray matter")

    def test_the_chosen_segmentation_stays_untouched_after_cancel(self):
        job = self.start_into_a_segmentation_of_the_users(LONG_BAR, 1)
        wait_for_a_map(job)
        assert not self.output.GetDisplayNode().GetVisibility()
        job.cancel()
        wait_until(lambda: job.isFinished, "the run is cancelled")
        assert scene_state() == self.before
        assert self.output.GetSegmentation().GetSegmentIdBySegmentName("mine")
        assert self.output.GetDisplayNode().GetVisibility()

    def test_a_map_that_the_user_deletes_does_not_stop_the_run(self):
        self.add_long_bar()
        job = self.run_until_a_map_is_there()
        slicer.mrmlScene.RemoveNode(job.segmentationNode)
        job.keepThisMap()
        wait_until(lambda: job.isFinished, "the map is kept")
        assert job.state.value == "done", job.error
        assert slicer.mrmlScene.IsNodePresent(job.segmentationNode)
        assert labels_of(job.segmentationNode, self.t1).any()

    def test_a_run_whose_scans_the_user_deletes_still_gives_its_result(self):
        self.add_long_bar()
        job = self.run_until_a_map_is_there()
        slicer.mrmlScene.RemoveNode(self.t1)
        slicer.mrmlScene.RemoveNode(self.t2)
        job.keepThisMap()
        wait_until(lambda: job.isFinished, "the map is kept")
        assert labels_of(job.result(), self.t1).any()
        composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        assert not composite.GetBackgroundVolumeID()

    def test_a_chosen_segmentation_that_the_user_deletes_is_made_anew(self):
        job = self.start_into_a_segmentation_of_the_users(LONG_BAR, 1)
        wait_for_a_map(job)
        slicer.mrmlScene.RemoveNode(self.output)
        job.keepThisMap()
        wait_until(lambda: job.isFinished, "the map is kept")
        assert slicer.mrmlScene.IsNodePresent(job.result())
        assert labels_of(job.result(), self.t1).any()

    def test_a_run_into_the_result_of_the_last_one_asks_nothing_and_replaces_it(self):
        self.choose(*add_pair(), overlapStep=32)
        first = self.run_to_the_end().segmentationNode
        assert self.run_to_the_end().segmentationNode is first
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [first]

    def test_scores_are_not_computed_while_it_runs(self):
        self.add_long_bar()
        (_, _, labels), matrix = crop(LONG_BAR)
        self.choose(self.t1, self.t2, reference=add_label_map(labels, matrix))
        self.run_until_a_map_is_there()
        assert not self.ui.scoreButton.enabled
        assert "in progress" in tool_tip(self.ui.scoreButton)
