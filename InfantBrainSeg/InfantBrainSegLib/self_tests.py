"""Finds and runs the self tests in Testing/, which need a Slicer (or its stand-in) around them."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

TESTING_FOLDER = Path(__file__).resolve().parents[1] / "Testing"


def run_self_tests() -> None:
    """Run all self tests, as they are on disk now.

    Raises:
        FileNotFoundError: there are none: an installed extension comes without them.
        AssertionError: one failed; the log says why.
    """
    if not list(TESTING_FOLDER.glob("*Test.py")):
        raise FileNotFoundError(
            f"No self tests were found in {TESTING_FOLDER}; expected those of a source checkout; add the checkout's "
            "folder InfantBrainSeg to the additional module paths."
        )
    for name in [name for name, module in sys.modules.items() if _is_in_testing_folder(module)]:
        del sys.modules[name]
    suite = unittest.TestLoader().discover(str(TESTING_FOLDER), pattern="*Test.py", top_level_dir=str(TESTING_FOLDER))
    result = unittest.TextTestRunner(verbosity=2, tb_locals=True).run(suite)
    failed = [str(test) for test, _ in [*result.failures, *result.errors]]
    assert not failed, "self tests failed: " + ", ".join(failed)


def _is_in_testing_folder(module: object) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).parent == TESTING_FOLDER
