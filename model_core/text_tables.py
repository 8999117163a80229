"""Text files of a data set, in whatever encoding they were saved."""

from __future__ import annotations

import csv
import re
from pathlib import Path

BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
FALLBACK = "cp1252"  # of Excel and other programs of Windows


def read_text(path: Path) -> str | None:
    """The text of a file in UTF-8, UTF-16 or Latin-1; None where there is none or it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    encoding = next((known for mark, known in BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return content.decode(FALLBACK, errors="replace")


def read_rows(path: Path) -> list[dict[str, str]] | None:
    """The rows of a table with tabs between its columns, by the names in its first line; None where there is none."""
    text = read_text(path)
    if text is None:
        return None
    lines = re.split(r"\r\n|\r|\n", text)
    try:
        return [
            {name.strip(): (value or "").strip() for name, value in row.items() if name and not isinstance(value, list)}
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]
    except csv.Error:  # a field of 100 kB: no table
        return None
