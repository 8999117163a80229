"""The section Batch: a small BIDS data set is listed, segmented, opened and rated."""

import csv
import tempfile
import unittest
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
from infant_brain_helpers import OpenPanel, crop, labels_of, wait_until

NAME, STATE, RATING = 0, 1, 2  # columns of the table
SIDE = (24, 24, 24)  # voxels of brain


class BatchTest(OpenPanel, unittest.TestCase):
    """Each test has a data set of its own: one subject with both scans, one whose T1 is empty, one without T2."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        from InfantBrainSegLib.dependencies import missing_packages
        from InfantBrainSegLib.worker_command import WorkerCommand

        if WorkerCommand.from_settings().runs_in_slicer_python and missing_packages(for_batch=True):
            missing = ", ".join(missing_packages(for_batch=True))
            raise unittest.SkipTest(f"Slicer's Python lacks {missing}; run a batch once to install it")

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        self.addCleanup(self.panel.batch.close)
        self.data = Path(folder.name) / "data set"
        self.results = self.data / "derivatives" / "infantbrainseg"
        (t1, t2, _), matrix = crop(SIDE)
        write_subject(self.data, "sub-01", matrix, T1w=t1, T2w=t2)
        write_subject(self.data, "sub-02", matrix, T1w=np.zeros_like(t1), T2w=t2)
        write_subject(self.data, "sub-03", matrix, T1w=t1)
        self.parameters.device = "cpu"
        self.ui.batchDataPathLineEdit.currentPath = str(self.data)
        self.ui.batchListButton.click()
        self.wait_for_the_end()

    def wait_for_the_end(self):
        wait_until(lambda: self.ui.batchListButton.enabled, "the process of the batch is over", seconds=300)

    def column(self, index):
        table = self.ui.batchTable
        return [table.item(row, index).text() for row in range(table.rowCount)]

    def segment_all(self):
        self.ui.batchRunButton.click()
        assert not self.ui.batchListButton.enabled, self.ui.batchLabel.text
        self.wait_for_the_end()

    def test_listing_shows_the_subjects_and_writes_nothing(self):
        assert self.column(NAME) == ["sub-01", "sub-02", "sub-03"]
        assert self.column(STATE) == ["not segmented yet", "not segmented yet", "a scan is missing"]
        assert self.column(RATING) == ["–"] * 3
        assert not self.results.exists()

    def test_a_batch_segments_what_it_can_and_its_result_can_be_opened_and_rated(self):
        self.segment_all()
        states = self.column(STATE)
        assert states[0] == "segmented"
        assert states[1].startswith("failed: ")
        assert states[2] == "a scan is missing"
        assert (self.results / "index.html").is_file()

        self.ui.batchTable.selectRow(0)
        self.ui.batchOpenButton.click()
        (file,) = self.results.rglob("*_dseg.nii.gz")
        expected = sitk.GetArrayFromImage(sitk.ReadImage(str(file)))
        assert set(np.unique(expected)) == {0, 1, 2, 3}
        (scan,) = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        assert np.array_equal(labels_of(self.parameters.output, scan), expected)

        self.ui.ratingComboBox.currentIndex = self.ui.ratingComboBox.findData("usable")
        self.ui.ratingCommentLineEdit.text = "rim of CSF"
        self.ui.ratingButton.click()
        assert self.column(RATING)[0] == "usable"
        with open(self.results / "ratings.tsv", encoding="utf-8", newline="") as stream:
            (row,) = csv.DictReader(stream, delimiter="\t")
        assert (row["participant_id"], row["rating"], row["comment"]) == ("sub-01", "usable", "rim of CSF")

    def test_a_stopped_batch_leaves_a_panel_that_goes_on(self):
        self.ui.batchRunButton.click()
        self.ui.batchRunButton.click()
        assert not self.ui.batchRunButton.enabled
        self.wait_for_the_end()
        assert self.ui.batchLabel.text.startswith("Stopped; ")
        self.segment_all()
        assert self.column(STATE)[0] == "segmented"


def write_subject(data, name, ijk_to_ras, **scans):
    """Write scans (K, J, I) by their BIDS suffix into a data set."""
    anat = data / name / "anat"
    anat.mkdir(parents=True)
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ ijk_to_ras[:3]
    spacing = np.linalg.norm(to_lps[:, :3], axis=0)
    for suffix, array in scans.items():
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(to_lps[:, 3].tolist())
        image.SetDirection((to_lps[:, :3] / spacing).ravel().tolist())
        sitk.WriteImage(image, str(anat / f"{name}_{suffix}.nii.gz"))
