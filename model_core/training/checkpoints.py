"""A training run's state on disk: complete, atomic, and without pickle.

A checkpoint is one safetensors file: the network, the optimiser, the averaged weights and the
random states as tensors, the counters as JSON in its metadata. Loading it runs no code of the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import shorten

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor

from model_core.errors import UserError
from model_core.system.files import replace_when_complete
from model_core.training.state import TrainingState

FORMAT = 1
LONGEST_REASON = 300  # characters of torch's own words, whose first line names no key


def save_checkpoint(path: str | Path, state: TrainingState) -> None:
    """Write the state so that the file is at every moment either the earlier one or this one, whole."""
    device = state.loss_sum.device
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    if state.averaged is not None:
        tensors |= {f"averaged.{name}": tensor for name, tensor in state.averaged.state_dict().items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    tensors["loss_sum"] = state.loss_sum
    tensors["random.cpu"] = torch.get_rng_state()
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    record = {
        "format": FORMAT,
        "iteration": state.iteration,
        "losses": state.losses,
        "row_seconds": state.row_seconds,
        "seconds": state.seconds,
        "scaler": state.scaler.state_dict(),
    }
    # Copies: safetensors takes no views, and the optimiser goes on writing into the originals.
    own = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with replace_when_complete(Path(path)) as temporary:
        temporary.write_bytes(to_safetensors(own, metadata={"training": json.dumps(record)}))


def load_checkpoint(path: str | Path, state: TrainingState) -> None:
    """Put a saved state back, random states of torch included.

    Raises:
        UserError: the file is damaged or belongs to another run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})["training"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        _restore(state, record, tensors)
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = shorten(str(error), LONGEST_REASON, placeholder=" …") if str(error) else type(error).__name__
        raise UserError(
            f"{path} cannot be continued ({reason}); expected the checkpoint that this run wrote; restore the file "
            "from a backup, or start again in another --output."
        ) from error


def _restore(state: TrainingState, record: dict, tensors: dict[str, Tensor]) -> None:
    if record["format"] != FORMAT:
        raise ValueError(f"its format is {record['format']}, this version reads {FORMAT}")
    device = state.loss_sum.device
    state.network.load_state_dict(_under("network.", tensors))
    if state.averaged is not None:
        state.averaged.load_state_dict(_under("averaged.", tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under("optimizer.", tensors).items():
        index, moment = name.split(".", 1)
        moments.setdefault(int(index), {})[moment] = tensor
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    state.scaler.load_state_dict(record["scaler"])
    state.loss_sum.copy_(tensors["loss_sum"])
    state.iteration, state.losses = int(record["iteration"]), int(record["losses"])
    state.row_seconds, state.seconds = float(record["row_seconds"]), float(record["seconds"])
    torch.set_rng_state(tensors["random.cpu"])
    if device.type == "cuda" and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
