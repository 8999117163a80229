"""Segment all subjects of a BIDS data set, and report on the group.

    python model_core/cohort.py --bids data --output data/derivatives/infantbrainseg
    python model_core/cohort.py --bids data --output results participant --participant-label 01 02 --step 16
    python model_core/cohort.py data results participant group --raw
    python model_core/cohort.py --bids data --output results --list-jobs > jobs.txt
    python model_core/cohort.py --bids data --output results --scheduler tcp://head:8786

Levels: participant segments each subject (each session) that is not complete and up to date; group writes group.tsv,
group.json and index.html of what there is. Without a level both are run. A subject that fails does not stop the
others. --list-jobs prints one command a subject, for SLURM arrays or GNU parallel; several commands may work on one
output side by side. The result of a subject is made again when its scans, mask, reference, weights or options change.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import argparse
import contextlib
import os
import re
import shlex
import signal
import socket
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence

from tqdm import tqdm

from model_core.brain_extraction import TOOL_NAMES
from model_core.cohort_files import HIDDEN_FOLDER, prepare_output
from model_core.cohort_runs import DONE, ELSEWHERE, FAILED, STOPPED, UNCHANGED, Outcome, note_failure
from model_core.cohort_subjects import CHOICE, Cohort, CohortSubject, choose_subjects, describe_inputs, find_cohort
from model_core.cohort_tasks import CohortSettings, Task, fingerprint_of, why_to_run
from model_core.cohort_workers import plan_slots, run_locally, run_on_dask
from model_core.command_line import run_command
from model_core.errors import UserError
from model_core.model_card import DEFAULT_WEIGHTS, DEFAULT_WINDOW, read_card
from model_core.raw_scans import STEPS

LEVELS = ("participant", "group")
DEFAULT_STEP = 8  # the published setting
STALE_SECONDS = 3600.0  # a stop file this old is of a command that was killed


def main(arguments: Sequence[str] | None = None, program: Path | None = None) -> None:
    """Run the levels; see the top of this file. ``program`` takes segment.py's place in tests."""
    options = _parse(arguments)
    cohort = find_cohort(options.bids, options.output, options.choose)
    subjects = choose_subjects(cohort, options.participant_label, options.session_label)
    if options.list_jobs:
        print("\n".join(_job_command(options, subject) for subject in subjects))
        return
    if "participant" in options.levels:
        _check_once(options)
    prepare_output(options.bids, options.output)
    _tell_of(cohort, subjects)
    failures: dict[str, str] = {}
    if "participant" in options.levels:
        failures = _run_participants(options, subjects, program)
    if "group" in options.levels:
        from model_core.cohort_group import write_group  # and matplotlib, which the jobs of an array do without

        print(f"Group report: {write_group(options.output, cohort)}")
    if failures:
        listed = "; ".join(f"{name}: {sentence}" for name, sentence in list(failures.items())[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        raise UserError(f"{len(failures)} of {len(subjects)} subjects failed; the others are complete. {listed}{more}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    title, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=title,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s --bids DIR --output DIR [participant] [group] [options]",
    )
    add = parser.add_argument
    add("words", nargs="*", metavar="LEVEL", help="participant, group (default: both); may follow BIDS_DIR OUTPUT_DIR")
    add("--bids", type=Path, metavar="DIR", help="BIDS data set")
    add("--output", type=Path, metavar="DIR", help="folder of the results, BIDS derivatives; made if need be")
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
    add("--step", type=int, default=DEFAULT_STEP, help="voxels between windows (default: %(default)s)")
    add("--device", default="auto", help="auto, cpu, cuda (all GPUs), cuda:1, … or mps (default: %(default)s)")
    add("--no-probabilities", action="store_true", help="write no _probseg files")
    add("--no-scores", action="store_true", help="do not compare with segmentations in the data set's derivatives")
    add("--align-t2", action="store_true", help="first move T2 onto T1, rigidly")
    add("--bias-correction", action="store_true", help="first correct both scans' bias fields by N4")
    add("--raw", action="store_true", help="scans as converted from DICOM, with skull, T2 in its own space")
    add("--skip", nargs="+", choices=STEPS, default=[], metavar="STEP", help=f"with --raw: {', '.join(STEPS)}")
    add("--brain-extraction", choices=TOOL_NAMES, help="with --raw, where there is no mask")
    add("--max-memory", type=float, metavar="GB", help="ceiling for the memory of each process")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--workers", type=int, metavar="N", help="processes side by side (default: see the README)")
    how.add_argument("--scheduler", metavar="ADDRESS|FILE", help="hand the subjects to this Dask cluster")
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
        parser.error("--bids and --output are needed (or BIDS_DIR OUTPUT_DIR before the levels)")
    unknown = [word for word in words if word not in LEVELS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no level; expected participant or group")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", options.device):
        parser.error(f"{options.device!r} is no device; expected auto, cpu, cuda, cuda:1, … or mps")
    if options.workers is not None and options.workers < 1:
        parser.error(f"--workers {options.workers} is not possible; expected 1 or more")
    if (options.skip or options.brain_extraction) and not options.raw:
        parser.error("--skip and --brain-extraction are for --raw")
    if options.raw and (options.align_t2 or options.bias_correction):
        parser.error("--raw aligns T2 and corrects the bias by itself; leave out --align-t2 and --bias-correction")
    options.levels = words or LEVELS
    options.bids, options.output = options.bids.resolve(), options.output.resolve()
    options.weights = options.weights.resolve()


def _check_once(options: argparse.Namespace) -> None:
    """Tell once what every subject would tell."""
    window = read_card(options.weights).get("window", DEFAULT_WINDOW)
    if isinstance(window, int) and not 1 <= options.step <= window:
        raise UserError(
            f"--step {options.step} is not possible with windows of {window} voxels; expected 1 to {window}; "
            f"take {DEFAULT_STEP} (as published), or 16 for a quicker result."
        )


def _tell_of(cohort: Cohort, subjects: Sequence[CohortSubject]) -> None:
    print(f"T1/T2 pairs: {len(subjects)} of {len(cohort.subjects)}")
    for subject in subjects:
        print(f"{subject.name}: {describe_inputs(subject)}")
    for phrase in cohort.incomplete.values():
        print(f"Not segmented: {phrase}")
    for sentence in cohort.unused:
        print(f"Not used: {sentence}")
    for note in cohort.notes:
        print(f"Warning: {note}")


def _settings(options: argparse.Namespace) -> CohortSettings:
    return CohortSettings(
        weights=options.weights,
        step=options.step,
        probabilities=not options.no_probabilities,
        align_t2=options.align_t2,
        bias_correction=options.bias_correction,
        raw=options.raw,
        skip=tuple(options.skip),
        brain_extraction=options.brain_extraction,
        max_memory=options.max_memory,
        scores=not options.no_scores,
    )


def _run_participants(
    options: argparse.Namespace, subjects: Sequence[CohortSubject], program: Path | None
) -> dict[str, str]:
    """Run the subjects; give for each that failed its sentence."""
    settings = _settings(options)
    with _stop_file(options.output) as stop_file:
        tasks = [
            Task(subject, options.bids, options.output, settings, stop_file, options.device, program=program)
            for subject in subjects
        ]
        if options.scheduler:
            outcomes = run_on_dask(tasks, options.scheduler)
        else:
            outcomes = run_locally(tasks, plan_slots(options.device, options.workers, len(tasks)))
        failures, counts = {}, Counter()
        with contextlib.closing(outcomes), tqdm(total=len(tasks), desc="Subjects", disable=None) as bar:
            for task, outcome in outcomes:
                outcome = _look_again(task, outcome)
                counts[outcome.state] += 1
                name = task.subject.name
                if outcome.state == FAILED:
                    failures[name] = outcome.sentence
                    _keep_failure(task, outcome.sentence)
                with bar.external_write_mode(file=sys.stdout):
                    print(f"[{sum(counts.values())}/{len(tasks)}] {name}: {_describe(outcome)}", flush=True)
                bar.update()
    words = {DONE: "segmented", UNCHANGED: "unchanged", FAILED: "failed", ELSEWHERE: "left to another process"}
    print("Subjects: " + ", ".join(f"{counts[state]} {word}" for state, word in words.items() if counts[state]))
    return failures


def _look_again(task: Task, outcome: Outcome) -> Outcome:
    """What another process had may be complete by now."""
    with contextlib.suppress(UserError):
        if outcome.state == ELSEWHERE and not why_to_run(task.files, fingerprint_of(task), task.settings):
            return Outcome(UNCHANGED)
    return outcome


def _keep_failure(task: Task, sentence: str) -> None:
    """Note what the task could not note itself, since its process was killed."""
    with contextlib.suppress(UserError, OSError):
        if not task.files.failure.exists():
            note_failure(task.files, sentence)


def _describe(outcome: Outcome) -> str:
    sentences = {
        DONE: f"segmented in {outcome.seconds:.0f} s ({outcome.sentence})",
        UNCHANGED: "complete and up to date",
        ELSEWHERE: f"left to another process: {outcome.sentence}",
        STOPPED: "stopped",
        FAILED: f"failed: {outcome.sentence}",
    }
    return sentences[outcome.state]


@contextlib.contextmanager
def _stop_file(output: Path) -> Iterator[Path]:
    """Name the file whose appearance stops this command's tasks, on whichever machine they run."""
    folder = output / HIDDEN_FOLDER
    for path in folder.glob("stop-*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > STALE_SECONDS:
                path.unlink()
    path = folder / f"stop-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _job_command(options: argparse.Namespace, subject: CohortSubject) -> str:
    """The command of one subject, quoted for a shell; it runs from any folder."""
    parts = [sys.executable, str(Path(__file__).resolve()), "participant"]
    parts += ["--bids", str(options.bids), "--output", str(options.output), "--participant-label"]
    parts += [f"sub-{subject.participant}"]
    parts += ["--session-label", f"ses-{subject.session}"] if subject.session else []
    if options.weights != DEFAULT_WEIGHTS.resolve():
        parts += ["--weights", str(options.weights)]
    for name, default in (("step", DEFAULT_STEP), ("device", "auto"), ("brain_extraction", None), ("max_memory", None)):
        if getattr(options, name) != default:
            parts += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    for name in ("no_probabilities", "no_scores", "align_t2", "bias_correction", "raw"):
        parts += [f"--{name.replace('_', '-')}"] if getattr(options, name) else []
    parts += ["--skip", *options.skip] if options.skip else []
    parts += ["--choose", *options.choose] if options.choose else []
    return shlex.join(parts)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # both stop it, even as a shell's background job
        signal.signal(number, signal.default_int_handler)
    sys.exit(run_command(main))
