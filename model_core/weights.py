"""Weights on disk: safetensors with the model card inside. No pickle is ever loaded."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from model_core.errors import UserError
from model_core.model_card import CARD_KEY, SET_RIGHT, describe_unreadable, read_card
from model_core.networks import (
    BRAIN_EXTRACTION,
    EXTRACTION_NETWORKS,
    NETWORKS,
    TISSUES,
    SegmentationNetwork,
    build_network,
    count_parameters,
    task_of,
)
from model_core.networks.ensemble import Ensemble
from model_core.system.files import replace_when_complete
from model_core.system.provenance import versions_of

LARGEST_WINDOW = 256  # voxels per side; attention over more than that fits no machine
NORMALISATIONS = {
    "window": "per window and modality: mean 0, standard deviation 1, floored at 1/sqrt(voxels)",
    "volume": "per brain and modality: clipped at its .5 and 99.5 percentiles, mean 0, standard deviation 1",
    "scan": "per scan: clipped at its .5 and 99.5 percentiles, mean 0, standard deviation 1",
}
LARGEST_ENSEMBLE = 16


def save_weights(
    path: str | os.PathLike[str], network: SegmentationNetwork, card: dict[str, Any], *, half: bool = False
) -> None:
    """Write a network's weights and card as one safetensors file, atomically.

    Args:
        path: the file, ``.safetensors``; an existing one is replaced only by a complete new one.
        network: a network of ``model_core.networks``.
        card: what is known of the weights (training data with licence, seed, steps, scores, …), JSON
            values. The network's name, channels and parameters, the normalisation, versions and
            date are added; ``window`` is the network's own unless given.
        half: store them in half precision, in half the space.

    Raises:
        UserError: the file cannot be written; what stood there is as it was.
    """
    complete_card = {"window": network.input_form.window} | card | _facts(network, half=half)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    content = to_safetensors(tensors, metadata={CARD_KEY: json.dumps(complete_card, ensure_ascii=False)})
    with replace_when_complete(path) as temporary:
        temporary.write_bytes(content)


def load_weights(path: str | os.PathLike[str], task: str = TISSUES) -> tuple[SegmentationNetwork, dict[str, Any]]:
    """Read weights and rebuild the network that they belong to.

    Args:
        path: a ``.safetensors`` file of ``save_weights``.
        task: what the network must be made for, ``TISSUES`` or ``BRAIN_EXTRACTION``.

    Returns:
        The network in evaluation mode on the CPU, and the card.

    Raises:
        UserError: the file is missing, is no safetensors file (a pickled checkpoint, say), is
            damaged, carries no card, its tensors are not those of the network that it names, or that network is made
            for another task.
    """
    path = Path(path)
    card = read_card(path)
    _check_task(path, card, task)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise UserError(describe_unreadable(path)) from error
    if card.get("stored_as") == "float16":
        tensors = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    network = _named_network(path, card)
    _check_tensors(path, network, tensors)
    network.load_state_dict(tensors)
    return network.eval(), card


def window_of(path: str | os.PathLike[str], card: dict[str, Any], network: SegmentationNetwork) -> int:
    """Side of the windows in voxels that a network was trained on, as the card says.

    Args:
        path: the weights file, for the error sentence.
        card: of ``load_weights``.
        network: of ``load_weights``.

    Raises:
        UserError: the card names a window that the network or no machine can take.
    """
    window, multiple = card.get("window", network.input_form.window), network.window_multiple
    if type(window) is not int or not 0 < window <= LARGEST_WINDOW or window % multiple:
        raise UserError(
            f"The card of the weights {path} names a window of {window!r} voxels; expected a multiple of {multiple} "
            f"up to {LARGEST_WINDOW}; use the weights as train.py wrote them."
        )
    return window


def _check_task(path: Path, card: dict[str, Any], task: str) -> None:
    found = task_of(str(card.get("network")))
    if found == task:
        return
    does = {TISSUES: "segments tissues", BRAIN_EXTRACTION: "finds the brain in a head"}
    raise UserError(
        f"The weights file {path} holds a network that {does[found]}; one that {does[task]} was expected; use the "
        f"default weights for that, or such as were trained for it."
    )


def _facts(network: SegmentationNetwork, *, half: bool) -> dict[str, Any]:
    return {
        "network": network.name,
        "task": task_of(network.name),
        "spacing_mm": network.input_form.spacing_mm,
        "in_channels": network.in_channels,
        "num_classes": network.num_classes,
        "parameters": count_parameters(network),
        "whole_brain": network.input_form.whole_brain,
        "optional_scans": network.input_form.optional_scans,
        "stored_as": "float16" if half else "float32",
        "members": len(network.members) if isinstance(network, Ensemble) else 1,
        "normalisation": NORMALISATIONS[network.input_form.standardised_over],
        "versions": versions_of(("torch", "numpy", "safetensors")),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _named_network(path: Path, card: dict[str, Any]) -> SegmentationNetwork:
    name, channels, classes = card.get("network"), card.get("in_channels"), card.get("num_classes")
    if not isinstance(name, str) or not (name in NETWORKS or name in EXTRACTION_NETWORKS):
        raise UserError(
            f"The weights file {path} names the network {name!r}; one of {', '.join(NETWORKS)} was expected; "
            f"{SET_RIGHT}."
        )
    members = card.get("members", 1)
    if type(members) is not int or not 1 <= members <= LARGEST_ENSEMBLE:
        raise UserError(
            f"The weights file {path} names {members!r} members; 1 to {LARGEST_ENSEMBLE} were expected; {SET_RIGHT}."
        )
    if not _is_count(channels) or not _is_count(classes):
        raise UserError(
            f"The weights file {path} names {channels!r} input and {classes!r} output channels; whole numbers were "
            f"expected; {SET_RIGHT}."
        )
    with torch.random.fork_rng(devices=[]):  # the first weights are not used, and reading a file draws no numbers
        built = [build_network(name, channels, classes) for _ in range(members)]
    return built[0] if members == 1 else Ensemble(built)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 1 <= value <= 64  # True is an int, too


def _check_tensors(path: Path, network: SegmentationNetwork, tensors: dict[str, torch.Tensor]) -> None:
    expected = network.state_dict()
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            difference = f"lacks {name}" if name not in tensors else f"has {name}, which that network lacks"
        elif tensors[name].shape != expected[name].shape or tensors[name].dtype != expected[name].dtype:
            found, wanted = (
                f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"
                for tensor in (tensors[name], expected[name])
            )
            difference = f"has {name} of {found} instead of {wanted}"
        else:
            continue
        raise UserError(
            f"The weights file {path} is not of the network {network.name} that it names: it {difference}; {SET_RIGHT}."
        )
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"The weights file {path} holds values in {name} that are not finite numbers, as a training that "
                f"diverged leaves them; {SET_RIGHT}."
            )
