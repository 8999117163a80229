"""Weights on disk: safetensors with the model card inside. No pickle is ever loaded."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy
import safetensors
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors

from model_core.errors import UserError
from model_core.networks import NETWORKS, SegmentationNetwork, build_network, count_parameters
from model_core.volumes import replace_when_complete

CARD_KEY = "infantbrainseg_card"
DEFAULT_WINDOW = 32
NORMALISATION = "per window and modality: mean 0, standard deviation 1, floored at 1/sqrt(voxels)"

_SET_RIGHT = "use weights saved by train.py, or the default weights under Resources"


def save_weights(path: str | os.PathLike[str], network: SegmentationNetwork, card: dict[str, Any]) -> None:
    """Write a network's weights and card as one safetensors file, atomically.

    Args:
        path: the file, ``.safetensors``; an existing one is replaced only by a complete new one.
        network: a network of ``model_core.networks``.
        card: what is known of the weights (training data with licence, seed, steps, scores, …), JSON
            values. The network's name, channels and parameters, the normalisation, versions and
            date are added; ``window`` is 32 unless given.

    Raises:
        UserError: the file cannot be written; what stood there is as it was.
    """
    complete_card = {"window": DEFAULT_WINDOW} | card | _facts(network)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = to_safetensors(tensors, metadata={CARD_KEY: json.dumps(complete_card, ensure_ascii=False)})
    with replace_when_complete(path) as temporary:
        temporary.write_bytes(content)


def load_weights(path: str | os.PathLike[str]) -> tuple[SegmentationNetwork, dict[str, Any]]:
    """Read weights and rebuild the network that they belong to.

    Args:
        path: a ``.safetensors`` file of ``save_weights``.

    Returns:
        The network in evaluation mode on the CPU, and the card.

    Raises:
        UserError: the file is missing, is no safetensors file (a pickled checkpoint, say), is
            damaged, carries no card, or its tensors are not those of the network that it names.
    """
    path = Path(path)
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"The weights file {path} {found}; a .safetensors file was expected; check the path.")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except SafetensorError as error:
        raise UserError(_describe_unreadable(path)) from error
    card = _read_card(path, metadata)
    network = _named_network(path, card)
    _check_tensors(path, network, tensors)
    network.load_state_dict(tensors)
    return network.eval(), card


def _facts(network: SegmentationNetwork) -> dict[str, Any]:
    return {
        "network": network.name,
        "in_channels": network.in_channels,
        "num_classes": network.num_classes,
        "parameters": count_parameters(network),
        "normalisation": NORMALISATION,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "safetensors": safetensors.__version__,
        },
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _describe_unreadable(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(9)
    # A safetensors file starts with the header's length (8 bytes) and "{". Torch's checkpoints are zip
    # files, older ones bare pickles, which open with the byte 0x80.
    if start[:2] == b"PK" or (start[:1] == b"\x80" and start[8:] != b"{"):
        return (
            f"The weights file {path} is a pickled checkpoint (.pt, .pth, .ckpt), which could run any program when "
            f"opened; only .safetensors is read; {_SET_RIGHT}."
        )
    return (
        f"The weights file {path} is damaged, cut short or not a safetensors file ({path.stat().st_size} bytes); "
        f"copy or download it again, or {_SET_RIGHT}."
    )


def _read_card(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    try:
        card = json.loads(metadata[CARD_KEY])
    except KeyError as error:
        raise UserError(f"The weights file {path} carries no model card of this program; {_SET_RIGHT}.") from error
    except json.JSONDecodeError as error:
        raise UserError(f"The model card in the weights file {path} is damaged; {_SET_RIGHT}.") from error
    if not isinstance(card, dict):
        raise UserError(f"The model card in the weights file {path} is damaged; {_SET_RIGHT}.")
    return card


def _named_network(path: Path, card: dict[str, Any]) -> SegmentationNetwork:
    name, channels, classes = card.get("network"), card.get("in_channels"), card.get("num_classes")
    if name not in NETWORKS:
        raise UserError(
            f"The weights file {path} names the network {name!r}; one of {', '.join(NETWORKS)} was expected; "
            f"{_SET_RIGHT}."
        )
    if not all(isinstance(count, int) and 1 <= count <= 64 for count in (channels, classes)):
        raise UserError(
            f"The weights file {path} names {channels!r} input and {classes!r} output channels; whole numbers were "
            f"expected; {_SET_RIGHT}."
        )
    with torch.random.fork_rng(devices=[]):  # the first weights are not used, and reading a file draws no numbers
        return build_network(name, channels, classes)


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
            f"The weights file {path} is not of the network {network.name} that it names: it {difference}; "
            f"{_SET_RIGHT}."
        )
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise UserError(
                f"The weights file {path} holds values in {name} that are not finite numbers, as a training that "
                f"diverged leaves them; {_SET_RIGHT}."
            )
