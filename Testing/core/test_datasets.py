"""Finding labelled pairs in the three layouts, reading them onto the network grid, cutting windows."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from model_core.datasets.subjects import (
    LabelledPair,
    PatchSampler,
    Subject,
    describe_subjects,
    find_subjects,
    leave_one_out,
    load_pair,
    read_subject_labels,
)
from model_core.errors import UserError
from model_core.tissues import labels_from_values

SHAPE = (24, 28, 26)
BOX = (slice(5, 19), slice(6, 23), slice(4, 21))  # the brain: 14 × 17 × 17 voxels
ISEG_VALUES = np.array([0, 10, 150, 250], np.uint8)


@pytest.fixture
def brain():
    """T1, T2 and labels: a box of CSF with GM and WM inside, every brain voxel of its own value."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[BOX] = 1
    labels[7:17, 8:21, 6:19] = 2
    labels[9:14, 11:18, 9:15] = 3
    t1 = np.where(labels > 0, 100 + np.arange(labels.size).reshape(SHAPE) % 1000, 0).astype(np.int16)
    return t1, np.where(labels > 0, 2000 - t1, 0).astype(np.int16), labels


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".hdr":
        image = nibabel.AnalyzeImage(array, None)
        image.header.set_zooms((1, 1, 1))
    else:
        image = nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine)
    nibabel.save(image, path)
    return path


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names_of(subject):
    return tuple(None if path is None else path.name for path in (subject.t1, subject.t2, subject.labels))


class TestIseg:
    def test_analyze_files_in_the_order_of_their_numbers(self, tmp_path):
        for number in (1, 2, 10):
            for part in ("T1", "T2", "label"):
                touch(tmp_path, f"subject-{number}-{part}.hdr", f"subject-{number}-{part}.img")
        subjects = find_subjects(tmp_path)
        assert [subject.name for subject in subjects] == ["subject-1", "subject-2", "subject-10"]
        assert names_of(subjects[2]) == ("subject-10-T1.hdr", "subject-10-T2.hdr", "subject-10-label.hdr")

    def test_other_formats_and_subfolders(self, tmp_path):
        touch(tmp_path, *(f"Training/subject-3-{part}.nii.gz" for part in ("T1", "T2", "label")))
        touch(tmp_path, *(f"Testing/subject-11-{part}.nii" for part in ("T1", "T2")))
        subjects = find_subjects(tmp_path)
        assert [subject.name for subject in subjects] == ["Testing/subject-11", "Training/subject-3"]
        assert names_of(subjects[0]) == ("subject-11-T1.nii", "subject-11-T2.nii", None)

    def test_what_is_missing_is_named(self, tmp_path):
        touch(tmp_path, "subject-1-T1.hdr", "subject-1-T2.hdr", "subject-1-label.hdr")
        touch(tmp_path, "subject-2-T1.hdr", "subject-2-T2.hdr", "subject-3-T1.hdr", "subject-4-label.hdr")
        text = describe_subjects(find_subjects(tmp_path))
        assert "1. subject-1: subject-1-T1.hdr, subject-1-T2.hdr, labels subject-1-label.hdr" in text
        assert "- subject-2: subject-2-T1.hdr, subject-2-T2.hdr, no labels" in text
        assert "subject-3: no T2 beside subject-3-T1.hdr" in text
        assert "subject-4: no T1 and no T2 beside subject-4-label.hdr" in text

    def test_analyze_pairs_are_read(self, tmp_path, brain):
        for part, array in zip(("T1", "T2", "label"), (*brain[:2], ISEG_VALUES[brain[2]]), strict=True):
            save(tmp_path / f"subject-1-{part}.hdr", array)
        (subject,) = find_subjects(tmp_path)
        pair = load_pair(subject)
        # Analyze files run from right to left, so the canonical array is flipped.
        flipped = brain[2][::-1]
        found = np.argwhere(pair.labels)
        box = tuple(slice(low, high + 1) for low, high in zip(found.min(0), found.max(0), strict=True))
        np.testing.assert_array_equal(pair.labels[box], flipped[5:19, 6:23, 4:21])
        np.testing.assert_array_equal(pair.t1[box], brain[0][::-1][5:19, 6:23, 4:21])


