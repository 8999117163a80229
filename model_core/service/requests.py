"""What the worker does for a panel: segment a pair of scans, score a label map."""

from __future__ import annotations

import gc
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_core.errors import UserError
from model_core.metrics import TissueScore, score_tissues
from model_core.metrics.disagreements import deepest_place, disagreement_map
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.preprocessing.brain_extraction import EXTRACTORS
from model_core.segmentation.comparison import compare
from model_core.service.channel import Channel, ExchangeFolder
from model_core.service.messages import Request, Score, Segment
from model_core.service.segmentation import LoadedNetwork, SegmentationRun
from model_core.system.devices import (
    Device,
    best_device,
    choose_device,
    explain_unused_gpu,
    is_out_of_memory,
    list_devices,
)
from model_core.system.provenance import versions_of
from model_core.tissues import TISSUES, Tissue
from model_core.volumes import Volume, read_labels, write_volume
from model_core.volumes.faults import check_content
from model_core.weights import load_weights, window_of


class Tasks:
    """Carries out requests; the last network stays loaded between them.

    Args:
        channel: gets the events, but for the last one of each request.

    Attributes:
        devices: of this machine, tried out.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self.devices = list_devices()
        # One thread, so that a preparation begins when one that was stopped has come to its end.
        self._preparing = ThreadPoolExecutor(max_workers=1)
        self._loaded: LoadedNetwork | None = None

    def describe(self) -> dict[str, Any]:
        """What a panel wants to know of this machine: versions, devices, why a GPU lies idle, what finds brains."""
        return {
            "host": platform.node(),
            "versions": versions_of(("torch", "numpy", "scipy", "nibabel", "SimpleITK", "safetensors")),
            "devices": [asdict(device) for device in self.devices],
            "default_device": best_device(self.devices).name,
            "note": explain_unused_gpu(self.devices),
            "brain_extractions": [extractor.name for extractor in EXTRACTORS if extractor.is_installed],
        }

    def segment(self, request: Request, folder: ExchangeFolder) -> dict[str, Any]:
        """Segment; where memory does not suffice once more, with less at a time.

        Returns:
            The fields of ``done``.

        Raises:
            UserError: the input or the machine is at fault.
            Stopped: the user wants no result, or there is none yet.
        """
        wanted = request.content_as(Segment)
        batch_size = wanted.batch_size
        for is_last_try in (False, True):
            run = SegmentationRun(request, folder, self._channel, self._preparing, batch_size)
            try:
                device = self._device_named(wanted.device)
                return run.carry_out(device, self._network_for)
            except Exception as error:
                if is_last_try or not lacks_memory(error):
                    raise
                batch_size = max(1, run.batch_size // 2)
            # Outside the except clause, whose error would keep the arrays of the failed run alive.
            del run
            self._release()
        raise AssertionError("the last try returns or raises")

    def score(self, request: Request, folder: ExchangeFolder) -> dict[str, Any]:
        """Score a label map against a reference; returns and raises as `segment`."""
        wanted = request.content_as(Score)
        labels = read_labels(folder.find("prediction", wanted.prediction))
        reference = read_labels(folder.find("reference", wanted.reference))
        compared = compare(labels, reference)
        notes = [finding.sentence for finding in (*labels.findings, *reference.findings)] + [*compared.sentences]
        labels, reference = compared.prediction, compared.reference
        rows, places = [], {}
        for tissue in TISSUES:
            request.stop.check()
            rows.append(_score_one(labels.array, reference, tissue).as_dict())
            places[tissue.key] = _place(labels.array, reference, tissue)
        request.stop.check()
        name = "disagreement.nii"
        write_volume(folder.path / name, disagreement_map(labels.array, reference.array), reference.affine, reference)
        folder.give(self._channel, request.id, name)
        return {
            "rows": rows,
            "resampled": compared.resampled,
            "disagreement": name,
            "places": places,
            "notes": notes,
        }

    @staticmethod
    def explain(error: Exception) -> tuple[str, str]:
        """The kind of an ``error`` event and the sentence for people."""
        if lacks_memory(error) and not isinstance(error, UserError):
            return "out_of_memory", (
                "There is not enough memory for this volume; expected enough for at least one window at a time; close "
                "other programs, crop the scan to the brain, or choose another device or a machine with more memory."
            )
        if isinstance(error, UserError):
            return "out_of_memory" if lacks_memory(error) else "input", str(error)
        return "internal", (
            f"This should not have happened: {type(error).__name__}: {error}; expected no such error; send the "
            "worker's log with your report."
        )

    def _device_named(self, name: str) -> Device:
        """The device of a name, ``auto`` included.

        Raises:
            UserError: there is none of that name, or it does not work.
        """
        if name == "auto":
            return best_device(self.devices)
        kind, number = choose_device(name).type, name.partition(":")[2]
        full_name = f"cuda:{int(number or 0)}" if kind == "cuda" else kind
        device = next(device for device in self.devices if device.name == full_name)
        if device.reason:
            raise UserError(device.reason)
        return device

    def _network_for(self, path: Path | None, device: Device) -> LoadedNetwork:
        """The network of a weights file (None: of the default one), read only if it is not the one used last.

        Raises:
            UserError: as ``load_weights`` and ``window_of``.
        """
        path = path or DEFAULT_WEIGHTS
        status = os.stat(path) if os.path.isfile(path) else None
        key = (str(path), status.st_mtime_ns, status.st_size, device.name) if status else None
        if self._loaded and self._loaded.key != key:
            self._release()
        if not self._loaded:
            check_content(path)
            network, card = load_weights(path)
            window = window_of(path, card, network)
            self._loaded = LoadedNetwork(key, network.to(choose_device(device.name)), card, window)
        return self._loaded

    def _release(self) -> None:
        """Give back the memory of the network and of what the libraries keep for later."""
        self._loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if torch.backends.mps.is_available():
            torch.mps.empty_cache()


def lacks_memory(error: BaseException) -> bool:
    """Whether an error, or the one that it explains, is that memory does not suffice."""
    return is_out_of_memory(error) or (error.__cause__ is not None and is_out_of_memory(error.__cause__))


def _score_one(labels: np.ndarray, reference: Volume, tissue: Tissue) -> TissueScore:
    """The row of one tissue alone, so that a request to stop is noticed between them."""
    maps = (np.where(array == tissue.label, array, 0) for array in (labels, reference.array))
    return score_tissues(*maps, reference.spacing)[TISSUES.index(tissue)]


def _place(labels: np.ndarray, reference: Volume, tissue: Tissue) -> dict[str, Any] | None:
    place = deepest_place(labels, reference.array, reference.spacing, tissue)
    if place is None:
        return None
    position = reference.affine[:3] @ [*place.voxel, 1]
    fields = asdict(place)
    del fields["voxel"]
    return {"position": position.tolist(), **fields}
