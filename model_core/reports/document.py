"""A report as a list of parts, written as Markdown with pictures beside it and as one HTML file that holds them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_core.reports.pages import data_uri, render
from model_core.system.files import replace_when_complete

PICTURES_FOLDER = "pictures"


@dataclass(frozen=True)
class Heading:
    """A title, of level 1 or 2."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Sentences; a warning stands out."""

    text: str
    is_warning: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table whose first column is text and the others numbers; rows whose first cell ends in "paper" stand out."""

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A PNG.

    Attributes:
        name: of its file, without suffix.
        png: its bytes.
        text: what it shows, for those who do not see it, and as its caption.
    """

    name: str
    png: bytes
    text: str

    @property
    def address(self) -> str:
        """The picture itself, for a page."""
        return data_uri(self.png, "png")


Part = Heading | Paragraph | Items | Table | Picture


def write_document(folder: Path, title: str, parts: Sequence[Part]) -> Path:
    """Write report.html, report.md and the pictures of the latter; each appears complete or not at all.

    Returns:
        The path of report.html.
    """
    pictures = folder / PICTURES_FOLDER
    pictures.mkdir(parents=True, exist_ok=True)
    for part in parts:
        if isinstance(part, Picture):
            with replace_when_complete(pictures / f"{part.name}.png") as temporary:
                temporary.write_bytes(part.png)
    for name, content in (
        ("report.md", "\n\n".join(map(_markdown, parts)) + "\n"),
        ("report.html", page_of(title, parts)),
    ):
        with replace_when_complete(folder / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return folder / "report.html"


def page_of(title: str, parts: Sequence[Part]) -> str:
    """Return one HTML page that holds its pictures."""
    return render("document.html", title=title, parts=[(type(part).__name__, part) for part in parts])


def _markdown(part: Part) -> str:
    match part:
        case Heading(level, text):
            return f"{'#' * level} {_escaped(text)}"
        case Paragraph(text, is_warning):
            return f"> **{_escaped(text)}**" if is_warning else _escaped(text)
        case Items(texts):
            return "\n".join(f"- {_escaped(text)}" for text in texts)
        case Table(caption, headings, rows):
            lines = [
                headings,
                ["---", *["---:"] * (len(headings) - 1)],
                *([_escaped(cell) for cell in row] for row in rows),
            ]
            return f"**{_escaped(caption)}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)
        case Picture(name, _, text):
            return f"![{_escaped(text)}]({PICTURES_FOLDER}/{name}.png)"


def _escaped(text: str) -> str:
    """Text that Markdown takes as it stands."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", text)
