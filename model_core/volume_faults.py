"""Sentences for volume files that do not hold what they promise."""

from __future__ import annotations

from pathlib import Path

from model_core.errors import UserError


def truncated(path: Path, expected: int, found: str) -> UserError:
    """A file that holds ``found`` bytes and promises ``expected``."""
    return UserError(
        f"{path} holds {found} bytes but its header promises {expected:,}; the file is truncated or damaged; "
        "copy or export it again."
    )


def half_missing(path: Path, missing: Path) -> UserError:
    """A header without its voxels, or the other way round."""
    return UserError(f"{path} is half of a pair and {missing} is missing; put both files into one folder.")


def damaged_header(path: Path, what: str) -> UserError:
    """A header that no program writes."""
    return UserError(f"{path} cannot be read (its header {what}); expected a complete volume; copy or export it again.")
