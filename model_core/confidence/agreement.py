"""How far the looks of a network agree: members of an ensemble, or one network at the brain and at its mirror image."""

from __future__ import annotations

import numpy as np

from model_core.tissues import TISSUES


def pairwise_dice(pair_counts: np.ndarray) -> dict[str, float]:
    """Average the Dice between each two looks.

    Args:
        pair_counts: (pairs, 4, 4), voxels by the label of the one look (row) and of the other (column).

    Returns:
        By tissue, 0 to 1. A pair in which neither look found any of the tissue does not count, and without one that
        counts there is no entry.
    """
    agreement = {}
    for tissue in TISSUES:
        both = pair_counts[:, tissue.label, tissue.label]
        sizes = pair_counts[:, tissue.label].sum(axis=1) + pair_counts[:, :, tissue.label].sum(axis=1)
        found = sizes > 0
        if found.any():
            agreement[tissue.key] = float((2 * both[found] / sizes[found]).mean())
    return agreement
