"""What people think of each result of a cohort: ratings.tsv in its folder, read and written.

The cohort's page, the group level and Slicer's panel share this file. Standard library only: Slicer's process reads and
writes it, too. A row names a participant and a session as BIDS does (``sub-01``, ``ses-06mo`` or ``n/a``).
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from model_core.errors import UserError

RATINGS_FILE = "ratings.tsv"
GOOD, USABLE, BAD = "good", "usable", "bad"
LEVELS = {
    GOOD: "To be used as it is",
    USABLE: "With faults that do not matter for volumes",
    BAD: "Not to be used: left out of the group's statistics",
}
COLUMNS = {
    "participant_id": {"Description": "Participant"},
    "session_id": {"Description": "Session, n/a where there are none"},
    "rating": {"Description": "What a person thinks of the segmentation", "Levels": LEVELS},
    "comment": {"Description": "Why"},
}
NOTHING = "n/a"
BREAKS = re.compile(r"\s*[\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+\s*")  # what would break a row
ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}  # by their marks; of Excel


@dataclass(frozen=True)
class Rating:
    """What a person thinks of one result.

    Attributes:
        participant: label with ``sub-``.
        session: label with ``ses-``, empty where there is none.
        rating: GOOD, USABLE or BAD.
        comment: one line, may be empty.
    """

    participant: str
    session: str
    rating: str
    comment: str = ""

    @property
    def name(self) -> str:
        """Like ``sub-01`` or ``sub-01_ses-06mo``, as the results are named."""
        return "_".join(filter(None, (self.participant, self.session)))


@dataclass
class Ratings:
    """What ratings.tsv says.

    Attributes:
        by_name: name like ``sub-01_ses-06mo`` -> rating, in the order of the file.
        notes: sentences on rows that cannot be used.
    """

    by_name: dict[str, Rating] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_ratings(folder: str | Path) -> Ratings:
    """Read ratings.tsv of a cohort's results; no ratings where there is no such file.

    Of several rows on one result the last counts. What cannot be used is left out and told in a note; nothing raises
    but a file that cannot be opened.

    Args:
        folder: of the cohort's results.

    Raises:
        UserError: there is a file, and it cannot be opened or has no such columns.
    """
    ratings = Ratings()
    for row in _read_rows(Path(folder) / RATINGS_FILE):
        rating = row["rating"].strip().lower()
        if rating in ("", NOTHING):
            continue
        found = Rating(*_names(row["participant_id"], row["session_id"]), rating, _cell(row["comment"]))
        if rating not in LEVELS:
            ratings.notes.append(
                f"{RATINGS_FILE} rates {found.name} {row['rating']!r}; expected {_listed()}; it is not used: correct "
                "it."
            )
            continue
        earlier = ratings.by_name.pop(found.name, None)
        if earlier is not None and earlier.rating != rating:
            ratings.notes.append(
                f"{RATINGS_FILE} rates {found.name} {earlier.rating} and {rating}; expected one row; the last is used: "
                "take the others out."
            )
        ratings.by_name[found.name] = found
    return ratings


def write_rating(folder: str | Path, participant: str, session: str, rating: str, comment: str = "") -> Path:
    """Put one rating into ratings.tsv, in the place of an earlier one of the same result; complete or not at all.

    Rows and columns that are of others stay as they are. Columns are described in ratings.json.

    Args:
        folder: of the cohort's results; it exists.
        participant: label, with or without ``sub-``.
        session: label, with or without ``ses-``; empty where there is none.
        rating: GOOD, USABLE or BAD.
        comment: line breaks and tabs become spaces.

    Returns:
        The path of ratings.tsv.

    Raises:
        UserError: the rating is none of these, or the file cannot be read or written.
    """
    if rating not in LEVELS:
        raise UserError(f"{rating!r} is no rating; expected {_listed()}; choose one of these.")
    path = Path(folder) / RATINGS_FILE
    names = _names(participant, session)
    rows = [row for row in _read_rows(path) if _names(row["participant_id"], row["session_id"]) != names]
    rows.append({"participant_id": names[0], "session_id": names[1], "rating": rating, "comment": comment})
    columns = list(dict.fromkeys([*COLUMNS, *(name for row in rows for name in row)]))
    lines = [columns, *([_cell(row.get(name) or "") or NOTHING for name in columns] for row in rows)]
    try:
        _replace(path, "".join("\t".join(line) + "\n" for line in lines))
        description = path.with_suffix(".json")
        if not description.exists():
            _replace(description, json.dumps(COLUMNS, indent=2) + "\n")
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror or error}); expected a folder to write to; check the path and "
            "the disk."
        ) from error
    return path


def _read_rows(path: Path) -> list[dict[str, str]]:
    """Rows with at least the known columns, empty where the file leaves them out."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror or error}); expected a table of ratings; check its permissions."
        ) from error
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        text = content.decode("cp1252", errors="replace")
    table = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    try:
        head, *lines = [[cell.strip() for cell in line] for line in table if line] or [[]]
    except csv.Error:  # a field of 100 kB: no table
        head, lines = [], []
    if not {"participant_id", "rating"} <= set(head):
        raise UserError(
            f"{path} has the columns {', '.join(head[:6]) or 'none'}; expected participant_id, session_id, rating and "
            "comment, with tabs between them; correct it, or move it away."
        )
    empty = dict.fromkeys(COLUMNS, "")
    return [empty | dict(zip(head, line, strict=False)) for line in lines if any(line)]


def _names(participant: str, session: str) -> tuple[str, str]:
    """Labels with their prefixes; no session is empty."""
    participant, session = participant.strip(), session.strip()
    session = "" if session in ("", NOTHING) else f"ses-{session.removeprefix('ses-')}"
    return f"sub-{participant.removeprefix('sub-')}", session


def _cell(text: str) -> str:
    text = BREAKS.sub(" ", text).strip()
    return "" if text == NOTHING else text


def _listed() -> str:
    return f"{GOOD}, {USABLE} or {BAD}"


def _replace(path: Path, text: str) -> None:
    """Write a file that appears complete or not at all."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "x", encoding="utf-8", errors="surrogateescape", newline="") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
