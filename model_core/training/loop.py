"""The training loop: random windows, Adam, whole-volume validation, exact resumption.

A run fills its output folder with settings.json, history.csv, training_curve.png, tensorboard/,
checkpoint.safetensors and weights.safetensors. Every iteration depends on the saved state and on its own
number alone, so a run that is killed and resumed ends with the weights of an unbroken one. Started by torchrun,
several processes train together (distributed.py); the first alone writes.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from model_core.datasets.subjects import LabelledPair
from model_core.errors import UserError
from model_core.inference import Segmenter
from model_core.inference.standardisation import standardise_windows
from model_core.metrics import dice
from model_core.networks.input_form import form_of
from model_core.system.devices import is_out_of_memory
from model_core.system.files import replace_when_complete
from model_core.system.signals import stop_signals
from model_core.tissues import TISSUES
from model_core.training.batches import Sampler, prefetch, to_device
from model_core.training.checkpoints import load_checkpoint, save_checkpoint
from model_core.training.distributed import ALONE, Processes, joined, started_together
from model_core.training.history import History, HistoryRow
from model_core.training.losses import LOSSES
from model_core.training.run_folder import (
    BEST_WEIGHTS_FILE,
    CHECKPOINT_FILE,
    WEIGHTS_FILE,
    complete_card,
    open_run_folder,
)
from model_core.training.settings import TrainingSettings
from model_core.training.state import TrainingState, begin_training, reduced_precision
from model_core.weights import save_weights

__all__ = ["Sampler", "TrainingSettings", "TrainingStopped", "train"]

GO_ON, STOP, STOP_BY_SIGNAL = range(3)
BAR_UPDATE_EVERY = 10  # iterations; reading the loss makes a GPU wait


class TrainingStopped(KeyboardInterrupt):
    """A signal stopped the run; its checkpoint and weights are saved, and it can be resumed."""


def train(
    settings: TrainingSettings,
    sampler: Sampler,
    output: str | Path,
    *,
    validation_pairs: Sequence[LabelledPair] = (),
    card: dict[str, Any] | None = None,
    resume: bool = False,
    initial_weights: str | Path | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Path:
    """Train a network, or go on training it.

    Seeds and uses torch's global random generator. SIGINT and SIGTERM stop the run at the next
    iteration boundary; checkpoint and weights are saved then.

    Args:
        settings: what to train and how.
        sampler: gives the windows of each iteration, of side ``settings.window``.
        output: the run's folder; made if absent.
        validation_pairs: volumes to segment at intervals. They never change the weights, and choose
            among them only where ``settings.final_weights`` is "best".
        card: what the weights file shall say of the data, in the keys of a model card. A resumed
            run must bring the same.
        resume: go on from the checkpoint in ``output``; begin where there is none.
        initial_weights: weights of the same network to start from, for instance of a stage with
            smaller windows.
        should_stop: asked between iterations; once true, checkpoint and weights are saved and the
            function returns.

    Returns:
        The weights file.

    Raises:
        UserError: ``output`` holds a run already, the resumed run had other settings, the window
            does not fit the network, or the loss is not finite.
        TrainingStopped: a signal stopped the run.
    """
    folder = Path(output)
    state, card = begin_training(settings, card, initial_weights)
    processes = started_together()
    if processes.count > 1:
        card["processes"] = processes.count  # a resumed run must bring as many
    if processes.is_first:
        open_run_folder(folder, settings, card, resume=resume)
    if (folder / CHECKPOINT_FILE).exists():
        load_checkpoint(folder / CHECKPOINT_FILE, state)
    first = state.iteration

    with (
        joined(state.loss_sum.device),
        stop_signals() as signalled,
        closing(History(folder, resume_at=first)) if processes.is_first else nullcontext() as history,
        closing(prefetch(sampler, settings, first, processes)) as batches,
        tqdm(
            total=settings.iterations, initial=first, unit="iteration", mininterval=1, disable=not processes.is_first
        ) as bar,
    ):
        run = _Run(folder, settings, state, history, validation_pairs, card, processes)

        def stopping() -> bool:
            return signalled.is_set() or (should_stop is not None and should_stop())

        while True:
            done = state.iteration == settings.iterations
            stops = stopping() or not run.report_if_due(stopping)
            reason = processes.highest((STOP_BY_SIGNAL if signalled.is_set() else STOP) if stops else GO_ON)
            stopped = reason != GO_ON
            if stopped or done or (state.iteration > first and state.iteration % settings.checkpoint_every == 0):
                run.save_checkpoint()
            if stopped or done:
                break
            started = time.perf_counter()
            images, labels, *places = next(batches)
            with memory_advice(settings):
                train_step(state, settings, images, labels, processes, *places)
            state.count_time(time.perf_counter() - started)
            if state.iteration % BAR_UPDATE_EVERY == 0:
                bar.set_postfix_str(f"loss {state.mean_loss():.4f}, {run.speed():.3g} patches/s", refresh=False)
            bar.update()
        run.finish()
    if signalled.is_set() or reason == STOP_BY_SIGNAL:
        raise TrainingStopped
    return folder / WEIGHTS_FILE


def train_step(
    state: TrainingState,
    settings: TrainingSettings,
    images: np.ndarray,
    labels: np.ndarray,
    processes: Processes = ALONE,
    places: np.ndarray | None = None,
) -> None:
    """Take one step of the optimiser on one batch, or on the batches of all processes.

    Args:
        state: changed in place.
        settings: the run's.
        images: (batch, 2, w, w, w) float32; as scanned, and standardised here, where the network wants every window
            standardised, else as it wants them.
        labels: (batch, w, w, w) uint8, 0 to 3.
        processes: those that train together; each brings its own batch.
        places: (batch, 3, 2) where the windows lie in the brain's box, for networks that are told.
    """
    device = state.loss_sum.device
    processes.seed_dropout(settings.seed, state.iteration)
    windows, form = to_device(images, device), form_of(state.network)
    if form.standardised_over == "window":
        windows = standardise_windows(windows)
    windows = windows.contiguous(memory_format=form.memory_format)
    where = () if places is None else (to_device(places, device),)
    targets = to_device(labels, device).long()
    for group in state.optimizer.param_groups:
        group["lr"] = settings.learning_rate_at(state.iteration)
    # float16 and not bfloat16 by itself on a GPU: ReLU6 and the normalised windows keep every activation small, so the
    # three more bits of the fraction are worth more than range, and GPUs before 2020 have no bfloat16.
    reduced = reduced_precision(settings, device)
    with torch.autocast(device.type, dtype=reduced, enabled=reduced is not None):
        logits = state.network(windows, *where)
    loss = LOSSES[settings.loss](logits.float(), targets)
    state.optimizer.zero_grad(set_to_none=True)
    state.scaler.scale(loss).backward()
    mean_loss = processes.average(state.network, loss)
    if settings.gradient_clip:
        state.scaler.unscale_(state.optimizer)
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), settings.gradient_clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.averaged is not None:
        state.averaged.update_parameters(state.network)
    state.loss_sum += mean_loss
    state.losses += 1
    state.iteration += 1


def validate(
    network: nn.Module, pairs: Sequence[LabelledPair], settings: TrainingSettings, should_stop: Callable[[], bool]
) -> dict[str, float] | None:
    """Segment whole volumes and give each tissue's Dice, averaged over the volumes; ``None`` when stopped."""
    precision = "auto" if settings.precision == "bfloat16" else settings.precision  # bfloat16 is for training alone
    segmenter = Segmenter(network, window=settings.window, device=settings.device, precision=precision)
    scores: dict[str, list[float]] = {tissue.key: [] for tissue in TISSUES}
    for pair in pairs:
        labels = segmenter.segment(pair.t1, pair.t2, step=settings.validation_step, should_stop=should_stop).labels
        if should_stop():
            return None
        for tissue in TISSUES:
            scores[tissue.key].append(float(dice(labels == tissue.label, pair.labels == tissue.label)))
    return {key: float(np.mean(values)) for key, values in scores.items()}


