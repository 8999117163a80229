"""What Slicer's index of extensions checks holds for this repository once its public address is filled in.

The index clones the repository that a description file names and reads the top-level CMakeLists.txt as text, without
CMake. Its rules, as of August 2026, are those of `faults`; what needs the network (the clone, the pictures' addresses,
the repository's topic `3d-slicer-extension`) is left to the index.
"""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from matplotlib.image import imread

REPOSITORY = Path(__file__).resolve().parents[2]
DESCRIPTION = Path("Resources/ExtensionsIndex/InfantBrainSeg.json")
PLACEHOLDER = "https://example.org"
PUBLIC = "https://github.com/someone/SlicerInfantBrainSeg"
KEYS = {
    "$schema": str, "build_dependencies": list, "build_subdirectory": str, "category": str, "scm_revision": str,
    "scm_url": str, "tier": int,
}  # fmt: skip
PREFIX = "Slicer"  # of repositories; extensions themselves do without it
LICENCES = ("LICENSE", "LICENCE", "LICENSE.txt", "License.txt", "license.txt", "COPYING", "COPYING.txt")
PICTURES = (".png", ".jpg", ".jpeg", ".gif")


def setting(text, variable):
    """Return what CMakeLists.txt sets a variable to in one pair of quotes, None if it does not."""
    found = re.search(rf'\bset\s*\({variable}\s*"([^"]+)"\)', text)
    return found and found[1]


def faults(root):
    """Return what the index would refuse."""
    text = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    described = (root / DESCRIPTION).read_bytes()
    metadata = json.loads(described)
    repository = metadata["scm_url"].rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
    project = re.search(r"\bproject\s*\(\s*([^\s)]+)", text)[1]
    addresses = [setting(text, "EXTENSION_ICONURL"), *(setting(text, "EXTENSION_SCREENSHOTURLS") or "").split(" ")]
    rules = {
        "file ends lines otherwise than by LF": b"\r" not in described,
        "unknown or mistyped key": all(isinstance(value, KEYS.get(key, ())) for key, value in metadata.items()),
        "project has another name than the file": project == DESCRIPTION.stem,
        "extension begins with Slicer": not DESCRIPTION.stem.lower().startswith(PREFIX.lower()),
        "repository does not begin with Slicer": repository.startswith(PREFIX),
        "address of the repository": metadata["scm_url"].startswith(("https://", "git://")),
        "pictures without literal addresses": all(
            address and address.startswith("https://") and "$" not in address and address.endswith(PICTURES)
            for address in addresses
        ),
        "no licence": any((root / name).is_file() for name in LICENCES),
        "address is a placeholder": PLACEHOLDER not in text + described.decode(),
    }
    return [fault for fault, holds in rules.items() if not holds]


def home_page():
    return setting((REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8"), "EXTENSION_HOMEPAGE")


@pytest.fixture
def published(tmp_path):
    """A copy of what the index reads, with the public address filled in."""
    (tmp_path / DESCRIPTION).parent.mkdir(parents=True)
    for name in ("CMakeLists.txt", DESCRIPTION):
        text = (REPOSITORY / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace(home_page(), PUBLIC), encoding="utf-8")
    shutil.copy(REPOSITORY / "LICENSE", tmp_path)
    return tmp_path


def test_the_index_takes_the_extension_once_its_address_is_filled_in(published):
    assert faults(published) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("CMakeLists.txt", "project(InfantBrainSeg)", "project(Brains)", "project has another name than the file"),
        (
            "CMakeLists.txt",
            f'ICONURL "{PUBLIC}',
            'ICONURL "${EXTENSION_HOMEPAGE}',
            "pictures without literal addresses",
        ),
        ("CMakeLists.txt", "set(EXTENSION_SCREENSHOTURLS", "set(OTHER", "pictures without literal addresses"),
        ("CMakeLists.txt", PUBLIC, f"{PLACEHOLDER}/SlicerX", "address is a placeholder"),
        (DESCRIPTION, "SlicerInfantBrainSeg", "InfantBrainSeg", "repository does not begin with Slicer"),
        (DESCRIPTION, "https://github.com", "git@github.com:", "address of the repository"),
        (DESCRIPTION, '"tier": 1', '"tier": "1"', "unknown or mistyped key"),
        (DESCRIPTION, '"tier"', '"level"', "unknown or mistyped key"),
        (DESCRIPTION, "\n", "\r\n", "file ends lines otherwise than by LF"),
    ],
)
def test_the_index_refuses_what_breaks_one_of_its_rules(published, name, old, new, fault):
    text = (published / name).read_text(encoding="utf-8")
    assert old in text
    (published / name).write_bytes(text.replace(old, new).encode())
    assert faults(published) == [fault]


def test_the_index_refuses_a_repository_without_a_licence(published):
    (published / "LICENSE").unlink()
    assert faults(published) == ["no licence"]


def test_icon_and_screenshots_lie_where_their_addresses_say():
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    icon, screenshots = (setting(text, f"EXTENSION_{name}") for name in ("ICONURL", "SCREENSHOTURLS"))
    paths = [address.removeprefix(f"{home_page()}/raw/main/") for address in (icon, *screenshots.split(" "))]
    assert [path for path in paths if not (REPOSITORY / path).is_file()] == []
    assert imread(REPOSITORY / paths[0]).shape[:2] == (128, 128)  # what the Extensions Manager shows
    assert all(imread(REPOSITORY / path).shape[1] > 1000 for path in paths[1:])


def test_the_description_for_the_index_agrees_with_the_extension():
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    metadata = json.loads((REPOSITORY / DESCRIPTION).read_text(encoding="utf-8"))
    assert set(metadata) == set(KEYS)
    assert metadata["build_dependencies"] == setting(text, "EXTENSION_DEPENDS").split(" ")
    assert metadata["category"] == setting(text, "EXTENSION_CATEGORY")
    assert metadata["scm_url"] == f"{home_page()}.git"


def test_the_citation_file_names_the_same_address():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["repository-code"] == home_page()


def test_the_publishers_command_fills_in_the_address_wherever_it_is_written(tmp_path):
    guide = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("## Publish")[1]
    command = re.search(r"^ *(git grep .+)$", guide, re.M)[1].replace("OWNER", "someone")
    if PLACEHOLDER not in home_page():
        pytest.skip("the address is filled in already")
    if not all(map(shutil.which, ("git", "perl"))):
        pytest.skip("git or perl is missing")
    written = [
        path.relative_to(REPOSITORY)
        for path in (
            *REPOSITORY.glob("*.*"),
            *REPOSITORY.glob("Resources/*/*.json"),
            *REPOSITORY.rglob("model_core/**/*.py"),
        )
        if path.is_file() and home_page().encode() in path.read_bytes()
    ]
    for path in written:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / path, tmp_path / path)
    for line in ("git init -q", "git add .", command):
        subprocess.run(line, shell=True, cwd=tmp_path, check=True)
    left = {path.as_posix() for path in written if home_page() in (tmp_path / path).read_text(encoding="utf-8")}
    assert left == {"CONTRIBUTING.md"}
    shutil.copy(REPOSITORY / "LICENSE", tmp_path)
    assert faults(tmp_path) == []
