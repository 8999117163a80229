"""How far the looks of a network agree: members of an ensemble, or one network at the brain and at its mirror image."""

from __future__ import annotations

import numpy as np

from model_core.tissues import TISSUES


def pairwise_dice(pair_counts: np.ndarray) -> dict[str, float]:
    """Average the Dice between each two looks.

    Args:
        pair_counts: (pairs, 4, 4), voxels by the label of the one look (row) and of the other (column).

    Returns:
        By tissue, 0 to 1; nothing without pairs. A brain has every tissue: one that neither look found counts as 0.
    """
    if not len(pair_counts):
        return {}
    both = pair_counts.diagonal(axis1=1, axis2=2)
    sizes = pair_counts.sum(axis=1) + pair_counts.sum(axis=2)
    dice = (2 * both / np.maximum(sizes, 1)).mean(axis=0)
    return {tissue.key: float(dice[tissue.label]) for tissue in TISSUES}
