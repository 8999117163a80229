"""The group report: table, outliers, page."""

import csv
import json
from html.parser import HTMLParser

import pytest
from cohort_folders import QuickCohort, write_data

from model_core.cohorts.group import write_group
from model_core.cohorts.rows import COMPLETE, Row, mark_outliers
from model_core.cohorts.subjects import CohortSubject, find_cohort
from model_core.ratings import BAD
from model_core.reports.pages import empty_place


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "input", "br"):
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


def test_a_map_of_which_far_less_is_expected_than_of_the_others_is_an_outlier():
    rows = complete_rows([100] * 6)
    for row, middle in zip(rows, (0.80, 0.81, 0.82, 0.83, 0.84, 0.50), strict=True):
        row.expected = {
            f"{tissue}_{name}": middle for tissue in ("csf", "gm", "wm") for name in ("low", "middle", "high")
        }
    rows[0].expected |= {"wm_middle": 0.999}  # far more is no fault
    mark_outliers(rows)
    assert [len(row.outliers) for row in rows] == [0, 0, 0, 0, 0, 3]
    # The median is .815; distances are .015, .005, .005, .015, .025 and .315, of which the median is .015.
    expected = "The expected Dice of CSF, 0.50 to 0.50, is far below the median of 0.81 (z -14.2)"
    assert rows[-1].outliers[0] == expected
    for row in rows[:2]:  # too few are left that know theirs
        row.expected, row.outliers = {}, []
    rows[-1].outliers = []
    mark_outliers(rows)
    assert not any(row.outliers for row in rows)


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
    first = report["subjects"][0]
    assert [first[f"expected_dice_gm_{name}"] for name in ("low", "middle", "high")] == [0.7, 0.8, 0.85]
    assert first["mean_uncertainty"] == 0.25
    assert report["csf_ml"] == {"Description": "Volume of CSF", "Units": "ml"}


def test_the_page_lists_failures_shows_each_picture_and_needs_no_network(reported):
    text = (reported.output / "index.html").read_text("utf-8")
    page = Page(text)
    assert page.open == []
    said = " ".join(page.words)
    for phrase in ("T1 <b>is</b> no scan", "dark & gloomy", "no T2w beside sub-06_T1w.nii.gz"):
        assert phrase in said
    pictures = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert pictures == [
        "sub-01/figures/sub-01_ses-a_space-T1w_dseg.png", "sub-02/figures/sub-02_space-T1w_dseg.png",
        "sub-03/figures/sub-03_space-T1w_dseg.png",
    ]  # fmt: skip
    links = [
        attributes["href"] for tag, attributes in page.tags if tag == "a" and not attributes["href"].startswith("#")
    ]
    assert all((reported.output / path).exists() for path in pictures)
    assert all((reported.output / path).exists() for path in links if not path.endswith("sub-04.log"))
    assert "http" not in text


def test_a_subject_that_is_rated_bad_is_left_out_of_the_statistics_and_named():
    # Without the last the median is 101; distances from it are 2, 0, 1, 1 and 2, of which the median is 1.
    rows = complete_rows([99, 101, 100, 102, 103, 200])
    rows[-1].rating = BAD
    mark_outliers(rows)
    assert rows[4].z["gm"] == pytest.approx(0.6745 * (103 - 101))
    assert rows[0].z["gm"] == pytest.approx(0.6745 * (99 - 101))
    assert rows[-1].z == {}
    assert rows[-1].outliers == []


def rated(quick, *lines):
    lines = ["participant_id\tsession_id\trating\tcomment", *lines]
    (quick.output / "ratings.tsv").write_text("\n".join(lines) + "\n")
    quick.run("group")
    return json.loads((quick.output / "group.json").read_text("utf-8"))


def test_ratings_are_read_shown_and_said_where_they_cannot_be_used(tmp_path):
    quick = QuickCohort(tmp_path, "sub-01_ses-a", "sub-02", "sub-03")
    quick.run("participant")
    report = rated(
        quick, "sub-01\tses-a\tbad\tmotion <b>", "sub-02\tn/a\tgood\tn/a", "sub-03\tn/a\tso so\t", "sub-9\tn/a\tgood\t"
    )
    assert report["notes"] == [
        "Rated bad and left out of medians, z scores and outliers: sub-01_ses-a (motion <b>).",
        "ratings.tsv rates sub-03 'so so'; expected good, usable or bad; it is not used: correct it.",
        "ratings.tsv rates sub-9, which the data set has not; expected the names of its subjects and sessions; it is "
        "not used: correct it.",
    ]
    assert [row["rating"] for row in report["subjects"]] == ["bad", "good", None]
    with open(quick.output / "group.tsv", encoding="utf-8", newline="") as file:
        assert [row["rating"] for row in csv.DictReader(file, delimiter="\t")] == ["bad", "good", "n/a"]
    assert list(report["rating"]["Levels"]) == ["good", "usable", "bad"]
    said = " ".join(Page((quick.output / "index.html").read_text("utf-8")).words)
    assert "sub-01_ses-a (motion <b>)" in said


def test_a_table_of_ratings_that_is_none_does_not_stop_the_report(tmp_path):
    quick = QuickCohort(tmp_path, "sub-01")
    quick.run("participant")
    (quick.output / "ratings.tsv").write_text("who,what\n")
    quick.run("group")
    (note,) = json.loads((quick.output / "group.json").read_text("utf-8"))["notes"]
    assert "ratings.tsv has the columns who,what; expected participant_id" in note
    assert note.endswith("No rating is used.")


def test_the_table_has_the_expected_dice_of_each_tissue_where_it_is_told(tmp_path):
    quick = QuickCohort(tmp_path, "sub-01", "sub-02", "sub-03")
    quick.run("participant")
    tissues = ("csf", "gm", "wm")
    told = {tissue: {"low": 0.8, "middle": 0.85, "high": 0.9} for tissue in tissues}
    for name, expected in (("sub-01", told), ("sub-02", {"csf": [0.9, 0.95], "gm": "high"}), ("sub-03", {})):
        path = quick.output / f"{name}/anat/{name}_space-T1w_dseg.json"
        path.write_text(json.dumps(quick.sidecar(name) | {"expected_dice": expected}))
    quick.run("group")
    with open(quick.output / "group.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    columns = [f"expected_dice_{tissue}_{end}" for tissue in tissues for end in ("low", "middle", "high")]
    assert [rows[0][name] for name in columns] == ["0.8", "0.85", "0.9"] * 3
    for row in rows[1:]:  # told wrongly, and not at all
        assert {row[name] for name in columns} == {"n/a"}
    assert set(columns) <= set(json.loads((quick.output / "group.json").read_text("utf-8")))


def test_each_subjects_page_tells_where_it_lies_among_the_others(tmp_path):
    quick = QuickCohort(tmp_path, "sub-01", "sub-02")
    quick.run("participant")
    (quick.output / "sub-01.html").write_text(f"<h1>One</h1>{empty_place()}<p>End</p>")
    for _ in range(2):  # the second run takes the place of the first
        quick.run("group")
        page = (quick.output / "sub-01.html").read_text("utf-8")
        assert page.startswith("<h1>One</h1>")
        assert page.endswith("<p>End</p>")
        assert page.count('<section id="cohort">') == 1
        assert page.count('class="this"') == 4  # CSF, gray matter, white matter, all
    assert (quick.output / "sub-02.html").read_text("utf-8") == "steps"  # a page that has no place for it


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
