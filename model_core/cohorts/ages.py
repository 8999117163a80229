"""Ages at the scans of a BIDS data set, from the tables that may tell them."""

from __future__ import annotations

import math
from pathlib import Path

from model_core.errors import UserError
from model_core.segmentation_options import OLDEST_MONTHS
from model_core.system.text_files import read_json, read_rows
from model_core.volumes.faults import check_content

MONTHS_PER_UNIT = {
    **dict.fromkeys(("month", "months", "mo", "m"), 1.0),
    **dict.fromkeys(("year", "years", "yr", "y", "a"), 12.0),
    **dict.fromkeys(("week", "weeks", "wk", "w"), 7 * 12 / 365.25),
    **dict.fromkeys(("day", "days", "d"), 12 / 365.25),
}
COLUMNS = ("age_months", "age")
SESSION_COLUMNS = ("session_id", "session", "ses")
NOTHING = ("n/a", "")


class Ages:
    """Ages from participants.tsv and the sessions' files, whose unit a JSON file beside them may say.

    Args:
        bids: folder of the data set.

    Attributes:
        notes: sentences on ages that cannot be used, and on tables that cannot be read.
    """

    def __init__(self, bids: Path) -> None:
        self._bids = bids
        self.notes: list[str] = []
        self._participants = self._read(bids / "participants.tsv", "participant_id", "sub-")
        self._sessions: dict[str, list[dict[str, str]]] = {}

    def of(self, participant: str, session: str) -> float | None:
        """Age in months, the session's before the participant's; None where it is not told or cannot be used."""
        label = f"sub-{participant}"
        table = self._bids / label / f"{label}_sessions.tsv"
        if session and participant not in self._sessions:
            self._sessions[participant] = self._read(table, "session_id", "ses-")
        rows = [row for row in self._sessions.get(participant, []) if row["session_id"] == session]
        age = self._age(rows, table, f"{label}, ses-{session}")
        if age is not None:
            return age
        who = f"{label}, ses-{session}" if session else label
        rows = [row for row in self._participants if row["participant_id"] == participant]
        return self._age(_of_session(rows, session), self._bids / "participants.tsv", who)

    def _read(self, path: Path, key: str, prefix: str) -> list[dict[str, str]]:
        """Rows of a table, the prefix taken off the key; none where there is no such table, or where it is not read."""
        try:
            check_content(path)
        except UserError as error:
            self.notes.append(f"{str(error).rstrip('.')}; ages are not read from it.")
            return []
        rows = read_rows(path)
        if rows is None:
            if path.exists():
                self.notes.append(
                    f"{path} is no table that can be read; expected tabs between columns; ages are not used."
                )
            return []
        if rows and key not in rows[0]:
            self.notes.append(
                f"{path} has the columns {', '.join(list(rows[0])[:6])}; expected {key}, with tabs between columns; "
                "ages are not read from it."
            )
            return []
        return [row | {key: row[key].removeprefix(prefix)} for row in rows]

    def _age(self, rows: list[dict[str, str]], table: Path, who: str) -> float | None:
        told = {(column, row[column]) for row in rows if (column := _column_of(row))}
        if len(told) > 1:
            ages = " and ".join(sorted(value for _, value in told))
            self.notes.append(
                f"{table.name} gives {who} the ages {ages}; expected one; the age is not used: name the session of "
                "each row in a column session_id."
            )
            return None
        if not told:
            return None
        column, text = told.pop()
        unit = "months" if column == "age_months" else _unit_of(column, table, self._bids)
        try:
            months = float(text) * MONTHS_PER_UNIT[unit.lower()]
        except (ValueError, KeyError):
            months = math.nan
        if 0 <= months <= OLDEST_MONTHS:
            return round(months, 2)
        self.notes.append(
            f"{table.name} gives {who} the age {text} in {unit}; expected 0 to {OLDEST_MONTHS:g} months; the "
            f'age is not used: name the column age_months, or say its "Units" in {table.with_suffix(".json").name}.'
        )
        return None


def _column_of(row: dict[str, str]) -> str | None:
    return next((name for name in COLUMNS if row.get(name, "n/a").lower() not in NOTHING), None)


def _of_session(rows: list[dict[str, str]], session: str) -> list[dict[str, str]]:
    """The rows of a participant that speak of a session: those that name it, else those that name none."""
    named = [(row, _session_of(row)) for row in rows]
    own = [row for row, name in named if session and name == session]
    if own or not session:
        return own or rows
    return [row for row, name in named if not name]


def _session_of(row: dict[str, str]) -> str:
    name = next((row[column] for column in SESSION_COLUMNS if column in row), "")
    return "" if name in NOTHING else name.removeprefix("ses-")


def _unit_of(column: str, table: Path, bids: Path) -> str:
    """The unit that a JSON file states, else the one that BIDS recommends."""
    for path in (table.with_suffix(".json"), bids / ("sessions.json" if "sessions" in table.name else "_")):
        try:
            unit = read_json(path)[column]["Units"]
        except (KeyError, TypeError):
            continue
        if isinstance(unit, str):
            return unit
    return "years"
