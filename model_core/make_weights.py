"""Train the default weights from the anatomies in Resources, score them on held-out ones, and write their card.

    python model_core/make_weights.py --output runs/default
    python model_core/make_weights.py --output runs/dual --network dual_aggregation
    python model_core/make_weights.py --output runs/cpu --scale 0.03 --score-step 32 --draws 1
    python model_core/make_weights.py --output runs/on --initial-weights Resources/weights/nonlocal_unet.safetensors

Synthetic pairs are made while the network trains, on windows of 16, 24 and 32 voxels in turn. --scale 1 is the whole
recipe, for a GPU; a CPU of two cores needs about half an hour for each hundredth of it. The command can be stopped
(Ctrl-C) and goes on when it is given again. With --initial-weights the first stage is left out. The output folder
gets a folder a stage, weights.safetensors with its card, scores.json, and WEIGHTS.md, the card to read.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import argparse
import hashlib
from collections.abc import Sequence
from typing import Any

from model_core.anatomies import read_anatomies
from model_core.command_line import STOPPED_BY_USER, run_command
from model_core.devices import available_cores
from model_core.errors import UserError
from model_core.held_out_scores import SEED as DRAWS_SEED
from model_core.held_out_scores import score_draws, summarise
from model_core.inference import Segmenter
from model_core.networks import NETWORKS
from model_core.run_folder import CHECKPOINT_FILE, WEIGHTS_FILE
from model_core.synthetic_windows import SyntheticSampler
from model_core.training import TrainingStopped, train
from model_core.training_settings import TrainingSettings
from model_core.volumes import replace_when_complete
from model_core.weights import load_weights, save_weights, window_of
from model_core.weights_card import describe_card
from model_core.weights_recipe import (
    ANATOMIES_LICENCE,
    HELD_OUT,
    WIDE_SHARE,
    anatomy_files,
    stage_settings,
)

SCORES_FILE, CARD_FILE = "scores.json", "WEIGHTS.md"
DEFAULT_SCORE_STEP, DEFAULT_DRAWS = 8, 5
LIMITS = (
    "Trained on synthetic pairs alone and not validated on individual real scans. Cerebellum and brain stem, which the "
    "training data lack, are labelled as cerebral tissue. Not a medical device."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train stage after stage, put the card together, score, write."""
    options = _parse(arguments)
    continues = _fingerprint(options.initial_weights) if options.initial_weights else ""
    stages = stage_settings(options.network, options.scale, options.device, continues=continues)
    if options.output.exists() and not options.output.is_dir():
        raise UserError(f"--output {options.output} is a file; a folder or a new name was expected; choose another.")
    training, held_out = anatomy_files()
    try:
        trained = _train(options, stages, training)
    except TrainingStopped:
        print("Stopped; checkpoint and weights of the stage are saved. The same command goes on.", file=sys.stderr)
        raise SystemExit(STOPPED_BY_USER) from None
    network, card = load_weights(trained)
    card = _card(card, options, stages, [path.name for path in training])
    save_weights(options.output / WEIGHTS_FILE, network, card)
    segmenter = Segmenter(network, window=window_of(trained, card, network), device=options.device)
    records = score_draws(
        segmenter,
        read_anatomies([*held_out, *options.test_anatomy]),
        options.draws,
        options.score_step,
        _fingerprint(trained),
        options.output / SCORES_FILE,
    )
    summary = summarise(records)
    card["held_out_scores"] = {
        "data": "Synthetic pairs in six-month contrast of anatomies never trained on, "
        f"{options.draws} of each (seed {DRAWS_SEED})",
        "overlap_step": options.score_step,
        "draws": options.draws,
        "mean": summary.pop("all"),
        "scores": summary,
    }
    save_weights(options.output / WEIGHTS_FILE, network, card)
    with replace_when_complete(options.output / CARD_FILE) as temporary:
        temporary.write_text(describe_card(load_weights(options.output / WEIGHTS_FILE)[1]), encoding="utf-8")
    print(f"Weights: {options.output / WEIGHTS_FILE}\nCard: {options.output / CARD_FILE}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    title, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the stages and the weights")
    add("--network", choices=tuple(NETWORKS), default="nonlocal_unet", metavar="NAME", help="(default: %(default)s)")
    add("--scale", type=float, default=1.0, help="factor on all iterations (default: 1, for a GPU)")
    add("--initial-weights", type=Path, metavar="FILE", help="go on from these weights")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    add("--score-step", type=int, default=DEFAULT_SCORE_STEP, metavar="STEP", help="overlap step (default: 8)")
    add("--draws", type=int, default=DEFAULT_DRAWS, help="pairs of each held-out anatomy to score (default: 5)")
    add("--test-anatomy", nargs="+", default=[], metavar="LABELS", help="label maps to score on besides")
    options = parser.parse_args(arguments)
    if options.draws < 1 or options.score_step < 1:
        parser.error("--draws and --score-step are 1 or more")
    return options


