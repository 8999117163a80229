"""Segment a T1/T2 pair of a 6-8-month-old into CSF, gray matter and white matter.

Examples::

    python model_core/segment.py --t1 t1.nii.gz --t2 t2.nii.gz --output segmentation.nii.gz
    python model_core/segment.py --t1 t1.nii.gz --t2 t2.nii.gz --output segmentation.nii.gz --step 16 \\
        --reference reference.nii.gz --scores scores.json --picture segmentation.png
    python model_core/segment.py --t1 head_t1.nrrd --t2 head_t2.nrrd --mask brain.nrrd --align-t2 --bias-correction \\
        --output segmentation.nrrd --probabilities probabilities
    python model_core/segment.py --raw --t1 T1w.nii.gz --t2 T2w.nii.gz --output segmentation.nii.gz --report report.html

The scans are skull-stripped (0 outside the brain) or come with --mask. With --raw they are as converted from DICOM:
the bias is corrected, T2 aligned, and the brain extracted by SynthStrip or HD-BET if one is installed. The label map
lies on T1's own grid, voxel by voxel: 0 background, 1 CSF, 2 gray matter, 3 white matter. Beside it a .json file says
how it was made and holds the warnings of the checks, which are also printed. Files: NIfTI, Analyze, NRRD, MetaImage,
by their suffix.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import numpy as np
from tqdm import tqdm

from model_core.brain_extraction import AUTO, TOOL_NAMES
from model_core.command_line import run_command
from model_core.comparison import check_overlap, compare
from model_core.devices import choose_device
from model_core.errors import UserError
from model_core.findings import Finding
from model_core.inference import Segmenter
from model_core.inference.accumulator import Progress, Segmentation
from model_core.memory import check_can_prepare, fit_memory, gigabytes
from model_core.metrics import TissueScore, tissue_volumes
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.preprocessing import PreparedPair, prepare_pair
from model_core.quality import OLDEST_MONTHS, check_result, check_scans
from model_core.raw_report import write_report
from model_core.raw_scans import STEPS, RawOptions, RawScans, prepare_raw
from model_core.segment_outputs import Stage, check_paths, draw, probability_paths, tell, write_scores
from model_core.sidecar import describe_weights, write_sidecar
from model_core.tissues import CLASSES
from model_core.volume_faults import check_content
from model_core.volumes import (
    Volume,
    read_labels,
    read_mask,
    read_volume,
    write_volume,
)
from model_core.weights import load_weights, window_of

DEFAULT_STEP = 8  # the published setting
BAR_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} windows, {elapsed}{postfix}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, check, segment, write, report; see the top of this file."""
    options = _parse(arguments)
    check_paths(options)
    if options.max_memory:
        repairs = options.raw or options.align_t2 or options.bias_correction
        check_can_prepare(options.max_memory, options.t1, options.t2, repairs=repairs)
    t1, t2 = read_volume(options.t1), read_volume(options.t2)
    mask = read_mask(options.mask) if options.mask else None
    reference = read_labels(options.reference) if options.reference else None
    check_content(options.weights)
    network, card = load_weights(options.weights)
    window = window_of(options.weights, card, network)
    _check_step(options.step, window)
    segmenter = Segmenter(network, window=window, device=options.device)
    print(f"T1 {options.t1}: {t1.description}\nT2 {options.t2}: {t2.description}", flush=True)

    raw = _make_ready(options, t1, t2, mask) if options.raw else None
    if raw is None:
        pair = prepare_pair(t1, t2, mask, align_t2=options.align_t2, bias_correction=options.bias_correction)
    else:
        pair = prepare_pair(raw.t1, raw.t2, raw.mask)
    seen_t1, seen_t2 = (t1, t2) if raw is None else (raw.from_given(t1), raw.t2)
    warnings = [finding for volume in (t1, t2, mask, reference) if volume for finding in volume.findings]
    warnings += check_scans(seen_t1, seen_t2, pair)
    if reference is not None:
        check_overlap(t1, reference)
    drawn = reference if raw is None or reference is None else raw.from_given(reference)
    how = "interpolated" if pair.grid.is_interpolated else "only reoriented and cropped"
    print(f"Network grid: {'×'.join(map(str, pair.t1.shape))} voxels at 1 mm, {how}", flush=True)

    if options.max_memory:
        print(fit_memory(options.max_memory, segmenter, pair, with_probabilities=options.probabilities is not None))
    began = time.monotonic()
    segmentation, stages = _segment(segmenter, pair, options.step)
    seconds = time.monotonic() - began
    warnings += [Finding("gpu-memory", notice) for notice in segmentation.notices]
    labels, probabilities = pair.result_to_native(
        segmentation.labels, segmentation.probabilities, with_probabilities=options.probabilities is not None
    )
    warnings += check_result(Volume(labels, t1.affine, str(options.output)), options.age_months)
    rows = _score(Volume(labels, t1.affine, str(options.output)), reference)
    _write(options, t1, labels, probabilities, pair.grid.brain)
    volumes = tissue_volumes(labels, t1.spacing)
    if options.scores:
        write_scores(options, card, volumes, rows, stages)
    if options.picture:
        draw(options.picture, options, pair, segmentation, drawn, rows)
    content = {
        "sources": {name: _text(vars(options)[name]) for name in ("t1", "t2", "mask")},
        "weights": describe_weights(options.weights, card["network"]),
        "step": options.step,
        "device": str(choose_device(options.device)),
        "raw": options.raw,
        "raw_steps": [step.as_dict() for step in raw.steps] if raw else [],
        "age_months": options.age_months,
        "volumes_ml": volumes,
        "windows": segmentation.windows_done,
        "seconds": round(seconds, 1),
        "tissues": [row.as_dict() for row in rows],
    }
    write_sidecar(options.output, content, warnings)
    if options.report:
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder) / "result.png", options, pair, segmentation, drawn, rows)
            picture = (Path(folder) / "result.png").read_bytes()
        write_report(options.report, content, raw.steps if raw else (), picture, warnings)
    tell(options, volumes, rows, stages, warnings)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _make_ready(options: argparse.Namespace, t1: Volume, t2: Volume, mask: Volume | None) -> RawScans:
    """Take raw scans through their chain, with a bar that names the step."""
    how = RawOptions(
        skip=frozenset(options.skip),
        brain_extraction=options.brain_extraction or AUTO,
        gpu=choose_device(options.device).type == "cuda",
        keep_intermediates=options.keep_intermediates,
        pictures=options.report is not None,
    )
    with tqdm(total=len(STEPS), bar_format="{desc} |{bar}| {n_fmt}/{total_fmt} steps, {elapsed}", disable=None) as bar:

        def begin(step: str) -> None:
            bar.n = STEPS.index(step)
            bar.set_description_str(step.replace("-", " ").capitalize())

        raw = prepare_raw(t1, t2, mask, how, on_stage=begin)
        bar.update(len(STEPS) - bar.n)
    for step in raw.steps:
        print(f"{step.name}: {step.account}", flush=True)
    return raw


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
    add("--raw", action="store_true", help="the scans are as converted from DICOM: skull on, T2 in its own space")
    add("--skip", nargs="+", choices=STEPS, default=[], metavar="STEP", help=f"with --raw: {', '.join(STEPS)}")
    add("--brain-extraction", choices=TOOL_NAMES, help="with --raw and without --mask: which tool (default: auto)")
    add(
        "--keep-intermediates",
        type=Path,
        metavar="DIR",
        help="with --raw: keep each step's scans, and the mask",
    )
    add("--report", type=Path, metavar="HTML", help="also write a page with pictures of each step, result and warnings")
    add("--age-months", type=_age, metavar="AGE", help="age at the scan, 0 to 24, for the check of the volumes")
    add("--iseg-values", action="store_true", help="write 0, 10, 150, 250 as iSeg does, instead of 0, 1, 2, 3")
    add("--probabilities", type=Path, metavar="DIR", help="also write each class's probabilities into this folder")
    add(
        "--save-mask",
        type=Path,
        metavar="MASK",
        help="also write the brain that was segmented, 0 and 1, on T1's own grid",
    )
    add("--picture", type=Path, metavar="PNG", help="also draw slices of the scans, the labels and the reference")
    add("--reference", type=Path, help="label map taken as true: print scores against it")
    add("--scores", type=Path, metavar="JSON", help="also write volumes, scores and times")
    options = parser.parse_args(arguments)
    if options.raw and (options.align_t2 or options.bias_correction):
        parser.error("--raw aligns T2 and corrects the bias by itself; leave out --align-t2 and --bias-correction")
    if not options.raw and (options.skip or options.brain_extraction or options.keep_intermediates):
        parser.error("--skip, --brain-extraction and --keep-intermediates are steps of --raw; give it, too")
    return options


