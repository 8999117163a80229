"""How tests are shared out among processes (pytest -n): a file at a time, the module's all to one."""

from __future__ import annotations

from typing import Any

import pytest

MODULE_TESTS = "Testing/module/"


@pytest.hookimpl(optionalhook=True)  # known to pytest-xdist alone
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A bench lives once in a process, like Slicer: the module's files run one after another, in their order."""
    from xdist.scheduler import LoadFileScheduling

    class OneProcessForTheModule(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return MODULE_TESTS if nodeid.startswith(MODULE_TESTS) else super()._split_scope(nodeid)

    return OneProcessForTheModule(config, log)