@contextmanager
def memory_advice(settings: TrainingSettings) -> Generator[None]:
    """Turn the many ways in which memory runs out into one sentence."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"The memory of the device {settings.device} does not suffice for batches of {settings.batch} windows of "
            f"{settings.window}³; begin anew in another --output with a smaller --batch or --window."
        ) from error


@dataclass(frozen=True)
class _Run:
    """What the loop writes, and when; of several processes, in the first alone."""

    folder: Path
    settings: TrainingSettings
    state: TrainingState
    history: History | None
    validation_pairs: Sequence[LabelledPair]
    card: dict[str, Any]
    processes: Processes

    def report_if_due(self, should_stop: Callable[[], bool]) -> bool:
        """Add a row to the history where one is due and missing.

        Returns:
            Whether training may go on: false when a validation was stopped; the resumed run takes it up again.
        """
        history = self.history
        if history is None:
            return True
        iteration, settings = self.state.iteration, self.settings
        last = iteration == settings.iterations
        validates = bool(self.validation_pairs) and (last or iteration % settings.validate_every == 0)
        if iteration <= history.last_iteration or not (validates or last or iteration % settings.log_every == 0):
            return True
        loss = self._checked_loss(history)
        scores = validate(self.state.best_network, self.validation_pairs, settings, should_stop) if validates else {}
        if scores is None:
            return False
        earlier_best = history.best_dice
        rate = settings.learning_rate_at(iteration - 1)
        history.append(row := HistoryRow(iteration, loss, rate, self.speed(), scores))
        self.state.begin_row()
        if settings.final_weights == "best" and scores and row.mean_dice > earlier_best:
            self._save_weights(BEST_WEIGHTS_FILE, history)
        return True

    def save_checkpoint(self) -> None:
        """Save the state, unless the loss shows that it is spoilt, and draw the curve so far."""
        if self.history is None:
            return
        self._checked_loss(self.history)
        save_checkpoint(self.folder / CHECKPOINT_FILE, self.state)
        self.history.draw()

    def finish(self) -> None:
        """Write curve and weights: those of the last iteration, or of the best validation where that was asked for."""
        if self.history is None:
            return
        self.history.draw(at_once=True)
        best = self.folder / BEST_WEIGHTS_FILE
        if self.settings.final_weights == "best" and best.exists():
            with replace_when_complete(self.folder / WEIGHTS_FILE) as temporary:
                shutil.copyfile(best, temporary)
        else:
            self._save_weights(WEIGHTS_FILE, self.history)

    def speed(self) -> float:
        """Training windows per second since the history's last row."""
        windows = self.state.losses * self.settings.batch * self.processes.count
        return windows / max(self.state.row_seconds, 1e-9)

    def _save_weights(self, name: str, history: History) -> None:
        names = [pair.name for pair in self.validation_pairs]
        card = complete_card(self.card, self.settings, self.state, history, names)
        save_weights(self.folder / name, self.state.best_network, card)

    def _checked_loss(self, history: History) -> float:
        loss = self.state.mean_loss()
        if not math.isfinite(loss) and self.state.losses:
            raise UserError(
                f"The loss became {loss} between iterations {history.last_iteration} and {self.state.iteration}; "
                "expected a finite number; check the scans for extreme values, or begin anew in another --output with "
                "a --learning-rate ten times lower."
            )
        return loss
