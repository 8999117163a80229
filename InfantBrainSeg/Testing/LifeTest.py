"""Closing the scene, leaving the module and reloading it in mid-run."""

import unittest

import slicer
from infant_brain_helpers import (
    LONG_BAR,
    OpenPanel,
    add_label_map,
    add_pair,
    add_segmentation,
    add_volume,
    crop,
    is_alive,
    wait_until,
)


class LifeTest(OpenPanel, unittest.TestCase):
    """Whatever happens in mid-run, no process, no folder and no observer is left, and the next run works."""

    def begin_a_run(self):
        """Start a run that takes its time; return it when its first map is there."""
        self.choose(*add_pair(LONG_BAR), overlapStep=1)
        return self.run_until_a_map_is_there()

    def run_again(self):
        """Add scans to the new scene and segment them."""
        self.show_panel()
        self.choose(*add_pair(), overlapStep=32)
        assert self.run_to_the_end().stepReached == 32

    def test_closing_the_scene_cancels_the_run(self):
        job = self.begin_a_run()
        slicer.mrmlScene.Clear(0)
        wait_until(lambda: job.isFinished, "the run is cancelled")
        assert job.state.value == "cancelled"
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
        composite = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed")
        assert composite.GetBackgroundVolumeID() is None
        assert self.ui.segmentButton.text == "Segment"
        assert "No T1 volume" in self.ui.statusLabel.text
        self.run_again()

    def test_nothing_of_ours_keeps_a_segmentation_beyond_its_scene(self):
        gone = []

        def watch(node):
            node.AddObserver("DeleteEvent", lambda *_: gone.append(None))

        job = self.begin_a_run()
        watch(job.segmentationNode)
        slicer.mrmlScene.Clear(0)  # Slicer's views complain about a segmentation that is there without a scene
        wait_until(lambda: gone or job.isFinished, "the map is gone")
        assert len(gone) == 1
        wait_until(lambda: job.isFinished, "the run is cancelled")
        (_, _, labels), matrix = crop()
        self.parameters.output = add_segmentation(labels, matrix)
        self.parameters.reference = add_label_map(labels, matrix)
        self.ui.scoreButton.click()
        wait_until(lambda: self.panel.scoringJob.isFinished, "the scores are there")
        watch(self.parameters.output)
        slicer.mrmlScene.Clear(0)
        wait_until(lambda: len(gone) == 2, "the segmentation is gone", seconds=10)

    def test_closing_the_scene_while_the_worker_is_starting_cancels_the_run(self):
        self.logic.close()
        self.choose(*add_pair(LONG_BAR), overlapStep=1)
        self.ui.segmentButton.click()
        job = self.panel.job
        slicer.mrmlScene.Clear(0)
        wait_until(lambda: job.isFinished, "the run is cancelled")
        assert job.state.value == "cancelled"
        self.run_again()

    def test_closing_the_scene_forgets_scores_and_overlay(self):
        (_, _, labels), matrix = crop()
        self.parameters.output = add_segmentation(labels, matrix)
        self.parameters.reference = add_label_map(labels, matrix)
        self.ui.scoreButton.click()
        wait_until(lambda: self.panel.scoringJob.isFinished, "the scores are there")
        self.ui.disagreementCheckBox.checked = True
        slicer.mrmlScene.Clear(0)
        assert self.panel.parameters.reference is None
        assert not self.ui.disagreementCheckBox.checked
        assert not self.ui.disagreementCheckBox.enabled
        assert self.ui.scoreTable.item(0, 3).text() == "–"
        assert self.ui.scoreLabel.text == ""

    def test_a_run_goes_on_while_another_module_is_shown(self):
        job = self.begin_a_run()
        self.widget.exit()
        slicer.app.processEvents()
        self.widget.enter()
        assert job.state.value == "running"
        assert self.ui.segmentButton.text == "Cancel"
        job.keepThisMap()
        wait_until(lambda: job.isFinished, "the map is kept")
        assert self.panel.parameters.output is job.result()

    def test_loading_a_volume_in_mid_run_does_not_disturb_it(self):
        job = self.begin_a_run()
        (t1, _, _), matrix = crop()
        add_volume(t1, matrix, "Another T1")
        slicer.app.processEvents()
        assert job.state.value == "running"

    def test_reloading_the_module_ends_the_run_and_everything_of_the_old_panel(self):
        job = self.begin_a_run()
        pid, folder = self.logic.worker.info["pid"], self.logic.worker.client.folder
        old = self.widget
        old.onReload()
        wait_until(lambda: not is_alive(pid), "the old worker is gone")
        assert not folder.exists()
        assert job.state.value == "cancelled"
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
        assert old.Observations == []
        assert old.panel.Observations == []
        assert slicer.util.getModuleWidget("InfantBrainSeg") is not old
        self.show_panel()
        assert self.parameters.overlapStep == 1
        self.run_again()

    def test_observers_do_not_pile_up(self):
        def count():
            return len(self.widget.Observations) + len(self.panel.Observations)

        self.choose(*add_pair(), overlapStep=32)
        self.run_to_the_end()
        before = count()
        for _ in range(3):
            self.widget.exit()
            self.widget.enter()
        self.run_to_the_end()
        assert count() == before
        slicer.mrmlScene.Clear(0)
        observed = [item[0] for item in self.panel.Observations]
        assert all(node is slicer.mrmlScene or slicer.mrmlScene.IsNodePresent(node) for node in observed)
