"""What training makes small."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

DICE_WEIGHT = 0.6
SMOOTHING = 1.0  # voxels; a class that neither has counts as found


def soft_dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """One minus the Dice of the probabilities, averaged over the classes.

    Args:
        logits: (N, classes, D, H, W).
        targets: (N, D, H, W) int64, 0 to classes - 1.

    Returns:
        A scalar, 0 to 1; the voxels of the whole batch count together.
    """
    probabilities = logits.softmax(dim=1).movedim(1, 0).flatten(1)
    truth = F.one_hot(targets.flatten(), len(probabilities)).to(probabilities).T
    common = (probabilities * truth).sum(dim=1)
    dice = (2 * common + SMOOTHING) / (probabilities.sum(dim=1) + truth.sum(dim=1) + SMOOTHING)
    return 1 - dice.mean()


def dice_and_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """.6 of the soft Dice loss and .4 of the cross entropy; arguments as in ``soft_dice_loss``."""
    cross_entropy = F.cross_entropy(logits, targets)
    return DICE_WEIGHT * soft_dice_loss(logits, targets) + (1 - DICE_WEIGHT) * cross_entropy


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": F.cross_entropy,
    "dice_and_cross_entropy": dice_and_cross_entropy,
}
