"""Train the default weights from the anatomies in Resources, score them on held-out ones, and write their card.

    python model_core/make_weights.py --output runs/fast
    python model_core/make_weights.py --output runs/on --initial-weights Resources/weights/fast_unet.safetensors
    python model_core/make_weights.py --output runs/published --network nonlocal_unet --device cuda
    python model_core/make_weights.py --output runs/cpu --network nonlocal_unet --scale 0.03 --score-step 32 --draws 1

Synthetic pairs are made while the network trains. --scale 1 is the whole recipe: for the fast U-Net three members of
three hours each on two cores, for the networks of the papers (windows of 16, 24 and 32 voxels in turn) a GPU, or half
an hour of two cores for each hundredth. The command can be stopped or killed at any time and goes on when it is given
again. With --initial-weights the smallest windows are left out and other pairs are met. The output folder gets a folder
per member and stage, weights.safetensors with its card, scores.json, calibration.json and .png (the Dice that can be
expected of a map without a reference), and WEIGHTS.md, the card to read.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import argparse
import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from model_core.confidence.calibration import CARD_ENTRY
from model_core.default_weights import calibrating
from model_core.default_weights.calibration_figure import draw_calibration
from model_core.default_weights.card_content import describe_scores, make_card, training_data
from model_core.default_weights.card_page import page_of_card
from model_core.default_weights.held_out import BOTH_SCANS, score_draws, summarise
from model_core.default_weights.held_out import SEED as DRAWS_SEED
from model_core.default_weights.recipe import HELD_OUT, SHARES, anatomy_files, default_members, stage_settings
from model_core.errors import UserError
from model_core.inference import Segmenter
from model_core.networks import NETWORKS, SegmentationNetwork, build_network
from model_core.networks.ensemble import Ensemble
from model_core.networks.input_form import form_of
from model_core.synthesis.anatomies import Anatomy, read_anatomies
from model_core.synthesis.generator import synthesize_pair
from model_core.synthesis.sampler import SyntheticSampler
from model_core.system.command_line import STOPPED_BY_USER, run_command
from model_core.system.devices import available_cores
from model_core.system.files import replace_when_complete
from model_core.system.provenance import sha256_of
from model_core.training.loop import TrainingStopped, train
from model_core.training.run_folder import CHECKPOINT_FILE, WEIGHTS_FILE
from model_core.training.settings import TrainingSettings
from model_core.weights import LARGEST_ENSEMBLE, load_weights, save_weights, window_of

SCORES_FILE, CARD_FILE, INITIAL_FILE = "scores.json", "WEIGHTS.md", "initial.safetensors"
CALIBRATION_PICTURE = "calibration.png"
DEFAULT_DRAWS = 5
SMALLEST_AGREEMENT = 0.9999  # of the labels by weights in half precision and in full, for weights to be stored in half


def main(arguments: Sequence[str] | None = None) -> None:
    """Train member after member and stage after stage, put the card together, score, write."""
    options = _parse(arguments)
    if options.output.exists() and not options.output.is_dir():
        raise UserError(f"--output {options.output} is a file; a folder or a new name was expected; choose another.")
    members = _members(options)
    training, held_out = anatomy_files()
    try:
        trained = _train(members, training)
    except TrainingStopped:
        print("Stopped; checkpoint and weights of the stage are saved. The same command goes on.", file=sys.stderr)
        raise SystemExit(STOPPED_BY_USER) from None
    finish(options, members, trained, training, read_anatomies([*held_out, *options.test_anatomy]))


def finish(
    options: argparse.Namespace,
    members: Sequence[Member],
    trained: Sequence[Path],
    training: Sequence[Path],
    held_out: Sequence[Anatomy],
) -> None:
    """Join the members, score them, learn what they can say of their own maps, and write weights and card.

    Args:
        options: of the command line.
        members: as they were trained.
        trained: the weights of each.
        training: files of the anatomies trained on.
        held_out: anatomies to score on.
    """
    loaded = [load_weights(path) for path in trained]
    networks = [network for network, _ in loaded]
    network = networks[0] if len(networks) == 1 else Ensemble(networks)
    card = make_card([card for _, card in loaded], options.scale, [path.name for path in training], members)
    weights = options.output / WEIGHTS_FILE
    card["half_precision_agreement"] = agreement = _agreement_in_half(network, held_out[0], options)
    half = agreement >= SMALLEST_AGREEMENT
    save_weights(weights, network, card, half=half)
    network, card = load_weights(weights)
    segmenter = Segmenter(network, window=window_of(weights, card, network), device=options.device)
    step = options.score_step or segmenter.default_step
    score = partial(score_draws, segmenter, held_out, step=step, fingerprint=_of_all(trained))
    records = score(draws=options.draws, path=options.output / SCORES_FILE)
    card["held_out_scores"] = describe_scores(records, step, options.draws)
    if segmenter.form.optional_scans:
        by_given = {"both": records[: len(held_out)]}  # the first draw of each
        for scan in BOTH_SCANS:
            by_given[scan] = score(draws=1, path=options.output / f"scores-{scan}.json", given=(scan,))
        card["one_scan_scores"] = {given: summarise(scored)["all"] for given, scored in by_given.items()}
    if options.calibration_pairs:
        card[CARD_ENTRY] = _calibrate(options, segmenter, step, _of_all(trained), training, held_out[: len(HELD_OUT)])
    save_weights(weights, network, card, half=half)
    with replace_when_complete(options.output / CARD_FILE) as temporary:
        temporary.write_text(page_of_card(load_weights(weights)[1]), encoding="utf-8")
    print(f"Weights: {weights}\nCard: {options.output / CARD_FILE}")


def _calibrate(
    options: argparse.Namespace,
    segmenter: Segmenter,
    step: int,
    fingerprint: str,
    training: Sequence[Path],
    held_out: Sequence[Anatomy],
) -> dict[str, Any]:
    """Learn what Dice to expect, on anatomies trained on; check it on others; draw it; give the card's entry."""
    tried = partial(calibrating.try_pairs, segmenter, step=step, fingerprint=fingerprint)
    count = options.calibration_pairs
    learned_from = tried(
        read_anatomies(training), count, calibrating.SEED, path=options.output / calibrating.RECORDS_FILE
    )
    calibration = calibrating.learn(learned_from)
    held_back = tried(
        held_out, max(1, count * 2 // 3), calibrating.CHECK_SEED, path=options.output / calibrating.CHECK_FILE
    )
    with replace_when_complete(options.output / CALIBRATION_PICTURE) as temporary:
        temporary.write_bytes(draw_calibration(calibration, learned_from, held_back))
    return calibrating.card_entry(calibration, segmenter.looks, count, calibrating.check(calibration, held_back))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    title, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the stages and the weights")
    add("--network", choices=tuple(NETWORKS), default="fast_unet", metavar="NAME", help="(default: %(default)s)")
    add("--members", type=int, metavar="N", help="networks whose mean segments (default: 3 fast U-Nets, 1 of others)")
    add("--scale", type=float, default=1.0, help="factor on all iterations (default: 1)")
    add("--initial-weights", type=Path, metavar="FILE", help="go on from these weights")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    add("--score-step", type=int, metavar="STEP", help="overlap step (default: the whole brain, or 8)")
    add("--draws", type=int, default=DEFAULT_DRAWS, help="pairs of each held-out anatomy to score (default: 5)")
    add("--test-anatomy", nargs="+", default=[], metavar="LABELS", help="label maps to score on besides")
    add(
        "--calibration-pairs",
        type=int,
        default=calibrating.PAIRS,
        help="pairs from which the expected Dice is learned, 0 leaves it out (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if options.draws < 1 or (options.score_step is not None and options.score_step < 1):
        parser.error("--draws and --score-step are 1 or more")
    if options.calibration_pairs != 0 and options.calibration_pairs < 2:
        parser.error("--calibration-pairs is 0, or 2 or more")
    if options.members is None:
        options.members = default_members(options.network)
    if not 1 <= options.members <= LARGEST_ENSEMBLE:
        parser.error(f"--members is 1 to {LARGEST_ENSEMBLE}")
    return options


def _fingerprint(weights: Path) -> str:
    """SHA-256 of a weights file, which is read whole first: a missing or damaged one is told of in a sentence."""
    load_weights(weights)
    return sha256_of(weights)


@dataclass(frozen=True)
class Member:
    """One network of the ensemble: where it trains, with which stages, from which weights."""

    folder: Path
    stages: list[TrainingSettings]
    pairs_seeds: list[int]
    initial_weights: Path | None


def _members(options: argparse.Namespace) -> list[Member]:
    """Settle seeds, folders and beginnings; all members meet the same pairs."""
    continues = _fingerprint(options.initial_weights) if options.initial_weights else ""
    stages = [
        stage_settings(options.network, options.scale, options.device, continues=continues, member=number)
        for number in range(options.members)
    ]
    options.output.mkdir(parents=True, exist_ok=True)
    names = [""] if options.members == 1 else [f"member-{number}" for number in range(1, options.members + 1)]
    beginnings: Sequence[Path | None] = [None] * options.members
    if options.initial_weights:
        beginnings = _split(options.initial_weights, [options.output / name for name in names])
    pairs_seeds = [settings.seed for settings in stages[0]]
    return [
        Member(options.output / name, own, pairs_seeds, beginning)
        for name, own, beginning in zip(names, stages, beginnings, strict=True)
    ]


def _split(weights: Path, folders: Sequence[Path]) -> list[Path]:
    """Give each member weights of its own to begin with."""
    network, card = load_weights(weights)
    networks = network.members if isinstance(network, Ensemble) else [network]
    if len(networks) != len(folders):
        raise UserError(
            f"{weights} holds {len(networks)} members and {len(folders)} are to be trained; as many were expected; "
            f"give --members {len(networks)}."
        )
    if len(networks) == 1:
        return [weights]
    for member, folder in zip(networks, folders, strict=True):
        folder.mkdir(exist_ok=True)
        save_weights(folder / INITIAL_FILE, member, card)
    return [folder / INITIAL_FILE for folder in folders]


def _train(members: Sequence[Member], training: Sequence[Path]) -> list[Path]:
    """Train what is not trained yet; return the weights of each member's last stage."""
    anatomies, trained = None, []
    data = {"training_data": training_data([path.name for path in training])}
    for member in members:
        weights = member.initial_weights
        for settings, pairs_seed in zip(member.stages, member.pairs_seeds, strict=True):
            folder = member.folder / f"windows-of-{settings.window}"
            done = (folder / WEIGHTS_FILE).exists() and load_weights(folder / WEIGHTS_FILE)[1].get("iterations")
            if done != settings.iterations:
                anatomies = anatomies or read_anatomies(training)
                print(f"{folder}: {settings.iterations:,} iterations", flush=True)
                # With a GPU, which needs pairs fast, nothing else wants the cores.
                with SyntheticSampler(
                    anatomies,
                    window=settings.window,
                    seed=settings.seed,
                    pairs_seed=pairs_seed,
                    shares=SHARES,
                    workers=max(1, available_cores() - 1),
                    form=form_of(build_network(settings.network)),
                ) as sampler:
                    train(
                        settings,
                        sampler,
                        folder,
                        card=data,
                        resume=(folder / CHECKPOINT_FILE).exists(),
                        initial_weights=weights,
                    )
            weights = folder / WEIGHTS_FILE
        trained.append(weights)
    return trained


def _of_all(weights: Sequence[Path]) -> str:
    """Fingerprint of an ensemble: that of its members, whose files stay as they are when it is put together again."""
    return hashlib.sha256("".join(map(_fingerprint, weights)).encode()).hexdigest()


def _agreement_in_half(network: SegmentationNetwork, anatomy: Anatomy, options: argparse.Namespace) -> float:
    """Part of the brain's voxels that get the same label when the weights are stored in half precision."""
    pair = synthesize_pair(anatomy, (DRAWS_SEED, 0))
    halved = copy.deepcopy(network).half().float()
    labels = [
        Segmenter(weights, device=options.device)
        .segment(pair.t1, pair.t2, step=options.score_step, mask=pair.mask)
        .labels
        for weights in (network, halved)
    ]
    return round(float((labels[0] == labels[1])[pair.mask].mean()), 6)


if __name__ == "__main__":
    sys.exit(run_command(main))