class TestBids:
    def test_sessions_with_segmentations_in_derivatives(self, tmp_path):
        for session in ("1mo", "6mo"):
            stem = f"sub-01_ses-{session}"
            touch(tmp_path, *(f"sub-01/ses-{session}/anat/{stem}_{scan}.nii.gz" for scan in ("T1w", "T2w")))
            touch(tmp_path, f"derivatives/bibsnet/sub-01/ses-{session}/anat/{stem}_space-T1w_desc-aseg_dseg.nii.gz")
            touch(tmp_path, f"derivatives/bibsnet/sub-01/ses-{session}/anat/{stem}_space-T1w_desc-brain_mask.nii.gz")
        touch(tmp_path, "sub-01/ses-6mo/func/sub-01_ses-6mo_task-rest_bold.nii.gz")
        first, second = find_subjects(tmp_path)
        assert (first.name, second.name) == ("sub-01_ses-1mo", "sub-01_ses-6mo")
        assert names_of(second) == (
            "sub-01_ses-6mo_T1w.nii.gz",
            "sub-01_ses-6mo_T2w.nii.gz",
            "sub-01_ses-6mo_space-T1w_desc-aseg_dseg.nii.gz",
        )
        assert second.mask.name == "sub-01_ses-6mo_space-T1w_desc-brain_mask.nii.gz"

    def test_no_session_level_and_what_is_missing(self, tmp_path):
        touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz")
        touch(tmp_path, "derivatives/sub-01/anat/sub-01_dseg.nii.gz", "sub-03/anat/sub-03_T1w.nii.gz")
        subjects = find_subjects(tmp_path)
        assert [names_of(subject)[2] for subject in subjects] == ["sub-01_dseg.nii.gz"]
        assert "sub-03: no T2w beside sub-03_T1w.nii.gz" in describe_subjects(subjects)

    def test_the_segmentation_in_the_space_of_the_scans_is_taken(self, tmp_path):
        scans = [f"sub-01/anat/sub-01_space-ACPC_{scan}.nii.gz" for scan in ("T1w", "T2w")]
        segmentations = [f"derivatives/x/sub-01/anat/sub-01_{part}_dseg.nii.gz" for part in ("space-ACPC", "space-MNI")]
        touch(tmp_path, *scans, *segmentations)
        (subject,) = find_subjects(tmp_path)
        assert subject.labels.name == "sub-01_space-ACPC_dseg.nii.gz"

    @pytest.mark.parametrize(
        ("offered", "taken"),
        [
            (["space-T2w_desc-aseg", "space-T1w_desc-aseg"], "space-T1w_desc-aseg"),
            (["space-T2w_desc-aseg", "space-MNIInfant_desc-aseg"], None),
            (["desc-aparcaseg", "desc-aseg"], "desc-aseg"),
            (["desc-manual", "desc-aparcaseg"], "desc-aparcaseg"),
            (["space-MNIInfant_desc-aseg"], None),
        ],
    )
    def test_of_several_segmentations(self, tmp_path, offered, taken):
        touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz")
        touch(tmp_path, *(f"derivatives/p/sub-01/anat/sub-01_{name}_dseg.nii.gz" for name in offered))
        (subject,) = find_subjects(tmp_path)
        assert names_of(subject)[2] == (f"sub-01_{taken}_dseg.nii.gz" if taken else None)

    def test_of_several_runs_the_one_with_a_segmentation(self, tmp_path):
        touch(tmp_path, *(f"sub-01/anat/sub-01_run-{run}_T1w.nii.gz" for run in (1, 2, 3)))
        touch(tmp_path, *(f"sub-01/anat/sub-01_run-{run}_T2w.nii.gz" for run in (1, 2)))
        touch(tmp_path, "derivatives/p/sub-01/anat/sub-01_run-2_desc-aseg_dseg.nii.gz")
        (subject,) = find_subjects(tmp_path)
        assert names_of(subject) == (
            "sub-01_run-2_T1w.nii.gz",
            "sub-01_run-2_T2w.nii.gz",
            "sub-01_run-2_desc-aseg_dseg.nii.gz",
        )

    def test_processed_scans_are_not_taken_for_raw_ones(self, tmp_path):
        touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz")
        touch(tmp_path, "derivatives/p/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz")
        touch(tmp_path, "derivatives/p/sub-02/anat/sub-02_desc-preproc_T1w.nii.gz")
        touch(tmp_path, "sourcedata/sub-01/anat/sub-01_T1w.nii.gz")
        (subject,) = find_subjects(tmp_path)
        assert subject.t1 == tmp_path / "sub-01/anat/sub-01_T1w.nii.gz"

    def test_a_segmentation_that_numbers_tissues_otherwise_is_not_used(self, tmp_path):
        touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz")
        touch(tmp_path, "derivatives/fmriprep-21/sub-01/anat/sub-01_dseg.nii.gz")  # GM 1, WM 2, CSF 3
        assert find_subjects(tmp_path)[0].labels is None


