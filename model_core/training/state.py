"""Everything that a training run changes from one iteration to the next, and how it begins."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model_core.errors import UserError
from model_core.networks import SegmentationNetwork, build_network, set_dropout, task_of
from model_core.networks.input_form import form_of
from model_core.system.devices import choose_device
from model_core.training.distributed import device_of_process, started_together
from model_core.training.fine_tuning import weighted_mean
from model_core.training.settings import TrainingSettings
from model_core.weights import load_weights


@dataclass
class TrainingState:
    """Everything that changes from one iteration to the next.

    Attributes:
        network: the network in training.
        optimizer: its Adam.
        averaged: running average of the weights, ``None`` when switched off.
        initial: tensors of the initial weights, by name, where a share of them is kept.
        keep_initial: that share, 0 to below 1.
        scaler: loss scaler of mixed precision; does nothing when disabled.
        loss_sum: sum of the losses since the last row of the history, a scalar on the device.
        iteration: iterations done.
        losses: number of losses in ``loss_sum``.
        row_seconds: time spent on those losses.
        seconds: time spent on all iterations.
    """

    network: SegmentationNetwork
    optimizer: torch.optim.Optimizer
    averaged: AveragedModel | None
    scaler: torch.amp.GradScaler
    loss_sum: Tensor
    iteration: int = 0
    losses: int = 0
    row_seconds: float = 0.0
    seconds: float = 0.0
    initial: dict[str, Tensor] = field(default_factory=dict)
    keep_initial: float = 0.0

    @property
    def best_network(self) -> SegmentationNetwork:
        """The network to validate and to save: the averaged one where there is one, with its share of the initial."""
        trained = self.network if self.averaged is None else cast("SegmentationNetwork", self.averaged.module)
        return weighted_mean(self.initial, trained, self.keep_initial) if self.keep_initial else trained

    def mean_loss(self) -> float:
        """Mean loss since the last row of the history, NaN without one."""
        return float(self.loss_sum) / self.losses if self.losses else float("nan")

    def count_time(self, seconds: float) -> None:
        """Add the time of one iteration."""
        self.row_seconds += seconds
        self.seconds += seconds

    def begin_row(self) -> None:
        """Begin the mean of the next row of the history."""
        self.loss_sum.zero_()
        self.losses, self.row_seconds = 0, 0.0


def begin_training(
    settings: TrainingSettings, card: dict[str, Any] | None, initial_weights: str | Path | None
) -> tuple[TrainingState, dict[str, Any]]:
    """Build network, optimiser and the rest as they stand before the first iteration.

    Returns:
        The state, and the card; with initial weights it says what they were.
    """
    device = device_of_process(choose_device(settings.device), started_together())
    reduced = reduced_precision(settings, device)
    torch.manual_seed(settings.seed)
    network = build_network(settings.network)
    if settings.window % network.window_multiple:
        raise UserError(
            f"--window is {settings.window}; {settings.network} takes multiples of {network.window_multiple}; "
            f"choose for instance {math.ceil(settings.window / network.window_multiple) * network.window_multiple}."
        )
    card = dict(card or {})
    if initial_weights is not None:
        earlier, earlier_card = load_weights(initial_weights, task_of(settings.network))
        if earlier.name != settings.network:
            raise UserError(
                f"{initial_weights} holds weights of {earlier.name}; expected {settings.network}; give --network "
                f"{earlier.name} or other --initial-weights."
            )
        network = earlier  # of an ensemble all members go on together
        card["continued_from"] = earlier_card
    elif settings.keep_initial:
        raise UserError(
            f"--keep-initial is {settings.keep_initial} and there are no initial weights; expected both or neither; "
            "give --initial-weights or leave --keep-initial out."
        )
    initial = {name: tensor.clone() for name, tensor in network.state_dict().items()} if settings.keep_initial else {}
    set_dropout(network, attention=settings.attention_dropout, output=settings.output_dropout)
    network.to(device, memory_format=form_of(network).memory_format).train()  # ty: ignore[no-matching-overload] (torch's stubs lack it)
    torch.backends.cudnn.benchmark = True  # every batch has the same shape
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[settings.optimizer]
    optimizer = make(
        network.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=device.type == "cuda",
    )
    averaged = None
    if settings.ema_decay:
        # Batch norm's running statistics are averages already: AveragedModel copies them.
        averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(settings.ema_decay)).eval()
    scaler = torch.amp.GradScaler(device.type, enabled=reduced is torch.float16)
    state = TrainingState(network, optimizer, averaged, scaler, torch.zeros((), device=device))
    state.initial, state.keep_initial = initial, settings.keep_initial
    return state, card


def reduced_precision(settings: TrainingSettings, device: torch.device) -> torch.dtype | None:
    """The type in which a run computes what bears it, in mixed precision: by itself only on CUDA.

    Raises:
        UserError: the device does not compute in that type.
    """
    if settings.precision == "float16" and device.type != "cuda":
        raise UserError(
            f"--precision is float16 and the device is {device}; mixed precision in float16 needs CUDA; "
            "leave out --precision or choose --device cuda."
        )
    if settings.precision == "bfloat16" and not computes_in_bfloat16(device):
        raise UserError(
            f"--precision is bfloat16 and {device} does not compute in it; expected a processor with AVX512-BF16 or "
            "AMX, or a GPU that does; leave out --precision."
        )
    if device.type == "cuda" and settings.precision == "auto":
        return torch.float16
    return {"float16": torch.float16, "bfloat16": torch.bfloat16}.get(settings.precision)


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 by itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()
