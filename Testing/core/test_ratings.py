"""ratings.tsv: what people think of results, shared by the page, the group level and the panel."""

import json
import os

import pytest

from model_core.errors import UserError
from model_core.ratings import BAD, GOOD, USABLE, Rating, read_ratings, write_rating


def table(folder, *lines, encoding="utf-8", ending="\n"):
    text = ending.join(["\t".join(line) for line in lines]) + ending
    (folder / "ratings.tsv").write_bytes(text.encode(encoding))
    return folder


def test_what_was_written_is_read_and_the_file_is_a_bids_table(tmp_path):
    write_rating(tmp_path, "01", "", GOOD)
    path = write_rating(tmp_path, "sub-02", "06mo", BAD, "motion,\n\tmuch of it")
    assert path.read_bytes() == (
        b"participant_id\tsession_id\trating\tcomment\n"
        b"sub-01\tn/a\tgood\tn/a\n"
        b"sub-02\tses-06mo\tbad\tmotion, much of it\n"
    )
    assert list(json.loads(path.with_suffix(".json").read_text())["rating"]["Levels"]) == ["good", "usable", "bad"]
    ratings = read_ratings(tmp_path)
    assert ratings.by_name == {
        "sub-01": Rating("sub-01", "", GOOD),
        "sub-02_ses-06mo": Rating("sub-02", "ses-06mo", BAD, "motion, much of it"),
    }
    assert ratings.notes == []
    assert {entry.name for entry in tmp_path.iterdir()} == {"ratings.tsv", "ratings.json"}


def test_a_new_rating_takes_the_place_of_the_earlier_one_and_leaves_other_rows_and_columns(tmp_path):
    table(
        tmp_path,
        ("participant_id", "rater", "rating", "comment"),
        ("01", "Ann", "good", ""),
        ("sub-02", "Bob", "so so", "hm"),
    )
    write_rating(tmp_path, "sub-01", "", USABLE, "folded")
    assert (tmp_path / "ratings.tsv").read_text().splitlines() == [
        "participant_id\tsession_id\trating\tcomment\trater",
        "sub-02\tn/a\tso so\thm\tBob",
        "sub-01\tn/a\tusable\tfolded\tn/a",
    ]


def test_sessions_are_rated_apart(tmp_path):
    write_rating(tmp_path, "01", "3mo", GOOD)
    write_rating(tmp_path, "01", "6mo", BAD)
    write_rating(tmp_path, "01", "3mo", USABLE)
    assert {name: rating.rating for name, rating in read_ratings(tmp_path).by_name.items()} == {
        "sub-01_ses-3mo": USABLE,
        "sub-01_ses-6mo": BAD,
    }


def test_no_file_is_no_ratings(tmp_path):
    assert read_ratings(tmp_path).by_name == {}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_table_saved_by_a_spreadsheet_is_read(tmp_path, encoding):
    rows = [("participant_id", "session_id", "rating", "comment"), ("Jän", "n/a", " Bad ", "zu dunkel für CSF")]
    table(tmp_path, *rows, encoding=encoding, ending="\r\n")
    assert read_ratings(tmp_path).by_name == {"sub-Jän": Rating("sub-Jän", "", BAD, "zu dunkel für CSF")}


def test_a_value_that_is_no_rating_is_left_out_and_told(tmp_path):
    table(tmp_path, ("participant_id", "rating"), ("sub-01", "fine"), ("sub-02", "good"), ("sub-03", "n/a"))
    ratings = read_ratings(tmp_path)
    assert list(ratings.by_name) == ["sub-02"]
    (note,) = ratings.notes
    assert note == "ratings.tsv rates sub-01 'fine'; expected good, usable or bad; it is not used: correct it."


def test_of_two_rows_on_one_result_the_last_counts_and_a_contradiction_is_told(tmp_path):
    head = ("participant_id", "rating")
    table(tmp_path, head, ("sub-01", "good"), ("sub-02", "bad"), ("01", "bad"), ("sub-02", "bad"))
    ratings = read_ratings(tmp_path)
    assert {name: rating.rating for name, rating in ratings.by_name.items()} == {"sub-01": BAD, "sub-02": BAD}
    (note,) = ratings.notes
    assert note.startswith("ratings.tsv rates sub-01 good and bad; expected one row; the last is used")


def test_a_word_that_is_no_rating_is_refused(tmp_path):
    with pytest.raises(UserError, match="'great' is no rating; expected good, usable or bad"):
        write_rating(tmp_path, "01", "", "great")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"name,rating\n01,good\n", b"\0" * 10, b"x" * 200_000])
def test_a_file_that_is_no_such_table_is_told_and_never_replaced(tmp_path, content):
    (tmp_path / "ratings.tsv").write_bytes(content)
    for use in (lambda: read_ratings(tmp_path), lambda: write_rating(tmp_path, "01", "", GOOD)):
        with pytest.raises(UserError, match="expected participant_id, session_id, rating and comment"):
            use()
    assert (tmp_path / "ratings.tsv").read_bytes() == content


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path, monkeypatch):
    write_rating(tmp_path, "01", "", GOOD)
    before = (tmp_path / "ratings.tsv").read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UserError, match="cannot be written \\(No space left on device\\)"):
        write_rating(tmp_path, "01", "", BAD)
    assert (tmp_path / "ratings.tsv").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        write_rating(tmp_path / "none", "01", "", GOOD)
