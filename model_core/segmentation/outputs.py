"""What the command segment.py writes beside the label map, and whether it can: found out before minutes of work."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np

from model_core.errors import UserError
from model_core.inference.accumulator import Segmentation
from model_core.metric_table import CONVENTIONS
from model_core.metrics import TissueScore, format_scores
from model_core.preprocessing import PreparedPair
from model_core.preprocessing.raw_scans import intermediate_paths
from model_core.segmentation.figure import draw_segmentation
from model_core.segmentation.pipeline import SegmentedScans
from model_core.segmentation.sidecar import sidecar_path
from model_core.segmentation.trust import describe_expected
from model_core.segmentation_options import RAW_STEPS
from model_core.system.files import check_can_replace
from model_core.system.text_files import printable, write_json
from model_core.tissues import CLASSES, TISSUES
from model_core.volumes import Volume, check_can_write, resample
from model_core.windows import describe_step

INPUTS = ("t1", "t2", "mask", "reference", "weights")


def check_paths(options: argparse.Namespace) -> None:
    """Find out before minutes of work that an output cannot be written or would replace an input."""
    outputs = {"--output": options.output, "--scores": options.scores, "--picture": options.picture}
    outputs |= {"the sidecar of --output": sidecar_path(options.output), "--report": options.report}
    outputs |= {"--save-mask": options.save_mask, "--uncertainty": options.uncertainty}
    outputs |= {f"--probabilities ({path.name})": path for path in probability_paths(options)}
    if options.keep_intermediates:
        outputs |= {
            f"--keep-intermediates ({path.name})": path
            for step in RAW_STEPS
            for path in intermediate_paths(options.keep_intermediates, step)
        }
    taken = {os.path.realpath(path): name for name, path in vars(options).items() if name in INPUTS and path}
    for option, path in outputs.items():
        if path is None:
            continue
        clash = taken.setdefault(os.path.realpath(path), option)
        if clash != option:
            other = f"--{clash}" if clash in INPUTS else clash
            raise UserError(f"{option} names {path}, which {other} names, too; choose another name.")
    check_can_write(options.output)
    check_can_write(sidecar_path(options.output), (".json",))
    for volume in filter(None, (options.save_mask, options.uncertainty)):
        check_can_write(volume)
    if options.scores:
        check_can_replace(options.scores)
    if options.report:
        check_can_write(options.report, (".html", ".htm"))
    if options.picture:
        check_can_write(options.picture, (".png",))
    _check_folder("--probabilities", options.probabilities, probability_paths(options))
    kept = options.keep_intermediates
    _check_folder("--keep-intermediates", kept, intermediate_paths(kept, RAW_STEPS[0]) if kept else [])


def _check_folder(option: str, folder: Path | None, files: list[Path]) -> None:
    if folder is None:
        return
    if folder.is_dir():
        check_can_write(files[0])
    elif folder.exists():
        raise UserError(f"{option} {folder} is a file; expected a folder; choose another name.")
    else:
        check_can_replace(folder)


def probability_paths(options: argparse.Namespace) -> list[Path]:
    """Return one file a class, in the order of the labels; none where none is asked for."""
    return [options.probabilities / f"{tissue.key}.nii.gz" for tissue in CLASSES] if options.probabilities else []


@dataclass(frozen=True)
class Stage:
    """A grid of windows that is complete: its overlap step, the windows that it added, and its seconds."""

    step: int
    windows: int
    seconds: float


def write_scores(
    options: argparse.Namespace,
    card: dict,
    volumes: dict[str, float],
    rows: Sequence[TissueScore],
    stages: Sequence[Stage],
) -> None:
    report = {
        "output": str(options.output),
        "t1": str(options.t1) if options.t1 else None,
        "t2": str(options.t2) if options.t2 else None,
        "reference": str(options.reference) if options.reference else None,
        "weights": str(options.weights),
        "network": card["network"],
        "step": stages[-1].step if stages else None,
        "stages": [asdict(stage) for stage in stages],
        "volumes_ml": volumes,
        "tissues": [row.as_dict() for row in rows],
        "conventions": CONVENTIONS,
    }
    write_json(options.scores, report)


def draw(
    path: Path,
    options: argparse.Namespace,
    pair: PreparedPair,
    segmentation: Segmentation,
    reference: Volume | None,
    rows: Sequence[TissueScore],
) -> None:
    subtitle = f"{options.weights.stem}, {describe_step(segmentation.step_reached)}"
    if rows:
        names = {tissue.key: tissue.key.upper() for tissue in TISSUES}
        subtitle += "    Dice  " + "   ".join(f"{names[row.tissue]} {row.dice:.3f}" for row in rows)
    draw_segmentation(
        path,
        pair.t1,
        pair.t2,
        segmentation.labels,
        on_network_grid(reference, pair),
        title=printable((options.t1 or options.t2).name),
        subtitle=printable(subtitle),
    )


def on_network_grid(reference: Volume | None, pair: PreparedPair) -> np.ndarray | None:
    """Labels of a reference where the network has the scans; None without one."""
    return None if reference is None else resample(reference, pair.t1.shape, pair.affine, order=0).array


def tell(
    options: argparse.Namespace, result: SegmentedScans, rows: Sequence[TissueScore], stages: Sequence[Stage]
) -> None:
    """Print times, volumes, what can be expected of the map, scores, files and warnings."""
    print()
    for stage in filter(attrgetter("windows"), stages):  # on a small brain a finer grid may add none
        pace = f"{stage.windows / max(stage.seconds, 1e-9):.1f} windows/s"
        name = describe_step(stage.step).capitalize()
        print(f"{name}: {stage.windows:>6,} windows in {stage.seconds:7.1f} s  ({pace})")
    print("Volumes: " + ", ".join(f"{tissue.name} {result.volumes_ml[tissue.key]:.1f} ml" for tissue in TISSUES))
    if result.trust.expected_dice:
        print(f"Expected Dice, without a reference: {describe_expected(result.trust.expected_dice)}")
    if rows:
        print(f"\n{format_scores(rows)}\n")
    written = [options.output, sidecar_path(options.output), *probability_paths(options)]
    written += [options.save_mask, options.uncertainty, options.scores, options.picture, options.report]
    print("\n".join(f"Written: {path}" for path in written if path))
    for finding in result.findings:
        print(f"Warning: {finding.sentence}")
