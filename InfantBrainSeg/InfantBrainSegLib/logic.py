"""What the panel and the Python console call: segment, startSegmentation, score, startScoring."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .core_paths import make_core_importable
from .dependencies import ensure_packages
from .errors import SegmentationError
from .jobs import Job, JobProgress
from .scan_choice import describe_scans_problem
from .scoring_job import ScoringJob
from .segmentation_job import SegmentationJob, SegmentationRequest
from .worker_command import WorkerCommand
from .worker_front import WorkerFront

make_core_importable()
from model_core.errors import UserError  # noqa: E402
from model_core.model_card import DEFAULT_WEIGHTS, DEFAULT_WINDOW, read_card  # noqa: E402
from model_core.segmentation_options import BUILT_IN, OLDEST_MONTHS, SegmentationOptions  # noqa: E402
from model_core.windows import WHOLE_BRAIN  # noqa: E402

STEP_WITH_GPU, STEP_WITHOUT_GPU = 8, 16


class SegmentationLogic:
    """Segments and scores nodes of the scene by a worker process; nothing here blocks unless its name says so.

    Example::

        logic = slicer.util.getModuleLogic("InfantBrainSeg")
        segmentation = logic.segment(t1Node, t2Node, overlapStep=16)
        table = logic.score(segmentation, referenceNode)
    """

    def __init__(self) -> None:
        self.worker = WorkerFront()

    def segment(self, t1Node: Any = None, t2Node: Any = None, **options: Any) -> Any:
        """Segment T1 and T2, or one alone, and wait for it, with a progress dialog where there is a main window.

        Args:
            t1Node, t2Node: vtkMRMLScalarVolumeNode of one head; None for one of them where the weights do with one.
            options: as of `startSegmentation`.

        Returns:
            The vtkMRMLSegmentationNode with CSF, gray matter and white matter.

        Raises:
            SegmentationError: with a sentence that says what was found, what was expected and what to do.
        """
        job = self.startSegmentation(t1Node, t2Node, **options)
        self._wait_with_dialog(job, _("Segmenting"))
        return job.result()

    def startSegmentation(
        self,
        t1Node: Any = None,
        t2Node: Any = None,
        overlapStep: int | None = None,
        *,
        maskNode: Any = None,
        outputNode: Any = None,
        weights: str | Path | None = None,
        device: str = "auto",
        alignT2: bool = False,
        biasCorrection: bool = False,
        raw: bool = False,
        ageMonths: float | None = None,
        brainExtraction: str = BUILT_IN,
        createLabelMap: bool = False,
        createProbabilities: bool = False,
        showMaps: bool = True,
        onProgress: Callable[[JobProgress], Any] | None = None,
        onChanged: Callable[[Job], Any] | None = None,
    ) -> SegmentationJob:
        """Start to segment T1 and T2, or one alone, and return at once.

        Args:
            t1Node, t2Node: vtkMRMLScalarVolumeNode of one head, skull-stripped (0 outside the brain) unless there is
                a mask, or they are raw. One may be None where the weights do with one; the result then lies on the
                other's grid, and a warning says what it costs.
            overlapStep: voxels between windows, 1 to the window's side; None takes what the weights are best at: the
                whole brain at once, or for the published networks 8 with a GPU, 16 without.
            maskNode: brain mask.
            outputNode: vtkMRMLSegmentationNode to fill; None makes a new one.
            weights: a .safetensors file; None takes the weights that ship.
            device: "auto", "cpu", "cuda", "cuda:1", … or "mps".
            alignT2: first move T2 onto T1, rigidly, by mutual information.
            biasCorrection: first correct both scans' bias fields (N4).
            raw: the scans are as converted from DICOM, with their skull: correct the bias fields, align T2, and without
                a mask let ``brainExtraction`` find the brain.
            ageMonths: age at the scan, 0 to 24, for the check of the volumes; None stands for the usual 6 to 8.
            brainExtraction: for raw scans without a mask: "built-in", "hd-bet" or "synthstrip".
            createLabelMap: also leave a label map volume in the scene.
            createProbabilities: also leave a probability volume per class in the scene.
            showMaps: show each finished coarse map in the views while the run goes on.
            onProgress: called with a JobProgress, a few times a second.
            onChanged: called with the job when its state or its map changes.

        Returns:
            The job: `cancel()`, `keepThisMap()`, `wait()`, `result()`, `state`, `progress`, `error`, `warnings`.

        Raises:
            SegmentationError: it cannot start; the sentence says why.
        """
        weights_path = Path(weights) if weights is not None else None
        card = self.cardOf(weights_path)
        problem = describe_scans_problem(t1Node, t2Node, maskNode, card, raw=raw, align_t2=alignT2)
        if problem:
            raise SegmentationError(problem)
        if overlapStep is not None and not is_step(overlapStep, card):
            raise SegmentationError(
                _(
                    "The overlap step is {step}; expected a whole number from 1 to the window's {window}; "
                    "take {better}."
                ).format(step=overlapStep, window=card.get("window", DEFAULT_WINDOW), better=_better_step(card))
            )
        if ageMonths is not None and not _is_age(ageMonths):
            raise SegmentationError(
                _(
                    "The age is {age!r} months; expected a number from 0 to {oldest}; correct it, or leave it out."
                ).format(age=ageMonths, oldest=f"{OLDEST_MONTHS:g}")
            )
        try:
            how = SegmentationOptions(
                step=int(overlapStep) if overlapStep is not None else self.defaultStep(device, card),
                device=device,
                align_t2=alignT2 and not raw,
                bias_correction=biasCorrection and not raw,
                raw=raw,
                age_months=None if ageMonths is None else float(ageMonths),
                brain_extraction=brainExtraction if raw else BUILT_IN,
            )
        except UserError as error:
            raise SegmentationError(str(error)) from error
        self._ensure_packages()
        job = SegmentationJob(
            self.worker,
            SegmentationRequest(
                t1=t1Node,
                t2=t2Node,
                mask=maskNode,
                output=outputNode,
                weights=weights_path,
                how=how,
                label_map=createLabelMap,
                probabilities=createProbabilities,
                show_maps=showMaps,
            ),
        )
        return self._submit(job, onProgress, onChanged)

    def score(self, segmentation: Any, reference: Any, tableNode: Any = None) -> Any:
        """Compare a result with a reference and wait for it.

        Args:
            segmentation, reference: vtkMRMLSegmentationNode or vtkMRMLLabelMapVolumeNode; their grids may differ, the
                scores are computed on the reference's.
            tableNode: the vtkMRMLTableNode to fill; None makes a new one.

        Returns:
            The table node: one row a tissue with Dice, 3D-MHD, ASD, HD95 and volumes.

        Raises:
            SegmentationError: as of `segment`.
        """
        job = self.startScoring(segmentation, reference, tableNode)
        self._wait_with_dialog(job, _("Scoring"))
        return job.result()

    def startScoring(
        self,
        segmentation: Any,
        reference: Any,
        tableNode: Any = None,
        *,
        onChanged: Callable[[Job], Any] | None = None,
    ) -> ScoringJob:
        """Start to compare a result with a reference and return at once; arguments as of `score`."""
        for name, node in (("result", segmentation), ("reference", reference)):
            if node is None or not (node.IsA("vtkMRMLSegmentationNode") or node.IsA("vtkMRMLLabelMapVolumeNode")):
                found = "None" if node is None else f"{node.GetName()}, a {node.GetNodeTagName()}"
                raise SegmentationError(
                    _(
                        "The {name} is {found}; expected a segmentation or a label map; choose one, or "
                        "convert the volume to a label map in the Volumes module."
                    ).format(name=name, found=found)
                )
        if segmentation.GetParentTransformNode() is not reference.GetParentTransformNode():
            raise SegmentationError(
                _(
                    "The result and the reference are under different transforms; one common place is "
                    "needed; harden the transforms (Data module, right click, Harden transform)."
                )
            )
        self._ensure_packages()
        return self._submit(ScoringJob(self.worker, segmentation, reference, tableNode), None, onChanged)

    def defaultStep(self, device: str = "auto", card: dict[str, Any] | None = None) -> int:
        """Return the overlap step that fits weights (by default those that ship) and a device.

        The whole brain at once for weights that take it; for others 8 with a GPU, 16 without.
        """
        if takes_whole_brain(self.cardOf(None) if card is None else card):
            return WHOLE_BRAIN
        info = self.worker.info or {}
        name = info.get("default_device", "cpu") if device == "auto" else device
        return STEP_WITHOUT_GPU if name == "cpu" else STEP_WITH_GPU

    def cardOf(self, weights: Path | None) -> dict[str, Any]:
        """Return the model card inside a weights file, by default the one that ships.

        Raises:
            SegmentationError: the file is missing, damaged or carries no card.
        """
        try:
            return read_card(weights if weights is not None else DEFAULT_WEIGHTS)
        except UserError as error:
            raise SegmentationError(str(error)) from error

    def close(self) -> None:
        """End the worker, its folder and everything that runs; the next call starts a new one."""
        self.worker.close()

    def _ensure_packages(self) -> None:
        if WorkerCommand.from_settings().runs_in_slicer_python:
            ensure_packages()

    def _submit(
        self,
        job: Any,
        onProgress: Callable[[JobProgress], Any] | None,
        onChanged: Callable[[Job], Any] | None,
    ) -> Any:
        if onProgress is not None:
            job.callbacks.progress.append(onProgress)
        if onChanged is not None:
            job.callbacks.changed.append(onChanged)
        self.worker.submit(job)
        return job

    @staticmethod
    def _wait_with_dialog(job: Job, title: str) -> None:
        if slicer.util.mainWindow() is None or slicer.app.testingEnabled():
            job.wait()
            return
        dialog = slicer.util.createProgressDialog(
            windowTitle=f"{title}…", labelText=_("Starting the worker…"), maximum=0
        )

        def show(progress: JobProgress) -> None:
            dialog.maximum = progress.windows_total
            dialog.value = progress.windows_done
            dialog.labelText = str(progress).capitalize()

        job.callbacks.progress.append(show)
        dialog.connect("canceled()", job.cancel)
        try:
            job.wait()
        finally:
            job.callbacks.progress.remove(show)
            dialog.close()
            dialog.deleteLater()


def takes_whole_brain(card: dict[str, Any]) -> bool:
    """Return whether weights take the whole brain at once."""
    return card.get("whole_brain") is True


def is_step(value: Any, card: dict[str, Any]) -> bool:
    """Return whether a value is an overlap step that weights can run with."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        return False
    window = card.get("window", DEFAULT_WINDOW)
    is_whole = value == WHOLE_BRAIN and takes_whole_brain(card)
    return is_whole or (isinstance(window, int) and 1 <= value <= window)


def _better_step(card: dict[str, Any]) -> str:
    if takes_whole_brain(card):
        return _("none, for the whole brain at once")
    return _("8 (as published), or 16 for a quicker result")


def _is_age(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and 0 <= value <= OLDEST_MONTHS
