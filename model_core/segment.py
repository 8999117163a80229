"""Segment a T1/T2 pair of a 6-8-month-old into CSF, gray matter and white matter.

Examples::

    python model_core/segment.py --t1 t1.nii.gz --t2 t2.nii.gz --output segmentation.nii.gz
    python model_core/segment.py --t1 t1.nii.gz --t2 t2.nii.gz --output segmentation.nii.gz --step 16 \\
        --reference reference.nii.gz --scores scores.json --picture segmentation.png
    python model_core/segment.py --t1 head_t1.nrrd --t2 head_t2.nrrd --mask brain.nrrd --align-t2 --bias-correction \\
        --output segmentation.nrrd --probabilities probabilities
    python model_core/segment.py --raw --t1 T1w.nii.gz --t2 T2w.nii.gz --output segmentation.nii.gz --report report.html

The scans are skull-stripped (0 outside the brain) or come with --mask. With --raw they are as converted from DICOM:
the bias is corrected, T2 aligned, and the brain found. The label map lies on T1's own grid, voxel by voxel: 0
background, 1 CSF, 2 gray matter, 3 white matter. Beside it a .json file says how it was made and holds the warnings of
the checks, which are also printed. Files: NIfTI, Analyze, NRRD, MetaImage, by their suffix.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import numpy as np
from tqdm import tqdm

from model_core.confidence.calibration import calibration_of
from model_core.findings import Finding
from model_core.inference import Segmenter
from model_core.inference.accumulator import Progress, Segmentation
from model_core.metrics import TissueScore
from model_core.preprocessing import PreparedPair
from model_core.segmentation.comparison import check_overlap, compare
from model_core.segmentation.memory import check_can_prepare, fit_memory
from model_core.segmentation.one_scan import check_one_scan
from model_core.segmentation.options import parse
from model_core.segmentation.outputs import (
    FinishedStage,
    check_paths,
    draw,
    on_network_grid,
    probability_paths,
    tell,
    write_scores,
)
from model_core.segmentation.pipeline import PreparedScans, SegmentedScans, finish, prepare_scans, settle_step
from model_core.segmentation.report_page import write_subject_report
from model_core.segmentation.sidecar import describe_weights, write_sidecar
from model_core.segmentation.views import draw_views
from model_core.segmentation_options import RAW_STEPS
from model_core.system.command_line import run_command
from model_core.system.devices import choose_device
from model_core.tissues import CLASSES
from model_core.volumes import (
    Volume,
    read_labels,
    read_mask,
    read_volume,
    write_volume,
)
from model_core.volumes.faults import check_content
from model_core.weights import load_weights, window_of
from model_core.windows import WHOLE_BRAIN, describe_step

STEP_OF_LITTLE_MEMORY = 32  # of windows, where the memory allowed does not suffice for the whole brain at once
BAR_FORMAT = "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} windows, {elapsed}{postfix}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, check, segment, write, report; see the top of this file."""
    options = parse(arguments, __doc__)
    check_paths(options)
    how = options.how
    if options.max_memory:
        check_can_prepare(options.max_memory, list(filter(None, (options.t1, options.t2))), repairs=how.repairs)
    t1, t2 = (path and read_volume(path) for path in (options.t1, options.t2))
    mask = read_mask(options.mask) if options.mask else None
    reference = read_labels(options.reference) if options.reference else None
    check_content(options.weights)
    network, card = load_weights(options.weights)
    calibration = calibration_of(card)
    segmenter = Segmenter(network, window=window_of(options.weights, card, network), device=how.device)
    step = settle_step(card, how)
    told = [*check_one_scan(t1, t2, options.weights, card), *(reference.findings if reference else ())]
    for name, scan in (("T1", t1), ("T2", t2)):
        print(f"{name} {scan.path}: {scan.description}" if scan else f"{name}: not given", flush=True)

    prepared = _prepare(options, t1, t2, mask, told)
    base, pair, raw = prepared.base, prepared.pair, prepared.raw
    if reference is not None:
        check_overlap(base, reference)
    drawn = prepared.seen_by_network(reference) if reference else None
    kept = "interpolated" if pair.grid.is_interpolated else "only reoriented and cropped"
    print(f"Network grid: {'×'.join(map(str, pair.t1.shape))} voxels at 1 mm, {kept}", flush=True)

    if options.max_memory:
        step, account = fit_memory(
            options.max_memory,
            segmenter,
            pair,
            (step,) if how.step or step != WHOLE_BRAIN else (step, STEP_OF_LITTLE_MEMORY),
            with_probabilities=options.probabilities is not None,
        )
        print(account)
    began = time.monotonic()
    segmentation, stages = _segment(segmenter, pair, step)
    seconds = time.monotonic() - began
    result = finish(
        prepared,
        segmentation,
        how,
        name=str(options.output),
        calibration=calibration,
        with_probabilities=options.probabilities is not None,
        with_uncertainty=options.uncertainty is not None,
    )
    rows = _score(result.labels, reference)
    _write(options, base, result, pair.grid.brain)
    if options.scores:
        write_scores(options, card, result.volumes_ml, rows, stages)
    if options.picture:
        draw(options.picture, options, pair, segmentation, drawn, rows)
    content = _account(options, prepared, result, card, step, seconds, rows)
    write_sidecar(options.output, content, result.findings)
    if options.report:
        views = draw_views(
            pair.t1,
            pair.t2,
            segmentation.labels,
            reference=on_network_grid(drawn, pair),
            uncertainty=segmentation.uncertainty,
        )
        write_subject_report(options.report, content, raw.steps if raw else (), views, result.findings)
    tell(options, result, rows, stages)