class TestPlainFolders:
    def test_one_folder_a_subject_in_any_case(self, tmp_path):
        touch(tmp_path, "baby2/T1.nii.gz", "baby2/T2.nii.gz", "baby2/labels.nii.gz")
        touch(tmp_path, "baby10/t1.nrrd", "baby10/t2.nrrd", "baby10/Segmentation.nrrd", "baby10/mask.nrrd")
        touch(tmp_path, "baby11/T2.mha")
        subjects = find_subjects(tmp_path)
        assert [subject.name for subject in subjects] == ["baby2", "baby10"]
        assert names_of(subjects[1]) == ("t1.nrrd", "t2.nrrd", "Segmentation.nrrd")
        assert subjects[1].mask.name == "mask.nrrd"
        assert "baby11: no T1 beside T2.mha" in describe_subjects(subjects)

    def test_the_folder_itself_may_be_the_subject(self, tmp_path):
        touch(tmp_path, "T1.nii", "T2.nii")
        assert [subject.name for subject in find_subjects(tmp_path)] == [tmp_path.name]


class TestFindSubjects:
    def test_nothing_usable(self, tmp_path):
        touch(tmp_path, "scan.nii.gz", "subject-1-T1.hdr", "notes.txt")
        with pytest.raises(UserError) as error:
            find_subjects(tmp_path)
        for expected in (str(tmp_path), "iSeg", "BIDS", "one folder a subject", "no T2 beside subject-1-T1.hdr"):
            assert expected in str(error.value)

    def test_no_folder(self, tmp_path):
        with pytest.raises(UserError, match="none is not a folder"):
            find_subjects(tmp_path / "none")

    def test_a_link_to_a_folder_above_ends(self, tmp_path):
        touch(tmp_path, "a/T1.nii", "a/T2.nii")
        (tmp_path / "a" / "again").symlink_to(tmp_path)
        assert [subject.name for subject in find_subjects(tmp_path)] == ["a"]


class TestLeaveOneOut:
    subjects = tuple(Subject(f"subject-{n}", Path("T1.nii"), Path("T2.nii"), Path("l.nii")) for n in (1, 2, 3))

    def test_counts_from_one(self):
        training, validation = leave_one_out(self.subjects, 1)
        assert [subject.name for subject in training] == ["subject-2", "subject-3"]
        assert [subject.name for subject in validation] == ["subject-1"]

    @pytest.mark.parametrize("n", [0, 4, -1])
    def test_out_of_range(self, n):
        with pytest.raises(UserError, match="expected 1 to 3"):
            leave_one_out(self.subjects, n)

    def test_nothing_left_to_train_on(self):
        with pytest.raises(UserError, match="one subject only"):
            leave_one_out(self.subjects[:1], 1)


