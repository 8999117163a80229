"""What a result was made from: digests, versions, and what has changed since."""

import importlib.metadata
import platform

import numpy as np
import pytest

from model_core.system.provenance import changes_between, sha256_of, versions_of

OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def test_the_digest_is_that_of_all_contents_one_after_the_other(tmp_path):
    for name, content in (("whole", b"abc"), ("first", b"a"), ("rest", b"bc"), ("none", b"")):
        (tmp_path / name).write_bytes(content)
    assert sha256_of(tmp_path / "whole") == OF_ABC
    assert sha256_of(*(tmp_path / name for name in ("first", "none", "rest"))) == OF_ABC
    assert sha256_of(*(tmp_path / name for name in ("rest", "first"))) != OF_ABC


def test_a_file_that_is_not_there_has_no_digest(tmp_path):
    with pytest.raises(FileNotFoundError):
        sha256_of(tmp_path / "gone")


def test_versions_are_those_of_the_libraries_that_run_or_are_installed():
    assert versions_of(["numpy", "pytest", "of-nobody"]) == {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "pytest": importlib.metadata.version("pytest"),
    }


def test_changes_name_what_differs_was_added_or_is_gone():
    before, now = {"step": 8, "device": "cpu", "old": 1}, {"step": 16, "device": "cpu", "new": "a"}
    assert changes_between(before, now) == ["step was 8 and is 16", "old was 1 and is None", "new was None and is a"]
    assert changes_between({"new": "a"}, {"new": "b"}, word=repr) == ["new was 'a' and is 'b'"]
    assert changes_between(now, dict(now)) == []
