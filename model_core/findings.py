"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that a person should look at.

    Attributes:
        code: short and stable, for programs.
        sentence: found; expected; what to do.
    """

    code: str
    sentence: str
