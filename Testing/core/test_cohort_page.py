"""The cohort's page in a real browser: it sorts, opens, takes ratings, hands them out, and complains of nothing."""

import json
import sys

import pytest
from browser import Browser, find_browser
from cohort_folders import QuickCohort, write_data
from subject_pages import write_subject_page

from model_core.ratings import Rating, read_ratings, write_rating

pytestmark = [
    pytest.mark.skipif(find_browser() is None, reason="no Chromium here; on Debian: apt-get install chromium"),
    pytest.mark.skipif(sys.platform == "win32", reason="the browser is spoken to through inherited descriptors"),
]
NAMES = ("sub-01", "sub-02_ses-06mo", "sub-03", "sub-10", "sub-11")
GRAY = (420.0, 380.0, 510.0, 470.0, 450.0)
AGES = (6.5, 7.0, None, 5.0, 8.0)
SENTENCES = ["T1 is <dark>; expected it brighter; look at it.", "The volumes are small; expected more; look at it."]
TISSUES = ["CSF", "GM", "WM"]
COLUMNS = ["Subject", "Age", "CSF", "GM", "WM", "Total", *TISSUES, "Unsure", *TISSUES * 2, "To look at", "Rating"]


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """A cohort with ages, references, expected Dice, warnings, a failure and a rating."""
    quick = QuickCohort(tmp_path_factory.mktemp("cohort"), *NAMES)
    ages = [f"{name.split('_')[0]}\t{'n/a' if age is None else age}\n" for name, age in zip(NAMES, AGES, strict=True)]
    (quick.data / "participants.tsv").write_text("participant_id\tage_months\n" + "".join(ages))
    quick.run("participant")
    write_data(quick.data, "sub-04")
    (quick.output / "logs" / "sub-04.failed.json").write_text('{"sentence": "T1 is no scan; expected one."}')
    for at, (name, gray) in enumerate(zip(NAMES, GRAY, strict=True)):
        path = quick.labels(name)
        sidecar = quick.sidecar(name)
        sidecar["volumes_ml"] = {"csf": 120.0 + at, "gm": gray, "wm": 240.0}
        best = 0.96 - at / 20
        tissues = ("csf", "gm", "wm")
        sidecar["expected_dice"] = {key: {"low": best - 0.1, "middle": best, "high": 0.97} for key in tissues}
        sidecar["mean_uncertainty"] = 0.1 + at / 100
        sidecar["tissues"] = [{"tissue": key, "dice": 0.9, "asd_mm": "inf"} for key in tissues]
        if name == "sub-03":
            sidecar |= {"expected_dice": {}, "tissues": []}
            sidecar["warnings"] = [{"code": "odd", "sentence": sentence} for sentence in SENTENCES]
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    write_rating(quick.output, "sub-11", "", "bad", "motion")
    write_rating(quick.output, "sub-77", "", "good")  # of no subject
    quick.run("group")
    return quick


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.close()


@pytest.fixture
def page(chromium, quick):
    """The page at 1400 pixels, nothing kept from before; it complains of nothing and loads nothing from elsewhere."""
    chromium.resize(1400, 900)
    chromium.complaints.clear()
    chromium.requests.clear()
    chromium.open(quick.output / "index.html")
    chromium.run("localStorage.clear()")
    chromium.open(quick.output / "index.html")
    yield chromium
    assert chromium.complaints == []
    assert all(address.startswith(quick.output.as_uri()) for address in chromium.requests)


def order(page):
    return page.run("[...document.querySelectorAll('tbody')].map(body => body.id)")


def heading(at):
    return f"thead tr:nth-child(2) th:nth-child({at + 1}) button"


def row(name):
    return f"[id='{name}']"


def shown_rating(page, name):
    return page.run(f'document.querySelector("{row(name)} .rated").textContent.trim()')


def test_every_column_sorts_both_ways_and_what_has_no_value_comes_last(page):
    titles = page.run("[...document.querySelectorAll('thead tr:nth-child(2) th')].map(head => head.innerText.trim())")
    assert titles == COLUMNS
    first = list(NAMES)
    up = {
        0: first,  # 10 after 3
        1: ["sub-10", "sub-01", "sub-02_ses-06mo", "sub-11", "sub-03"],
        2: first,
        3: ["sub-02_ses-06mo", "sub-01", "sub-11", "sub-10", "sub-03"],
        7: ["sub-11", "sub-10", "sub-02_ses-06mo", "sub-01", "sub-03"],
        9: first,
        16: [*[name for name in first if name != "sub-03"], "sub-03"],
        17: ["sub-11", *first[:4]],
    }
    down = {
        0: first[::-1],
        1: ["sub-11", "sub-02_ses-06mo", "sub-01", "sub-10", "sub-03"],
        2: first[::-1],
        3: ["sub-03", "sub-10", "sub-11", "sub-01", "sub-02_ses-06mo"],
        7: ["sub-01", "sub-02_ses-06mo", "sub-10", "sub-11", "sub-03"],
        9: first[::-1],
        16: ["sub-03", *[name for name in first if name != "sub-03"]],
        17: ["sub-11", *first[:4]],  # nobody rated the others
    }
    for at in range(len(COLUMNS)):
        for direction, expected in (("ascending", up), ("descending", down)):
            if at or direction == "descending":  # it comes sorted by the subjects
                page.run(f"document.querySelector('{heading(at)}').click()")
            assert page.run(f"document.querySelector('{heading(at)}').parentNode.ariaSort") == direction
            if at in expected:
                assert order(page) == expected[at], (COLUMNS[at], direction)
        page.run(f"document.querySelector('{heading(0)}').click()")  # equal ones stand as they stood before


