"""One job of the papers' experiments: train (or go on training), evaluate on the labels' own grid, keep the result."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from model_core.datasets.crops import sampler_for
from model_core.datasets.subjects import load_pair, prepare_subject
from model_core.errors import UserError
from model_core.experiments.plan import TrainingJob
from model_core.inference import Segmenter
from model_core.inference.accumulator import Segmentation
from model_core.inference.window_bar import window_bar
from model_core.networks import build_network
from model_core.networks.input_form import form_of
from model_core.preprocessing import PreparedPair
from model_core.segmentation.comparison import compare
from model_core.system.devices import available_cores, choose_device
from model_core.system.files import replace_when_complete
from model_core.system.locks import locked
from model_core.system.provenance import changes_between
from model_core.system.signals import stop_signals
from model_core.training.distributed import started_together
from model_core.training.history import HISTORY_FILE, read_history
from model_core.training.loop import TrainingStopped, train
from model_core.volumes import Volume, read_volume
from model_core.weights import load_weights

RESULT_FILE, LOCK_FILE, TRAINING_FOLDER = "result.json", "lock.json", "training"
UNIMPORTANT_SETTINGS = ("device", "checkpoint_every")  # they do not change what is measured


@dataclass(frozen=True)
class TrainingJobState:
    """How far a job is.

    Attributes:
        result: what ``result.json`` holds, None unless the job is finished with the settings it has now.
        changed: how the run on disk was made otherwise, empty where it was not.
        iterations: of the training, done so far.
    """

    result: dict[str, Any] | None
    changed: str = ""
    iterations: int = 0


def job_folder(output: Path, job: TrainingJob) -> Path:
    """Folder of a job below the output folder."""
    return output / "jobs" / job.name


def read_state(output: Path, job: TrainingJob) -> TrainingJobState:
    """Say how far a job is, from its files alone."""
    folder = job_folder(output, job)
    rows = read_history(folder / TRAINING_FOLDER / HISTORY_FILE)
    iterations = rows[-1].iteration if rows else 0
    try:
        result = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        made_with = result["made_with"]
        evaluated = {(entry["step"], entry["subject"]) for entry in result["evaluations"]}
    except (OSError, ValueError, KeyError, TypeError):
        return TrainingJobState(None, iterations=iterations)
    changed = "; ".join(changes_between(made_with, _made_with(job), word=_words))
    wanted = {(step, subject.name) for step in job.steps for subject in job.testing}
    return TrainingJobState(None if changed or not wanted <= evaluated else result, changed, iterations)


def run_job(output: Path, job: TrainingJob, data: Path, on_start: Callable[[str], None] = lambda text: None) -> bool:
    """Train a job's network, evaluate it, and write its result, taking up what is there already.

    Under torchrun all processes train; the first alone locks, evaluates and writes.

    Args:
        output: folder of all jobs.
        job: what to run.
        data: the data set's folder, for the card of the weights.
        on_start: told what begins: "trains on 9 subjects" or "segments subject-10 at step 8".

    Returns:
        Whether anything was left to do.

    Raises:
        LockedError: another process runs the job.
        UserError: the job was made with other settings before, or its data or the machine are at fault.
        TrainingStopped: a signal stopped it; the next run goes on from there.
    """
    state = read_state(output, job)
    if state.changed:
        raise UserError(
            f"The job {job.name} was made otherwise: {state.changed}; a job keeps what it began with; give the same, "
            "or another --output."
        )
    if state.result is not None:
        return False
    if not started_together().is_first:
        _train(output, job, data, on_start)
        return True
    folder = job_folder(output, job)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK_FILE, f"The job {job.name}"):
        if read_state(output, job).result is not None:  # another process has finished it meanwhile
            return False
        weights = _train(output, job, data, on_start)
        evaluations = evaluate_job(job, weights, on_start)
        _write_result(folder / RESULT_FILE, job, weights, evaluations)
    return True


def _train(output: Path, job: TrainingJob, data: Path, on_start: Callable[[str], None]) -> Path:
    on_start(f"trains on {len(job.training)} subjects")
    pairs = [load_pair(subject) for subject in job.training]
    for finding in dict.fromkeys(finding for pair in pairs for finding in pair.findings):
        on_start(f"is warned: {finding.sentence}")
    return train(
        job.settings,
        sampler_for(
            pairs, form_of(build_network(job.settings.network)), window=job.settings.window, seed=job.settings.seed
        ),
        job_folder(output, job) / TRAINING_FOLDER,
        validation_pairs=[load_pair(subject) for subject in job.testing] if job.validates else [],
        card={
            "training_data": {
                "folder": data.resolve().name,
                "subjects": [subject.name for subject in job.training],
                "licence": "not stated",
            }
        },
        resume=True,
    )


def evaluate_job(job: TrainingJob, weights: Path, on_start: Callable[[str], None]) -> list[dict[str, Any]]:
    """Segment and score a job's test subjects at each of its steps.

    Returns:
        For each subject and step: the subject's name, the step, the number of windows, the seconds that the
        segmentation took (reading and scoring not counted), and the rows of ``score_tissues``.

    Raises:
        UserError: a subject cannot be read or segmented.
        TrainingStopped: a signal stopped it.
    """
    network, _ = load_weights(weights)
    segmenter = Segmenter(network, window=job.settings.window, device=job.settings.device)
    evaluations = []
    with stop_signals() as signalled:
        for subject in job.testing:
            pair, reference, _ = prepare_subject(subject)
            t1_affine = read_volume(subject.t1).affine
            for step in job.steps:
                on_start(f"segments {subject.name} at step {step}")
                result, seconds = _segment(segmenter, pair, step, signalled.is_set)
                labels, _ = pair.result_to_native(result.labels, result.probabilities, with_probabilities=False)
                prediction = Volume(labels, t1_affine, f"the segmentation of {subject.name}")
                evaluations.append(
                    {
                        "subject": subject.name,
                        "step": step,
                        "windows": result.windows_total,
                        "seconds": round(seconds, 3),
                        "tissues": _score(prediction, reference),
                    }
                )
    return evaluations


def _segment(
    segmenter: Segmenter, pair: PreparedPair, step: int, should_stop: Callable[[], bool]
) -> tuple[Segmentation, float]:
    """Segment with a bar; the result and the seconds that it took."""
    with window_bar(disable=False) as show:
        started = time.perf_counter()
        result = segmenter.segment(
            pair.t1, pair.t2, step=step, mask=pair.mask, on_progress=show, should_stop=should_stop
        )
        seconds = time.perf_counter() - started
    if should_stop():
        raise TrainingStopped
    return result, seconds


def _score(prediction: Volume, reference: Volume) -> list[dict[str, Any]]:
    return [row.as_dict() for row in compare(prediction, reference).scores()]


def _write_result(path: Path, job: TrainingJob, weights: Path, evaluations: list[dict[str, Any]]) -> None:
    _, card = load_weights(weights)
    result = {
        "job": job.name,
        "model": job.model,
        "made_with": _made_with(job),
        "parameters": card["parameters"],
        "training_hours": card["training_hours"],
        "processes": card.get("processes", 1),
        "device": _describe_device(job.settings.device),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": card["versions"],
        "evaluations": evaluations,
    }
    with replace_when_complete(path) as temporary:
        temporary.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _describe_device(name: str) -> str:
    device = choose_device(name)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {available_cores()} cores" if device.type == "cpu" else "Apple GPU"


def _made_with(job: TrainingJob) -> dict[str, Any]:
    """What must be the same for a result to count."""
    settings = {name: value for name, value in asdict(job.settings).items() if name not in UNIMPORTANT_SETTINGS}
    return {
        **{f"--{name.replace('_', '-')}": value for name, value in settings.items()},
        "training subjects": [subject.name for subject in job.training],
        "test subjects": [subject.name for subject in job.testing],
    }


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
