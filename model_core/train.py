"""Train a network on labelled T1/T2 pairs.

    python model_core/train.py --data iSeg-2017-Training --output runs/fold-10 --leave-out 10
    python model_core/train.py --data iSeg-2017-Training --output runs/fold-10 --leave-out 10 --resume
    python model_core/train.py --data pairs --output runs/dual --network dual_aggregation --iterations 40000
    python model_core/train.py --data corrected --output RUN --initial-weights Resources/weights/fast_unet.safetensors
    python model_core/train.py --anatomy Resources/anatomies/*.nii.gz --wide-share 0.3 --output runs/synthetic
    torchrun --nproc_per_node 4 model_core/train.py --data pairs --output runs/four-gpus
    CUDA_VISIBLE_DEVICES=1 python model_core/train.py --data pairs --output runs/seed-1 --seed 1

The defaults are those of the papers. The folder of --data is in the layout of iSeg, of BIDS, or one folder a
subject; labels are 0/1/2/3 or 0/10/150/250. With --anatomy instead, synthetic pairs are made from FreeSurfer-style
label maps while the network trains. The output folder gets settings.json, history.csv,
training_curve.png, tensorboard/, checkpoint.safetensors and, at the end or when stopped, weights.safetensors.
With --initial-weights the defaults are those of fine-tuning on a few corrected maps: network and windows are those of
the weights, the rate is lower and the run short, and what is saved is the mean of the initial and the trained weights.
Several processes of torchrun train together: --batch windows each, one GPU each.
Ctrl-C saves a checkpoint; after that, or after a crash, the same command with --resume goes on.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import argparse
import os
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields
from typing import Any

from tqdm import tqdm

from model_core.datasets.crops import sampler_for
from model_core.datasets.subjects import (
    LabelledPair,
    Subject,
    describe_subjects,
    find_subjects,
    leave_one_out,
    load_pair,
)
from model_core.errors import UserError
from model_core.networks import NETWORKS, build_network
from model_core.networks.input_form import form_of
from model_core.synthesis.anatomies import read_anatomies
from model_core.synthesis.sampler import SyntheticSampler
from model_core.synthesis.shares import add_shares, shares_of
from model_core.system.command_line import STOPPED_BY_USER, run_command
from model_core.system.devices import available_cores
from model_core.training.distributed import started_together
from model_core.training.fine_tuning import FINE_TUNED_FROM, describe_beginning, fine_tuning_settings
from model_core.training.loop import Sampler, TrainingSettings, TrainingStopped, train
from model_core.training.losses import LOSSES
from model_core.training.run_folder import check_output
from model_core.training.settings import FINAL_WEIGHTS, OPTIMIZERS, PAPER_SETTINGS, PRECISIONS, SCHEDULES

SETTING_HELP = {
    "network": "one of " + ", ".join(NETWORKS),
    "window": "side of the training windows in voxels, a multiple of 4 (cc_3d_fcn: of 8)",
    "batch": "windows per iteration",
    "learning_rate": "the optimiser's learning rate",
    "weight_decay": "adam: L2 term; adamw: how fast the weights shrink",
    "optimizer": "adam or adamw",
    "loss": "cross_entropy, or dice_and_cross_entropy (.6 and .4)",
    "gradient_clip": "largest norm of the gradient; 0: any",
    "rate_decay": "taken off the learning rate after every 1000 iterations; 2e-6 is one reading of the dual "
    "aggregation paper",
    "schedule": "of the learning rate: constant or cosine",
    "warmup": "iterations over which the learning rate first rises",
    "iterations": "optimiser steps in all",
    "attention_dropout": "rate of the dropout on the attention weights",
    "output_dropout": "rate of the dropout before the output convolution",
    "ema_decay": "decay of a running average of the weights, which is then validated and saved; 0: none",
    "keep_initial": "share of the --initial-weights in the weights that are saved, 0 to below 1",
    "seed": "of initial weights, windows and dropout",
    "validate_every": "iterations between validations",
    "validation_step": "overlap step of the validation's windows",
    "checkpoint_every": "iterations between checkpoints",
    "log_every": "iterations averaged in one row of history.csv",
    "final_weights": "last, or best: those with the highest mean Dice on the validation subjects",
    "device": "auto, cpu, cuda, cuda:1 or mps",
    "precision": "auto (mixed float16 on CUDA), float32, float16, or bfloat16 on processors that compute in it",
}
CHOICES = {
    "network": tuple(NETWORKS),
    "schedule": SCHEDULES,
    "final_weights": FINAL_WEIGHTS,
    "precision": PRECISIONS,
    "optimizer": OPTIMIZERS,
    "loss": tuple(LOSSES),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Find the subjects, load them, and train."""
    options = parse(arguments)
    processes = started_together()
    if not processes.is_first:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends: the first says it all)
    settings = settings_of(options)
    if processes.is_first:
        check_output(options.output, resume=options.resume)  # before minutes go into reading scans
    try:
        with ExitStack() as stack:
            sampler, card, validation = prepare_data(options, settings, stack)
            if options.initial_weights:
                seen = len(card["training_data"].get("subjects") or options.anatomy)
                card[FINE_TUNED_FROM] = describe_beginning(options.initial_weights, settings.keep_initial, seen)
            weights = train(
                settings,
                sampler,
                options.output,
                validation_pairs=load_pairs(validation, "validation"),
                card=card,
                resume=options.resume,
                initial_weights=options.initial_weights,
            )
    except TrainingStopped:
        print(f"Stopped; checkpoint and weights are saved. Go on with: {resume_command(arguments)}", file=sys.stderr)
        raise SystemExit(STOPPED_BY_USER) from None
    print(f"Weights: {weights}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; every field of ``TrainingSettings`` is an option with the same default."""
    title, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", type=Path, help="folder of labelled subjects")
    source.add_argument("--anatomy", nargs="+", metavar="LABELS", help="label maps to make synthetic pairs from")
    add_shares(parser, "with --anatomy: ")
    parser.add_argument("--output", type=Path, required=True, help="folder of the run, new unless --resume is given")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --output from its checkpoint")
    held_out = parser.add_mutually_exclusive_group()
    held_out.add_argument(
        "--leave-out", type=int, metavar="N", help="train without subject N of --data, validate on it"
    )
    held_out.add_argument("--validation-data", type=Path, metavar="DIR", help="validate on its subjects")
    parser.add_argument("--initial-weights", type=Path, metavar="FILE", help="begin with these; sets other defaults")
    parser.add_argument("--data-licence", default="not stated", metavar="TEXT", help="for the card in the weights file")
    for field in fields(TrainingSettings):
        usual = PAPER_SETTINGS.get(field.name, field.default)
        others = {
            name: record.training[field.name] for name, record in NETWORKS.items() if field.name in record.training
        }
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(usual),
            choices=CHOICES.get(field.name),
            metavar=None if field.name in CHOICES and field.name != "network" else field.name.upper(),
            help=f"{SETTING_HELP[field.name]} (default: {usual}{_by_network(others)})",
        )
    options = parser.parse_args(arguments)
    if options.anatomy and options.leave_out is not None:
        parser.error("--leave-out needs --data; with --anatomy leave a label map out of the list")
    if (options.wide_share or options.random_share) and not options.anatomy:
        parser.error("--wide-share and --random-share are shares of the pairs made from --anatomy")
    if options.keep_initial and not options.initial_weights:
        parser.error("--keep-initial is a share of the weights of --initial-weights, which are not given")
    try:
        shares_of(options)
    except UserError as error:
        parser.error(str(error))
    return options


