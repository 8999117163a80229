"""What a network answers to windows: the mean of its looks, and what each look alone would have said."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model_core.tissues import NUM_CLASSES

SLAB = 16  # voxels


@dataclass(frozen=True)
class Answer:
    """The answer to N windows.

    Attributes:
        probabilities: (N, 4, D, H, W) float32, the mean over the looks.
        labels: (looks, N, D, H, W) uint8, the class of the highest probability of each look; no looks where there is
            only one, which has nothing to be compared with.
    """

    probabilities: Tensor
    labels: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Answer]) -> Answer:
        """Put the answers to parts of a batch together."""
        return cls(torch.cat([part.probabilities for part in parts]), torch.cat([part.labels for part in parts], dim=1))


def answer_of(looks: Iterable[Tensor]) -> Answer:
    """Average the probabilities (N, 4, D, H, W) of looks, of which no more than one need be held beside the sum."""
    each = iter(looks)
    total = next(each)
    labels = [labels_of(total, dim=1)]
    for probabilities in each:
        labels.append(labels_of(probabilities, dim=1))
        total = total.add_(probabilities)
    if len(labels) > 1:
        return Answer(total.div_(len(labels)), torch.stack(labels))
    return Answer(total, labels[0][None][:0])


def labels_of(values: Tensor, dim: int) -> Tensor:
    """The class of the highest value along an axis of classes, which is left out; uint8, the lower one of equals."""
    return torch.cat([_labels_of_slab(slab.unbind(dim)) for slab in values.split(SLAB, dim=dim + 1)], dim=dim)


def _labels_of_slab(classes: Sequence[Tensor]) -> Tensor:
    largest = classes[0].clone()
    labels = torch.zeros_like(largest, dtype=torch.uint8)
    for label, values in enumerate(classes[1:], start=1):  # several times as fast as argmax, and in less memory
        labels.masked_fill_(values > largest, label)
        torch.maximum(largest, values, out=largest)
    return labels


def count_pairs(labels: Tensor, brain: Tensor) -> Tensor:
    """Count for each two looks which labels meet.

    Args:
        labels: (looks, D, H, W) uint8.
        brain: (D, H, W) bool; only these voxels count.

    Returns:
        (pairs, 4, 4) int64; the label of the earlier look chooses the row.
    """
    inside = labels[:, brain]
    cells = NUM_CLASSES**2
    counts = [
        torch.bincount(one.int() * NUM_CLASSES + other, minlength=cells)
        for one, other in itertools.combinations(inside, 2)
    ]
    return torch.stack(counts).view(-1, NUM_CLASSES, NUM_CLASSES)
