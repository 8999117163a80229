"""pytest fixtures of the bench; a test file uses them with

pytest_plugins = ["Testing.slicer_bench.fixtures"]
"""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def bench() -> Iterator[Any]:
    """The stand-in application with an empty scene; fails the test when a slot, timer or observer raised."""
    pytest.importorskip("slicer_core", reason="the bench's packages are missing: pip install -e .[bench]")
    from . import application

    started = application.start()
    started.reset()
    yield started
    assert not started.errors, f"raised in slots, timers or observers: {started.errors}"


@pytest.fixture
def slicer(bench: Any) -> Any:
    """The package slicer of the running stand-in."""
    import slicer

    return slicer
