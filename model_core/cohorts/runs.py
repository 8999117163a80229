"""The one function that runs a subject's task, in whichever process of whichever machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Generator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from model_core.cohorts.files import HIDDEN_FOLDER, LOGS_FOLDER, ResultFiles
from model_core.cohorts.tasks import REFERENCE_NOTES, Task, check_untouched, fingerprint_of, move, publish, why_to_run
from model_core.datasets.subjects import Subject, read_subject_labels
from model_core.errors import UserError
from model_core.system.locks import LockedError, locked
from model_core.system.text_files import write_json
from model_core.volumes import write_volume

SEGMENT = Path(__file__).resolve().parents[1] / "segment.py"
CHILD = Path(__file__).with_name("child.py")
DONE, UNCHANGED, FAILED, ELSEWHERE, STOPPED = "done", "unchanged", "failed", "elsewhere", "stopped"
POLL_SECONDS = 0.2
STOP_SECONDS = 15.0  # that a child has to end by itself; it takes five at most


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes:
        state: DONE, UNCHANGED (it was complete already), FAILED, ELSEWHERE (another process has it) or STOPPED.
        sentence: why it was run, or why it failed.
        seconds: that it took.
    """

    state: str
    sentence: str = ""
    seconds: float = 0.0


def run_task(task: Task) -> Outcome:
    """Segment one subject unless its result is complete and up to date; never raises for what a user can cause."""
    began = time.monotonic()
    files = task.files
    try:
        for folder in (HIDDEN_FOLDER, LOGS_FOLDER):
            (task.output / folder).mkdir(parents=True, exist_ok=True)
        with locked(files.lock, task.subject.name):
            state, sentence = _run_locked(task)
            if state == FAILED:
                note_failure(files, sentence)
            elif state in (DONE, UNCHANGED):
                files.failure.unlink(missing_ok=True)
    except LockedError as error:
        state, sentence = ELSEWHERE, str(error)
    except UserError as error:
        state, sentence = FAILED, str(error)
    except OSError as error:
        where = error.filename or task.output
        state, sentence = FAILED, f"Could not use {where}: {error.strerror or error}; check the path and the disk."
    return Outcome(state, sentence, time.monotonic() - began)


def _run_locked(task: Task) -> tuple[str, str]:
    files = task.files
    shutil.rmtree(task.workplace, ignore_errors=True)  # of a run that was killed: its lock was taken over
    try:
        fingerprint = fingerprint_of(task)
        reason = why_to_run(files, fingerprint, task.settings)
        if not reason:
            return UNCHANGED, ""
        if task.stop_file.exists():
            return STOPPED, ""
        check_untouched(files)
        with _workplace(task) as folder:
            failure = _segment(task, folder)
            if failure is not None:
                return (STOPPED, "") if task.stop_file.exists() else (FAILED, failure)
            publish(task, folder, fingerprint)
    except UserError as error:
        return FAILED, str(error)
    return DONE, reason


@contextlib.contextmanager
def _workplace(task: Task) -> Generator[Path]:
    """A new folder: a dying child of an earlier run cannot write into it."""
    folder = task.workplace / uuid.uuid4().hex
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(task.workplace, ignore_errors=True)


def segment_command(task: Task, folder: Path, reference: Path | None) -> list[str]:
    """The child's command line: the one place that knows segment.py's options."""
    subject, settings = task.subject, task.settings
    how = replace(settings.how, device=task.device, age_months=subject.age_months)
    command: list[object] = [
        *("--t1", subject.t1, "--t2", subject.t2, "--output", folder / task.files.labels.name),
        *("--weights", settings.weights, *how.as_arguments()),
        *("--picture", folder / task.files.picture.name, "--report", folder / task.files.report.name),
        *("--save-mask", folder / task.files.mask.name),
    ]
    if subject.mask:
        command += ["--mask", subject.mask]
    if reference:
        command += ["--reference", reference]
    if settings.probabilities:
        command += ["--probabilities", folder / "probabilities"]
    if settings.uncertainty:
        command += ["--uncertainty", folder / task.files.uncertainty.name]
    if settings.max_memory is not None:
        command += ["--max-memory", settings.max_memory]
    cores = ",".join(map(str, task.cores)) or "-"
    return [sys.executable, str(CHILD), cores, str(task.program or SEGMENT), *map(str, command)]


def _segment(task: Task, folder: Path) -> str | None:
    """Run the child; None, or the sentence that says why there is no result. What it printed goes to the log."""
    command = segment_command(task, folder, _reference(task, folder))
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    if task.cores:
        environment["OMP_NUM_THREADS"] = str(len(task.cores))
    output, errors = folder / "output.txt", folder / "errors.txt"
    with open(output, "wb") as to_output, open(errors, "wb") as to_errors:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=to_output,
            stderr=to_errors,
            cwd=folder,
            env=environment,
            start_new_session=True,  # Ctrl-C at the terminal reaches it through its parent alone
        )
        try:
            while child.poll() is None and not task.stop_file.exists():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_SECONDS)
        finally:
            _end(child)
    said = errors.read_text(encoding="utf-8", errors="replace")
    log = f"{json.dumps(command, ensure_ascii=False)}\n{output.read_text(encoding='utf-8', errors='replace')}\n{said}"
    (folder / "log").write_text(log, encoding="utf-8", errors="replace")
    move(folder / "log", task.files.log, task.output / HIDDEN_FOLDER)
    if child.returncode == 0:
        return None
    if child.returncode < 0 or not said.strip():
        return (
            f"The segmentation of {task.subject.name} was ended from outside (status {child.returncode}); expected it "
            "to run to its end; memory may have been short: take fewer --workers, or --max-memory, and run it again."
        )
    return said.strip().splitlines()[-1]


def _end(child: subprocess.Popen[bytes]) -> None:
    """Close the child's stdin, at which it ends itself and all that it started."""
    if child.stdin:
        child.stdin.close()
    try:
        child.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _reference(task: Task, folder: Path) -> Path | None:
    """The reference as labels 0 to 3, which may be FreeSurfer's values in the data set."""
    subject = task.subject
    if subject.reference is None or not task.settings.scores:
        return None
    try:
        labels = read_subject_labels(Subject(subject.name, subject.t1, subject.t2, subject.reference))
    except UserError as error:
        raise UserError(f"{error} Or leave references aside with --no-scores.") from error
    write_volume(folder / "reference.nii.gz", labels.array, labels.affine)
    write_json(folder / REFERENCE_NOTES, {"notes": [finding.sentence for finding in labels.findings]})
    return folder / "reference.nii.gz"


def note_failure(files: ResultFiles, sentence: str) -> None:
    """Keep for the group report why a subject has no result."""
    write_json(files.failure, {"sentence": sentence, "made": datetime.now(UTC).isoformat(timespec="seconds")})
