"""The values of label maps mean what their data set says."""

import json

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from model_core.datasets.subjects import Subject, read_subject_labels
from model_core.errors import UserError
from model_core.volumes import read_labels
from model_core.volumes.label_values import tissue_named

BIDS_ORDER = np.array([[[0, 1], [2, 3]]], np.uint8)  # background, gray matter, white matter, CSF
OURS = np.array([[[0, 2], [3, 1]]], np.uint8)
TABLE = "index\tname\tabbreviation\tmapping\n0\tBackground\tBG\t0\n1\tGray Matter\tGM\t1\n"
TABLE += "2\tWhite Matter\tWM\t2\n3\tCSF\tCSF\t3\n"


def save(path, values=BIDS_ORDER):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.tile(values, (2, 1, 1)), np.eye(4)), path)
    return path


def check(path, expected=OURS):
    found = read_labels(path)
    assert np.array_equal(found.array[:1], expected)
    again = read_subject_labels(Subject("a", path, path, path))  # as training and references of cohorts are read
    assert np.array_equal(found.array, again.array)
    return [finding.code for finding in found.findings if finding.code == "label-values"]


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


MAP = "derivatives/manual/sub-01/anat/sub-01_run-1_dseg.nii.gz"


@pytest.mark.parametrize(
    "table",
    [
        "derivatives/manual/sub-01/anat/sub-01_run-1_dseg.tsv",
        "derivatives/manual/sub-01/anat/sub-01_dseg.tsv",
        "derivatives/manual/sub-01/anat/dseg.tsv",
        "derivatives/manual/sub-01/dseg.tsv",
        "derivatives/manual/dseg.tsv",
        "derivatives/manual/run-1_dseg.tsv",
    ],
)
@pytest.mark.parametrize("described", [False, True])
def test_a_table_beside_the_map_or_above_it_says_what_its_values_are(tmp_path, table, described):
    if described:
        write(tmp_path / "derivatives/manual/dataset_description.json", "{}")
    path = save(tmp_path / MAP)
    write(tmp_path / table, TABLE)
    assert check(path) == ["label-values"]


@pytest.mark.parametrize(
    "table",
    [
        "sub-01/anat/sub-01_run-2_dseg.tsv",
        "sub-01/anat/sub-01_desc-aseg_dseg.tsv",
        "sub-02/dseg.tsv",
        "participants.tsv",
    ],
)
def test_tables_of_other_maps_say_nothing_of_this_one(tmp_path, table):
    path = save(tmp_path / MAP)
    write(tmp_path / "derivatives/manual" / table, TABLE)
    assert check(path, BIDS_ORDER) == []


def test_the_table_of_another_data_set_above_is_not_asked(tmp_path):
    path = save(tmp_path / MAP)
    write(tmp_path / "dseg.tsv", TABLE)
    write(tmp_path / "derivatives/manual/dataset_description.json", "{}")
    assert check(path, BIDS_ORDER) == []


def test_the_nearest_table_counts_and_in_it_the_one_that_names_more(tmp_path):
    path = save(tmp_path / MAP)
    ours = "index\tname\n1\tCSF\n2\tGM\n3\tWM\n"
    write(tmp_path / "derivatives/manual/dseg.tsv", ours)
    write(tmp_path / "derivatives/manual/sub-01/anat/dseg.tsv", ours)
    write(tmp_path / "derivatives/manual/sub-01/anat/sub-01_dseg.tsv", TABLE)
    check(path)


def test_a_table_beside_a_map_of_any_name(tmp_path):
    path = save(tmp_path / "reference.nii.gz")
    write(tmp_path / "dseg.tsv", TABLE)
    check(path)
    (tmp_path / "dseg.tsv").rename(tmp_path / "reference.tsv")
    check(path)


def test_tables_in_latin_1_and_with_old_line_ends_are_read(tmp_path):
    path = save(tmp_path / "reference.nii.gz")
    text = TABLE.replace("Gray Matter", "grey matter").replace("\tCSF\tCSF", "\tCérébrospinal\tCSF").replace("\n", "\r")
    (tmp_path / "dseg.tsv").write_bytes(text.encode("latin-1"))
    check(path)


@pytest.mark.parametrize("program", ["fMRIPrep", "sMRIPrep", "NiBabies"])
def test_who_made_the_map_says_it_too(tmp_path, program):
    path = save(tmp_path / MAP)
    description = {"GeneratedBy": [{"Name": program, "Version": "25"}]}
    write(tmp_path / "derivatives/manual/dataset_description.json", json.dumps(description))
    check(path)
    description = {"PipelineDescription": {"Name": program}}
    write(tmp_path / "derivatives/manual/dataset_description.json", json.dumps(description))
    check(path)
    other = save(tmp_path / MAP.replace("_dseg", "_desc-manual_dseg"))
    check(other, BIDS_ORDER)


def test_two_that_contradict_each_other_are_told(tmp_path):
    path = save(tmp_path / MAP)
    write(tmp_path / "derivatives/manual/dataset_description.json", '{"GeneratedBy": [{"Name": "fMRIPrep"}]}')
    write(tmp_path / "derivatives/manual/dseg.tsv", "index\tname\n1\tCSF\n2\tGM\n3\tWM\n")
    with pytest.raises(
        UserError, match=r"stated twice and otherwise: 1 is CSF in .*dseg.tsv and Gray matter in .*fMRIP"
    ):
        read_labels(path)


@pytest.mark.parametrize(
    "rows", ["1\tGray matter\tWM\n", "1\tGM\tGM\n1\tCSF\tCSF\n"], ids=["name and abbreviation", "twice"]
)
def test_a_table_that_contradicts_itself_is_told(tmp_path, rows):
    path = save(tmp_path / "reference.nii.gz")
    write(tmp_path / "dseg.tsv", f"index\tname\tabbreviation\n{rows}")
    with pytest.raises(UserError, match=r"dseg\.tsv contradicts itself on the value 1: .* and "):
        read_labels(path)


