"""One subject of a cohort as a task: a picklable description, what its result was made from, and where it goes."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from model_core.cohorts.files import HIDDEN_FOLDER, ResultFiles, describe_labels
from model_core.cohorts.fingerprint import explain_difference, hash_file, make_fingerprint
from model_core.cohorts.subjects import CohortSubject
from model_core.errors import UserError
from model_core.program import PROGRAM_NAME
from model_core.segmentation_options import SegmentationOptions, flag_of
from model_core.system.text_files import read_json, write_json
from model_core.tissues import TISSUES

REFERENCE_NOTES = "reference.json"  # beside the reference as the child gets it: how its values were understood


@dataclass(frozen=True)
class CohortSettings:
    """What is the same for all subjects; each is passed on to segment.py.

    Attributes:
        weights: of the network.
        how: options of the pipeline; each subject's device and age take the place of theirs.
        probabilities: whether probability maps are wanted.
        uncertainty: whether a map of each voxel's uncertainty is wanted.
        max_memory: ceiling in GB of each process, None for none; it does not change results.
        scores: whether references are used.
    """

    weights: Path
    how: SegmentationOptions = field(default_factory=SegmentationOptions)
    probabilities: bool = True
    uncertainty: bool = False
    max_memory: float | None = None
    scores: bool = True


@dataclass(frozen=True)
class Task:
    """All that a process needs to segment one subject, on any machine that sees the same folders.

    Attributes:
        subject: the scans.
        bids, output: folders, absolute.
        settings: of the cohort.
        stop_file: where it appears, the task stops.
        device: for segment.py.
        cores: of this machine that the child may use; empty for all.
        program: what takes segment.py's place in tests; None is the segment.py of the machine that runs it.
        work: folder for what a run writes before it is complete; None takes one inside the output.
    """

    subject: CohortSubject
    bids: Path
    output: Path
    settings: CohortSettings
    stop_file: Path
    device: str = "auto"
    cores: tuple[int, ...] = ()
    program: Path | None = None
    work: Path | None = None

    @property
    def files(self) -> ResultFiles:
        return ResultFiles(self.output, self.subject)

    @property
    def workplace(self) -> Path:
        """Folder of what a run writes before it is complete; no other output's is the same."""
        if self.work is None:
            return self.output / HIDDEN_FOLDER / self.subject.name
        whose = hashlib.sha256(str(self.output).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return self.work / f"{PROGRAM_NAME.lower()}-{whose}-{self.subject.name}"


def fingerprint_of(task: Task) -> dict[str, Any]:
    """Hash what a task's result depends on. The device is left out: CPU and GPU agree."""
    subject, settings = task.subject, task.settings
    files = {"T1": subject.t1, "T2": subject.t2, "the mask": subject.mask, "the weights": settings.weights}
    files["the reference"] = subject.reference if settings.scores else None
    asked = {name: value for name, value in asdict(settings.how).items() if name not in ("device", "age_months")}
    options = {
        **{flag_of(name): sorted(value) if name == "skip" else value for name, value in asked.items()},
        "the age in months": subject.age_months,
    }
    return make_fingerprint(files, options)


def why_to_run(files: ResultFiles, fingerprint: dict[str, Any], settings: CohortSettings) -> str:
    """Say why a subject has to be segmented (again); empty where its result is complete and up to date."""
    sidecar = read_json(files.sidecar)
    if not isinstance(sidecar.get("fingerprint"), dict):
        return "its last run was broken off" if files.labels.exists() else "not segmented yet"
    difference = explain_difference(sidecar["fingerprint"], fingerprint)
    if difference:
        return difference
    wanted = [
        files.labels,
        files.mask,
        files.picture,
        files.report,
        *(files.all_probabilities() if settings.probabilities else []),
        *([files.uncertainty] if settings.uncertainty else []),
    ]
    missing = [path.name for path in wanted if not path.exists()]
    return f"{missing[0]} is missing" if missing else ""


def check_untouched(files: ResultFiles) -> None:
    """Refuse to replace a label map that somebody has edited since it was made.

    Raises:
        UserError: it is not as it was written.
    """
    fingerprint = read_json(files.sidecar).get("fingerprint")
    written = fingerprint.get("labels") if isinstance(fingerprint, dict) else None
    if written and files.labels.exists() and hash_file(files.labels) != written:
        raise UserError(
            f"{files.labels} was edited since it was made, and would be replaced; expected it as it was written; move "
            "it to another place, then run it again."
        )


def publish(task: Task, folder: Path, fingerprint: dict[str, Any]) -> None:
    """Move the results into place; the sidecar leaves first and comes last, and stands for a complete result."""
    files, about = task.files, describe_labels(task.bids, task.subject)
    moves = {folder / path.name: path for path in (files.labels, files.mask, files.picture, files.report)}
    mask_sidecar = folder / f"{files.mask.name.removesuffix('.nii.gz')}.json"
    write_json(mask_sidecar, {"Description": "The brain that was segmented", "Type": "Brain", **about})
    moves[mask_sidecar] = files.mask.with_name(mask_sidecar.name)
    if task.settings.uncertainty:
        target = files.uncertainty
        moves[folder / target.name] = target
        sidecar = folder / f"{target.name.removesuffix('.nii.gz')}.json"
        write_json(sidecar, {"Description": "Entropy of the probabilities, 0 sure to 1 no idea", **about})
        moves[sidecar] = target.with_name(sidecar.name)
    if task.settings.probabilities:
        for tissue in TISSUES:
            target = files.probabilities(tissue)
            moves[folder / "probabilities" / f"{tissue.key}.nii.gz"] = target
            sidecar = folder / f"{target.name.removesuffix('.nii.gz')}.json"
            write_json(sidecar, {"Description": f"Probability of {tissue.name}, 0 to 1", **about})
            moves[sidecar] = target.with_name(sidecar.name)
    missing = [source.name for source in moves if not source.exists()]
    if missing:
        raise UserError(f"The segmentation left no {missing[0]}; expected one; see {files.log} and run it again.")
    files.folder.mkdir(parents=True, exist_ok=True)
    files.picture.parent.mkdir(parents=True, exist_ok=True)
    files.sidecar.unlink(missing_ok=True)
    files.report.unlink(missing_ok=True)
    for path in (*files.all_probabilities(), files.uncertainty):  # those of the earlier result
        path.unlink(missing_ok=True)
        path.with_name(f"{path.name.removesuffix('.nii.gz')}.json").unlink(missing_ok=True)
    for source, target in moves.items():
        move(source, target, task.output / HIDDEN_FOLDER)
    fingerprint |= {"labels": hash_file(files.labels)}
    content = {"Description": "Tissues of the brain", **about, **_description(task, folder), "fingerprint": fingerprint}
    write_json(files.sidecar, content)


def move(source: Path, target: Path, halfway: Path) -> None:
    """Move a file so that it appears complete, also from another file system."""
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = halfway / f"{target.name}.{os.getpid()}"
        try:
            shutil.copyfile(source, copy)
            os.replace(copy, target)
        finally:
            copy.unlink(missing_ok=True)


def _description(task: Task, folder: Path) -> dict[str, Any]:
    """What the child told of its result."""
    subject = task.subject
    scans = {"t1": subject.t1, "t2": subject.t2, "mask": subject.mask}
    scans["reference"] = subject.reference if task.settings.scores else None
    return read_json(folder / task.files.sidecar.name) | {
        "name": subject.name,
        "sources": {role: None if path is None else str(path) for role, path in scans.items()},
        "age_months": subject.age_months,
        "notes": [*subject.notes, *read_json(folder / REFERENCE_NOTES).get("notes", [])],
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