def _account(
    options: argparse.Namespace,
    prepared: PreparedScans,
    result: SegmentedScans,
    card: dict[str, Any],
    step: int,
    seconds: float,
    rows: Sequence[TissueScore],
) -> dict[str, Any]:
    """What the sidecar says of a result, but for versions, date and warnings."""
    how, raw = options.how, prepared.raw
    return {
        "sources": {name: _text(vars(options)[name]) for name in ("t1", "t2", "mask")},
        "weights": describe_weights(options.weights, card["network"]),
        "step": step,
        "device": str(choose_device(how.device)),
        "raw": how.raw,
        "raw_steps": [step.as_dict() for step in raw.steps] if raw else [],
        "age_months": how.age_months,
        "volumes_ml": result.volumes_ml,
        **result.trust.as_dict(),
        "windows": result.segmentation.windows_done,
        "seconds": round(seconds, 1),
        "tissues": [row.as_dict() for row in rows],
    }


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _prepare(
    options: argparse.Namespace, t1: Volume | None, t2: Volume | None, mask: Volume | None, told: Sequence[Finding]
) -> PreparedScans:
    """Make the scans ready; raw ones with a bar that names the step."""
    bar_format, raw = "{desc} |{bar}| {n_fmt}/{total_fmt} steps, {elapsed}", options.how.raw
    with tqdm(total=len(RAW_STEPS), bar_format=bar_format, disable=None if raw else True) as bar:

        def begin(step: str) -> None:
            bar.n = RAW_STEPS.index(step)
            bar.set_description_str(step.replace("-", " ").capitalize())

        prepared = prepare_scans(
            t1,
            t2,
            mask,
            options.how,
            told=told,
            keep_intermediates=options.keep_intermediates,
            with_pictures=options.report is not None,
            on_raw_stage=begin,
        )
        bar.update(len(RAW_STEPS) - bar.n)
    for step in prepared.raw.steps if prepared.raw else ():
        print(f"{step.name}: {step.account}", flush=True)
    return prepared


def _segment(segmenter: Segmenter, pair: PreparedPair, step: int) -> tuple[Segmentation, list[FinishedStage]]:
    """Segment with a bar on the terminal; the bar stays off where stderr is a file or a pipe."""
    stages: list[FinishedStage] = []
    began = time.monotonic()
    with tqdm(desc="Segmenting", bar_format=BAR_FORMAT, disable=None) as bar:
        told = 0

        def show(progress: Progress) -> None:
            nonlocal told
            for notice in progress.notices[told:]:
                bar.write(notice, file=sys.stderr)
            told = len(progress.notices)
            bar.total = progress.windows_total
            bar.set_postfix_str(
                f"{describe_step(progress.stage_step)}, {progress.seconds_left:.0f} s left", refresh=False
            )
            bar.update(progress.windows_done - bar.n)
            if progress.step_reached == progress.stage_step:
                windows = progress.windows_done - sum(stage.windows for stage in stages)
                seconds = time.monotonic() - began - sum(stage.seconds for stage in stages)
                stages.append(FinishedStage(progress.step_reached, windows, seconds))

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


def _write(options: argparse.Namespace, base: Volume, result: SegmentedScans, brain: np.ndarray) -> None:
    values = np.array([tissue.iseg_value if options.iseg_values else tissue.label for tissue in CLASSES], np.uint8)
    write_volume(options.output, values[result.labels.array], base.affine, base)
    if options.save_mask:
        write_volume(options.save_mask, brain, base.affine, base)
    if result.trust.uncertainty is not None:
        write_volume(options.uncertainty, result.trust.uncertainty, base.affine, base)
    if result.probabilities is not None:
        options.probabilities.mkdir(exist_ok=True)
        for path, channel in zip(probability_paths(options), result.probabilities, strict=True):
            write_volume(path, channel, base.affine, base)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):  # both stop it, even as a shell's background job
        signal.signal(number, signal.default_int_handler)
    sys.exit(run_command(main))
