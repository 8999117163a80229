"""The papers' experiments as a list of jobs: who is trained on whom, with what, and evaluated how.

A job trains one network once and evaluates it. Experiments share jobs: the Non-local U-Net that is trained without
the last subject stands in Tables 1, 2, 6 and 7 and in Figures 5 to 8, and is trained once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from model_core.datasets.subjects import Subject
from model_core.errors import UserError
from model_core.experiments import published
from model_core.training.settings import TrainingSettings, network_settings

VALIDATE_EVERY, VALIDATIONS = 5000, 10  # the most iterations between two points of a curve, and its fewest points

EXPERIMENTS = {
    "leave-one-out": "Non-local U-Net and CC-3D-FCN, leave-one-subject-out (Tables 1 and 2)",
    "dual-leave-one-out": "dual aggregation network, leave-one-subject-out (the second paper's Table 1)",
    "parameters": "parameter counts (Table 4)",
    "inference-time": "inference time per subject (Table 5)",
    "ablation": "model1 to model5 and the Non-local U-Net, last subject left out (Tables 6 and 7)",
    "dual-ablation": "dual aggregation network without its parts, last subject left out (the second paper's Table 3)",
    "curves": "training and validation curves, last subject left out (Figure 5)",
    "overlap-step": "Dice and number of windows against the overlap step (Figures 6 and 7)",
    "window-side": "Dice against the side of the windows (Figure 8)",
    "cross-site": "trained on --data, tested on --other-data (the second paper's Table 2)",
}
NEEDS_OTHER_DATA = "cross-site"
LEAVE_ONE_OUT_NETWORKS = ("cc_3d_fcn", "nonlocal_unet")
ABLATION_NETWORKS = ("model1", "model2", "model3", "model4", "model5", "nonlocal_unet")
CROSS_SITE_NETWORKS = ("nonlocal_unet", "dual_aggregation")
DUAL_BASELINE = "dual_aggregation_baseline"  # model2, trained as the second paper trains
DUAL_ABLATION_MODELS = (
    DUAL_BASELINE,
    "dual_aggregation_without_attention",
    "dual_aggregation_without_dcp",
    "dual_aggregation",
)
NETWORK_OF_MODEL = {DUAL_BASELINE: "model2"}  # the other models have the names of their networks


@dataclass(frozen=True, kw_only=True)
class ExperimentSettings:
    """What all jobs of an output folder share; the defaults are the papers'.

    Attributes:
        iterations: optimiser steps of every training.
        batch: windows per iteration.
        window: side of the windows in voxels, wherever it is not what is studied.
        step: overlap step of the evaluation.
        overlap_steps: those compared in Figures 6 and 7.
        window_sides: those compared in Figure 8.
        seed: of every training.
        device: as for ``TrainingSettings``.
        precision: as for ``TrainingSettings``, of the training alone; the evaluation is float32.
    """

    iterations: int = published.ITERATIONS
    batch: int = published.BATCH
    window: int = published.WINDOW
    step: int = published.STEP
    overlap_steps: tuple[int, ...] = published.OVERLAP_STEPS
    window_sides: tuple[int, ...] = published.WINDOW_SIDES
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        for name in ("overlap_steps", "window_sides"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        for option, steps in (("--step", (self.step,)), ("--overlap-steps", self.overlap_steps)):
            if min(steps) < 1:
                raise UserError(f"{option} is {min(steps)}; a step of 1 voxel or more was expected; change {option}.")
        _check_step(self.step, self.window)

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def difference_from_papers(self) -> list[str]:
        """Name what differs from the papers' settings, as "batch 1 (the papers: 5)"."""
        mine, papers = self.as_dict(), ExperimentSettings().as_dict()
        names = ("iterations", "batch", "window", "step", "overlap_steps", "window_sides")
        return [
            f"{name.replace('_', ' ')} {_listed(mine[name])} (the papers: {_listed(papers[name])})"
            for name in names
            if mine[name] != papers[name]
        ]


@dataclass(frozen=True)
class TrainingJob:
    """One training and its evaluation, a command of its own.

    Attributes:
        name: also that of its folder.
        model: what it stands for in the tables: a network, or ``DUAL_BASELINE``.
        settings: of the training.
        training: the subjects trained on.
        testing: the subjects evaluated, none of them among the former.
        steps: overlap steps of the evaluations.
        validates: whether the training measures the validation curve on ``testing``.
    """

    name: str
    model: str
    settings: TrainingSettings
    training: tuple[Subject, ...]
    testing: tuple[Subject, ...]
    steps: tuple[int, ...]
    validates: bool


