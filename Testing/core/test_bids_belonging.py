"""What belongs to a scan is decided by all of its entities and its folder; what was left aside is said."""

import os

import nibabel
import numpy as np
import pytest
from cohort_folders import write_data

from model_core.cohorts.subjects import describe_inputs, find_cohort
from model_core.datasets.subjects import describe_subjects, find_subjects


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def scan(path, shape=(60, 60, 60), spacing=(1.5, 1.5, 1.5)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.diag([*spacing, 1.0]))
    nibabel.save(image, path)


def find(data, *chosen):
    return find_cohort(data, data / "output", chosen)


def only(data, *chosen):
    (subject,) = find(data, *chosen).subjects
    return subject


# ---- Masks and references ----------------------------------------------------------------------------------

PLACE = "derivatives/p/sub-01"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("func/sub-01_task-rest_desc-brain_mask", "it lies in func"),
        ("func/sub-01_desc-brain_mask", "it lies in func"),
        ("dwi/sub-01_space-T1w_desc-brain_mask", "it lies in dwi"),
        ("sub-01_task-rest_run-1_desc-brain_mask", "it is of task-rest"),
        ("anat/sub-01_acq-fast_desc-brain_mask", "it is of acq-fast"),
        ("anat/sub-01_run-2_desc-brain_mask", "it is of run-2"),
        ("anat/sub-01_echo-1_desc-brain_mask", "it is of echo-1"),
        ("anat/sub-01_space-MNIInfant_desc-brain_mask", "it is in the space MNIInfant"),
        ("anat/sub-01_space-T2w_desc-brain_mask", "it is in the space T2w"),
    ],
)
@pytest.mark.parametrize("kind", ["mask", "reference"])
def test_a_derivative_of_another_image_is_left_aside_and_why(tmp_path, name, reason, kind):
    write_data(tmp_path, "sub-01")
    name = name if kind == "mask" else name.replace("_mask", "_dseg")
    touch(tmp_path, f"{PLACE}/{name}.nii.gz")
    subject = only(tmp_path)
    assert (subject.mask, subject.reference) == (None, None)
    what = "brain mask" if kind == "mask" else "reference"
    assert f"left aside as its {what}: {name.rpartition('/')[2]}.nii.gz ({reason})" in describe_inputs(subject)
    (subject,) = find_subjects(tmp_path)
    assert (subject.mask, subject.labels) == (None, None)


@pytest.mark.parametrize(
    "name",
    ["anat/sub-01_desc-brain_mask", "sub-01_desc-brain_mask", "anat/sub-01_space-orig_desc-brain_mask",
     "anat/sub-01_space-T1w_res-1_desc-brain_mask", "anat/sub-01_label-brain_desc-brain_mask"],
)  # fmt: skip
def test_a_derivative_of_the_scan_itself_is_taken(tmp_path, name):
    write_data(tmp_path, "sub-01")
    touch(tmp_path, f"{PLACE}/{name}.nii.gz", f"{PLACE}/func/sub-01_task-rest_desc-brain_mask.nii.gz")
    subject = only(tmp_path)
    assert subject.mask == tmp_path / f"{PLACE}/{name}.nii.gz"
    assert f"brain mask {name.rpartition('/')[2]}.nii.gz, no reference, no age; left aside as its" in describe_inputs(
        subject
    )


def test_the_derivative_names_the_entities_that_the_scan_has(tmp_path):
    write_data(tmp_path, "sub-01_acq-mprage_run-01")
    touch(
        tmp_path, *(f"{PLACE}/anat/sub-01_{name}_desc-brain_mask.nii.gz" for name in ("acq-space", "acq-mprage_run-1"))
    )
    assert only(tmp_path).mask.name == "sub-01_acq-mprage_run-1_desc-brain_mask.nii.gz"


def test_a_derivative_without_a_session_belongs_where_there_is_one_session_only(tmp_path):
    write_data(tmp_path, "sub-01_ses-a")
    touch(tmp_path, f"{PLACE}/anat/sub-01_desc-brain_mask.nii.gz")
    assert only(tmp_path).mask is not None
    write_data(tmp_path, "sub-01_ses-b")
    subjects = find(tmp_path).subjects
    assert [subject.mask for subject in subjects] == [None, None]
    assert "it names no session, and there are several" in describe_inputs(subjects[0])


