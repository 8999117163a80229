"""Folders for the tests of the experiments: data sets of empty files, and results as finished jobs leave them."""

import json
from pathlib import Path

from model_core.datasets.subjects import find_subjects
from model_core.experiments.jobs import _made_with, job_folder
from model_core.experiments.plan import ExperimentPlan, ExperimentSettings
from model_core.tissues import TISSUES


def write_empty_subjects(folder, count):
    """Files in the layout of iSeg that hold nothing: enough to plan jobs, which opens none of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        for name in ("T1", "T2", "label"):
            Path(folder, f"subject-{number}-{name}.nii.gz").touch()
    return folder


def plan_of(folder, others=None, **settings):
    subjects = tuple(find_subjects(folder))
    return ExperimentPlan(ExperimentSettings(**settings), subjects, tuple(find_subjects(others)) if others else ())


def write_result(output, job, dice, *, seconds=60.0, mhd=0.5, asd=0.25, windows=10, iterations=None):
    """The result of a finished job; ``dice`` is a function of subject name and step that gives CSF, GM, WM."""
    folder = job_folder(output, job)
    folder.mkdir(parents=True, exist_ok=True)
    evaluations = [
        {
            "subject": subject.name,
            "step": step,
            "windows": windows,
            "seconds": seconds,
            "tissues": [
                {"tissue": tissue.key, "dice": value, "mhd_3d": mhd, "asd_mm": asd}
                for tissue, value in zip(TISSUES, dice(subject.name, step), strict=True)
            ],
        }
        for subject in job.testing
        for step in job.steps
    ]
    result = {"made_with": _made_with(job), "device": "CPU, 2 cores", "evaluations": evaluations}
    (folder / "result.json").write_text(json.dumps(result))
