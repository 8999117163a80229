"""The output folder of a training run: its file names, its settings.json, and the card of its weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model_core.errors import UserError
from model_core.system.files import replace_when_complete
from model_core.system.provenance import changes_between
from model_core.training.history import HISTORY_FILE, History
from model_core.training.settings import TrainingSettings
from model_core.training.state import TrainingState

SETTINGS_FILE, CHECKPOINT_FILE = "settings.json", "checkpoint.safetensors"
WEIGHTS_FILE, BEST_WEIGHTS_FILE = "weights.safetensors", "best_weights.safetensors"
RUN_FILES = (SETTINGS_FILE, CHECKPOINT_FILE, HISTORY_FILE, WEIGHTS_FILE)
INTENDED_USE = (
    "Research on segmentation of 6-8-month-old infant brains in T1 and T2 MR scans into CSF, gray and white matter. "
    "Not a medical device; not for diagnosis or treatment."
)


def check_output(folder: Path, *, resume: bool) -> None:
    """Raise ``UserError`` unless a run can be written to the folder: one that is new, or whose run is resumed."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder} is a file; expected a folder or a new name; choose another --output.")
    found = [name for name in RUN_FILES if (folder / name).exists()]
    if found and not resume:
        raise UserError(
            f"{folder} holds a training run already ({', '.join(found)}); expected a new folder; add --resume "
            "to go on with it, or choose another --output."
        )
    if found and SETTINGS_FILE not in found:
        raise UserError(f"{folder} has lost its {SETTINGS_FILE}, so its run cannot go on; choose another --output.")


def open_run_folder(folder: Path, settings: TrainingSettings, card: dict[str, Any], *, resume: bool) -> None:
    """Make the folder and write settings.json; or check that the run in it is the one to resume.

    Args:
        folder: the output folder.
        settings: the settings asked for.
        card: the card given by the caller, JSON values.
        resume: whether a run in the folder is to go on. Where there is none (killed before its
            first file, say), one begins.

    Raises:
        UserError: there is a run and ``resume`` is false, or it had other settings or data.
    """
    check_output(folder, resume=resume)
    folder.mkdir(parents=True, exist_ok=True)
    card = json.loads(json.dumps(card))
    if (folder / SETTINGS_FILE).exists():
        _compare(folder / SETTINGS_FILE, settings, card)
        for leftover in [*folder.glob(".partial-*"), *folder.glob(".*.part")]:  # of a run that was killed
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    with replace_when_complete(folder / SETTINGS_FILE) as temporary:
        temporary.write_text(json.dumps({"settings": asdict(settings), "card": card}, indent=2, ensure_ascii=False))


def complete_card(
    card: dict[str, Any],
    settings: TrainingSettings,
    state: TrainingState,
    history: History,
    validation_names: Sequence[str],
) -> dict[str, Any]:
    """Add to the caller's card what the run knows of the weights as they are now.

    Args:
        card: the caller's, which wins where both speak.
        settings: the run's.
        state: gives the iterations and the training time behind the weights.
        history: its last row with a validation gives the scores.
        validation_names: names of the validation subjects.

    Returns:
        A new card; ``save_weights`` adds network, parameters, normalisation, versions and date.
    """
    averaged = f", running average of decay {settings.ema_decay}" if settings.ema_decay else ""
    if settings.keep_initial:
        averaged += f", and the initial ones with a share of {settings.keep_initial}"
    best = "those of the highest mean validation Dice, whose score is therefore optimistic"
    validated = [row for row in history.rows if row.dice]
    validation = {
        "subjects": list(validation_names),
        "iteration": validated[-1].iteration,
        "overlap_step": settings.validation_step,
        "dice": {key: round(value, 4) for key, value in validated[-1].dice.items()},
    } if validated else "none"  # fmt: skip
    return {
        "window": settings.window,
        "training_data": {"licence": "not stated"},
        "seed": settings.seed,
        "iterations": state.iteration,
        "training_hours": round(state.seconds / 3600, 3),
        "settings": asdict(settings),
        "weights": (best if settings.final_weights == "best" and validated else "those of the last iteration")
        + averaged,
        "validation": validation,
        "intended_use": INTENDED_USE,
    } | card


def _compare(path: Path, settings: TrainingSettings, card: dict[str, Any]) -> None:
    try:
        earlier = json.loads(path.read_text())
        earlier_settings, earlier_card = earlier["settings"], earlier["card"]
        difference = settings.difference_from(earlier_settings)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged, so its run cannot be resumed; choose another --output.") from error
    if not difference and earlier_card != card:
        difference = "; ".join(changes_between(earlier_card, card))
    if difference:
        raise UserError(
            f"The run in {path.parent} was made otherwise: {difference}; a run is resumed with what it began with; "
            "give the same, or begin anew in another --output."
        )
