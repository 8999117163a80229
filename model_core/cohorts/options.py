"""The command line of cohort.py, and the command of one of its subjects."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from model_core.cohorts.subjects import CHOICE, CohortSubject
from model_core.cohorts.tasks import CohortSettings
from model_core.errors import UserError
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.program import PROGRAM_NAME, PROGRAM_VERSION
from model_core.segmentation_options import SegmentationOptions, add_arguments, flag_of

LEVELS = ("participant", "group")


def parse(description: str, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; wrong usage ends the process with 2.

    Args:
        description: of the command: a title, then the rest of its help.
        arguments: None takes the process's own.
    """
    title, _, rest = description.partition("\n")
    parser = argparse.ArgumentParser(
        description=title,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s BIDS_DIR OUTPUT_DIR [participant] [group] [options]",
    )
    add = parser.add_argument
    words = "data set; folder of the results, made if need be; participant, group or both (default)"
    add("words", nargs="*", metavar="BIDS_DIR OUTPUT_DIR LEVEL", help=words)
    add("--bids", type=Path, metavar="DIR", help="BIDS data set, in place of the first word")
    add("--output", type=Path, metavar="DIR", help="folder of the results, in place of the second word")
    add("--version", action="version", version=f"{PROGRAM_NAME} {PROGRAM_VERSION}")
    add("-w", "--work-dir", type=Path, metavar="DIR", help="folder for unfinished work (default: in the results)")
    add("--skip-bids-validation", action="store_true", help="accepted as by other BIDS apps; none is done")
    for kind, what in (("participant", "these subjects"), ("session", "these sessions")):
        names = (f"--{kind}-label", f"--{kind}_label")
        add(*names, nargs="+", default=[], metavar="LABEL", help=f"{what} alone, with or without their prefix")
    add(
        "--choose",
        nargs="+",
        type=_choice,
        default=[],
        metavar="ENTITY",
        help="of several scans of a session take those of acq-mprage, run-2, …",
    )
    add("--weights", type=Path, default=DEFAULT_WEIGHTS, help="network weights, .safetensors (default: those shipped)")
    add("--device", default="auto", help="auto, cpu, cuda (all GPUs), cuda:1, … or mps (default: %(default)s)")
    add("--no-probabilities", action="store_true", help="write no _probseg files")
    add("--uncertainty", action="store_true", help="also write how unsure each voxel is, as desc-uncertainty_probseg")
    add("--no-scores", action="store_true", help="do not compare with segmentations in the data set's derivatives")
    add_arguments(parser, leave_out=("device", "age_months"))
    add("--max-memory", type=float, metavar="GB", help="ceiling for the memory of each process")
    cores = "cores that all processes together may use (default: all)"
    add("--n-cpus", "--n_cpus", "--nprocs", type=int, metavar="N", help=cores)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--workers", type=int, metavar="N", help="processes side by side (default: see docs/cohorts.md)")
    how.add_argument("--scheduler", metavar="ADDRESS|FILE", help="hand the subjects to this Dask cluster")
    listing = "print each subject's files and state as a line of JSON, and run nothing"
    how.add_argument("--list-subjects", action="store_true", help=listing)
    how.add_argument("--list-jobs", action="store_true", help="print the command of each subject, and run nothing")
    options = parser.parse_intermixed_args(arguments)
    _check(parser, options)
    return options


def _choice(text: str) -> str:
    if not CHOICE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no entity of a BIDS name; expected one like acq-mprage or run-2")
    return text


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Sort the words into folders and levels, and refuse wrong usage."""
    words = options.words
    if options.bids is None and options.output is None and len(words) >= 2:
        options.bids, options.output, words = Path(words[0]), Path(words[1]), words[2:]
    if options.bids is None or options.output is None:
        parser.error("BIDS_DIR and OUTPUT_DIR are needed (or --bids and --output)")
    unknown = [word for word in words if word not in LEVELS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no level; expected participant or group")
    try:
        options.how = SegmentationOptions.from_arguments(options)
    except UserError as error:
        parser.error(str(error))
    for name in ("workers", "n_cpus"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(options, name)} is not possible; expected 1 or more")
    options.levels = words or LEVELS
    options.bids, options.output = options.bids.resolve(), options.output.resolve()
    options.weights = options.weights.resolve()
    options.work_dir = options.work_dir.resolve() if options.work_dir else None


def settings_of(options: argparse.Namespace) -> CohortSettings:
    """What is the same for all subjects."""
    return CohortSettings(
        weights=options.weights,
        how=options.how,
        probabilities=not options.no_probabilities,
        uncertainty=options.uncertainty,
        max_memory=options.max_memory,
        scores=not options.no_scores,
    )


def job_command(options: argparse.Namespace, subject: CohortSubject) -> str:
    """The command of one subject, quoted for a shell; it runs from any folder."""
    parts = [sys.executable, str(Path(__file__).resolve().parents[1] / "cohort.py"), "participant"]
    parts += ["--bids", str(options.bids), "--output", str(options.output), "--participant-label"]
    parts += [f"sub-{subject.participant}"]
    parts += ["--session-label", f"ses-{subject.session}"] if subject.session else []
    if options.weights != DEFAULT_WEIGHTS.resolve():
        parts += ["--weights", str(options.weights)]
    parts += options.how.as_arguments()
    for name in ("max_memory", "work_dir", "n_cpus"):
        if getattr(options, name) is not None:
            parts += [flag_of(name), str(getattr(options, name))]
    parts += [flag_of(name) for name in ("no_probabilities", "uncertainty", "no_scores") if getattr(options, name)]
    parts += ["--choose", *options.choose] if options.choose else []
    return shlex.join(parts)