def _fingerprint(weights: Path) -> str:
    """SHA-256 of a weights file, which is read whole first: a missing or damaged one is told of in a sentence."""
    load_weights(weights)
    return hashlib.sha256(weights.read_bytes()).hexdigest()


def _train(options: argparse.Namespace, stages: Sequence[TrainingSettings], training: Sequence[Path]) -> Path:
    """Train what is not trained yet; return the weights of the last stage."""
    weights, anatomies = options.initial_weights, None
    for settings in stages:
        folder = options.output / f"windows-of-{settings.window}"
        done = (folder / WEIGHTS_FILE).exists() and load_weights(folder / WEIGHTS_FILE)[1].get("iterations")
        if done != settings.iterations:
            anatomies = anatomies or read_anatomies(training)
            print(f"Windows of {settings.window}³: {settings.iterations:,} iterations", flush=True)
            # With a GPU, which needs pairs fast, nothing else wants the cores.
            workers = max(1, available_cores() - 1)
            with SyntheticSampler(
                anatomies, window=settings.window, seed=settings.seed, wide_share=WIDE_SHARE, workers=workers
            ) as sampler:
                train(
                    settings,
                    sampler,
                    folder,
                    card={"training_data": _training_data([path.name for path in training])},
                    resume=(folder / CHECKPOINT_FILE).exists(),
                    initial_weights=weights,
                )
        weights = folder / WEIGHTS_FILE
    return weights


def _training_data(anatomies: Sequence[str]) -> dict[str, Any]:
    return {
        "description": "synthetic T1/T2 pairs, made while training",
        "anatomies": list(anatomies),
        "wide_share": WIDE_SHARE,
        "held_out": list(HELD_OUT),
        "licence": ANATOMIES_LICENCE,
    }


def _card(
    card: dict[str, Any], options: argparse.Namespace, stages: Sequence[TrainingSettings], anatomies: Sequence[str]
) -> dict[str, Any]:
    """The card of the whole recipe, from that of its last stage."""
    history = _history(card)
    return {
        "title": f"Weights of {options.network}, trained on synthetic six-month pairs",
        "window": stages[-1].window,
        "training_data": _training_data(anatomies),
        "recipe": {"scale": options.scale, "stages": history},
        "seed": stages[0].seed,
        "iterations": sum(stage["iterations"] for stage in history),
        "training_hours": round(sum(stage["training_hours"] for stage in history), 2),
        "started_from": _start(card),
        "weights": card["weights"],
        "intended_use": card["intended_use"],
        "limits": LIMITS,
    }


def _history(card: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The stages of this recipe that led to a card, the first first."""
    stages = []
    while _is_of_synthetic_pairs(card):
        settings = card["settings"]
        kept = ("window", "batch", "learning_rate", "schedule", "output_dropout", "ema_decay", "seed")
        stages.append(
            {"iterations": card["iterations"], "training_hours": card["training_hours"]}
            | {name: settings[name] for name in kept}
        )
        card = card.get("continued_from")
    return stages[::-1]


def _is_of_synthetic_pairs(card: dict[str, Any] | None) -> bool:
    """Whether a training run on pairs that were made meanwhile wrote the card."""
    return bool(card) and "wide_share" in card.get("training_data", {}) and "settings" in card


def _start(card: dict[str, Any] | None) -> dict[str, Any] | str:
    """What the first stage began with: the essentials of an earlier card, or random numbers."""
    while _is_of_synthetic_pairs(card):
        card = card.get("continued_from")
    if not card:
        return "random weights"
    kept = ("title", "date", "iterations", "training_data", "recipe", "earlier_choice", "started_from")
    return {name: card[name] for name in kept if name in card}


if __name__ == "__main__":
    sys.exit(run_command(main))
