"""Fine-tuning: going on from given weights on a few corrected maps, and keeping a share of the given weights.

The share follows Wortsman et al., "Robust fine-tuning of zero-shot models" (CVPR 2022): the weights that are validated
and saved are share * initial + (1 - share) * trained. They gain on the new scans and lose
little of what the initial ones could do.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from torch import Tensor

from model_core.errors import UserError
from model_core.model_card import read_card
from model_core.networks import SegmentationNetwork
from model_core.system.provenance import sha256_of
from model_core.training.settings import network_settings
from model_core.weights import load_weights, window_of

FINE_TUNED_FROM = "fine_tuned_from"  # entry of the card
# With half of them the scans of the old site lost .009 of Dice, with none .028; the figures stand in docs/training.md.
KEEP_INITIAL = 0.75
ITERATIONS = 100
RATE_FACTOR = 0.1  # on the learning rate with which the network trains from random weights
WARMUP = 10  # iterations until the optimiser's moments mean something


def fine_tuning_settings(weights: str | Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """Give the settings of ``TrainingSettings`` that suit fine-tuning, where they differ from the defaults.

    Args:
        weights: the file to begin with, which names the network and its windows.
        given: settings that the user chose.

    Raises:
        UserError: the weights cannot be read, or are of another network than the one chosen.
    """
    network, card = load_weights(weights)
    name = given.get("network", network.name)
    if name != network.name:
        raise UserError(
            f"--network is {name} and {weights} holds weights of {network.name}; expected one network; leave --network "
            "out, or give other --initial-weights."
        )
    iterations = given.get("iterations", ITERATIONS)
    return {
        "network": name,
        "window": window_of(weights, card, network),
        "learning_rate": RATE_FACTOR * network_settings(name)["learning_rate"],
        "schedule": "cosine",
        "warmup": min(WARMUP, iterations // 4),
        "iterations": ITERATIONS,
        "attention_dropout": 0.0,
        "output_dropout": 0.0,
        "keep_initial": KEEP_INITIAL,
    }


def describe_beginning(weights: Path, share: float, subjects: int) -> dict[str, Any]:
    """Give the card's entry on what weights were fine-tuned from.

    Args:
        weights: the file that the training begins with.
        share: of the initial weights in the final ones.
        subjects: number of those trained on; of label maps where pairs are made from these.

    Raises:
        UserError: the file carries no card that can be read.
    """
    card = read_card(weights)
    return {
        "file": weights.name,
        "title": card.get("title") or f"Weights of {card.get('network')}",
        "sha256": sha256_of(weights),
        "subjects": subjects,
        "share_kept": share,
    }


def weighted_mean(initial: Mapping[str, Tensor], trained: SegmentationNetwork, share: float) -> SegmentationNetwork:
    """Give a network with share * initial + (1 - share) * trained as its weights.

    The running means and variances of batch normalisation are averaged like the weights; counters are the trained
    network's.

    Args:
        initial: tensors of the initial network, by their names.
        trained: of the same tensors; it stays as it is.
        share: of the initial weights, 0 to 1.
    """
    mean = deepcopy(trained)
    for name, tensor in mean.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(initial[name].to(tensor), share)
    return mean
