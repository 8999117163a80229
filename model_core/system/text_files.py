"""Text, tables and JSON: read in whatever encoding they were saved, written complete or not at all."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from model_core.system.files import replace_when_complete

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


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; an empty one where the file is missing or damaged."""
    try:
        content = json.loads(read_text(path) or "")
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, complete or not at all; NaN is refused. Names that are no text are kept by escapes."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, complete or not at all; names that are no text get their own bytes."""
    with replace_when_complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


def printable(text: str) -> str:
    """A text with a mark in the place of each byte of a file name that is no text."""
    return text.encode("utf-8", "replace").decode("utf-8")
