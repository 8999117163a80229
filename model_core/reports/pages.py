"""HTML pages from Jinja2 templates: each page is one file, and nothing in it is loaded from elsewhere.

Whatever a template is given is escaped (autoescape), so that no name or sentence can break a page.
"""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
PLACE = "<!-- cohort: begin -->", "<!-- cohort: end -->"  # what is known only when there are other subjects


def render(template: str, **values: Any) -> str:
    """Fill in a template.

    Args:
        template: name of a file in ``templates/``.
        values: what it names; it fails on one that is missing.
    """
    return _environment().get_template(template).render(**values)


def data_uri(content: bytes, kind: str) -> str:
    """Return a picture as an address that holds it.

    Args:
        content: of the file.
        kind: "png" or "jpeg".
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def empty_place() -> Markup:
    """Where ``fill_place`` puts a section into a page that is written already."""
    return Markup("".join(PLACE))


def fill_place(page: str, section: str) -> str:
    """Put a section into a page, in the place of an earlier one; a page that has no place for it stays as it is.

    Args:
        page: as it was rendered, with ``empty_place()`` in it.
        section: rendered HTML.
    """
    begin, end = PLACE
    before, found, rest = page.partition(begin)
    _, found_end, after = rest.partition(end)
    return f"{before}{begin}{section}{end}{after}" if found and found_end else page


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["address"] = _address
    return environment


def _address(path: str) -> str:
    """A relative path as a link; names that are no text keep their bytes."""
    return quote(path, errors="surrogateescape")
