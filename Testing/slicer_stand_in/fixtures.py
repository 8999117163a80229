"""pytest fixtures of the stand-in; a test file uses them with

pytest_plugins = ["Testing.slicer_stand_in.fixtures"]
"""

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture
def stand_in() -> Iterator[Any]:
    """The stand-in application with an empty scene; fails the test when a slot, timer or observer raised."""
    pytest.importorskip("slicer_core", reason="the stand-in's packages are missing: pip install -e .[slicer-stand-in]")
    from . import application

    started = application.start()
    started.reset()
    yield started
    assert not started.errors, f"raised in slots, timers or observers: {started.errors}"


@pytest.fixture
def slicer(stand_in: Any) -> Any:
    """The package slicer of the running stand-in."""
    import slicer

    return slicer
