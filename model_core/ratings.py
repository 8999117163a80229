"""What a person thinks of a cohort's results: ``ratings.tsv`` in the folder of the results.

Standard library only: Slicer's process reads and writes it, too.
"""

from __future__ import annotations

import csv
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from model_core.errors import UserError

RATINGS_FILE = "ratings.tsv"
GOOD, USABLE, BAD = "good", "usable", "bad"
RATINGS = (GOOD, USABLE, BAD)
COLUMNS = ("participant_id", "session_id", "rating", "comment")
NOT_APPLICABLE = "n/a"  # as BIDS writes it

Key = tuple[str, str]  # labels of participant and session without their prefixes; no session is ""


@dataclass(frozen=True)
class Rating:
    """One result's rating.

    Attributes:
        rating: one of ``RATINGS``.
        comment: in one line; may be empty.
    """

    rating: str
    comment: str = ""


def read_ratings(folder: Path) -> dict[Key, Rating]:
    """Read the ratings of a folder of results; none where there is no such file. Rows of another form are left out.

    Raises:
        UserError: the file cannot be read.
    """
    path = folder / RATINGS_FILE
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); expected a table of ratings; check its permissions."
        ) from error
    ratings = {}
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        participant, session, rating, comment = ((row.get(name) or "").strip() for name in COLUMNS)
        if participant and rating in RATINGS:
            key = participant.removeprefix("sub-"), _none_if_not_applicable(session).removeprefix("ses-")
            ratings[key] = Rating(rating, _none_if_not_applicable(comment))
    return ratings


def write_rating(folder: Path, participant: str, session: str, rating: str, comment: str = "") -> None:
    """Rate one result, in place of its earlier rating; the file is replaced as a whole or not at all.

    Args:
        folder: of the results; must exist.
        participant: label, with or without ``sub-``.
        session: the same with ``ses-``; empty where there are no sessions.
        rating: one of ``RATINGS``; empty takes the rating away.
        comment: any text; line breaks and tabs become blanks.

    Raises:
        UserError: the rating is no such word, or the file cannot be read or written.
    """
    if rating and rating not in RATINGS:
        raise UserError(f"{rating!r} is no rating; expected {', '.join(RATINGS)}; choose one of these.")
    ratings = read_ratings(folder)
    key = participant.removeprefix("sub-"), session.removeprefix("ses-")
    ratings.pop(key, None)
    if rating:
        ratings[key] = Rating(rating, " ".join(comment.split()))
    lines = ["\t".join(COLUMNS)]
    for (of_participant, of_session), given in sorted(ratings.items()):
        session_id = f"ses-{of_session}" if of_session else NOT_APPLICABLE
        cells = (f"sub-{of_participant}", session_id, given.rating, given.comment or NOT_APPLICABLE)
        lines.append("\t".join(cells))
    path = folder / RATINGS_FILE
    temporary = folder / f".{RATINGS_FILE}.{secrets.token_hex(4)}"
    try:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{path} cannot be written ({error.strerror}); expected a folder of results that you may write to; check "
            "its permissions and the free space."
        ) from error


def _none_if_not_applicable(text: str) -> str:
    return "" if text == NOT_APPLICABLE else text
