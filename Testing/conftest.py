"""How tests are shared out among processes (pytest -n): a file at a time, the module's all to one."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parent


# xdist reads the marks in a hook of its own, which must come later.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A bench lives once in a process, like Slicer: its files run one after another, in their order."""
    for item in items:
        parts = item.path.relative_to(ROOT).parts if item.path.is_relative_to(ROOT) else item.path.parts
        item.add_marker(pytest.mark.xdist_group("module" if parts[0] == "module" else "/".join(parts)))