def _age(text: str) -> float:
    try:
        age = float(text)
    except ValueError:
        age = -1.0
    if not 0 <= age <= OLDEST_MONTHS:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; expected 0 to {OLDEST_MONTHS:g} months")
    return age


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise argparse.ArgumentTypeError(f"{name!r} is no device; expected auto, cpu, cuda, cuda:1, … or mps")
    return name


def _check_step(step: int, window: int) -> None:
    if not 1 <= step <= window:
        raise UserError(
            f"--step {step} is not possible with windows of {window} voxels; expected 1 to {window}; "
            f"take {DEFAULT_STEP} (as published), or 16 for a quicker result."
        )


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
    compared = compare(labels, reference)
    for sentence in compared.sentences:
        print(sentence)
    return compared.scores()


def _write(
    options: argparse.Namespace, t1: Volume, labels: np.ndarray, probabilities: np.ndarray | None, brain: np.ndarray
) -> None:
    values = np.array([tissue.iseg_value if options.iseg_values else tissue.label for tissue in CLASSES], np.uint8)
    write_volume(options.output, values[labels], t1.affine, t1)
    if options.save_mask:
        write_volume(options.save_mask, brain, t1.affine, t1)
    if probabilities is not None:
        options.probabilities.mkdir(exist_ok=True)
        for path, channel in zip(probability_paths(options), probabilities, strict=True):
            write_volume(path, channel, t1.affine, t1)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # both stop it, even as a shell's background job
        signal.signal(number, signal.default_int_handler)
    sys.exit(run_command(main))
