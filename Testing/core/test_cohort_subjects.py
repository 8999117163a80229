"""Which subjects, masks, references and ages a BIDS data set has."""

import json

import pytest
from cohort_folders import write_data

from model_core.cohorts.executors import _split, plan_slots
from model_core.cohorts.subjects import choose_subjects, find_cohort
from model_core.errors import UserError


def add(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def test_masks_and_references_come_from_derivatives_and_never_from_results_of_this_program(tmp_path):
    data, output = write_data(tmp_path, "sub-01_ses-a", "sub-10", "sub-2"), tmp_path / "derivatives" / "new"
    place = "sub-01/ses-a/anat/sub-01_ses-a"
    add(data / "derivatives" / "manual" / f"{place}_dseg.nii.gz")
    add(data / "derivatives" / "manual" / f"{place}_desc-brain_mask.nii.gz")
    add(output / f"{place}_dseg.nii.gz")
    add(data / "derivatives" / "before" / "dataset_description.json", '{"GeneratedBy": [{"Name": "InfantBrainSeg"}]}')
    add(data / "derivatives" / "before" / "sub-2/anat/sub-2_dseg.nii.gz")
    add(data / "sub-11" / "anat" / "sub-11_T1w.nii.gz")
    cohort = find_cohort(data, output)
    assert [subject.name for subject in cohort.subjects] == ["sub-01_ses-a", "sub-2", "sub-10"]
    first, second, _ = cohort.subjects
    assert (first.participant, first.session, first.stem) == ("01", "a", "sub-01_ses-a")
    manual = data / "derivatives" / "manual" / "sub-01/ses-a/anat"
    assert first.reference == manual / "sub-01_ses-a_dseg.nii.gz"
    assert first.mask == manual / "sub-01_ses-a_desc-brain_mask.nii.gz"
    assert (second.reference, second.mask) == (None, None)
    assert cohort.incomplete == {"sub-11": "sub-11: no T2w beside sub-11_T1w.nii.gz"}


@pytest.mark.parametrize(
    ("table", "unit", "months"),
    [
        ("participant_id\tage_months\nsub-01\t6.5\n", None, 6.5),
        ("participant_id\tage\nsub-01\t0.5\n", None, 6.0),  # years, as BIDS recommends
        ("participant_id\tsex\tage\nsub-01\tF\t7\n", "months", 7.0),
        ("participant_id\tage\nsub-01\t26\n", "weeks", 5.98),  # 26 · 7 / 365.25 · 12
        ("participant_id\tage\nsub-01\tn/a\n", "months", None),
        ("participant_id\tage\nsub-02\t7\n", "months", None),
    ],
)
def test_ages_are_read_in_the_unit_that_is_stated(tmp_path, table, unit, months):
    write_data(tmp_path, "sub-01")
    add(tmp_path / "participants.tsv", table)
    if unit:
        add(tmp_path / "participants.json", json.dumps({"age": {"Units": unit}}))
    cohort = find_cohort(tmp_path, tmp_path / "output")
    assert cohort.subjects[0].age_months == months
    assert cohort.notes == []


def test_an_age_that_cannot_be_is_not_used_and_this_is_said(tmp_path):
    write_data(tmp_path, "sub-01")
    add(tmp_path / "participants.tsv", "participant_id\tage\nsub-01\t7\n")
    cohort = find_cohort(tmp_path, tmp_path / "output")
    assert cohort.subjects[0].age_months is None
    assert "gives sub-01 the age 7 in years; expected 0 to 24 months" in cohort.notes[0]


def test_the_sessions_age_comes_before_the_participants(tmp_path):
    write_data(tmp_path, "sub-01_ses-a", "sub-01_ses-b")
    add(tmp_path / "participants.tsv", "participant_id\tage_months\nsub-01\t3\n")
    add(tmp_path / "sub-01" / "sub-01_sessions.tsv", "session_id\tage\nses-a\t0.25\nses-b\tn/a\n")
    assert [subject.age_months for subject in find_cohort(tmp_path, tmp_path / "o").subjects] == [3.0, 3.0]
    add(tmp_path / "sessions.json", '{"age": {"Units": "year"}}')
    add(tmp_path / "sub-01" / "sub-01_sessions.tsv", "session_id\tage\nses-a\t0.75\nses-b\tn/a\n")
    assert [subject.age_months for subject in find_cohort(tmp_path, tmp_path / "o").subjects] == [9.0, 3.0]


def test_labels_choose_subjects_with_or_without_their_prefix(tmp_path):
    cohort = find_cohort(write_data(tmp_path, "sub-01_ses-a", "sub-01_ses-b", "sub-02_ses-b"), tmp_path / "output")

    def names(participants, sessions):
        return [subject.name for subject in choose_subjects(cohort, participants, sessions)]

    assert names(["sub-01"], []) == ["sub-01_ses-a", "sub-01_ses-b"]
    assert names([], ["b"]) == ["sub-01_ses-b", "sub-02_ses-b"]
    assert names(["02", "01"], ["ses-b"]) == ["sub-01_ses-b", "sub-02_ses-b"]
    with pytest.raises(UserError, match="names the unknown ses-a; expected one of ses-b"):
        names(["02"], ["a"])


def test_a_folder_without_pairs_says_what_is_missing(tmp_path):
    add(tmp_path / "sub-01" / "anat" / "sub-01_T2w.nii.gz")
    with pytest.raises(UserError, match=r"no complete T1/T2 pair among its 1 volume files \(sub-01: no T1w beside"):
        find_cohort(tmp_path, tmp_path / "output")
    with pytest.raises(UserError, match="is not a folder"):
        find_cohort(tmp_path / "nowhere", tmp_path / "output")


def test_cores_are_shared_out_evenly_and_each_is_used():
    assert _split([0, 2, 4, 6, 8], 2) == [[0, 2], [4, 6, 8]]
    assert _split([3, 5], 3) == [[3], [5], [3]]
    assert [slot.device for slot in plan_slots("cpu", 3, tasks=2)] == ["cpu", "cpu"]
    assert len(plan_slots("cuda:1", None, tasks=9)) == 1


def test_each_gpu_gets_a_process(monkeypatch):
    monkeypatch.setattr("model_core.cohorts.executors._count_gpus", lambda: 2)
    assert [slot.device for slot in plan_slots("auto", None, tasks=9)] == ["cuda:0", "cuda:1"]
    assert [slot.device for slot in plan_slots("cuda", 3, tasks=9)] == ["cuda:0", "cuda:1", "cuda:0"]