@pytest.mark.parametrize("width", [1400, 1000])
def test_no_column_is_cut_off_and_two_warnings_do_not_make_a_row_higher(page, width):
    page.resize(width, 900)
    assert page.run("document.documentElement.scrollWidth") == width
    right = page.run(
        "Math.max(...[...document.querySelectorAll('th, tr.row td')].map(cell => cell.getBoundingClientRect().right))"
    )
    assert right <= width
    heights = page.run("[...document.querySelectorAll('tr.row')].map(row => row.offsetHeight)")
    assert max(heights) < 50
    assert page.run(f'document.querySelector("{row("sub-03")} .badge").textContent') == "2"


def test_a_row_opens_to_its_sentences_and_closes_again(page):
    details = f'document.querySelector("{row("sub-03")} .details")'
    assert page.run(f"{details}.offsetHeight") == 0
    page.click(f"{row('sub-03')} .open")
    assert page.run(f"[...{details}.querySelectorAll('.flags li')].map(item => item.innerText)") == SENTENCES
    assert page.run(f'document.querySelector("{row("sub-03")} .open").ariaExpanded') == "true"
    page.click(f"{row('sub-03')} .open")
    assert page.run(f"{details}.offsetHeight") == 0


def test_a_point_of_the_plot_opens_its_subject(page):
    point = "document.querySelector('.plot a[href=\"#sub-02_ses-06mo\"]')"
    page.run(f"{point}.dispatchEvent(new MouseEvent('click', {{bubbles: true, cancelable: true}}))")
    page.run("new Promise(done => setTimeout(done, 100))")
    assert page.run(f'document.querySelector("{row("sub-02_ses-06mo")} .details").offsetHeight') > 0


def test_ratings_are_kept_in_the_browser_and_handed_out_as_a_table_that_the_group_level_reads(page, quick, tmp_path):
    assert shown_rating(page, "sub-11") == "bad"
    page.click(f"{row('sub-02_ses-06mo')} .open")
    page.click(f"{row('sub-02_ses-06mo')} [value=usable]")
    page.click(f"{row('sub-02_ses-06mo')} [type=text]")
    page.type("a gyrus\tis cut — left")
    page.click(f"{row('sub-01')} .open")
    page.click(f"{row('sub-01')} [value=good]")
    assert page.run("document.getElementById('unsaved').textContent").startswith("2 ratings in this browser only")

    page.open(quick.output / "index.html")
    assert [shown_rating(page, name) for name in NAMES] == ["good", "usable", "", "", "bad"]
    assert page.run("document.getElementById('rated').textContent") == "3"
    handed = page.downloaded("#save")
    assert handed.name == "ratings.tsv"
    handed.rename(tmp_path / "ratings.tsv")
    assert read_ratings(tmp_path).by_name == {
        "sub-11": Rating("sub-11", "", "bad", "motion"),
        "sub-77": Rating("sub-77", "", "good"),
        "sub-02_ses-06mo": Rating("sub-02", "ses-06mo", "usable", "a gyrus is cut — left"),
        "sub-01": Rating("sub-01", "", "good"),
    }
    assert read_ratings(tmp_path).notes == []


def test_a_second_click_takes_a_rating_back_and_the_rest_can_be_discarded(page):
    for name, value in (("sub-01", "good"), ("sub-11", "bad")):
        page.click(f"{row(name)} .open")
        page.click(f"{row(name)} [value={value}]")
    page.click(f"{row('sub-01')} [value=good]")
    assert [shown_rating(page, name) for name in ("sub-01", "sub-11")] == ["", "none"]
    assert page.run("document.getElementById('unsaved').textContent").startswith("1 rating in this browser only")
    page.click("#discard")
    assert shown_rating(page, "sub-11") == "bad"
    assert page.run("document.getElementById('unsaved').textContent") == ""


def test_what_the_file_has_meanwhile_is_no_longer_unsaved(page, quick):
    before = (quick.output / "ratings.tsv").read_bytes()
    page.click(f"{row('sub-10')} .open")
    page.click(f"{row('sub-10')} [value=good]")
    write_rating(quick.output, "sub-10", "", "good")
    quick.run("group")
    try:
        page.open(quick.output / "index.html")
        assert shown_rating(page, "sub-10") == "good"
        assert page.run("document.getElementById('unsaved').textContent") == ""
    finally:
        (quick.output / "ratings.tsv").write_bytes(before)
        quick.run("group")


def test_a_page_of_another_folder_has_ratings_of_its_own(page, tmp_path):
    page.click(f"{row('sub-01')} .open")
    page.click(f"{row('sub-01')} [value=bad]")
    other = QuickCohort(tmp_path, "sub-01")
    other.run()
    page.open(other.output / "index.html")
    assert shown_rating(page, "sub-01") == ""
    page.requests.clear()


def test_the_contours_of_a_subjects_page_lie_over_every_scan_and_can_be_switched_off(page, quick):
    path = quick.output / "subject.html"
    write_subject_page(path, uncertainty=True, sentences=["Look."])
    try:
        page.open(path)
        for width in (1400, 700):
            page.resize(width, 900)
            apart = page.run(
                "Math.max(...[...document.querySelectorAll('.views figure')].flatMap(figure => {"
                "const [a, b] = ['img', 'svg'].map(name => figure.querySelector(name).getBoundingClientRect());"
                "return ['left', 'right', 'top', 'bottom'].map(side => Math.abs(a[side] - b[side]))}))"
            )
            assert apart < 1  # pixel
            assert page.run("document.documentElement.scrollWidth") == width
        shown = (
            "[...document.querySelectorAll('.views svg')].filter(lines => lines.getBoundingClientRect().width).length"
        )
        assert page.run(shown) == 9
        page.click("label[for=contours]")
        assert page.run(shown) == 0
    finally:
        path.unlink()
