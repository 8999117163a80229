"""Finds and runs the self tests in Testing/, which need a Slicer (or the bench) around them."""

from __future__ import annotations

import unittest
from pathlib import Path

TESTING_FOLDER = Path(__file__).resolve().parents[1] / "Testing"


def run_self_tests() -> None:
    """Run all self tests.

    Raises:
        AssertionError: one failed; the log says which.
    """
    suite = unittest.TestLoader().discover(str(TESTING_FOLDER), pattern="*Test.py", top_level_dir=str(TESTING_FOLDER))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    failed = [str(test) for test, _ in [*result.failures, *result.errors]]
    assert not failed, "self tests failed: " + ", ".join(failed)
