"""A report as a list of parts, written as Markdown with pictures beside it and as one HTML file that holds them."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_core.system.files import replace_when_complete

PICTURES_FOLDER = "pictures"
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b2330; max-width: 1060px; margin: 2.5em auto; padding: 0 1.5em }
h1 { line-height: 1.2 } h2 { margin-top: 2.2em; border-bottom: 1px solid #d4dae3; padding-bottom: .25em }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding-bottom: .4em }
th, td { padding: .3em .9em .3em 0; text-align: right; border-bottom: 1px solid #e4e8ee; white-space: nowrap }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #9aa5b5 }
tr.paper td { color: #8a5a00 } img { max-width: 100%; margin: .5em 0 }
.scroll { overflow-x: auto } .warning { background: #fff4d6; border-left: 4px solid #d99a00; padding: .6em 1em }
"""


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
    body = "\n".join(map(_html, parts))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n{body}\n</body></html>\n"
    )


def _html(part: Part) -> str:
    match part:
        case Heading(level, text):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text, is_warning):
            style = ' class="warning"' if is_warning else ""
            return f"<p{style}>{html.escape(text)}</p>"
        case Items(texts):
            return "<ul>" + "".join(f"<li>{html.escape(text)}</li>" for text in texts) + "</ul>"
        case Table(caption, headings, rows):
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in headings)
            body = "\n".join(map(_html_row, rows))
            return (
                f'<div class="scroll"><table><caption>{html.escape(caption)}</caption>'
                f"<thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>"
            )
        case Picture(_, png, text):
            data = base64.b64encode(png).decode("ascii")
            return f'<figure><img src="data:image/png;base64,{data}" alt="{html.escape(text)}"></figure>'


def _html_row(row: Sequence[str]) -> str:
    style = ' class="paper"' if row[0].endswith("paper") else ""
    return f"<tr{style}>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"


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
