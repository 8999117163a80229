"""One segmentation for a panel, from the scans' files to the label map's and the warnings."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from model_core.confidence.calibration import Calibration, calibration_of
from model_core.findings import Finding
from model_core.inference import Segmenter
from model_core.inference.accumulator import Progress, Segmentation
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.networks import SegmentationNetwork
from model_core.preprocessing import PreparedPair
from model_core.segmentation.one_scan import check_one_scan
from model_core.segmentation.pipeline import PreparedScans, finish, prepare_scans, settle_step
from model_core.segmentation_options import ALIGNMENT, BIAS, EXTRACTION, ORIENTATION
from model_core.service.channel import Channel, ExchangeFolder, ProgressReport
from model_core.service.messages import Request, Segment
from model_core.system.devices import Device
from model_core.tissues import CLASSES
from model_core.volumes import Volume, read_mask, read_volume, write_volume

SECONDS_BETWEEN_LOOKS = 0.05  # for a request to stop while the scans are prepared
SECONDS_FOR_TOOL = 1.3  # to be ended; a panel that waits for 1.5 s shall still hear of the stop
STAGE_OF_RAW_STEP = {ORIENTATION: "preparing", BIAS: "correcting", ALIGNMENT: "aligning", EXTRACTION: "extracting"}


@dataclass(frozen=True)
class LoadedNetwork:
    """A network on its device, with what its file says of it.

    Attributes:
        key: path, time of change and size of the file, and the device's name: the same key, the same network.
        network: in evaluation mode.
        card: of its file.
        window: side of its windows in voxels.
    """

    key: tuple[str, int, int, str] | None
    network: SegmentationNetwork
    card: dict[str, Any]
    window: int


class SegmentationRun:
    """One try at a segmentation.

    Args:
        request: with a `Segment`.
        folder: where its files lie and the results go.
        channel: gets files, maps and progress.
        preparing: runs the preparation, so that a user who stops need not wait for its end.
        batch_size: windows at a time; None lets the segmenter choose.

    Attributes:
        batch_size: windows at a time as they were in the end.
    """

    def __init__(
        self,
        request: Request,
        folder: ExchangeFolder,
        channel: Channel,
        preparing: Executor,
        batch_size: int | None,
    ) -> None:
        self._wanted = request.content_as(Segment)
        self._id, self._stop = request.id, request.stop
        self._folder, self._channel, self._preparing = folder, channel, preparing
        self._report = ProgressReport(channel, request.id)
        self._asked_batch_size = batch_size
        self._segmenter: Segmenter | None = None
        self._seconds_of_maps = 0.0
        self._is_extracting = False

    @property
    def batch_size(self) -> int:
        return self._segmenter.batch_size if self._segmenter else self._asked_batch_size or 1

    def carry_out(self, device: Device, network_for: Callable[[Path | None, Device], LoadedNetwork]) -> dict[str, Any]:
        """Read, prepare, check, segment, write.

        Args:
            device: that runs the network.
            network_for: gives the network of a weights file, or of the default one for None.

        Returns:
            The fields of ``done``.

        Raises:
            UserError: the input or the machine is at fault.
            Stopped: the user wants no result, or there is none yet.
        """
        self._stop.check()
        self._report.begin("loading")
        paths = {name: self._find(name) for name in ("t1", "t2", "mask", "weights")}
        t1, t2, mask = self._read_scans(paths)
        loaded = network_for(paths["weights"], device)
        step, calibration = settle_step(loaded.card, self._wanted), calibration_of(loaded.card)
        self._segmenter = segmenter = Segmenter(
            loaded.network, window=loaded.window, device=device.name, batch_size=self._asked_batch_size
        )
        told = check_one_scan(t1, t2, paths["weights"] or DEFAULT_WEIGHTS, loaded.card)
        prepared = self._make_ready(t1, t2, mask, told, device)
        segmentation, seconds = self._segment(segmenter, prepared, step)
        return {
            **self._write(prepared, segmentation, calibration),
            "step_reached": segmentation.step_reached,
            "step": step,
            "stopped": segmentation.step_reached != step,
            "windows_done": segmentation.windows_done,
            "windows_total": segmentation.windows_total,
            "seconds": seconds,
            "device": device.name,
            "device_title": device.title,
            "network": loaded.card["network"],
            "window": loaded.window,
            "grid_shape": list(prepared.pair.t1.shape),
        }

    def _find(self, field_name: str) -> Path | None:
        name = getattr(self._wanted, field_name)
        return None if name is None else self._folder.find(field_name, name, anywhere=field_name == "weights")

    def _read_scans(self, paths: dict[str, Path | None]) -> tuple[Volume | None, Volume | None, Volume | None]:
        self._wanted.check_given(t1=paths["t1"] is not None, t2=paths["t2"] is not None)
        t1, t2, mask = paths["t1"], paths["t2"], paths["mask"]
        first = read_volume(t1) if t1 else None
        self._stop.check()
        second = read_volume(t2) if t2 else None
        self._stop.check()
        return first, second, read_mask(mask) if mask else None

    def _make_ready(
        self, t1: Volume | None, t2: Volume | None, mask: Volume | None, told: list[Finding], device: Device
    ) -> PreparedScans:
        """Prepare and check the pair in another thread and look for a request to stop meanwhile."""

        def begin(stage: str) -> None:
            self._stop.check()
            self._is_extracting = stage == EXTRACTION
            self._report.begin(STAGE_OF_RAW_STEP.get(stage, stage))

        prepared = self._preparing.submit(
            prepare_scans,
            t1,
            t2,
            mask,
            replace(self._wanted, device=device.name),
            told=told,
            scratch=self._folder.path,  # which is removed even where this process is killed
            on_stage=begin,
            on_raw_stage=begin,
            on_wait=self._stop.check,
        )
        while not wait([prepared], timeout=SECONDS_BETWEEN_LOOKS).done:
            if self._stop.wanted and self._is_extracting:  # a tool shall not outlive this process
                wait([prepared], timeout=SECONDS_FOR_TOOL)
            self._stop.check()
        return prepared.result()

    def _segment(self, segmenter: Segmenter, prepared: PreparedScans, step: int) -> tuple[Segmentation, float]:
        """Run the windows; returns the result and the seconds that they took."""
        pair, base = prepared.pair, prepared.base
        plan = segmenter.plan(pair.mask, step)
        total = plan.windows_total
        self._report.begin("segmenting", windows_total=total, stage_step=plan.stages[0].step)
        began = time.monotonic()

        def show(progress: Progress) -> None:
            nonlocal done
            done = progress.windows_done
            self._report.update(asdict(progress), must_go_out=progress.step_reached == progress.stage_step)

        def show_map(step_reached: int, labels: np.ndarray) -> None:
            if self._wanted.maps and step_reached != step:
                self._give_map(pair, base, step_reached, labels, windows_done=done, windows_total=total)

        done = 0
        segmentation = segmenter.segment(
            pair.t1,
            pair.t2,
            step=step,
            mask=pair.mask,
            on_progress=show,
            should_stop=lambda: self._stop.wanted,
            on_map=show_map,
            look_at=self._voxel_looked_at(pair),
        )
        self._stop.check(may_keep=segmentation.step_reached > 0)
        return segmentation, time.monotonic() - began - self._seconds_of_maps

    def _voxel_looked_at(self, pair: PreparedPair) -> list[float] | None:
        if self._wanted.look_at is None:
            return None
        return list(np.linalg.inv(pair.affine)[:3] @ [*self._wanted.look_at, 1])

    def _give_map(self, pair: PreparedPair, base: Volume, step_reached: int, labels: np.ndarray, **counts: int) -> None:
        began = time.monotonic()
        name = f"map-{step_reached}.nii"
        self._give_volume(name, pair.labels_to_native(labels), base)
        self._channel.send("map", self._id, step=step_reached, file=name, **counts)
        self._seconds_of_maps += time.monotonic() - began

    def _write(
        self, prepared: PreparedScans, segmentation: Segmentation, calibration: Calibration | None
    ) -> dict[str, Any]:
        """Write the result on the scan's own grid, and look at it."""
        self._report.begin("writing", windows_done=segmentation.windows_done, step_reached=segmentation.step_reached)
        result = finish(
            prepared,
            segmentation,
            self._wanted,
            calibration=calibration,
            with_probabilities=self._wanted.probabilities,
            with_uncertainty=self._wanted.uncertainty,
        )
        self._give_volume("labels.nii", result.labels.array, prepared.base)
        names = {}
        if result.probabilities is not None:
            names = {tissue.key: f"probability-{tissue.key}.nii" for tissue in CLASSES}
            for tissue in CLASSES:
                self._stop.check(may_keep=True)
                self._give_volume(names[tissue.key], result.probabilities[tissue.label], prepared.base)
        self._stop.check(may_keep=True)
        if result.trust.uncertainty is not None:
            self._give_volume("uncertainty.nii", result.trust.uncertainty, prepared.base)
            self._stop.check(may_keep=True)
        return {
            "file": "labels.nii",
            "probabilities": names,
            "uncertainty": None if result.trust.uncertainty is None else "uncertainty.nii",
            **result.trust.as_dict(),
            "volumes_ml": result.volumes_ml,
            "warnings": [asdict(finding) for finding in result.findings],
        }

    def _give_volume(self, name: str, array: np.ndarray, like: Volume) -> None:
        write_volume(self._folder.path / name, array, like.affine, like)
        self._folder.give(self._channel, self._id, name)
