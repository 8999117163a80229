"""One subject from scans in memory to labels on the scan's own grid: prepare, check, segment, bring back, check.

The commands, the worker and scripts all go this way; they keep what is their own: files, bars, and when to stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_core.confidence.calibration import Calibration, calibration_of
from model_core.findings import Finding
from model_core.inference import Segmenter
from model_core.inference.accumulator import Progress, Segmentation
from model_core.metrics import tissue_volumes
from model_core.model_card import DEFAULT_WEIGHTS, check_step, default_step
from model_core.preprocessing import PreparedPair, prepare_pair
from model_core.preprocessing.raw_scans import RawOptions, RawScans, prepare_raw
from model_core.quality.checks import check_result, check_scans
from model_core.segmentation.one_scan import check_one_scan
from model_core.segmentation.trust import Trust, trust_of
from model_core.segmentation_options import SegmentationOptions
from model_core.system.devices import choose_device
from model_core.volumes import Volume
from model_core.weights import load_weights, window_of


@dataclass(frozen=True)
class PreparedScans:
    """Scans that are ready for the network.

    Attributes:
        base: T1, or T2 where that alone was given: the result lies on its grid.
        pair: on the network grid.
        raw: the chain that raw scans went through, else None.
        findings: what a person should look at so far.
    """

    base: Volume
    pair: PreparedPair
    raw: RawScans | None
    findings: list[Finding]

    def seen_by_network(self, volume: Volume) -> Volume:
        """Move a volume that lies over the scan that was given to where the network has it."""
        return volume if self.raw is None else self.raw.from_given(volume)


@dataclass(frozen=True)
class SegmentedScans:
    """A label map on the scan's own grid.

    Attributes:
        labels: uint8 on ``base``'s grid, 0 background, 1 CSF, 2 gray matter, 3 white matter.
        probabilities: (4, I, J, K) float32 on the same grid; None where they were not wanted.
        volumes_ml: by tissue key.
        findings: what a person should look at, of scans and result.
        segmentation: on the network grid.
        trust: how far it can be trusted.
    """

    labels: Volume
    probabilities: np.ndarray | None
    volumes_ml: dict[str, float]
    findings: list[Finding]
    segmentation: Segmentation
    trust: Trust


def prepare_scans(
    t1: Volume | None,
    t2: Volume | None,
    mask: Volume | None,
    options: SegmentationOptions,
    *,
    told: Sequence[Finding] = (),
    keep_intermediates: Path | None = None,
    with_pictures: bool = False,
    scratch: Path | None = None,
    on_stage: Callable[[str], None] | None = None,
    on_raw_stage: Callable[[str], None] | None = None,
    on_wait: Callable[[], None] | None = None,
) -> PreparedScans:
    """Bring scans to the network grid, by way of the raw chain where they are raw, and check them.

    Args:
        t1, t2: as they were read; one may be None.
        mask: the brain, on any grid that covers it; needed where the scans are neither stripped nor raw.
        options: what to do with them.
        told: findings before these.
        keep_intermediates: a folder for what each step of the raw chain leaves.
        with_pictures: whether each of its steps gets a picture.
        scratch: a folder for the files of a brain extraction tool while it runs; None takes the system's.
        on_stage: called with "preparing", "aligning", "correcting" or "checking" when that begins; what it raises
            ends the work.
        on_raw_stage: called with a name of ``RAW_STEPS`` when that begins; as ``on_stage``.
        on_wait: called a few times a second while a tool runs; as ``on_stage``.

    Raises:
        UserError: the scans cannot be segmented; the sentence says why.
    """
    options.check_given(t1=t1 is not None, t2=t2 is not None)
    base = next(scan for scan in (t1, t2) if scan is not None)
    raw = None
    if options.raw and t1 is not None and t2 is not None:
        how = RawOptions(
            skip=frozenset(options.skip),
            brain_extraction=options.brain_extraction,
            gpu=choose_device(options.device).type == "cuda",
            keep_intermediates=keep_intermediates,
            pictures=with_pictures,
            scratch=scratch,
        )
        raw = prepare_raw(t1, t2, mask, how, on_stage=on_raw_stage, on_wait=on_wait)
        pair = prepare_pair(raw.t1, raw.t2, raw.mask, on_stage=on_stage)
        seen_t1, seen_t2 = raw.from_given(t1), raw.t2
    else:
        repairs = {"align_t2": options.align_t2, "bias_correction": options.bias_correction}
        pair = prepare_pair(t1, t2, mask, on_stage=on_stage, **repairs)
        seen_t1, seen_t2 = t1, t2
    if on_stage:
        on_stage("checking")
    read = [finding for volume in (t1, t2, mask) if volume for finding in volume.findings]
    chain = raw.findings if raw else []
    return PreparedScans(base, pair, raw, [*told, *read, *chain, *check_scans(seen_t1, seen_t2, pair)])


def finish(
    prepared: PreparedScans,
    segmentation: Segmentation,
    options: SegmentationOptions,
    *,
    name: str = "",
    calibration: Calibration | None = None,
    with_probabilities: bool = False,
    with_uncertainty: bool = False,
) -> SegmentedScans:
    """Bring a segmentation back to the scan's own grid, check it, and ask how far it can be trusted.

    Args:
        prepared: what was segmented.
        segmentation: of ``prepared.pair``.
        options: the same as for ``prepare_scans``.
        name: of the file that the labels are meant for, for sentences.
        calibration: of the weights, from their card; None where they have none.
        with_probabilities: whether these are brought back, too.
        with_uncertainty: whether the uncertainty of each voxel is brought back, and places to look at are sought.
    """
    labels, probabilities = prepared.pair.result_to_native(
        segmentation.labels, segmentation.probabilities, with_probabilities=with_probabilities
    )
    volume = Volume(labels, prepared.base.affine, name)
    trust = trust_of(segmentation, prepared.pair, calibration, with_map=with_uncertainty)
    findings = [
        *prepared.findings,
        *(Finding("gpu-memory", notice) for notice in segmentation.notices),
        *check_result(volume, options.age_months),
        *trust.findings,
    ]
    volumes_ml = tissue_volumes(labels, volume.spacing)
    return SegmentedScans(volume, probabilities, volumes_ml, findings, segmentation, trust)


def settle_step(card: dict[str, Any], options: SegmentationOptions) -> int:
    """The overlap step that is asked for, or what the weights are best at.

    Raises:
        UserError: the weights cannot run with it.
    """
    step = default_step(card) if options.step is None else options.step
    check_step(card, step)
    return step


def segment_scans(
    t1: Volume | None,
    t2: Volume | None,
    mask: Volume | None = None,
    *,
    weights: Path = DEFAULT_WEIGHTS,
    options: SegmentationOptions | None = None,
    with_probabilities: bool = False,
    with_uncertainty: bool = False,
    on_progress: Callable[[Progress], None] | None = None,
) -> SegmentedScans:
    """Segment a pair of scans, from volumes to volumes, as the command does.

    Args:
        t1, t2: of one head, skull-stripped unless there is a mask or they are raw; one may be None.
        mask: the brain.
        weights: a .safetensors file.
        options: None takes the defaults.
        with_probabilities: whether the result has them.
        with_uncertainty: whether ``trust`` has that of each voxel, and places to look at.
        on_progress: called as by ``Segmenter.segment``.

    Raises:
        UserError: scans, weights or options are at fault; the sentence says how.

    Example:
        >>> result = segment_scans(read_volume("T1.nii.gz"), read_volume("T2.nii.gz"))
        >>> result.volumes_ml["gm"], result.findings
    """
    options = options or SegmentationOptions()
    network, card = load_weights(weights)
    calibration = calibration_of(card)
    step = settle_step(card, options)
    told = check_one_scan(t1, t2, weights, card)
    segmenter = Segmenter(network, window=window_of(weights, card, network), device=options.device)
    prepared = prepare_scans(t1, t2, mask, options, told=told)
    pair = prepared.pair
    segmentation = segmenter.segment(pair.t1, pair.t2, step=step, mask=pair.mask, on_progress=on_progress)
    return finish(
        prepared,
        segmentation,
        options,
        calibration=calibration,
        with_probabilities=with_probabilities,
        with_uncertainty=with_uncertainty,
    )
