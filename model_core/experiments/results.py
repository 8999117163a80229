"""The results of the jobs as the report's tables need them: values by fold and tissue, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from model_core.experiments.jobs import TRAINING_FOLDER, job_folder, read_state
from model_core.experiments.plan import ExperimentPlan, TrainingJob
from model_core.tissues import TISSUES
from model_core.training.history import HISTORY_FILE, HistoryRow, read_history

PRINTED = ("dice", "mhd_3d", "asd_mm")  # the scores that the papers print
AVERAGE = "average"
COLUMNS = (*(tissue.key for tissue in TISSUES), AVERAGE)
HEADINGS = (*(tissue.key.upper() for tissue in TISSUES), "Average")


@dataclass(frozen=True)
class Evaluation:
    """One subject segmented at one step.

    Attributes:
        subject: its name.
        step: overlap step.
        windows: how many.
        seconds: of the segmentation.
        scores: metric -> tissue or average -> value; nan where it is not defined.
    """

    subject: str
    step: int
    windows: int
    seconds: float
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Results:
    """What the jobs of an output folder have found.

    Attributes:
        output: the folder.
        plan: of its data set.
        experiments: those that the report is on.
    """

    output: Path
    plan: ExperimentPlan
    experiments: Sequence[str]

    @cached_property
    def jobs(self) -> list[TrainingJob]:
        """Those of the experiments."""
        return self.plan.jobs(self.experiments)

    def result(self, job: TrainingJob) -> dict[str, Any] | None:
        """What a job wrote; None where it is not finished."""
        return read_state(self.output, job).result

    def evaluations(self, job: TrainingJob) -> list[Evaluation]:
        """A job's evaluations, none where it is not finished."""
        result = self.result(job)
        return [_evaluation(entry) for entry in result["evaluations"]] if result else []

    def by_subject(self, jobs: Sequence[TrainingJob]) -> dict[str, Evaluation]:
        """Subject -> its evaluation at the step of the tables, over all finished ones of some jobs."""
        step = self.plan.settings.step
        return {entry.subject: entry for job in jobs for entry in self.evaluations(job) if entry.step == step}

    def history(self, job: TrainingJob) -> list[HistoryRow]:
        """The record of a job's training so far."""
        return read_history(job_folder(self.output, job) / TRAINING_FOLDER / HISTORY_FILE)

    def missing(self) -> list[str]:
        """A phrase on each job of the experiments that is not finished."""
        phrases = []
        for job in self.jobs:
            state = read_state(self.output, job)
            if state.result is None:
                total = job.settings.iterations
                so_far = f"{state.iterations:,} of {total:,} iterations" if state.iterations else "not begun"
                phrases.append(f"{job.name}: {f'made otherwise ({state.changed})' if state.changed else so_far}")
        return phrases

    def devices(self) -> list[str]:
        """On what the finished jobs ran."""
        results = [self.result(job) for job in self.jobs]
        return sorted({result["device"] for result in results if result})


def _evaluation(entry: dict[str, Any]) -> Evaluation:
    scores = {}
    for key in PRINTED:
        values = {row["tissue"]: _number(row[key]) for row in entry["tissues"]}
        scores[key] = values | {AVERAGE: sum(values.values()) / len(values)}
    return Evaluation(entry["subject"], entry["step"], entry["windows"], entry["seconds"], scores)


def _number(value: float | str | None) -> float:
    """As ``TissueScore.as_dict`` writes it: None is nan, "inf" infinite."""
    return math.nan if value is None else float(value)