def settings_of(options: argparse.Namespace) -> TrainingSettings:
    """Give the run's settings: the options given, else what suits the initial weights, else the defaults.

    Raises:
        UserError: a setting is out of its range, or the initial weights cannot be read or are of another network.
    """
    given = {field.name: getattr(options, field.name) for field in fields(TrainingSettings)}
    given = {name: value for name, value in given.items() if value is not None}
    usual = fine_tuning_settings(options.initial_weights, given) if options.initial_weights else {}
    return TrainingSettings(**usual | given)


def _by_network(values: Mapping[str, object]) -> str:
    """Name the networks that have another default: "; 64 for fast_unet"."""
    return "".join(f"; {value} for {name}" for name, value in values.items())


def prepare_data(
    options: argparse.Namespace, settings: TrainingSettings, stack: ExitStack
) -> tuple[Sampler, dict[str, Any], list[Subject]]:
    """Give the training windows, the card that names their source, and the subjects to validate on.

    Args:
        options: of the command line.
        settings: the run's.
        stack: ends the threads that make synthetic pairs.
    """
    form = form_of(build_network(settings.network))
    if options.anatomy:
        validation = list_labelled(options.validation_data) if options.validation_data else []
        sampler = SyntheticSampler(
            read_anatomies(options.anatomy),
            window=settings.window,
            seed=settings.seed,
            shares=shares_of(options),
            workers=max(1, available_cores() - 1),
            form=form,
        )
        return stack.enter_context(sampler), {"training_data": describe_anatomies(options)}, validation
    training, validation = choose_subjects(options.data, options.leave_out, options.validation_data)
    pairs = load_pairs(training, "training")
    sampler = sampler_for(pairs, form, window=settings.window, seed=settings.seed)
    return sampler, {"training_data": describe_data(options, training)}, validation