def test_of_two_that_fit_one_is_taken_and_the_other_named(tmp_path):
    write_data(tmp_path, "sub-01")
    touch(tmp_path, *(f"derivatives/{name}/sub-01/anat/sub-01_dseg.nii.gz" for name in ("a", "b")))
    subject = only(tmp_path)
    assert subject.reference.parts[-4] == "a"
    assert subject.notes == ("left aside as its reference: sub-01_dseg.nii.gz (another one was taken)",)


def test_a_reference_whose_values_are_contradictory_is_left_aside(tmp_path):
    write_data(tmp_path, "sub-01")
    touch(tmp_path, f"{PLACE}/anat/sub-01_dseg.nii.gz")
    (tmp_path / PLACE / "dseg.tsv").write_text("index\tname\tabbreviation\n1\tCSF\tWM\n")
    subject = only(tmp_path)
    assert subject.reference is None
    assert "contradicts itself on the value 1" in describe_inputs(subject)
    assert find_subjects(tmp_path)[0].labels is None


# ---- Several scans of a session ----------------------------------------------------------------------------


@pytest.fixture
def with_localizer(tmp_path):
    for suffix in ("T1w", "T2w"):
        scan(tmp_path / f"sub-01/anat/sub-01_acq-localizer_{suffix}.nii.gz", (256, 256, 3), (1, 1, 8))
        scan(tmp_path / f"sub-01/anat/sub-01_run-01_{suffix}.nii.gz")
    return tmp_path


def test_the_pair_that_can_be_segmented_is_taken_and_the_localizer_named(with_localizer):
    subject = only(with_localizer)
    assert (subject.t1.name, subject.t2.name) == ("sub-01_run-01_T1w.nii.gz", "sub-01_run-01_T2w.nii.gz")
    said = describe_inputs(subject)
    assert (
        "were taken of several scans; left aside: sub-01_acq-localizer_T1w.nii.gz (covers 256 × 256 × 24 mm only)"
        in said
    )
    (subject,) = find_subjects(with_localizer)
    assert subject.t1.name == "sub-01_run-01_T1w.nii.gz"
    assert "sub-01_acq-localizer_T2w.nii.gz" in describe_subjects(find_subjects(with_localizer))


@pytest.mark.parametrize(
    "fault",
    [
        lambda path: path.write_bytes(b"damaged"),
        lambda path: (path.unlink(), path.symlink_to("../.git/annex/objects/a")),
        lambda path: scan(path, (64, 64, 30), (1.5, 1.5, 12)),
        lambda path: scan(path, (200, 200, 4), (1, 1, 30)),
        lambda path: nibabel.save(nibabel.Nifti1Image(np.zeros((60, 60, 60, 2), np.uint8), np.eye(4)), path),
    ],
    ids=["damaged", "not fetched", "thick slices", "few slices", "4-D"],
)
def test_whatever_makes_a_scan_unusable_puts_it_last(tmp_path, fault):
    for run in (1, 2):
        for suffix in ("T1w", "T2w"):
            scan(tmp_path / f"sub-01/anat/sub-01_run-{run}_{suffix}.nii.gz")
    touch(tmp_path, f"{PLACE}/anat/sub-01_run-1_dseg.nii.gz")
    assert "run-1" in only(tmp_path).t1.name
    fault(tmp_path / "sub-01/anat/sub-01_run-1_T1w.nii.gz")
    subject = only(tmp_path)
    assert "run-2" in subject.t1.name
    assert "left aside: sub-01_run-1_T1w.nii.gz (" in describe_inputs(subject)


def test_entities_choose_among_several(with_localizer):
    assert only(with_localizer, "acq-localizer").t1.name == "sub-01_acq-localizer_T1w.nii.gz"
    for suffix in ("T1w", "T2w"):
        scan(with_localizer / f"sub-01/anat/sub-01_run-2_{suffix}.nii.gz")
    assert only(with_localizer, "run-2").t1.name == "sub-01_run-2_T1w.nii.gz"
    assert only(with_localizer, "run-1").t1.name == "sub-01_run-01_T1w.nii.gz"
    scan(with_localizer / "sub-02/anat/sub-02_T1w.nii.gz")
    scan(with_localizer / "sub-02/anat/sub-02_T2w.nii.gz")
    cohort = find(with_localizer, "run-2")
    assert [subject.name for subject in cohort.subjects] == ["sub-01", "sub-02"]  # which has no runs to choose from
    for suffix in ("T1w", "T2w"):
        scan(with_localizer / f"sub-03/anat/sub-03_run-1_{suffix}.nii.gz")
    phrase = "sub-03: no T1w and no T2w of those chosen beside sub-03_run-1_T1w.nii.gz, sub-03_run-1_T2w.nii.gz"
    assert find(with_localizer, "run-2").incomplete == {"sub-03": phrase}


