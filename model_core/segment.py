"""Segment a T1/T2 pair of a 6-8-month-old into CSF, gray matter and white matter.

Examples::

    python model_core/segment.py --t1 t1.nii.gz --t2 t2.nii.gz --output segmentation.nii.gz
    python model_core/segment.py --t1 t1.nii.gz --t2 t2.nii.gz --output segmentation.nii.gz --step 16 \\
        --reference reference.nii.gz --scores scores.json --picture segmentation.png
    python model_core/segment.py --t1 head_t1.nrrd --t2 head_t2.nrrd --mask brain.nrrd --align-t2 --bias-correction \\
        --output segmentation.nrrd --probabilities probabilities

The scans are skull-stripped (0 outside the brain) or come with --mask. The label map lies on T1's own grid, voxel by
voxel: 0 background, 1 CSF, 2 gray matter, 3 white matter. Files: NIfTI, Analyze, NRRD, MetaImage, by their suffix.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import numpy as np
from tqdm import tqdm

from model_core.command_line import run_command
from model_core.errors import UserError
from model_core.evaluate import onto_grid_of
from model_core.figures import draw_segmentation
from model_core.inference import Segmenter
from model_core.memory import check_can_prepare, fit_memory, gigabytes
from model_core.metrics import CONVENTIONS, TissueScore, format_scores, score_tissues, tissue_volumes
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.preprocessing import PreparedPair, prepare_pair
from model_core.segmentation_job import Progress, Segmentation
from model_core.tissues import CLASSES, TISSUES
from model_core.volumes import (
    Volume,
    check_can_write,
    have_same_grid,
    read_labels,
    read_mask,
    read_volume,
    replace_when_complete,
    resample,
    write_volume,
)
from model_core.weights import load_weights, window_of

DEFAULT_STEP = 8  # the published setting
BAR_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} windows, {elapsed}{postfix}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, check, segment, write, report; see the top of this file."""
    options = _parse(arguments)
    _check_paths(options)
    if options.max_memory:
        repairs = options.align_t2 or options.bias_correction
        check_can_prepare(options.max_memory, options.t1, options.t2, repairs=repairs)
    t1, t2 = read_volume(options.t1), read_volume(options.t2)
    mask = read_mask(options.mask) if options.mask else None
    reference = read_labels(options.reference) if options.reference else None
    network, card = load_weights(options.weights)
    window = window_of(options.weights, card, network)
    _check_step(options.step, window)
    segmenter = Segmenter(network, window=window, device=options.device)
    print(f"T1 {options.t1}: {t1.description}\nT2 {options.t2}: {t2.description}", flush=True)

    pair = prepare_pair(t1, t2, mask, align_t2=options.align_t2, bias_correction=options.bias_correction)
    if reference is not None:
        onto_grid_of(reference, Volume(pair.grid.brain.astype(np.uint8), t1.affine, t1.path))  # or says what is wrong
    how = "interpolated" if pair.grid.is_interpolated else "only reoriented and cropped"
    print(f"Network grid: {'×'.join(map(str, pair.t1.shape))} voxels at 1 mm, {how}", flush=True)

    if options.max_memory:
        print(fit_memory(options.max_memory, segmenter, pair, with_probabilities=options.probabilities is not None))
    segmentation, stages = _segment(segmenter, pair, options.step)
    labels, probabilities = pair.result_to_native(
        segmentation.labels, segmentation.probabilities, with_probabilities=options.probabilities is not None
    )
    rows = _score(Volume(labels, t1.affine, str(options.output)), reference)
    _write(options, t1, labels, probabilities)
    if options.scores:
        _write_scores(options, card, tissue_volumes(labels, t1.spacing), rows, stages)
    if options.picture:
        _draw(options, pair, segmentation, reference, rows)
    _report(options, tissue_volumes(labels, t1.spacing), rows, stages)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    description, notes = __doc__.split("\n\n", maxsplit=1)
    parser = argparse.ArgumentParser(
        description=description,
        epilog=notes,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--t1", type=Path, required=True, help="T1-weighted scan")
    add("--t2", type=Path, required=True, help="T2-weighted scan of the same head")
    add("--output", type=Path, required=True, metavar="SEG", help="label map to write")
    add("--weights", type=Path, default=DEFAULT_WEIGHTS, help="network weights, .safetensors (default: those shipped)")
    add(
        "--step",
        type=int,
        default=DEFAULT_STEP,
        help="voxels between windows; smaller is slower (default: %(default)s)",
    )
    add("--device", type=_device, default="auto", help="auto, cpu, cuda, cuda:1, … or mps (default: %(default)s)")
    add("--mask", type=Path, help="brain mask; needed where the scans are not skull-stripped")
    add("--align-t2", action="store_true", help="first move T2 onto T1, rigidly, by mutual information")
    add("--bias-correction", action="store_true", help="first correct both scans' bias fields by N4")
    add("--max-memory", type=gigabytes, metavar="GB", help="most memory that this process may take, in 10⁹ bytes")
    add("--iseg-values", action="store_true", help="write 0, 10, 150, 250 as iSeg does, instead of 0, 1, 2, 3")
    add("--probabilities", type=Path, metavar="DIR", help="also write each class's probabilities into this folder")
    add("--picture", type=Path, metavar="PNG", help="also draw slices of the scans, the labels and the reference")
    add("--reference", type=Path, help="label map taken as true: print scores against it")
    add("--scores", type=Path, metavar="JSON", help="also write volumes, scores and times")
    return parser.parse_args(arguments)


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise argparse.ArgumentTypeError(f"{name!r} is no device; expected auto, cpu, cuda, cuda:1, … or mps")
    return name


def _check_paths(options: argparse.Namespace) -> None:
    """Find out before minutes of work that an output cannot be written or would replace an input."""
    outputs = {"--output": options.output, "--scores": options.scores, "--picture": options.picture}
    outputs |= {f"--probabilities ({path.name})": path for path in _probability_paths(options)}
    taken = {
        os.path.realpath(path): name
        for name, path in vars(options).items()
        if name in ("t1", "t2", "mask", "reference", "weights") and path
    }
    for option, path in outputs.items():
        if path is None:
            continue
        clash = taken.setdefault(os.path.realpath(path), option)
        if clash != option:
            raise UserError(f"{option} names {path}, which --{clash.lstrip('-')} names, too; choose another name.")
    check_can_write(options.output)
    if options.scores:
        check_can_write(options.scores, ())
    if options.picture:
        check_can_write(options.picture, (".png",))
    if options.probabilities and options.probabilities.is_dir():
        check_can_write(_probability_paths(options)[0])
    elif options.probabilities and options.probabilities.exists():
        raise UserError(f"--probabilities {options.probabilities} is a file; expected a folder; choose another name.")
    elif options.probabilities:
        check_can_write(options.probabilities, ())


def _probability_paths(options: argparse.Namespace) -> list[Path]:
    """Return one file a class, in the order of the labels; none where none is asked for."""
    return [options.probabilities / f"{tissue.key}.nii.gz" for tissue in CLASSES] if options.probabilities else []


def _check_step(step: int, window: int) -> None:
    if not 1 <= step <= window:
        raise UserError(
            f"--step {step} is not possible with windows of {window} voxels; expected 1 to {window}; "
            f"take {DEFAULT_STEP} (as published), or 16 for a quicker result."
        )


@dataclass(frozen=True)
class Stage:
    """A grid of windows that is complete: its overlap step, the windows that it added, and its seconds."""

    step: int
    windows: int
    seconds: float


def _segment(segmenter: Segmenter, pair: PreparedPair, step: int) -> tuple[Segmentation, list[Stage]]:
    """Segment with a bar on the terminal; the bar stays off where stderr is a file or a pipe."""
    stages: list[Stage] = []
    began = time.monotonic()
    with tqdm(desc="Segmenting", bar_format=BAR_FORMAT, disable=None) as bar:
        told = 0

        def show(progress: Progress) -> None:
            nonlocal told
            for notice in progress.notices[told:]:
                bar.write(notice, file=sys.stderr)
            told = len(progress.notices)
            bar.total = progress.windows_total
            bar.set_postfix_str(f"step {progress.stage_step}, {progress.seconds_left:.0f} s left", refresh=False)
            bar.update(progress.windows_done - bar.n)
            if progress.step_reached == progress.stage_step:
                windows = progress.windows_done - sum(stage.windows for stage in stages)
                seconds = time.monotonic() - began - sum(stage.seconds for stage in stages)
                stages.append(Stage(progress.step_reached, windows, seconds))

        segmentation = segmenter.segment(pair.t1, pair.t2, step=step, mask=pair.mask, on_progress=show)
    return segmentation, stages


def _score(labels: Volume, reference: Volume | None) -> list[TissueScore]:
    """Score on the reference's own grid; no rows without a reference."""
    if reference is None:
        return []
    if not have_same_grid(labels, reference):
        labels = onto_grid_of(reference, labels)
        print(
            f"For the scores the labels are resampled (nearest neighbour) onto the reference: {reference.description}."
        )
    return score_tissues(labels.array, reference.array, reference.spacing)


def _write(options: argparse.Namespace, t1: Volume, labels: np.ndarray, probabilities: np.ndarray | None) -> None:
    values = np.array([tissue.iseg_value if options.iseg_values else tissue.label for tissue in CLASSES], np.uint8)
    write_volume(options.output, values[labels], t1.affine)
    if probabilities is not None:
        options.probabilities.mkdir(exist_ok=True)
        for path, channel in zip(_probability_paths(options), probabilities, strict=True):
            write_volume(path, channel, t1.affine)


def _write_scores(
    options: argparse.Namespace,
    card: dict,
    volumes: dict[str, float],
    rows: Sequence[TissueScore],
    stages: Sequence[Stage],
) -> None:
    report = {
        "output": str(options.output),
        "t1": str(options.t1),
        "t2": str(options.t2),
        "reference": str(options.reference) if options.reference else None,
        "weights": str(options.weights),
        "network": card["network"],
        "step": options.step,
        "stages": [asdict(stage) for stage in stages],
        "volumes_ml": volumes,
        "tissues": [row.as_dict() for row in rows],
        "conventions": CONVENTIONS,
    }
    with replace_when_complete(options.scores) as temporary:
        temporary.write_text(json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _draw(
    options: argparse.Namespace,
    pair: PreparedPair,
    segmentation: Segmentation,
    reference: Volume | None,
    rows: Sequence[TissueScore],
) -> None:
    subtitle = f"{options.weights.stem}, step {segmentation.step_reached}"
    if rows:
        names = {tissue.key: tissue.key.upper() for tissue in TISSUES}
        subtitle += "    Dice  " + "   ".join(f"{names[row.tissue]} {row.dice:.3f}" for row in rows)
    on_grid = resample(reference, pair.t1.shape, pair.affine, order=0).array if reference is not None else None
    draw_segmentation(
        options.picture, pair.t1, pair.t2, segmentation.labels, on_grid, title=options.t1.name, subtitle=subtitle
    )


def _report(
    options: argparse.Namespace, volumes: dict[str, float], rows: Sequence[TissueScore], stages: Sequence[Stage]
) -> None:
    print()
    for stage in filter(attrgetter("windows"), stages):  # on a small brain a finer grid may add none
        pace = f"{stage.windows / max(stage.seconds, 1e-9):.1f} windows/s"
        print(f"Step {stage.step:>2}: {stage.windows:>6,} windows in {stage.seconds:7.1f} s  ({pace})")
    print("Volumes: " + ", ".join(f"{tissue.name} {volumes[tissue.key]:.1f} ml" for tissue in TISSUES))
    if rows:
        print(f"\n{format_scores(rows)}\n")
    written = [options.output, *_probability_paths(options), options.scores, options.picture]
    print("\n".join(f"Written: {path}" for path in written if path))


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # both stop it, even as a shell's background job
        signal.signal(number, signal.default_int_handler)
    sys.exit(run_command(main))
