"""What a result was made from: digests of files, versions of libraries, and what has changed since."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def sha256_of(*paths: Path) -> str:
    """SHA-256 of the content of files, one after the other, in hexadecimal digits.

    Raises:
        OSError: one cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of packages; those that are neither imported nor installed are left out."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = str(getattr(sys.modules.get(name), "__version__", None) or version(name))
        except PackageNotFoundError:  # the project itself may run from a checkout
            continue
    return found


def changes_between(
    before: Mapping[str, Any], now: Mapping[str, Any], *, word: Callable[[Any], str] = str
) -> list[str]:
    """Say for each name whose value differs "step was 8 and is 16"; what is missing counts as None."""
    names = [name for name in {**before, **now} if before.get(name) != now.get(name)]
    return [f"{name} was {word(before.get(name))} and is {word(now.get(name))}" for name in names]
