"""What is told, or refused, where T1 or T2 alone is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_core.errors import UserError
from model_core.findings import Finding
from model_core.tissues import TISSUES
from model_core.volumes import Volume


def check_one_scan(t1: Volume | None, t2: Volume | None, weights: Path, card: dict[str, Any]) -> list[Finding]:
    """Say what it costs that a scan is missing.

    Args:
        t1, t2: as they are given.
        weights: the weights file, for the error sentence.
        card: of the weights; says whether they do with one scan, and in ``one_scan_scores`` what the missing one costs
            on held-out pairs.

    Raises:
        UserError: the network needs both.
    """
    if t1 is not None and t2 is not None:
        return []
    given, missing = ("T2", "T1") if t1 is None else ("T1", "T2")
    if card.get("optional_scans") is not True:
        raise UserError(
            f"{missing} is missing, and the weights {weights} of {card['network']} need T1 and T2; expected both; "
            f"give {missing}, or take the default weights, which do with one."
        )
    return [Finding("one-scan", f"{given} alone was given; {_cost(card, given)}; add {missing} if there is one.")]


def _cost(card: dict[str, Any], given: str) -> str:
    """What the missing scan costs, as far as the card says it."""
    alone, both = (card.get("one_scan_scores", {}).get(name) for name in (given.lower(), "both"))
    if not alone or not both:
        return "expected T1 and T2, without which the result is worse"
    means = [sum(scores[tissue.key]["dice"] for tissue in TISSUES) / len(TISSUES) for scores in (alone, both)]
    return f"with it the mean Dice on held-out synthetic pairs is {means[0]:.2f}, with T1 and T2 {means[1]:.2f}"
