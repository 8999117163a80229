"""Repeat the papers' experiments on a labelled data set, and write a report beside the papers' figures.

    python model_core/reproduce.py --data iSeg-2017-Training --output runs/papers
    python model_core/reproduce.py --data pairs --output runs/quick --experiment leave-one-out --iterations 2000
    python model_core/reproduce.py --data pairs --output runs/papers --list-jobs | parallel -j 4
    torchrun --nproc_per_node 4 model_core/reproduce.py --data pairs --output runs/papers --job cc_3d_fcn-fold-03
    python model_core/reproduce.py --data pairs --output runs/papers --report-only

Every training is a job of its own that can be stopped and goes on when it is run again; finished jobs are not run
again. Without --job all jobs run one after another, then report.html and report.md are written. --list-jobs prints
the jobs' commands, one per line, for GNU parallel or an array of SLURM; several may run side by side. An output folder
keeps the settings that it was begun with. The experiments:

"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import argparse
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from model_core.datasets.subjects import Subject, find_subjects
from model_core.errors import UserError
from model_core.experiments.jobs import job_folder, run_job
from model_core.experiments.plan import EXPERIMENTS, NEEDS_OTHER_DATA, ExperimentPlan, ExperimentSettings, TrainingJob
from model_core.experiments.report import write_experiment_report
from model_core.segmentation_options import flag_of
from model_core.system.command_line import STOPPED_BY_USER, run_command
from model_core.system.files import replace_when_complete
from model_core.system.locks import LockedError
from model_core.system.provenance import changes_between
from model_core.training.distributed import started_together
from model_core.training.loop import TrainingStopped
from model_core.training.settings import PRECISIONS

BEGUN_WITH_FILE = "settings.json"
SETTING_HELP = {
    "iterations": "optimiser steps of every training",
    "batch": "windows per iteration",
    "window": "side of the windows in voxels; a multiple of 8 for CC-3D-FCN",
    "step": "overlap step of the evaluation",
    "overlap_steps": "overlap steps that are compared",
    "window_sides": "sides of windows that are compared; large ones need much memory",
    "seed": "of every training",
    "device": "auto, cpu, cuda, cuda:1 or mps",
    "precision": "of the training: auto (mixed float16 on CUDA), float32 or float16",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one job, all jobs, or none, and write the report."""
    options = _parse(arguments)
    if not started_together().is_first:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the process ends: the first says it all)
    begun = _read_begun(options.output)
    settings, note = _agree(options, begun), options.note or begun.get("note", "")
    plan = ExperimentPlan(
        settings, _labelled(options.data), _labelled(options.other_data) if options.other_data else ()
    )
    if len(plan.subjects) < 2:
        raise UserError(f"{options.data} holds one labelled subject; expected two or more to leave one out; add some.")
    jobs = plan.jobs(options.experiment)
    if options.list_jobs:
        print("\n".join(_command(options, settings, job) for job in jobs))
        return
    chosen = _chosen(jobs, options.job)
    if started_together().is_first:
        _write_begun(options, settings, note, begun)
    try:
        faults = {} if options.report_only else _run(options, chosen)
    except TrainingStopped:
        print("Stopped; the checkpoint of the job is saved. The same command goes on.", file=sys.stderr)
        raise SystemExit(STOPPED_BY_USER) from None
    if not options.job:
        print(f"Report: {write_experiment_report(options.output, plan, options.experiment, options.data, note)}")
    if faults:
        name, sentence = next(iter(faults.items()))
        others = (
            f" ({len(faults)} of {len(chosen)} jobs did not finish: {', '.join(faults)})" if len(faults) > 1 else ""
        )
        raise UserError(sentence if options.job else f"{name}: {sentence}{others}")