def choose_subjects(
    data: Path, leave_out: int | None, validation_data: Path | None
) -> tuple[list[Subject], list[Subject]]:
    """Give the subjects to train on and those to validate on, and print what was found and what is left out.

    Raises:
        UserError: no subject with labels is left to train on, or the validation has none.
    """
    training, validation = list_labelled(data), []
    if leave_out is not None:
        training, validation = leave_one_out(training, leave_out)
    if validation_data is not None:
        validation = list_labelled(validation_data)
    return training, validation


def list_labelled(folder: Path) -> list[Subject]:
    """Find the subjects of a folder, print them, and give those that have labels."""
    subjects = find_subjects(folder)
    print(describe_subjects(subjects))
    labelled = [subject for subject in subjects if subject.labels is not None]
    unlabelled = [subject.name for subject in subjects if subject.labels is None]
    if unlabelled:
        print(f"Skipped, because they have no label map: {', '.join(unlabelled)}")
    if not labelled:
        raise UserError(
            f"No subject in {folder} has a label map; training needs T1, T2 and labels of each; add the label maps "
            "or give another folder."
        )
    return labelled


def load_pairs(subjects: Sequence[Subject], purpose: str) -> list[LabelledPair]:
    """Read subjects into memory with a progress bar, and print what their files make doubtful."""
    pairs = [load_pair(subject) for subject in tqdm(subjects, desc=f"Reading {purpose} data", disable=not subjects)]
    for finding in dict.fromkeys(finding for pair in pairs for finding in pair.findings):
        print(f"Warning: {finding.sentence}")
    return pairs


def describe_data(options: argparse.Namespace, training: Sequence[Subject]) -> dict[str, Any]:
    """Give the card's entry on the training data."""
    return {
        "folder": options.data.resolve().name,
        "subjects": [subject.name for subject in training],
        "licence": options.data_licence,
    }


def describe_anatomies(options: argparse.Namespace) -> dict[str, Any]:
    """Give the card's entry on synthetic training data."""
    return {
        "description": "synthetic pairs made while training",
        "anatomies": [Path(path).name for path in options.anatomy],
        "wide_share": options.wide_share,
        "random_share": options.random_share,
        "licence": options.data_licence,
    }


def resume_command(arguments: Sequence[str] | None) -> str:
    """Give the command that goes on with this run."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return shlex.join(["python", "model_core/train.py", *given, *([] if "--resume" in given else ["--resume"])])


if __name__ == "__main__":
    sys.exit(run_command(main))
