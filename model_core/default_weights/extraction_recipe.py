"""The recipe of the weights that find the brain: which heads train and which test, and the stages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from model_core.default_weights.recipe import ANATOMIES_LICENCE, ANATOMIES_SOURCE, HELD_OUT, anatomy_files
from model_core.networks import BRAIN_EXTRACTION
from model_core.synthesis.head_maps import Head
from model_core.synthesis.head_sampler import RANDOM_SHARE, HeadSampler
from model_core.system.devices import available_cores
from model_core.training.loop import train
from model_core.training.run_folder import CHECKPOINT_FILE, WEIGHTS_FILE
from model_core.training.settings import TrainingSettings
from model_core.weights import load_weights

NETWORK = "brain_extraction"
HEADS = Path(__file__).resolve().parents[2] / "Resources" / "heads"


def head_files() -> tuple[list[Path], list[Path]]:
    """Find the maps of heads to train on, and those held out: of the same people as for the tissues.

    Raises:
        UserError: they are not where the project has them.
    """
    return anatomy_files(HEADS)


def fingerprint(weights: Path) -> str:
    """SHA-256 of a file of extraction weights, which is read whole first."""
    load_weights(weights, BRAIN_EXTRACTION)
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def train_stages(
    stages: Sequence[TrainingSettings], heads: Sequence[Head], output: Path, initial_weights: Path | None = None
) -> Path:
    """Train what is not trained yet; return the weights of the last stage."""
    weights = initial_weights
    data = {
        "training_data": {
            "description": "synthetic heads with T1 and T2, and some scans of what is no head, made while training",
            "anatomies": [head.name for head in heads],
            "random_share": RANDOM_SHARE,
            "held_out": list(HELD_OUT),
            "licence": ANATOMIES_LICENCE,
            "source": ANATOMIES_SOURCE,
        }
    }
    for settings in stages:
        folder = output / f"windows-of-{settings.window}"
        done = (folder / WEIGHTS_FILE).exists() and load_weights(folder / WEIGHTS_FILE, BRAIN_EXTRACTION)[1]
        if not done or done.get("iterations") != settings.iterations:
            workers = max(1, available_cores() - 1)
            with HeadSampler(heads, window=settings.window, seed=settings.seed, workers=workers) as sampler:
                resume = (folder / CHECKPOINT_FILE).exists()
                train(settings, sampler, folder, card=data, resume=resume, initial_weights=weights)
        weights = folder / WEIGHTS_FILE
    if weights is None:
        raise ValueError("stages is empty; at least one is expected")
    return weights
