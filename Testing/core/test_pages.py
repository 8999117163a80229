"""Pages from templates: everything is escaped, and a section can be put into a page that is written already."""

import re

import jinja2
import pytest

from model_core.reports.pages import TEMPLATES, empty_place, fill_place, render


def test_what_a_template_is_given_is_escaped():
    page = render("document.html", title="a <b> & c", parts=[])
    assert "<title>a &lt;b&gt; &amp; c</title>" in page


def test_a_value_that_is_missing_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("document.html", parts=[])


def test_a_section_takes_the_place_that_a_page_has_for_it_and_of_an_earlier_one():
    page = f"<p>before</p>{empty_place()}<p>after</p>"
    first = fill_place(page, "<b>first</b>")
    assert re.sub("<!--.*?-->", "", first) == "<p>before</p><b>first</b><p>after</p>"
    assert re.sub("<!--.*?-->", "", fill_place(first, "<i>second</i>")) == "<p>before</p><i>second</i><p>after</p>"


def test_a_page_without_such_a_place_stays_as_it_is():
    assert fill_place("<p>whole</p>", "<b>section</b>") == "<p>whole</p>"


def test_no_template_names_anything_outside():
    for path in TEMPLATES.iterdir():
        assert not re.search(
            r"https?:|//\w|@import|url\(", path.read_text("utf-8").replace("https://www.w3.org", "")
        ), path
