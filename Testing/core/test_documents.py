"""README, CONTRIBUTING and docs/: short enough, every link leads somewhere, every command is one that exists."""

import argparse
import ast
import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import yaml

from model_core.program import PROGRAM_VERSION

REPOSITORY = Path(__file__).resolve().parents[2]
README = REPOSITORY / "README.md"
GUIDES = sorted((REPOSITORY / "docs").glob("*.md"))
SHOWN = [README, REPOSITORY / "CONTRIBUTING.md", *GUIDES]  # what shows commands to users
PAGES = [*SHOWN, *sorted((REPOSITORY / "Resources").glob("*.md")), REPOSITORY / "Testing/slicer_stand_in/README.md"]
LONGEST_README = 200  # lines
OTHER_PROGRAMS = {"Slicer", "cmake", "ctest", "dask", "git", "nibabies", "py", "sbatch", "sh"}  # not ours to check
PYTHONS = {".venv/bin/python", ".venv/Scripts/python", ".venv/bin/torchrun", "python"}


def name(page):
    return page.relative_to(REPOSITORY).as_posix()


def blocks(page, *languages):
    """Return a page's blocks of code in these languages."""
    text = page.read_text(encoding="utf-8")
    return [
        code for language, code in re.findall(r"^ *```(\w+)\n(.*?)^ *```", text, re.M | re.S) if language in languages
    ]


def anchors(page):
    """Return a page's headings as GitHub names them in links."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands():
    """Return (page, command line) of every command that is shown, in one line each."""
    found = []
    for page in SHOWN:
        for code in blocks(page, "sh", "bat"):
            for line in code.replace("\\\n", " ").replace("\\", "/").splitlines():
                if line.strip():
                    found.append(pytest.param(line.strip(), id=f"{name(page)}: {line.strip()[:60]}"))
    return found


class ParsedError(Exception):
    """The arguments were taken; nothing was run."""


@pytest.fixture
def only_parse(monkeypatch):
    """Commands end when their arguments were taken."""

    def ending(parse):
        def parse_and_end(self, *arguments, **options):
            parse(self, *arguments, **options)
            raise ParsedError

        return parse_and_end

    for method in ("parse_args", "parse_intermixed_args"):
        monkeypatch.setattr(argparse.ArgumentParser, method, ending(getattr(argparse.ArgumentParser, method)))


@cache
def make_targets():
    return set(re.search(r"^\.PHONY: (.+)$", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M)[1].split())


def words_of(line):
    """Return a command's words up to a pipe, a redirection or a comment, without variables set in front."""
    words = shlex.split(line, comments=True)
    ends = [number for number, word in enumerate(words) if word in ("|", ">")]
    words = words[: ends[0]] if ends else words
    while "=" in words[0]:
        words = words[1:]
    return words


def test_the_readme_is_short_enough_to_be_read():
    assert len(README.read_text(encoding="utf-8").splitlines()) < LONGEST_README


def test_the_readme_leads_to_every_guide():
    linked = set(re.findall(r"\]\((docs/[^)#]+)", README.read_text(encoding="utf-8")))
    assert linked == {name(guide) for guide in GUIDES} != set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_to_a_file_and_a_heading_of_it(page):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if re.match(r"[a-z]+:", target):
            continue
        if not file.exists() or (anchor and anchor not in anchors(file)):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize("line", commands())
def test_every_command_that_is_shown_exists_and_takes_its_arguments(line, only_parse):
    words = words_of(line)
    script = next((word for word in words if word.startswith("model_core/")), None)
    if script is not None:
        assert words[0] in PYTHONS
        command = importlib.import_module(script.removesuffix(".py").replace("/", "."))
        with pytest.raises(ParsedError):  # SystemExit: an argument that it does not take
            command.main(words[words.index(script) + 1 :])
    elif words[0] == "make":
        assert {word for word in words[1:] if "=" not in word} <= make_targets()
    elif words[0] in PYTHONS:
        assert words[1] == "-m"
        if words[2].startswith("Testing."):
            module = REPOSITORY / words[2].replace(".", "/")
            assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
        named = [word for word in words[3:] if word.startswith(("Testing/", "InfantBrainSeg/"))]
        assert [path for path in named if not (REPOSITORY / path).exists()] == []
    else:
        assert words[0] in OTHER_PROGRAMS


def test_options_named_in_the_table_of_segment_are_its_own(capsys):
    from model_core import segment

    with pytest.raises(SystemExit):
        segment.main(["--help"])
    known = set(re.findall(r"--[a-z0-9-]+", capsys.readouterr().out))
    table = (REPOSITORY / "docs/segment.md").read_text(encoding="utf-8").split("| option |")[1].split("\n\n")[0]
    named = set(re.findall(r"`(--[a-z0-9-]+)", table))
    assert len(named) > 10
    assert named - known == set()


def test_the_python_example_imports_names_that_exist():
    (code,) = (code for code in blocks(REPOSITORY / "docs/scripting.md", "python") if "model_core" in code)
    for node in ast.parse(code).body:
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == PROGRAM_VERSION
    assert {"message", "title", "authors", "license"} <= set(citation)


def test_the_readme_cites_the_papers_of_the_citation_file():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    section = " ".join(README.read_text(encoding="utf-8").split("## How to cite")[1].split("\n## ")[0].split())
    assert "(CITATION.cff)" in section
    assert len(citation["references"]) == 2
    for paper in citation["references"]:
        assert f"*{paper['title']}*" in section
        assert f"(https://doi.org/{paper['doi']})" in section
        assert all(f"{author['given-names'][0]}. {author['family-names']}" in section for author in paper["authors"])
