"""Scores of results made by hand: against references of all kinds, where they disagree, after editing."""

import json
import tempfile
import unittest
from pathlib import Path

import numpy as np
import slicer
import vtk
from infant_brain_helpers import (
    OpenPanel,
    add_label_map,
    add_segmentation,
    add_transform,
    assert_sentence,
    ijk_to_ras,
    refuses,
    run_core,
    scene_state,
    tool_tip,
    wait_until,
)

SIDE = 32
MATRIX = np.array([[1.0, 0, 0, -20], [0, 1, 0, 35], [0, 0, 1, 7], [0, 0, 0, 1]])


def onion():
    """Labels (K, J, I) of white matter within gray matter within CSF, no two sides alike."""
    labels = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    labels[2:30, 3:29, 4:30] = 1
    labels[4:28, 6:27, 6:28] = 2
    labels[6:25, 8:24, 9:26] = 3
    return labels


def with_a_wrong_block():
    """The onion with 5 x 5 x 5 voxels of white matter around I 17, J 15, K 11 called gray matter."""
    labels = onion()
    labels[9:14, 13:18, 15:20] = 2
    return labels


def dice(labels, reference, label):
    """2 |P and L| / (|P| + |L|)."""
    found, expected = labels == label, reference == label
    return 2 * np.count_nonzero(found & expected) / (np.count_nonzero(found) + np.count_nonzero(expected))


