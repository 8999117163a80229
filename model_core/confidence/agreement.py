"""How far a network agrees with itself, from which the Dice that can be expected of its map is told.

Best are several looks at a brain: members of an ensemble, or one network at the brain and at its mirror image. A
network that looks once, as those of the papers do, has the windows that overlap: where they differ, their mean is
unsure. That takes neither a second network, whose map may be worse than the one that it shall judge, nor time.
"""

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


def dice_with_probabilities(labels: np.ndarray, probabilities: np.ndarray, brain: np.ndarray) -> dict[str, float]:
    """Give the Dice between a map and one drawn voxel by voxel from its own probabilities, in the mean over draws.

    Args:
        labels: (D, H, W), 0 to 3.
        probabilities: (4, D, H, W) float, sum 1.
        brain: (D, H, W) bool; only these voxels count.

    Returns:
        By tissue, 0 to 1; 0 for a tissue that is neither found nor possible anywhere.
    """
    inside, agreement = labels[brain], {}
    for tissue in TISSUES:
        of_tissue, found = probabilities[tissue.label][brain], inside == tissue.label
        size = found.sum() + of_tissue.sum(dtype=float)
        agreement[tissue.key] = float(2 * of_tissue[found].sum(dtype=float) / size) if size else 0.0
    return agreement
