"""The group report: table, outliers, page."""

import csv
import json
from html.parser import HTMLParser

import matplotlib.image
import pytest
from cohort_folders import QuickCohort, write_data

from model_core.cohorts.group import write_group
from model_core.cohorts.rows import COMPLETE, Row, mark_outliers
from model_core.cohorts.subjects import CohortSubject, find_cohort


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def complete_rows(volumes):
    return [
        Row(f"sub-{at}", COMPLETE, volumes=dict.fromkeys(("csf", "gm", "wm", "total"), volume))
        for at, volume in enumerate(volumes)
    ]


def test_a_volume_far_from_the_others_is_an_outlier():
    # The median is 100.5; distances from it are 1.5, 0.5, 0.5, 0.5, 1.5 and 99.5, of which the median is 1.
    rows = complete_rows([99, 100, 100, 101, 102, 200])
    mark_outliers(rows)
    assert rows[-1].z["gm"] == pytest.approx(0.6745 * 99.5)
    assert rows[0].z["gm"] == pytest.approx(-0.6745 * 1.5)
    assert [len(row.outliers) for row in rows] == [0, 0, 0, 0, 0, 4]
    assert rows[-1].outliers[0] == "CSF 200 ml is far above the median of 100 ml (z +67.1)"


def test_few_subjects_or_equal_volumes_have_no_outliers():
    for volumes in ([1, 1, 1, 900], [5, 5, 5, 5, 900]):
        rows = complete_rows(volumes)
        mark_outliers(rows)
        assert not any(row.outliers or row.z for row in rows)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    quick = QuickCohort(tmp_path_factory.mktemp("cohort"), "sub-01_ses-a", "sub-02")
    write_data(quick.data, "sub-03", t1=b"dark scan")
    quick.run("participant")
    (quick.output / "logs" / "sub-04.failed.json").write_text('{"sentence": "T1 <b>is</b> no scan"}')
    write_data(quick.data, "sub-04", "sub-05")
    (quick.data / "sub-06" / "anat").mkdir(parents=True)
    (quick.data / "sub-06" / "anat" / "sub-06_T1w.nii.gz").touch()
    quick.run("group")
    return quick


def test_the_table_has_the_volumes_of_each_complete_subject(reported):
    with open(reported.output / "group.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    found = [
        (row["participant_id"], row["session_id"], row["csf_ml"], row["total_ml"], row["warnings"]) for row in rows
    ]
    assert found == [
        ("sub-01", "ses-a", "104", "704", "0"),  # the program's CSF is 100 ml and the four letters of its scan
        ("sub-02", "n/a", "104", "704", "0"),
        ("sub-03", "n/a", "109", "709", "1"),
    ]


def test_the_json_has_all_subjects_with_their_states_and_explains_the_columns(reported):
    report = json.loads((reported.output / "group.json").read_text("utf-8"))
    assert {row["name"]: row["state"] for row in report["subjects"]} == {
        "sub-01_ses-a": "complete", "sub-02": "complete", "sub-03": "complete", "sub-04": "failed",
        "sub-05": "pending", "sub-06": "incomplete",
    }  # fmt: skip
    assert report["columns"]["csf_ml"] == {"Description": "Volume of CSF", "Units": "ml"}


def test_the_page_lists_failures_shows_each_picture_and_needs_no_network(reported):
    text = (reported.output / "index.html").read_text("utf-8")
    page = Page(text)
    assert page.open == []
    said = " ".join(page.words)
    for phrase in ("T1 <b>is</b> no scan", "dark & gloomy", "sub-06: no T2w beside sub-06_T1w.nii.gz"):
        assert phrase in said
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert pictures[1:] == [
        "sub-01/figures/sub-01_ses-a_space-T1w_dseg.png", "sub-02/figures/sub-02_space-T1w_dseg.png",
        "sub-03/figures/sub-03_space-T1w_dseg.png",
    ]  # fmt: skip
    links = [
        attributes["href"] for tag, attributes in page.tags if tag == "a" and not attributes["href"].startswith("#")
    ]
    assert all((reported.output / path).exists() for path in pictures)
    assert all((reported.output / path).exists() for path in links if not path.endswith("sub-04.log"))
    assert "http" not in text
    assert matplotlib.image.imread(reported.output / pictures[0]).std() > 0


def test_subjects_made_in_different_ways_are_told_apart(tmp_path):
    quick = QuickCohort(tmp_path, "sub-01", "sub-02")
    quick.run("participant")
    quick.run("participant", "group", "--participant-label", "02", "--step", 16)
    (note,) = json.loads((quick.output / "group.json").read_text("utf-8"))["notes"]
    assert note.startswith("The subjects were not all made in one way: 1 with ")
    assert "--step 16" in note


def test_infinite_and_undefined_scores_stay_what_they_are(tmp_path):
    quick = QuickCohort(tmp_path, "sub-01")
    quick.run("participant")
    cohort = find_cohort(quick.data, quick.output)
    assert cohort.subjects == [
        CohortSubject(
            "01", "", "sub-01", *(quick.data / "sub-01/anat" / f"sub-01_{name}.nii.gz" for name in ("T1w", "T2w"))
        )
    ]
    path = quick.output / "sub-01/anat/sub-01_space-T1w_dseg.json"
    rows = [{"tissue": "csf", "dice": 0.5, "asd_mm": "inf"}, {"tissue": "gm", "dice": None}]
    path.write_text(json.dumps(quick.sidecar("sub-01") | {"tissues": rows}))
    write_group(quick.output, cohort)
    (row,) = json.loads((quick.output / "group.json").read_text("utf-8"))["subjects"]
    assert (row["dice_csf"], row["asd_mm_csf"], row["dice_gm"]) == (0.5, "inf", None)
    with open(quick.output / "group.tsv", encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file, delimiter="\t")
    assert (row["dice_csf"], row["asd_mm_csf"], row["dice_gm"], row["dice_wm"]) == ("0.5", "inf", "n/a", "n/a")
