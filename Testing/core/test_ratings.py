"""ratings.tsv: what is written is read again, with the labels as BIDS writes them, whole or not at all."""

import pytest

from model_core.errors import UserError
from model_core.ratings import Rating, read_ratings, write_rating


def test_a_table_is_written_as_bids_has_it_and_read_again(tmp_path):
    assert read_ratings(tmp_path) == {}
    write_rating(tmp_path, "02", "6mo", "bad", "moved\tmuch\nat the end")
    write_rating(tmp_path, "sub-01", "", "good")
    assert (tmp_path / "ratings.tsv").read_bytes() == (
        b"participant_id\tsession_id\trating\tcomment\n"
        b"sub-01\tn/a\tgood\tn/a\n"
        b"sub-02\tses-6mo\tbad\tmoved much at the end\n"
    )
    assert read_ratings(tmp_path) == {
        ("01", ""): Rating("good"),
        ("02", "6mo"): Rating("bad", "moved much at the end"),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["ratings.tsv"]


def test_a_later_rating_takes_the_earlier_ones_place_and_an_empty_one_takes_it_away(tmp_path):
    write_rating(tmp_path, "01", "", "good", "at first")
    write_rating(tmp_path, "01", "", "usable")
    assert read_ratings(tmp_path) == {("01", ""): Rating("usable")}
    write_rating(tmp_path, "01", "", "")
    assert read_ratings(tmp_path) == {}


def test_a_table_of_another_program_is_read_and_what_is_no_rating_left_out(tmp_path):
    lines = ["rating\tparticipant_id", 'bad\tsub-"A"', "fine\tsub-02", "good\t", "good"]
    (tmp_path / "ratings.tsv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert read_ratings(tmp_path) == {('"A"', ""): Rating("bad")}


def test_what_cannot_be_kept_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="'great' is no rating; expected good, usable, bad; choose"):
        write_rating(tmp_path, "01", "", "great")
    with pytest.raises(UserError, match="cannot be written"):
        write_rating(tmp_path / "missing", "01", "", "good")
    (tmp_path / "ratings.tsv").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_ratings(tmp_path)
