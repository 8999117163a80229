"""Ages from the tables of a data set: the session's own, in any encoding, and none where they are ambiguous."""

import pytest
from cohort_folders import write_data

from model_core.cohorts.subjects import find_cohort


@pytest.fixture
def data(tmp_path):
    return write_data(tmp_path, "sub-01_ses-6mo", "sub-01_ses-19mo")


def ages(data):
    cohort = find_cohort(data, data / "output")
    return {subject.session: subject.age_months for subject in cohort.subjects}, cohort.notes


@pytest.mark.parametrize("column", ["session_id", "session"])
@pytest.mark.parametrize("prefix", ["ses-", ""])
@pytest.mark.parametrize("who", ["sub-01", "01"])
def test_a_table_with_a_row_per_session_gives_each_its_own(data, column, prefix, who):
    rows = [f"participant_id\t{column}\tage_months", f"{who}\t{prefix}6mo\t6", f"{who}\t{prefix}19mo\t19"]
    (data / "participants.tsv").write_text("\n".join(rows))
    assert ages(data) == ({"6mo": 6.0, "19mo": 19.0}, [])


def test_rows_that_name_no_session_are_ambiguous_and_this_is_said(data):
    (data / "participants.tsv").write_text("participant_id\tage_months\nsub-01\t6\nsub-01\t19\n")
    found, notes = ages(data)
    assert found == {"6mo": None, "19mo": None}
    assert len(notes) == 2
    assert "gives sub-01, ses-6mo the ages 19 and 6; expected one; the age is not used" in notes[0]


def test_equal_rows_are_not_ambiguous_and_an_unknown_session_has_no_age(data):
    table = "participant_id\tsession_id\tage_months\nsub-01\tses-6mo\t6\nsub-01\tses-6mo\t6\nsub-01\tses-other\t12\n"
    (data / "participants.tsv").write_text(table)
    assert ages(data) == ({"6mo": 6.0, "19mo": None}, [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_tables_in_any_encoding_are_read(data, encoding, end):
    rows = ["participant_id\tsite\tage_months", "01\tTübingen – Süd\t6".replace("–", "-"), "02\tZürich\t7"]
    (data / "participants.tsv").write_bytes(end.join(rows).encode(encoding))
    assert ages(data) == ({"6mo": 6.0, "19mo": 6.0}, [])


def test_a_table_without_the_column_of_participants_is_told(data):
    (data / "participants.tsv").write_text("participant_id,age_months\nsub-01,6\n")
    _, notes = ages(data)
    assert "has the columns participant_id,age_months; expected participant_id, with tabs between columns" in notes[0]


def test_a_table_whose_content_was_not_fetched_is_told(data):
    (data / "participants.tsv").symlink_to(".git/annex/objects/a")
    (data / "sub-01" / "sub-01_sessions.tsv").write_text("/annex/objects/MD5E-s9--0a.tsv\n")
    found, notes = ages(data)
    assert found == {"6mo": None, "19mo": None}
    assert len(notes) == 2
    assert all("git annex get" in note and "ages are not read from it" in note for note in notes)
