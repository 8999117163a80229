"""What a training run is told: every default with its reason, and the checks of what a user sets."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from model_core.errors import UserError
from model_core.networks import EXTRACTION_NETWORKS, NETWORKS, NetworkRecord, record_of
from model_core.segmentation_options import flag_of
from model_core.system.provenance import changes_between
from model_core.training.losses import LOSSES

# What a network's record does not say otherwise: as in Wang et al. 2020 (the first paper).
PAPER_SETTINGS: dict[str, Any] = {
    "window": 32,  # both papers; the first found 16, 24, 40 and 48 worse
    "batch": 5,  # both papers
    "learning_rate": 1e-3,
    "weight_decay": 2e-6,  # both papers
    "optimizer": "adam",  # both papers
    "loss": "cross_entropy",  # both papers
    "gradient_clip": 0.0,
}
# On smaller ones torch's convolutions give gradients in bfloat16 that differ from run to run, up to NaN (oneDNN, 2.13).
SMALLEST_BFLOAT16_WINDOW = 32
OPTIMIZERS = ("adam", "adamw")

SCHEDULES = ("constant", "cosine")
FINAL_WEIGHTS = ("last", "best")
PRECISIONS = ("auto", "float32", "float16", "bfloat16")


_BY_NETWORK: Any = None  # stands for the network's own value until the settings are made


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """All that decides a run besides its data; the defaults are the papers' where they give one.

    Attributes:
        network: a name of ``NETWORKS`` or ``EXTRACTION_NETWORKS``.
        window: side of the training windows in voxels; a multiple of the network's ``window_multiple``. ``None``, here
            and in the next six, takes what the network's record says, or the first paper.
        batch: windows per iteration.
        learning_rate: the optimiser's rate.
        weight_decay: "adam": ``weight_decay * w`` is added to every parameter's gradient; "adamw": the parameters
            themselves shrink by rate times that.
        optimizer: "adam" or "adamw".
        loss: "cross_entropy" or "dice_and_cross_entropy".
        gradient_clip: largest norm of all gradients together; 0 switches it off.
        rate_decay: taken off the learning rate after every 1000 iterations.
        schedule: "constant", or "cosine", which falls from the rate to 0 over the run.
        warmup: iterations over which the rate first rises linearly from 0; either schedule.
        iterations: optimiser steps in all.
        attention_dropout: part of the attention weights dropped while training, 0 to below 1.
        output_dropout: part of the features dropped before the output convolution, 0 to below 1.
        ema_decay: decay of the running average of the weights, which then is what is validated
            and saved; 0 switches it off.
        keep_initial: share of given initial weights in those that are validated and saved, 0 to below 1; see
            ``fine_tuning``.
        seed: of the initial weights, the dropout and (by the caller) the windows.
        validate_every: iterations between whole-volume validations.
        validation_step: overlap step of the validation's windows, 1 to ``window``.
        checkpoint_every: iterations between checkpoints.
        log_every: iterations averaged in one row of the history.
        final_weights: "last", or "best": the weights with the highest mean validation Dice.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        precision: "auto" (float16 on CUDA, else float32), "float32", "float16" (CUDA only) or "bfloat16" (mixed, on
            processors that compute in it: more than twice as fast there).

    Raises:
        UserError: a value outside its range, with the range.
    """

    network: str = "nonlocal_unet"
    window: int = _BY_NETWORK
    batch: int = _BY_NETWORK
    learning_rate: float = _BY_NETWORK
    weight_decay: float = _BY_NETWORK
    optimizer: str = _BY_NETWORK
    loss: str = _BY_NETWORK
    gradient_clip: float = _BY_NETWORK
    rate_decay: float = 0.0  # 2e-6 is the other reading of the dual aggregation paper's "decay of 2e-6"
    schedule: str = "constant"  # both papers
    warmup: int = 0  # neither paper warms up
    iterations: int = 150_000  # the first paper's public checkpoint is that of iteration 153,000
    attention_dropout: float = 0.5  # the first paper; its public code never fires this one
    output_dropout: float = 0.5  # the first paper
    ema_decay: float = 0.0  # neither paper averages; 0.999 is usual where it is done
    keep_initial: float = 0.0  # the papers begin with random weights
    seed: int = 0
    validate_every: int = 5000  # thirty points on the curve of a full run
    validation_step: int = 16  # a fifth of the windows of step 8; the first paper finds both accurate
    checkpoint_every: int = 500  # minutes of lost work at most, on a CPU too
    log_every: int = 50
    final_weights: str = "last"  # choosing on the validation subject would flatter its score
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.network not in NETWORKS and self.network not in EXTRACTION_NETWORKS:
            raise UserError(
                f"There is no network {self.network!r}; expected one of {', '.join(NETWORKS)}; choose one of these."
            )
        for name, value in network_settings(self.network).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        for name in ("window", "batch", "iterations", "validate_every", "validation_step", "checkpoint_every"):
            self._require(name, getattr(self, name) >= 1, "1 or more")
        self._require("log_every", self.log_every >= 1, "1 or more")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "a number above 0")
        for name in ("weight_decay", "rate_decay", "gradient_clip"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "0 or more")
        for name in ("attention_dropout", "output_dropout", "ema_decay", "keep_initial"):
            self._require(name, 0 <= getattr(self, name) < 1, "0 or more and below 1")
        self._require("seed", 0 <= self.seed < 2**63, "0 or more")
        self._require("warmup", 0 <= self.warmup < self.iterations, f"0 to below {self.iterations} (the iterations)")
        self._require("validation_step", self.validation_step <= self.window, f"1 to {self.window} (the window)")
        self._require("schedule", self.schedule in SCHEDULES, " or ".join(SCHEDULES))
        self._require("final_weights", self.final_weights in FINAL_WEIGHTS, " or ".join(FINAL_WEIGHTS))
        self._require("optimizer", self.optimizer in OPTIMIZERS, " or ".join(OPTIMIZERS))
        self._require("loss", self.loss in LOSSES, " or ".join(LOSSES))
        self._require("precision", self.precision in PRECISIONS, ", ".join(PRECISIONS))
        small = self.precision == "bfloat16" and self.window < SMALLEST_BFLOAT16_WINDOW
        self._require("window", not small, f"{SMALLEST_BFLOAT16_WINDOW} or more with --precision bfloat16")

    def _require(self, name: str, holds: bool, expected: str) -> None:
        if not holds:
            option = flag_of(name)
            raise UserError(f"{option} is {getattr(self, name)!r}; expected {expected}; change {option}.")

    def learning_rate_at(self, iteration: int) -> float:
        """Give the learning rate of an iteration, counted from 0; a pure function, so nothing of it is stored."""
        rate = max(self.learning_rate - self.rate_decay * (iteration // 1000), 0.0)
        if iteration < self.warmup:
            return rate * (iteration + 1) / self.warmup
        if self.schedule == "cosine":
            part = (iteration - self.warmup) / (self.iterations - self.warmup)
            rate *= 0.5 * (1 + math.cos(math.pi * part))
        return rate

    def difference_from(self, earlier: dict[str, object]) -> str:
        """Name the settings that differ from a stored run's in a way that would change its result.

        Args:
            earlier: the stored settings, by field name.

        Returns:
            "--window was 32 and is 24, ...", empty when the run can go on. More iterations may be
            asked of a run with a constant rate: the iterations done stay as they were.
        """
        before = {field.name: PAPER_SETTINGS.get(field.name, field.default) for field in fields(self)}
        before |= {name: value for name, value in earlier.items() if name in before}
        done = before["iterations"]
        if self.schedule == "constant" and isinstance(done, int) and self.iterations >= done:
            before["iterations"] = self.iterations
        flags = ({flag_of(name): value for name, value in of.items()} for of in (before, asdict(self)))
        return ", ".join(changes_between(*flags, word=repr))


def network_settings(network: str) -> dict[str, Any]:
    """Give the settings that depend on the network: its record's, and for the rest the first paper's."""
    record = record_of(network)
    return PAPER_SETTINGS | (dict(record.training) if isinstance(record, NetworkRecord) else {})