def test_one_scan_in_two_formats_is_taken_once_and_the_other_named(tmp_path):
    touch(tmp_path, "baby/T1.nii.gz", "baby/T1.nrrd", "baby/T2.nii.gz")
    assert "left aside, since there is another of its kind: T1.nrrd" in describe_subjects(find_subjects(tmp_path))


# ---- Links -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["sourcedata/real", "aaa", "zzz"])  # before and after the links in any order
def test_links_between_folders_of_one_data_set_lose_nobody(tmp_path, place):
    write_data(tmp_path / place, "sub-01", "sub-02", "sub-03")
    if place != "sourcedata/real":
        (tmp_path / place).rename(tmp_path / f".{place}")
        place = f".{place}"
    for name in ("sub-01", "sub-02", "sub-03"):
        (tmp_path / name).symlink_to(f"{place}/{name}")
    cohort = find(tmp_path)
    assert [subject.name for subject in cohort.subjects] == ["sub-01", "sub-02", "sub-03"]
    assert cohort.unused == []
    assert len(find_subjects(tmp_path)) == 3


def test_links_to_siblings_lose_nobody_and_links_to_ancestors_end(tmp_path):
    write_data(tmp_path, "sub-01")
    (tmp_path / "sub-01" / "anat" / "up").symlink_to("../..")
    (tmp_path / "aaa").symlink_to("sub-01")
    (tmp_path / "self").symlink_to(".")
    assert [subject.name for subject in find(tmp_path).subjects] == ["sub-01"]


def test_a_pair_that_is_there_twice_is_trained_on_once(tmp_path):
    touch(tmp_path, "baby1/T1.nii", "baby1/T2.nii", "baby2/T1.nii", "baby2/T2.nii")
    (tmp_path / "latest").symlink_to("baby2")
    subjects = find_subjects(tmp_path)
    assert [subject.name for subject in subjects] == ["baby1", "baby2"]
    assert "latest is not used, because its scans are those of baby2." in describe_subjects(subjects)


# ---- Nothing is dropped silently ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sub-02/func/sub-02_T1w.nii.gz", "because it lies in func"),
        ("sub-02/anat/sub-03_T1w.nii.gz", "because it lies in sub-02"),
        ("sub-02/ses-a/anat/sub-02_ses-b_T1w.nii.gz", "because it lies in ses-a"),
        ("sub-02/ses-a/anat/sub-02_T1w.nii.gz", "because it lies in ses-a"),
        ("sub-02/anat/sub-02_part-phase_T1w.nii.gz", "because it is no magnitude image"),
        ("sub-02/anat/sub-02_T1w.mgz", "because its suffix is none that can be read"),
        ("sub-02/anat/sub-02_T1w.nii.bz2", "because its suffix is none that can be read"),
        ("atlas/tpl-infant_T1w.nii.gz", "because its name begins with no sub-"),
        ("derivatives/p/sub-02/anat/sub-02_T1w.nii.gz", "because they are not the data set's own scans"),
        ("derivatives/p/sub-02/anat/sub-02_dseg.nii.gz", "because there is no scan beside it"),
    ],
)
def test_a_file_that_looks_like_a_scan_and_is_none_is_told(tmp_path, name, words):
    write_data(tmp_path, "sub-01")
    touch(tmp_path, name)
    (sentence,) = find(tmp_path).unused
    assert name.rpartition("/")[2] in sentence
    assert words in sentence
    assert sentence in describe_subjects(find_subjects(tmp_path))


def test_a_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch):
    write_data(tmp_path, "sub-01", "sub-02")
    real = os.scandir

    def scandir(path):
        if str(path).endswith("sub-02"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (sentence,) = find(tmp_path).unused
    assert "sub-02 cannot be listed (Permission denied)" in sentence
