"""Segment all subjects of a BIDS data set, and report on the group.

    python model_core/cohort.py data data/derivatives/infantbrainseg participant group
    python model_core/cohort.py data results participant --participant-label 01 02 --step 16
    python model_core/cohort.py data results participant --raw --choose acq-mprage --work-dir /scratch
    python model_core/cohort.py data results participant --list-jobs > jobs.txt
    python model_core/cohort.py data results --scheduler tcp://head:8786

Levels: participant segments each subject (each session) that is not complete and up to date; group writes group.tsv,
group.json and index.html of what there is. Without a level both are run. A subject that fails does not stop the
others. --list-jobs prints one command a subject, for SLURM arrays or GNU parallel; several commands may work on one
output side by side. The result of a subject is made again when its scans, mask, reference, weights or options change.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import argparse
import contextlib
import os
import signal
import socket
import time
import uuid
from collections import Counter
from collections.abc import Generator, Sequence

from tqdm import tqdm

from model_core.cohorts.executors import plan_slots, run_locally, run_on_dask
from model_core.cohorts.files import HIDDEN_FOLDER, prepare_output
from model_core.cohorts.listing import describe_subjects
from model_core.cohorts.options import job_command, parse, settings_of
from model_core.cohorts.runs import DONE, ELSEWHERE, FAILED, STOPPED, UNCHANGED, Outcome, note_failure
from model_core.cohorts.subjects import Cohort, CohortSubject, choose_subjects, describe_inputs, find_cohort
from model_core.cohorts.tasks import Task, fingerprint_of, why_to_run
from model_core.errors import UserError
from model_core.model_card import check_step, default_step, read_card
from model_core.system.command_line import run_command

STALE_SECONDS = 3600.0  # a stop file this old is of a command that was killed


def main(arguments: Sequence[str] | None = None, program: Path | None = None) -> None:
    """Run the levels; see the top of this file. ``program`` takes segment.py's place in tests."""
    options = parse(__doc__ or "", arguments)
    cohort = find_cohort(options.bids, options.output, options.choose)
    subjects = choose_subjects(cohort, options.participant_label, options.session_label)
    if options.list_subjects:
        print("\n".join(describe_subjects(options.output, cohort)))
        return
    if options.list_jobs:
        print("\n".join(job_command(options, subject) for subject in subjects))
        return
    if "participant" in options.levels:
        _check_once(options)
    prepare_output(options.bids, options.output)
    _tell_of(cohort, subjects)
    failures: dict[str, str] = {}
    if "participant" in options.levels:
        failures = _run_participants(options, subjects, program)
    if "group" in options.levels:
        from model_core.cohorts.group import write_group  # and matplotlib, which the jobs of an array do without

        print(f"Group report: {write_group(options.output, cohort)}")
    if failures:
        listed = "; ".join(f"{name}: {sentence}" for name, sentence in list(failures.items())[:3])
        more = f"; and {len(failures) - 3} more" if len(failures) > 3 else ""
        raise UserError(f"{len(failures)} of {len(subjects)} subjects failed; the others are complete. {listed}{more}")


def _check_once(options: argparse.Namespace) -> None:
    """Tell once what every subject would tell."""
    card = read_card(options.weights)
    if options.how.step is None:
        options.how = replace(options.how, step=default_step(card))
    check_step(card, options.how.step)


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


def _run_participants(
    options: argparse.Namespace, subjects: Sequence[CohortSubject], program: Path | None
) -> dict[str, str]:
    """Run the subjects; give for each that failed its sentence."""
    settings = settings_of(options)
    with _stop_file(options.output) as stop_file:
        tasks = [
            Task(
                subject,
                options.bids,
                options.output,
                settings,
                stop_file,
                options.device,
                program=program,
                work=options.work_dir,
            )
            for subject in subjects
        ]
        if options.scheduler:
            outcomes = run_on_dask(tasks, options.scheduler)
        else:
            outcomes = run_locally(tasks, plan_slots(options.device, options.workers, len(tasks), options.n_cpus))
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
def _stop_file(output: Path) -> Generator[Path]:
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


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # both stop it, even as a shell's background job
        signal.signal(number, signal.default_int_handler)
    sys.exit(run_command(main))