class ScoringTest(OpenPanel, unittest.TestCase):
    """The panel scores the chosen segmentation against the chosen reference when the button is pressed."""

    def score(self, result, reference):
        """Press the button, wait, and return the finished comparison."""
        self.parameters.output, self.parameters.reference = result, reference
        assert self.ui.scoreButton.enabled, tool_tip(self.ui.scoreButton)
        self.ui.scoreButton.click()
        job = self.panel.scoringJob
        wait_until(lambda: job.isFinished, "the scores are there")
        assert job.error == ""
        return job

    def evaluated(self, result, reference):
        """Return what evaluate.py says of two label map nodes."""
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("result.nii", "reference.nii", "scores.json")]
            for node, path in zip((result, reference), paths, strict=False):
                assert slicer.util.saveNode(node, str(path))
            run_core("evaluate.py", "--prediction", paths[0], "--reference", paths[1], "--json", paths[2])
            return json.loads(paths[2].read_text(encoding="utf-8"))["tissues"]

    def test_a_label_map_and_a_segmentation_as_reference_give_the_scores_of_evaluate(self):
        labels, reference = with_a_wrong_block(), np.roll(onion(), 1, axis=2)
        result = add_segmentation(labels, MATRIX)
        reference_map = add_label_map(reference, MATRIX)
        expected = self.evaluated(add_label_map(labels, MATRIX, "Result"), reference_map)
        by_hand = [dice(labels, reference, label) for label in (1, 2, 3)]
        assert np.allclose([tissue["dice"] for tissue in expected], by_hand)
        job = self.score(result, reference_map)
        assert job.rows == expected
        assert not job.wasResampled
        assert self.score(result, add_segmentation(reference, MATRIX)).rows == expected

    def test_a_reference_with_flipped_and_exchanged_axes_is_the_same_reference(self):
        labels, reference = with_a_wrong_block(), onion()
        result = add_segmentation(labels, MATRIX)
        straight = self.score(result, add_label_map(reference, MATRIX))
        # The same voxels in another order: first axis backwards, second and third exchanged.
        turned = np.array([[-1.0, 0, 0, SIDE - 1], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
        flipped = np.ascontiguousarray(reference.transpose(1, 0, 2)[:, :, ::-1])
        for node in (add_label_map(flipped, MATRIX @ turned), add_segmentation(flipped, MATRIX @ turned)):
            job = self.score(result, node)
            assert job.wasResampled
            assert job.rows == straight.rows
            assert job.places["wm"]["position"] == straight.places["wm"]["position"]

    def test_a_coarser_reference_is_scored_on_its_own_grid(self):
        labels, reference = with_a_wrong_block(), np.roll(onion(), 2, axis=0)
        coarse = MATRIX @ np.diag([2.0, 2, 2, 1])
        half = np.ascontiguousarray(reference[::2, ::2, ::2])
        expected = [dice(labels[::2, ::2, ::2], half, label) for label in (1, 2, 3)]
        result = add_segmentation(labels, MATRIX)
        reference_map = add_label_map(half, coarse)
        job = self.score(result, reference_map)
        assert job.wasResampled
        assert "resampled onto the reference's grid" in self.ui.scoreLabel.text
        assert np.allclose([row["dice"] for row in job.rows], expected)
        assert job.rows == self.evaluated(add_label_map(labels, MATRIX, "Result"), reference_map)
        assert self.score(result, add_segmentation(half, coarse)).rows == job.rows

    def test_a_reference_without_a_geometry_of_its_own_is_scored_on_the_grid_of_its_segments(self):
        labels, reference = with_a_wrong_block(), onion()
        bare = add_segmentation(reference, MATRIX)
        bare.GetSegmentation().SetConversionParameter(
            slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(), ""
        )
        job = self.score(add_segmentation(labels, MATRIX), bare)
        expected = [dice(labels, reference, label) for label in (1, 2, 3)]  # CSF's box holds all else
        assert np.allclose([row["dice"] for row in job.rows], expected)

    def test_segments_are_known_by_the_names_that_people_use(self):
        result = add_segmentation(with_a_wrong_block(), MATRIX)
        usual = self.score(result, add_segmentation(onion(), MATRIX)).rows
        for names in (("Liquor", "GM", "white matter"), ("csf", "Grey Matter", "WM")):
            assert self.score(result, add_segmentation(onion(), MATRIX, names)).rows == usual

    def test_a_click_on_a_tissue_jumps_to_its_largest_disagreement(self):
        self.score(add_segmentation(with_a_wrong_block(), MATRIX), add_label_map(onion(), MATRIX))
        place = (MATRIX @ [17, 15, 11, 1])[:3]  # the middle of the block
        for row in (1, 2):
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 0, 0, 0, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
            assert max(distances_to_slices(place)) > 1
            self.ui.scoreTable.cellClicked(row, 0)
            assert np.allclose(distances_to_slices(place), 0, atol=1e-6)
            assert "3.0 mm deep; found Gray matter, expected White matter" in self.ui.scoreLabel.text
        self.ui.scoreTable.cellClicked(0, 0)
        assert self.ui.scoreLabel.text == "CSF: result and reference agree everywhere."

    def test_a_row_that_is_chosen_by_code_or_by_the_keyboard_jumps_too_and_so_it_does_after_the_next_comparison(self):
        result, reference = add_segmentation(with_a_wrong_block(), MATRIX), add_label_map(onion(), MATRIX)
        place = (MATRIX @ [17, 15, 11, 1])[:3]
        table = self.ui.scoreTable
        for choose in (table.selectRow, lambda row: table.setCurrentCell(row, 0)):  # as an arrow key does
            self.score(result, reference)
            slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, 0, 0, 0, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
            choose(2)
            assert np.allclose(distances_to_slices(place), 0, atol=1e-6)
            assert self.ui.scoreLabel.text.startswith("White matter: the largest disagreement is here")

    def test_the_jump_goes_to_the_place_under_the_references_transform(self):
        reference = add_label_map(onion(), MATRIX)
        result = add_segmentation(with_a_wrong_block(), MATRIX)
        moved = np.eye(4)
        moved[:3, 3] = 30, -20, 10
        for node in (result, reference):
            node.SetAndObserveTransformNodeID(add_transform(moved).GetID())
        with refuses("under different transforms", "harden"):
            self.logic.score(result, reference)
        result.SetAndObserveTransformNodeID(reference.GetTransformNodeID())
        self.score(result, reference)
        self.ui.scoreTable.cellClicked(2, 3)
        assert np.allclose(distances_to_slices((moved @ MATRIX @ [17, 15, 11, 1])[:3]), 0, atol=1e-6)

    def test_the_disagreement_is_shown_over_the_slices_and_leaves_nothing_behind(self):
        labels = with_a_wrong_block()
        labels[2, 3, 4] = 0  # CSF that the result has missed
        labels[0, 0, 0] = 1  # and some that it has added
        self.score(add_segmentation(labels, MATRIX), add_label_map(onion(), MATRIX))
        before = scene_state()
        self.ui.disagreementCheckBox.checked = True
        layer = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed").GetLabelVolumeID()
        overlay = slicer.mrmlScene.GetNodeByID(layer)
        expected = np.zeros_like(labels)
        expected[9:14, 13:18, 15:20], expected[2, 3, 4], expected[0, 0, 0] = 3, 1, 2
        assert np.array_equal(slicer.util.arrayFromVolume(overlay), expected)
        assert np.allclose(ijk_to_ras(overlay), MATRIX)
        assert not self.ui.fillCheckBox.checked  # outlines alone, or the tissues would hide it
        self.ui.disagreementCheckBox.checked = False
        assert scene_state() == before
        assert self.ui.fillCheckBox.checked

    def test_scores_are_computed_again_on_request_after_an_edit(self):
        reference = add_label_map(onion(), MATRIX)
        result = add_segmentation(with_a_wrong_block(), MATRIX)
        table = self.score(result, reference).tableNode
        assert self.ui.scoreTable.item(2, 3).text() != "1.000"
        white = result.GetSegmentation().GetSegmentIdBySegmentName("White matter")
        edited = (onion() == 3).astype(np.uint8)
        edited[6, 8, 9] = 0
        slicer.util.updateSegmentBinaryLabelmapFromArray(edited, result, white, reference)
        assert "edited" in self.ui.scoreLabel.text
        job = self.score(result, reference)
        assert job.tableNode is table
        voxels = 19 * 16 * 17
        assert np.isclose(job.rows[2]["dice"], (2 * voxels - 2) / (2 * voxels - 1))
        assert job.rows[2]["volume_ml"] == (voxels - 1) / 1000
        assert "edited" not in self.ui.scoreLabel.text

    def test_what_cannot_be_scored_is_refused_with_a_sentence(self):
        reference = add_label_map(onion(), MATRIX)
        volume = slicer.util.addVolumeFromArray(np.zeros((SIDE, SIDE, SIDE)), name="Scan")
        with refuses("The result is None", "choose one"):
            self.logic.score(None, reference)
        with refuses("The reference is Scan", "label map"):
            self.logic.score(reference, volume)
        with refuses("has the segments tumor, edema", "rename"):
            self.logic.score(add_segmentation(onion(), MATRIX, ["tumor", "edema"]), reference)
        with refuses("two segments of Gray matter", "rename"):
            self.logic.score(add_segmentation(onion(), MATRIX, ["CSF", "gm", "grey matter"]), reference)
        with refuses("Nothing is empty"):
            self.logic.score(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Nothing"), reference)
        with refuses("holds surfaces only"):
            self.logic.score(surfaces(add_segmentation(onion(), MATRIX)), reference)
        far = MATRIX.copy()
        far[:3, 3] += 1000
        with refuses("do not overlap"):
            self.logic.score(add_label_map(onion(), far, "Far away"), reference)
        with refuses("Odd values", "99"):
            self.logic.score(add_label_map(np.where(onion() == 3, 99, onion()), MATRIX, "Odd values"), reference)

    def test_the_button_says_what_is_missing_for_scores(self):
        assert not self.ui.scoreButton.enabled
        assert_sentence(tool_tip(self.ui.scoreButton), "no segmentation yet")
        self.parameters.output = add_segmentation(onion(), MATRIX)
        assert_sentence(tool_tip(self.ui.scoreButton), "No reference is chosen")
        self.parameters.reference = self.parameters.output
        assert_sentence(tool_tip(self.ui.scoreButton), "the segmentation itself")


def surfaces(node):
    """Leave only the surfaces of a segmentation."""
    convert = slicer.vtkSegmentationConverter
    node.CreateClosedSurfaceRepresentation()
    node.GetSegmentation().SetSourceRepresentationName(convert.GetSegmentationClosedSurfaceRepresentationName())
    node.GetSegmentation().RemoveRepresentation(convert.GetSegmentationBinaryLabelmapRepresentationName())
    return node


def distances_to_slices(position):
    """Return how far a position (RAS) is from the planes of the three slice views, in mm."""
    distances = []
    for name in ("Red", "Green", "Yellow"):
        to_slice = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{name}").GetSliceToRAS(), to_slice)
        distances.append(abs(to_slice.MultiplyPoint([*position, 1])[2]))
    return distances
