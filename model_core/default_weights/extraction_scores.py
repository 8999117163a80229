"""How well extraction weights find the brain in synthetic heads of people that they were not trained on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from model_core.errors import UserError
from model_core.extraction.extractor import find_brain_with
from model_core.metrics import dice, hausdorff_95
from model_core.networks import SegmentationNetwork
from model_core.synthesis.head_maps import Head
from model_core.synthesis.head_scan import Field
from model_core.synthesis.heads import GRID_MM, HeadScans, synthesize_head
from model_core.volumes import Volume

SEED = 4242  # of the heads to score on; training begins at another
WHOLE = Field(cut=0.0)
# What is scored: name, contrast of the heads, scans that are given.
CASES = (
    ("T1 and T2 of infants", "infant", ("t1", "t2")),
    ("T1 of infants", "infant", ("t1",)),
    ("T2 of infants", "infant", ("t2",)),
    ("two random contrasts", "random", ("t1", "t2")),
    ("one random contrast", "random", ("t1",)),
)


def score_heads(
    network: SegmentationNetwork, heads: Sequence[Head], draws: int, cases: Iterable[tuple[Any, ...]] = CASES
) -> list[dict[str, Any]]:
    """Find the brain in heads with their whole brain in the field of view.

    Args:
        network: of the task brain extraction, in evaluation mode.
        heads: of people that it was not trained on.
        draws: heads made from each.
        cases: of ``CASES``.

    Returns:
        One record per case, head and draw: "case", "head", "dice", "hd95_mm", and "refused" with the sentence where no
        brain was found; the scores are then 0 and None.
    """
    records = []
    for case, contrast, given in cases:
        for head in heads:
            for draw in range(draws):
                scans = synthesize_head(head, (SEED, draw), contrast=contrast, field=WHOLE)
                records.append({"case": case, "head": head.name, "draw": draw} | _score(network, scans, given))
    return records


def _score(network: SegmentationNetwork, scans: HeadScans, given: Sequence[str]) -> dict[str, Any]:
    affine = np.diag([GRID_MM] * 3 + [1.0])
    volumes = [Volume(getattr(scans, name), affine, name) if name in given else None for name in ("t1", "t2")]
    try:
        found = find_brain_with(network, *volumes).array
    except UserError as error:
        return {"dice": 0.0, "hd95_mm": None, "refused": str(error)}
    truth = scans.brain & scans.field
    return {"dice": float(dice(found, truth)), "hd95_mm": float(hausdorff_95(found, truth, (GRID_MM,) * 3))}


def summarise(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean and worst Dice, and mean and worst 95 % surface distance in mm, of each case."""
    summary = {}
    for case in dict.fromkeys(record["case"] for record in records):
        of_case = [record for record in records if record["case"] == case]
        overlap = [record["dice"] for record in of_case]
        distances = [record["hd95_mm"] for record in of_case if record["hd95_mm"] is not None]
        summary[case] = {
            "heads": len(of_case),
            "dice": round(float(np.mean(overlap)), 4),
            "dice_worst": round(min(overlap), 4),
            "hd95_mm": round(float(np.mean(distances)), 2) if distances else float("nan"),
            "hd95_worst_mm": round(max(distances), 2) if distances else float("nan"),
            "refused": len(of_case) - len(distances),
        }
    return summary