@dataclass(frozen=True)
class ExperimentPlan:
    """The jobs of a data set.

    Attributes:
        settings: what all jobs share.
        subjects: of the data set, all with labels, in order.
        others: of the other data set; empty without one.
    """

    settings: ExperimentSettings
    subjects: tuple[Subject, ...]
    others: tuple[Subject, ...] = ()

    @property
    def last(self) -> int:
        """Number of the subject that the papers leave out where they look at one fold only."""
        return len(self.subjects)

    @property
    def folds(self) -> range:
        """Numbers of all subjects, from 1."""
        return range(1, len(self.subjects) + 1)

    def fold_name(self, model: str, fold: int) -> str:
        """Name of the job that trains a model without subject ``fold``."""
        return f"{model}-fold-{fold:02d}"

    def window_name(self, side: int) -> str:
        """Name of the job that trains the Non-local U-Net with windows of a side, without the last subject."""
        if side == self.settings.window:
            return self.fold_name("nonlocal_unet", self.last)
        return f"nonlocal_unet-window-{side:02d}-fold-{self.last:02d}"

    def cross_site_name(self, network: str) -> str:
        """Name of the job that trains a network on all subjects and evaluates it on the other data set."""
        return f"{network}-cross-site"

    def compared_steps(self) -> tuple[int, ...]:
        """The overlap steps of Figures 6 and 7 that fit the window."""
        return tuple(step for step in self.settings.overlap_steps if step <= self.settings.window)

    def jobs(self, experiments: Sequence[str]) -> list[TrainingJob]:
        """The jobs of some experiments, each once, in the order of the experiments."""
        jobs: dict[str, TrainingJob] = {}
        for experiment in experiments:
            for job in _JOBS_OF.get(experiment, lambda plan: [])(self):
                earlier = jobs.get(job.name)
                steps = set(job.steps) | set(earlier.steps if earlier else ())
                jobs[job.name] = replace(job, steps=tuple(sorted(steps, reverse=True)))
        return list(jobs.values())

    def fold(self, model: str, fold: int) -> TrainingJob:
        """Train a model without one subject, evaluate it on that one."""
        return TrainingJob(
            name=self.fold_name(model, fold),
            model=model,
            settings=self._training(model),
            training=tuple(subject for number, subject in enumerate(self.subjects, 1) if number != fold),
            testing=(self.subjects[fold - 1],),
            steps=(self.settings.step,),
            validates=fold == self.last,
        )

    def _training(self, model: str, **changes: Any) -> TrainingSettings:
        mine = self.settings
        validate_every = min(VALIDATE_EVERY, max(1, mine.iterations // VALIDATIONS))
        window = changes.get("window", mine.window)
        paper = network_settings("dual_aggregation")
        rate = {"learning_rate": paper["learning_rate"]} if model == DUAL_BASELINE else {}
        return TrainingSettings(
            network=NETWORK_OF_MODEL.get(model, model),
            **rate,
            iterations=mine.iterations,
            batch=mine.batch,
            window=window,
            seed=mine.seed,
            device=mine.device,
            precision=mine.precision,
            validate_every=validate_every,
            validation_step=min(TrainingSettings.validation_step, window),
            log_every=min(TrainingSettings.log_every, validate_every),
        )

    def leave_one_out(self, models: Sequence[str]) -> list[TrainingJob]:
        """All folds of some models, model by model."""
        return [self.fold(model, fold) for model in models for fold in self.folds]

    def last_fold(self, models: Sequence[str]) -> list[TrainingJob]:
        """The last fold of some models."""
        return [self.fold(model, self.last) for model in models]

    def overlap_steps(self) -> list[TrainingJob]:
        """The Non-local U-Net of the last fold, evaluated at all steps."""
        return [replace(self.fold("nonlocal_unet", self.last), steps=self.compared_steps())]

    def window_sides(self) -> list[TrainingJob]:
        """The Non-local U-Net of the last fold, trained with windows of all sides."""
        last = self.fold("nonlocal_unet", self.last)
        _check_step(self.settings.step, min(self.settings.window_sides))
        return [
            replace(last, name=self.window_name(side), settings=self._training("nonlocal_unet", window=side))
            for side in self.settings.window_sides
        ]

    def cross_site(self) -> list[TrainingJob]:
        """Networks trained on all subjects and evaluated on the other data set."""
        return [
            replace(
                self.fold(network, self.last),
                name=self.cross_site_name(network),
                training=self.subjects,
                testing=self.others,
                validates=False,
            )
            for network in CROSS_SITE_NETWORKS
            if self.others
        ]


_JOBS_OF: dict[str, Callable[[ExperimentPlan], list[TrainingJob]]] = {
    "leave-one-out": lambda plan: plan.leave_one_out(LEAVE_ONE_OUT_NETWORKS),
    "dual-leave-one-out": lambda plan: plan.leave_one_out(["dual_aggregation"]),
    "inference-time": lambda plan: plan.leave_one_out(LEAVE_ONE_OUT_NETWORKS),
    "ablation": lambda plan: plan.last_fold(ABLATION_NETWORKS),
    "dual-ablation": lambda plan: plan.last_fold(DUAL_ABLATION_MODELS),
    "curves": lambda plan: plan.last_fold(LEAVE_ONE_OUT_NETWORKS),
    "overlap-step": ExperimentPlan.overlap_steps,
    "window-side": ExperimentPlan.window_sides,
    "cross-site": ExperimentPlan.cross_site,
}


def _check_step(step: int, side: int) -> None:
    if step > side:
        raise UserError(
            f"--step is {step} and the smallest window has a side of {side} voxels; a step no larger than the window "
            "was expected; lower --step."
        )


def _listed(value: int | Sequence[int]) -> str:
    return "/".join(f"{number:,}" for number in value) if isinstance(value, list) else f"{value:,}"