def _run(options: argparse.Namespace, jobs: Sequence[TrainingJob]) -> dict[str, str]:
    """Run jobs one after another; give for each that is at fault its sentence. The others go on meanwhile."""
    faults = {}
    for number, job in enumerate(jobs, 1):
        head = f"[{number}/{len(jobs)}] {job.name}"

        def tell(text: str, head: str = head) -> None:
            print(f"{head} {text}", flush=True)

        try:
            ran = run_job(options.output, job, options.data, tell)
        except LockedError as error:
            if options.job:
                raise
            tell(f"is left to another process: {error}")
        except UserError as error:
            tell("did not finish")
            faults[job.name] = str(error)
        else:
            tell("is finished" if ran else "was finished before")
    if options.job and not faults:
        print(f"Result: {job_folder(options.output, jobs[0])}")
    return faults


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    title, _, rest = (__doc__ or "").partition("\n")
    listed = "\n".join(f"    {name:<20}{text}" for name, text in EXPERIMENTS.items())
    parser = argparse.ArgumentParser(
        description=title,
        epilog=rest + listed,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled subjects (iSeg, BIDS or plain)")
    parser.add_argument("--output", type=Path, required=True, help="folder of the jobs and the report")
    parser.add_argument("--other-data", type=Path, metavar="DIR", help="data of another site, for cross-site")
    parser.add_argument(
        "--experiment", nargs="+", choices=tuple(EXPERIMENTS), metavar="NAME", help="which (default: all; see below)"
    )
    parser.add_argument("--note", default="", metavar="TEXT", help="what the data are, for the report")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--list-jobs", action="store_true", help="print the command of each job, and run nothing")
    what.add_argument("--job", metavar="NAME", help="run this job alone")
    what.add_argument("--report-only", action="store_true", help="write the report of what is finished")
    papers = ExperimentSettings()
    for field in fields(ExperimentSettings):
        default = getattr(papers, field.name)
        many = isinstance(default, tuple)
        shown = " ".join(map(str, default)) if many else default
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            type=type(default[0] if many else default),
            nargs="+" if many else None,
            choices=PRECISIONS if field.name == "precision" else None,
            metavar=None if field.name == "precision" else "N" if many else field.name.upper(),
            help=f"{SETTING_HELP[field.name]} (default: {shown})",
        )
    options = parser.parse_args(arguments)
    if options.experiment and NEEDS_OTHER_DATA in options.experiment and not options.other_data:
        parser.error(f"--experiment {NEEDS_OTHER_DATA} needs --other-data")
    if started_together().count > 1 and not options.job:
        parser.error("torchrun runs one job in all its processes: add --job NAME (--list-jobs lists them)")
    options.all_experiments = options.experiment is None
    if options.all_experiments:
        options.experiment = [name for name in EXPERIMENTS if options.other_data or name != NEEDS_OTHER_DATA]
    return options


def _read_begun(output: Path) -> dict[str, Any]:
    """What an output folder was begun with; empty for a new one."""
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; expected a folder or a new name; choose another --output.")
    path = output / BEGUN_WITH_FILE
    if not path.exists():
        return {}
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(begun["settings"], dict):
            raise TypeError
        ExperimentSettings(**begun["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged; expected the settings that the jobs of this folder were begun with; choose another "
            "--output."
        ) from error
    return begun


def _agree(options: argparse.Namespace, begun: dict[str, Any]) -> ExperimentSettings:
    """The settings: those given, else those that the folder was begun with, else the papers'.

    Raises:
        UserError: what is given is not what the folder was begun with, or out of range.
    """
    names = [field.name for field in fields(ExperimentSettings)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    settings = ExperimentSettings(**begun.get("settings", {}) | given)
    now = settings.as_dict() | _data_names(options)
    before = begun.get("settings", now) | {name: begun.get(name) or now[name] for name in ("data", "other_data")}
    changed = [name for name in now if now[name] is not None and now[name] != before.get(name) and name != "device"]
    if changed:
        said = ", ".join(changes_between(*({flag_of(name): of.get(name) for name in changed} for of in (before, now))))
        raise UserError(
            f"The experiments in {options.output} were begun otherwise: {said}; a folder keeps what it was begun "
            "with; give the same, or another --output."
        )
    return settings


def _data_names(options: argparse.Namespace) -> dict[str, str | None]:
    return {
        "data": options.data.resolve().name,
        "other_data": options.other_data.resolve().name if options.other_data else None,
    }


def _write_begun(options: argparse.Namespace, settings: ExperimentSettings, note: str, begun: dict[str, Any]) -> None:
    names = {name: value or begun.get(name) for name, value in _data_names(options).items()}
    content = {"settings": begun.get("settings", settings.as_dict()), **names, "note": note}
    if content != begun:
        options.output.mkdir(parents=True, exist_ok=True)
        with replace_when_complete(options.output / BEGUN_WITH_FILE) as temporary:
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _labelled(folder: Path) -> tuple[Subject, ...]:
    labelled = tuple(subject for subject in find_subjects(folder) if subject.labels is not None)
    if not labelled:
        raise UserError(f"No subject in {folder} has a label map; expected T1, T2 and labels of each; add label maps.")
    return labelled


def _chosen(jobs: list[TrainingJob], name: str | None) -> list[TrainingJob]:
    chosen = [job for job in jobs if name in (None, job.name)]
    if not chosen and name:
        some = ", ".join(job.name for job in jobs[:3])
        raise UserError(f"There is no job {name}; expected one like {some or 'none'}; --list-jobs lists them all.")
    return chosen


def _command(options: argparse.Namespace, settings: ExperimentSettings, job: TrainingJob) -> str:
    """The command of a job, quoted for a shell; it runs from any folder."""
    parts = [sys.executable, str(Path(__file__).resolve())]
    for name in ("data", "output", "other_data"):
        if getattr(options, name):
            parts += ["--" + name.replace("_", "-"), str(getattr(options, name).resolve())]
    if not options.all_experiments:
        parts += ["--experiment", *options.experiment]
    papers = ExperimentSettings().as_dict()
    for name, value in settings.as_dict().items():
        if value != papers[name]:
            parts += ["--" + name.replace("_", "-"), *map(str, value if isinstance(value, list) else [value])]
    return shlex.join([*parts, "--job", job.name])


if __name__ == "__main__":
    sys.exit(run_command(main))