class TestLabelValues:
    def test_freesurfer_values_become_tissues(self):
        values = [0, 2, 41, 3, 42, 10, 49, 4, 43, 24, 15, 7, 8, 16, 46, 47, 77, 251, 1035, 2999, 3001, 4999, 5002]
        labels = [0, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 3, 3, 2, 2, 3, 3, 3]
        np.testing.assert_array_equal(labels_from_values(np.array(values)), labels)

    def test_iseg_values_and_ours(self):
        np.testing.assert_array_equal(labels_from_values(np.array([[0, 10], [150, 250]])), [[0, 1], [2, 3]])
        np.testing.assert_array_equal(labels_from_values(np.array([3, 0, 2, 1])), [3, 0, 2, 1])

    @pytest.mark.parametrize("unknown", [-1, 500, 5003, 70000])
    def test_unknown_values_are_listed(self, unknown):
        with pytest.raises(ValueError, match=str(unknown)):
            labels_from_values(np.array([0, 2, unknown]))

    def test_the_file_is_named(self, tmp_path):
        file = save(tmp_path / "labels.nii.gz", np.full((3, 3, 3), 999, np.int16))
        with pytest.raises(
            UserError, match=r"labels.nii.gz has the label values 999 \(unknown: 999\); expected 0, 1, 2, 3"
        ):
            read_subject_labels(Subject("a", file, file, file))

    def test_no_label_map(self, tmp_path):
        with pytest.raises(UserError, match="a has no label map"):
            read_subject_labels(Subject("a", tmp_path / "T1.nii", tmp_path / "T2.nii"))


class TestLoadPair:
    def subject(self, tmp_path, t1, t2, labels, mask=None, label_affine=None):
        files = [save(tmp_path / "T1.nii.gz", t1), save(tmp_path / "T2.nii.gz", t2)]
        files.append(save(tmp_path / "labels.nii.gz", labels, label_affine))
        return Subject("a", *files, None if mask is None else save(tmp_path / "mask.nii.gz", mask))

    def test_one_millimetre_scans_keep_their_voxels(self, tmp_path, brain):
        pair = load_pair(self.subject(tmp_path, *brain))
        assert (pair.t1.dtype, pair.t2.dtype, pair.labels.dtype) == (np.float32, np.float32, np.uint8)
        assert pair.t1.shape == pair.t2.shape == pair.labels.shape
        inside = pair.t1 != 0
        for array, given in zip((pair.t1, pair.t2, pair.labels), brain, strict=True):
            np.testing.assert_array_equal(array[inside].reshape(14, 17, 17), given[BOX])
            assert not array[~inside].any()

    def test_labels_on_another_grid_are_brought_over(self, tmp_path, brain):
        # Axes 0 and 2 swapped, axis 1 backwards; the same places in space.
        affine = np.array([[0, 0, 1, 0], [0, -1, 0, SHAPE[1] - 1], [1, 0, 0, 0], [0, 0, 0, 1]], float)
        turned = np.ascontiguousarray(brain[2].transpose(2, 1, 0)[:, ::-1])
        pair = load_pair(self.subject(tmp_path, *brain[:2], turned, label_affine=affine))
        np.testing.assert_array_equal(pair.labels[pair.t1 != 0].reshape(14, 17, 17), brain[2][BOX])

    def test_with_a_skull_the_mask_says_where_the_brain_is(self, tmp_path, brain):
        mask = np.zeros(SHAPE, np.uint8)
        mask[6:18, 7:22, 5:20] = 1  # one voxel less than the labels on each side
        pair = load_pair(self.subject(tmp_path, brain[0] + 7, brain[1] + 9, brain[2], mask))
        inside = pair.t1 != 0
        np.testing.assert_array_equal(pair.t1[inside].reshape(12, 15, 15), brain[0][6:18, 7:22, 5:20] + 7)
        np.testing.assert_array_equal(pair.labels[inside].reshape(12, 15, 15), brain[2][6:18, 7:22, 5:20])
        assert not pair.labels[~inside].any()

    def test_with_a_skull_and_no_mask_the_labelled_voxels_are_the_brain(self, tmp_path, brain):
        labels = np.array([0, 24, 3, 2], np.int16)[brain[2]]
        labels[5:19, 6:9, 4:21] = 8  # cerebellum: seen in the scans, background in the labels
        pair = load_pair(self.subject(tmp_path, brain[0] + 7, brain[1] + 9, labels))
        inside = pair.t1 != 0
        np.testing.assert_array_equal(pair.t1[inside].reshape(14, 17, 17), brain[0][BOX] + 7)
        expected = brain[2][BOX].copy()
        expected[:, :3] = 0
        np.testing.assert_array_equal(pair.labels[inside].reshape(14, 17, 17), expected)

    def test_labels_in_another_place(self, tmp_path, brain):
        affine = np.eye(4)
        affine[:3, 3] = 12
        with pytest.raises(UserError, match=r"of the labels in .*labels.nii.gz .* lie in the brain of .*T1.nii.gz"):
            load_pair(self.subject(tmp_path, *brain, label_affine=affine))


