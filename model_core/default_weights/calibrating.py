"""What weights can say of their own maps: learned on pairs from easy to hopeless, checked on held-out anatomies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model_core.confidence.calibration import COVERAGE, UNUSABLE_BELOW, Calibration, fit_curve
from model_core.confidence.uncertainty import MOST_UNCERTAIN, share_of_errors_found
from model_core.default_weights.held_out import remembered
from model_core.inference import Segmenter
from model_core.metrics import dice
from model_core.synthesis.anatomies import Anatomy
from model_core.synthesis.spoiling import make_spoiled_pair
from model_core.tissues import TISSUES

SEED, CHECK_SEED = 950, 951  # of the pairs; no training uses them
PAIRS = 72  # to learn from; two thirds as many to check on
RECORDS_FILE, CHECK_FILE = "calibration.json", "calibration-check.json"


def try_pairs(
    segmenter: Segmenter,
    anatomies: Sequence[Anatomy],
    count: int,
    seed: int,
    step: int,
    fingerprint: str,
    path: Path,
) -> list[dict[str, Any]]:
    """Segment pairs from easy to hopeless and note what their looks agree on and what is true.

    Args:
        segmenter: with the weights.
        anatomies: they take turns.
        count: of pairs, 1 or more.
        seed: of the pairs.
        step: overlap step.
        fingerprint: of the weights; records of others in the file are not used.
        path: JSON file that gets every record as soon as it is known.

    Returns:
        One record a pair: draw, anatomy, contrast, faults, by tissue "agreement" and "dice", "wrong" (share of the
        brain's voxels), and "errors_found", None where there are none.
    """
    makers = {
        f"pair {number} of seed {seed}": partial(_try, segmenter, anatomies, seed, number, step)
        for number in range(1, count + 1)
    }
    return remembered(path, fingerprint, step, makers)


def _try(segmenter: Segmenter, anatomies: Sequence[Anatomy], seed: int, number: int, step: int) -> dict[str, Any]:
    pair = make_spoiled_pair(anatomies, seed, number)
    found = segmenter.segment(pair.t1, pair.t2, step=step, mask=pair.mask)
    wrong = float((found.labels != pair.labels)[pair.mask].mean())
    share = share_of_errors_found(found.uncertainty, found.labels, pair.labels, pair.mask)
    return {
        "draw": f"pair {number} of seed {seed}",
        "anatomy": pair.anatomy.partition(".")[0],
        "contrast": pair.contrast,
        "faults": {name: round(strength, 3) for name, strength in pair.faults.items()},
        "agreement": {key: round(value, 4) for key, value in found.agreement.items()},
        "dice": {
            tissue.key: round(float(dice(found.labels == tissue.label, pair.labels == tissue.label)), 4)
            for tissue in TISSUES
        },
        "wrong": round(wrong, 4),
        "errors_found": None if np.isnan(share) else round(share, 4),
    }


def learn(records: Sequence[Mapping[str, Any]]) -> Calibration:
    """Learn the curves of all tissues from the records of ``try_pairs``."""
    return Calibration(
        {
            tissue.key: fit_curve(
                [record["agreement"][tissue.key] for record in records],
                [record["dice"][tissue.key] for record in records],
            )
            for tissue in TISSUES
        }
    )


def check(calibration: Calibration, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Hold a calibration against pairs that it was not learned from.

    Returns:
        By tissue "error" (mean absolute difference of true and expected Dice), "bias" (mean of expected minus true) and
        "within" (share of the pairs whose Dice lies in its range); "unusable", "named" and "named_rightly", the pairs
        with a tissue below the threshold, those told to be unusable, and those told rightly; "errors_found", the median
        share of errors among the most uncertain tenth of voxels, and "errors_findable", that of an oracle.
    """
    tissues = {}
    for key in calibration.curves:
        true = np.array([record["dice"][key] for record in records])
        ranges = [calibration.expect(record["agreement"])[key] for record in records]
        miss = np.array([expected.middle for expected in ranges]) - true
        within = [expected.low <= value <= expected.high for expected, value in zip(ranges, true, strict=True)]
        tissues[key] = {
            "error": round(float(np.abs(miss).mean()), 4),
            "bias": round(float(miss.mean()), 4),
            "within": round(float(np.mean(within)), 3),
        }
    named = [bool(calibration.unusable(calibration.expect(record["agreement"]))) for record in records]
    bad = [min(record["dice"].values()) < UNUSABLE_BELOW for record in records]
    faulty = [record for record in records if record["errors_found"] is not None]
    return {
        "pairs": len(records),
        "anatomies": sorted({record["anatomy"] for record in records}),
        "tissues": tissues,
        "unusable": sum(bad),
        "named": sum(named),
        "named_rightly": sum(is_bad and is_named for is_bad, is_named in zip(bad, named, strict=True)),
        "errors_found": _median(record["errors_found"] for record in faulty),
        "errors_findable": _median(min(1.0, MOST_UNCERTAIN / record["wrong"]) for record in faulty),
    }


def _median(values: Iterable[float]) -> float | None:
    found = list(values)
    return round(float(np.median(found)), 3) if found else None


def card_entry(calibration: Calibration, looks: int, learned_from: int, checked: Mapping[str, Any]) -> dict[str, Any]:
    """What the card says: the curves, and how good they were on held-out anatomies.

    Args:
        calibration: of ``learn``.
        looks: of the network, as ``Segmenter.looks``.
        learned_from: pairs.
        checked: of ``check``.
    """
    return {
        "from": f"the Dice between each two of {looks} looks"
        if looks > 1
        else "the Dice between map and probabilities",
        "pairs": learned_from,
        "coverage": COVERAGE,
        "unusable_below": UNUSABLE_BELOW,
        "tissues": calibration.as_dict(),
        "check": dict(checked),
    }
