"""Segmentation of volumes by a network: windows' softmax probabilities averaged, or the whole brain at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from model_core.errors import UserError
from model_core.inference.accumulator import Progress, Segmentation, WindowAccumulator, check_scan
from model_core.inference.plan import Plan, plan_whole_brain, plan_windows_of
from model_core.inference.runner import CPU_BATCH_SIZE, GPU_BATCH_SIZE, Callbacks, Engine, Run
from model_core.inference.standardisation import standardise_volume
from model_core.inference.tidying import tidy
from model_core.model_card import PUBLISHED_STEP, check_step
from model_core.networks.ensemble import Ensemble
from model_core.networks.input_form import InputForm, form_of
from model_core.system.devices import available_cores, choose_device, exact_float32, is_out_of_memory
from model_core.windows import WHOLE_BRAIN


class Segmenter:
    """Segments volumes with one network; the network stays loaded between volumes.

    Args:
        network: (N, scans, D, H, W) windows as its ``input_form`` says -> (N, 4, D, H, W) logits; moved to the device.
        window: side of the cubic windows in voxels; ``None`` takes the network's own.
        device: ``"auto"`` (a CUDA GPU, else Apple's, else the CPU) or a name such as ``"cpu"``,
            ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
        precision: ``"float32"`` is exact (no TF32), ``"float16"`` mixed precision on a GPU,
            ``"auto"`` is float32 everywhere.
        batch_size: windows that run together; ``None`` chooses. Halved for good when memory does not suffice; where
            that of a GPU does not suffice for one window, the CPU goes on, with the sums so far.
        workers: threads of one core that run batches side by side on the CPU; ``None`` takes one per core. Down to one
            for good when memory does not suffice. The result does not depend on it.

    Raises:
        UserError: the device is not there, or cannot run that precision.
        ValueError: a precision or batch size that does not exist, or a window that the network cannot take.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        window: int | None = None,
        device: str = "auto",
        precision: str = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> None:
        self.form: InputForm = form_of(network)
        self._multiple = getattr(network, "window_multiple", 1)
        self.window = self.form.window if window is None else window
        if self.window < 1 or self.window % self._multiple:
            raise ValueError(f"window is {self.window}; this network takes multiples of {self._multiple}")
        if precision not in ("auto", "float32", "float16"):
            raise ValueError(f"precision is {precision!r}; it is 'auto', 'float32' or 'float16'")
        for name, number in (("batch_size", batch_size), ("workers", workers)):
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}; at least 1 was expected")
        chosen = choose_device(device)
        on_cpu = chosen.type == "cpu"
        if precision == "float16" and on_cpu:
            raise UserError(
                "The precision float16 was asked for on the CPU and needs a GPU; choose the precision auto or float32."
            )
        self._engine = Engine(
            network=network.to(chosen),
            device=chosen,
            half_precision=precision == "float16",
            batch_size=batch_size or (CPU_BATCH_SIZE if on_cpu else GPU_BATCH_SIZE),
            may_fit_batch=batch_size is None and chosen.type == "cuda",
            workers=workers or available_cores(),
        )

    @property
    def network(self) -> nn.Module:
        """The network that segments."""
        return self._engine.network

    @property
    def device(self) -> torch.device:
        """Where it runs; the CPU from the run on for which a GPU's memory did not suffice."""
        return self._engine.device

    @property
    def batch_size(self) -> int:
        """Windows that run together, as the last run left it."""
        return self._engine.batch_size

    @property
    def workers(self) -> int:
        """Threads that run batches side by side on the CPU; may be lowered to need less memory."""
        return self._engine.workers

    @workers.setter
    def workers(self, count: int) -> None:
        self._engine.workers = count

    @property
    def default_step(self) -> int:
        """The overlap step with which the network is at its best."""
        return WHOLE_BRAIN if self.form.whole_brain else PUBLISHED_STEP

    @property
    def looks(self) -> int:
        """How often a voxel of a window is looked at: by each member, or by one network and in the mirror."""
        return len(self.network.members) if isinstance(self.network, Ensemble) else 1 + self.form.mirrored

    def plan(self, brain: np.ndarray, step: int) -> Plan:
        """Where the windows lie for a brain (D, H, W) bool.

        Raises:
            UserError: the network has no such step.
        """
        network = getattr(self.network, "name", "this network")
        check_step({"network": network, "window": self.window, "whole_brain": self.form.whole_brain}, step)
        if step == WHOLE_BRAIN:
            return plan_whole_brain(brain, self._multiple)
        return plan_windows_of(brain, self.window, step)

    def segment(
        self,
        t1: np.ndarray | None,
        t2: np.ndarray | None,
        *,
        step: int | None = None,
        mask: np.ndarray | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_map: Callable[[int, np.ndarray], None] | None = None,
        look_at: Sequence[float] | None = None,
    ) -> Segmentation:
        """Segment a pair of scans.

        Args:
            t1: (D, H, W) T1 intensities on the network grid, 0 outside the brain; any size. ``None`` for a network that
                does with one scan.
            t2: (D, H, W) T2 intensities of the same voxels, or ``None``.
            step: overlap step in voxels, 1 to the window's side; ``WHOLE_BRAIN`` for a network that takes it. ``None``
                takes the network's ``default_step``.
            mask: (D, H, W), not 0 in the brain; ``None`` takes the voxels where T1 or T2 is not 0, and what they
                enclose.
            on_progress: called after every batch of windows.
            should_stop: asked before every batch; when true, the map so far is the result.
            on_map: called with an overlap step and its (D, H, W) label map when the grid of that
                step is complete, the coarsest first and the last one included.
            look_at: voxel whose three slices the user looks at; within a stage their windows come first. The result
                does not depend on it.

        Returns:
            Labels and probabilities; the same, but for rounding, as one run over all of ``plan_windows``.

        Raises:
            UserError: the step is out of range, or memory does not suffice for a single window.
            ValueError: shapes that differ, values that are not finite real numbers, a scan that the network needs.
        """
        scans = self._check_scans(t1, t2)
        shape = scans.shape[1:]
        if mask is not None and np.shape(mask) != shape:
            raise ValueError(f"mask has shape {np.shape(mask)} and the scans have {shape}")
        brain = ndimage.binary_fill_holes(scans.any(axis=0)) if mask is None else np.asarray(mask) != 0
        plan = self.plan(brain, self.default_step if step is None else step)
        if self.form.standardised_over == "volume":
            scans = np.stack([standardise_volume(scan, brain) for scan in scans])
        training = self.network.training
        self.network.eval()
        notices: list[str] = []
        try:
            with torch.inference_mode(), exact_float32(self.device):
                make = partial(WindowAccumulator, scans, brain, plan, look_at=look_at)
                del scans
                run = Run(self._engine, notices)
                result = run.carry_out(make, Callbacks(on_progress, should_stop, on_map)).result()
            if self.form.whole_brain and result.step_reached:
                tidy(result.labels, result.probabilities, brain)
            return result
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                f"The memory of {self.device} does not suffice for {'×'.join(map(str, shape))} voxels, even one "
                f"window of {'×'.join(map(str, plan.sides))} at a time; close other programs, crop the scan to the "
                f"brain{', choose an overlap step' if self.form.whole_brain else ''} or choose another device."
            ) from error
        finally:
            self.network.train(training)

    def _check_scans(self, t1: np.ndarray | None, t2: np.ndarray | None) -> np.ndarray:
        """The scans as one array (2, D, H, W) float32, a missing one 0 everywhere."""
        given = {name: check_scan(name, scan) for name, scan in (("t1", t1), ("t2", t2)) if scan is not None}
        if not given or (len(given) < 2 and not self.form.optional_scans):
            missing = " and ".join(name for name in ("t1", "t2") if name not in given)
            raise ValueError(f"{missing} missing; expected {'one scan' if self.form.optional_scans else 'both scans'}")
        if len({scan.shape for scan in given.values()}) > 1:
            raise ValueError(f"t2 has shape {given['t2'].shape} and t1 has {given['t1'].shape}")
        empty = np.zeros_like(next(iter(given.values())))
        return np.stack([given.get(name, empty) for name in ("t1", "t2")])