class TestPatchSampler:
    @pytest.fixture
    def pairs(self):
        """Two subjects whose voxels tell where they come from: brains of 12 × 10 × 9 and of 8 × 16 × 8 voxels."""
        made = []
        for number, (low, high) in enumerate((((3, 4, 5), (15, 14, 14)), ((2, 2, 2), (10, 18, 10)))):
            t1 = np.zeros((20, 22, 24), np.float32)
            box = tuple(map(slice, low, high))
            t1[box] = (1 + np.arange(t1.size).reshape(t1.shape) + number * t1.size)[box]
            made.append(LabelledPair(f"subject-{number}", t1, -t1, (t1 % 4).astype(np.uint8)))
        return made

    def test_windows_are_cut_alike_from_scans_and_labels(self, pairs):
        images, labels = PatchSampler(pairs, window=8, seed=3).batch(0, 6)
        assert (images.shape, images.dtype) == ((6, 2, 8, 8, 8), np.float32)
        assert (labels.shape, labels.dtype) == ((6, 8, 8, 8), np.uint8)
        np.testing.assert_array_equal(images[:, 1], -images[:, 0])
        np.testing.assert_array_equal(labels, images[:, 0] % 4)
        assert (images[:, 0] > 0).all()  # the window fits into both boxes, so no voxel lies outside

    def test_every_start_in_the_box_of_every_subject_occurs(self, pairs):
        sampler = PatchSampler(pairs, window=8, seed=0)
        corners = {image[0, 0, 0, 0] for iteration in range(40) for image in sampler.batch(iteration, 25)[0]}
        first, second = (pair.t1 for pair in pairs)
        possible = {*first[3:8, 4:7, 5:7].ravel(), *second[2:3, 2:11, 2:3].ravel()}
        assert corners == possible

    def test_a_batch_depends_on_seed_and_iteration_alone(self, pairs):
        one, other = PatchSampler(pairs, window=8, seed=5), PatchSampler(pairs, window=8, seed=5)
        for iteration in range(3):
            one.batch(iteration, 4)
        for ours, theirs in zip(one.batch(17, 4), other.batch(17, 4), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert not np.array_equal(one.batch(17, 4)[0], one.batch(18, 4)[0])
        assert not np.array_equal(one.batch(17, 4)[0], PatchSampler(pairs, window=8, seed=6).batch(17, 4)[0])

    def test_a_brain_smaller_than_the_window_gets_zeros_around_it(self, pairs):
        images, labels = PatchSampler(pairs[:1], window=16, seed=0).batch(0, 1)
        expected = np.pad(pairs[0].t1[3:15, 4:14, 5:14], ((2, 2), (3, 3), (3, 4)))
        np.testing.assert_array_equal(images[0, 0], expected)
        np.testing.assert_array_equal(labels[0], expected % 4)

    def test_the_sampler_leaves_the_subjects_as_they_are(self, pairs):
        before = pairs[0].t1.copy()
        PatchSampler(pairs, window=8, seed=0).batch(0, 3)[0][:] = -1
        np.testing.assert_array_equal(pairs[0].t1, before)

    def test_no_subjects_and_empty_subjects_are_refused(self):
        with pytest.raises(ValueError, match="pairs is empty"):
            PatchSampler([], window=8, seed=0)
        nothing = np.zeros((9, 9, 9), np.float32)
        with pytest.raises(ValueError, match="is 0 everywhere"):
            PatchSampler([LabelledPair("a", nothing, nothing, nothing.astype(np.uint8))], window=8, seed=0)