def test_a_table_of_many_structures_as_of_newborn_atlases(tmp_path):
    names = ["", "CSF", "Cortical gray matter", "White matter", "Background", "Ventricles", "Cerebellum"]
    names += ["Deep gray matter", "Brainstem", "Hippocampi and amygdala"]
    write(tmp_path / "dseg.tsv", "index\tname\n" + "".join(f"{at}\t{name}\n" for at, name in enumerate(names) if at))
    path = save(tmp_path / "reference.nii.gz", np.arange(10, dtype=np.uint8).reshape(1, 2, 5))
    check(path, np.array([[[0, 1, 2, 3, 0], [1, 0, 2, 0, 2]]]))


def test_a_table_of_freesurfers_names_agrees_with_its_values(tmp_path):
    write(
        tmp_path / "dseg.tsv",
        "index\tname\n2\tLeft-Cerebral-White-Matter\n3\tLeft-Cerebral-Cortex\n14\t3rd-Ventricle\n",
    )
    path = save(tmp_path / "reference.nii.gz", np.array([[[0, 2], [3, 14]]], np.uint8))
    check(path, np.array([[[0, 3], [2, 1]]]))


def test_a_table_that_explains_a_part_and_otherwise_than_usual_is_told(tmp_path):
    write(tmp_path / "dseg.tsv", "index\tname\n1\tGM\n")
    with pytest.raises(UserError, match="calls 1 Gray matter and does not explain 2; expected the meaning of each"):
        read_labels(save(tmp_path / "reference.nii.gz"))
    with pytest.raises(UserError, match=r"values 0, 1, 500 \(not explained by .*dseg.tsv: 500\)"):
        read_labels(save(tmp_path / "reference.nii.gz", np.array([[[0, 1], [500, 0]]], np.int16)))


def segmentation(path, *segments):
    """Write a .seg.nrrd as Slicer does: (name, value, terminology code or None)."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.tile(BIDS_ORDER, (2, 1, 1)).T))
    for at, (name, value, code) in enumerate(segments):
        image.SetMetaData(f"Segment{at}_Name", name)
        image.SetMetaData(f"Segment{at}_LabelValue", str(value))
        tags = "Segmentation.Status:inprogress|"
        if code:
            tags += f"TerminologyEntry:Segmentation category and type~SCT^85756007^Tissue~SCT^{code}^Some Matter~^^~"
        image.SetMetaData(f"Segment{at}_Tags", tags)
    sitk.WriteImage(image, str(path))
    return path


def test_segments_are_known_by_their_names_or_codes(tmp_path):
    named = segmentation(tmp_path / "a.seg.nrrd", ("white matter", 2, None), ("Grey_Matter", 1, None), ("CSF", 3, None))
    check(named)
    codes = (("Segment_1", 1, "389081007"), ("Segment_2", 2, "389080008"), ("Segment_3", 3, "280371009"))
    check(segmentation(tmp_path / "b.seg.nrrd", *codes))
    check(segmentation(tmp_path / "c.seg.nrrd", ("Segment_1", 1, None), ("Segment_2", 2, None)), BIDS_ORDER)


def test_a_segment_of_two_tissues_is_told(tmp_path):
    with pytest.raises(UserError, match="a segment that is named 'GM' and coded as 'White Matter'"):
        read_labels(segmentation(tmp_path / "a.seg.nrrd", ("GM", 1, "389080008")))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("CSF", "csf"), ("Cerebrospinal fluid", "csf"), ("lateral ventricles", "csf"), ("eCSF", "csf"),
        ("Liquor", "csf"), ("grey", "gm"),
        ("Gray Matter", "gm"), ("grey-matter", "gm"), ("cGM", "gm"), ("Right-Putamen", "gm"), ("cortex", "gm"),
        ("WM", "wm"), ("Left-Cerebral-White-Matter", "wm"), ("white_matter", "wm"),
        ("Brain-Stem", "background"), ("cerebellum", "background"),
        ("Left-Cerebellum-White-Matter", None), ("Segment_1", None), ("gmail", None), ("", None),
    ],
)  # fmt: skip
def test_names_of_tissues(name, key):
    found = tissue_named(name)
    assert (found.key if found else None) == key


def test_training_is_told_how_values_were_taken(tmp_path, capsys):
    from model_core.train import load_pairs

    labels = np.zeros((20, 22, 24), np.uint8)
    labels[4:16, 4:18, 4:20] = 3
    labels[6:14, 6:16, 6:18] = 1
    labels[8:12, 8:14, 8:16] = 2
    scan = np.where(labels > 0, 50 + np.arange(labels.size).reshape(labels.shape) % 90, 0).astype(np.int16)
    for name, array in (("T1", scan), ("T2", scan.max() + 1 - scan), ("labels", labels)):
        nibabel.save(nibabel.Nifti1Image(np.where(labels > 0, array, 0), np.eye(4)), tmp_path / f"{name}.nii.gz")
    write(tmp_path / "dseg.tsv", TABLE)
    files = [tmp_path / f"{name}.nii.gz" for name in ("T1", "T2", "labels")]
    (pair,) = load_pairs([Subject("a", *files)], "training")
    places = np.argwhere(pair.t1)
    found = pair.labels[tuple(map(slice, places.min(axis=0), places.max(axis=0) + 1))]
    assert np.array_equal(found, np.array([0, 2, 3, 1], np.uint8)[labels[4:16, 4:18, 4:20]])
    assert "were taken as 1 Gray matter, 2 White matter, 3 CSF, as" in capsys.readouterr().out
