"""The self tests in InfantBrainSeg/Testing on the stand-in: each a test of its own, all in one application."""

import importlib
import runpy
import sys
import unittest
from pathlib import Path

import pytest

pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")

from Testing.slicer_stand_in import application

MODULE = Path(__file__).resolve().parents[2] / "InfantBrainSeg"
FILES = sorted((MODULE / "Testing").glob("*Test.py"))

pytest.register_assert_rewrite("infant_brain_helpers", *(path.stem for path in FILES))
sys.path.insert(0, str(MODULE / "Testing"))
for _path in FILES:  # pytest takes up every unittest.TestCase that it finds in this file
    for _name, _value in vars(importlib.import_module(_path.stem)).items():
        if isinstance(_value, type) and issubclass(_value, unittest.TestCase):
            globals()[_name] = _value


@pytest.fixture(scope="module", autouse=True)
def stand_in():
    """The module loaded and its panel open: one worker for all tests that do not end it."""
    stand_in = application.start()
    stand_in.reset()
    stand_in.load_module(MODULE / "InfantBrainSeg.py")
    stand_in.open_module("InfantBrainSeg")
    yield stand_in
    stand_in.unload_module("InfantBrainSeg")


@pytest.fixture(autouse=True)
def _nothing_raised_or_logged(stand_in, caplog, request):
    """What a slot, a timer or an observer raises, which Slicer would only print, fails a test, and so does our log."""
    stand_in.errors.clear()
    caplog.set_level("INFO")
    yield
    assert not stand_in.errors
    messages = [record.getMessage() for record in caplog.get_records("call")]
    assert request.cls is None or [message for message in messages if "infant" in message] == []


@pytest.fixture
def write_tests(monkeypatch, tmp_path):
    """Put files of one test each in the place of the self tests; call it with the tests' bodies."""
    from InfantBrainSegLib import self_tests

    monkeypatch.setattr(self_tests, "TESTING_FOLDER", tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(*bodies):
        for number, body in enumerate(bodies):
            (tmp_path / f"Written{number}Test.py").write_text(
                f"import unittest\n\nclass Written(unittest.TestCase):\n    def test_it(self):\n        {body}\n"
            )

    yield write
    for name in [name for name in sys.modules if name.startswith("Written")]:
        del sys.modules[name]


def test_reload_and_test_finds_the_tests_of_this_file():
    from InfantBrainSegLib.self_tests import TESTING_FOLDER

    assert TESTING_FOLDER == MODULE / "Testing"
    found = unittest.TestLoader().discover(str(TESTING_FOLDER), "*Test.py", str(TESTING_FOLDER))
    here = [value for value in globals().values() if isinstance(value, type) and issubclass(value, unittest.TestCase)]
    assert len({type(test).__name__ for files in found for classes in files for test in classes}) == len(here) >= 8


@pytest.mark.parametrize(("bodies", "status"), [(["pass"], 0), (["pass", "assert 1 == 2"], 1), ([], 1)])
def test_the_script_for_the_command_line_ends_slicer_with_a_status(stand_in, write_tests, bodies, status):
    write_tests(*bodies)
    runpy.run_path(str(MODULE / "Testing" / "RunSelfTests.py"))
    assert stand_in.app._state.exit_status == status


def test_a_failure_is_named_and_tests_are_read_anew_at_each_run(write_tests):
    write_tests("pass", "assert 1 == 2")
    with pytest.raises(AssertionError, match=r"^self tests failed: test_it \(Written1Test\.Written\.test_it\)$"):
        application.slicer.selfTests["InfantBrainSeg"]()
    write_tests("pass", "assert 1 == 1  # mended")
    application.slicer.selfTests["InfantBrainSeg"]()


def test_an_installed_extension_says_that_it_comes_without_self_tests(write_tests):
    write_tests()
    with pytest.raises(FileNotFoundError, match=r"No self tests were found in .*; expected those of a source checkout"):
        application.slicer.selfTests["InfantBrainSeg"]()
