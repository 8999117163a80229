"""The panel: parameters of the scene on one side, widgets and jobs on the other."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from .batch_section import BatchSection
from .confidence import Confidence
from .dependencies import missing_packages
from .device_choice import DeviceChoice, WorkerChoice, device_title, why_no_device
from .edit_watch import EditWatch
from .errors import SegmentationError
from .export_menu import ExportMenu
from .extraction_choice import ExtractionChoice
from .jobs import JobState
from .logic import SegmentationLogic, is_step, takes_whole_brain
from .model_choice import ModelChoice, resolve_weights
from .node_choice import NodeChoice
from .own_results import OwnResults
from .parameters import InfantBrainSegParameterNode, batch_options, run_options
from .proposals import propose_pair
from .raw_choice import RawChoice
from .results_view import ResultsView
from .run_controls import RunControls, describe_result
from .scan_choice import describe_scans, describe_scans_problem, show_what_is_missing
from .scoring_controls import ScoringControls
from .scoring_job import ScoringJob
from .sections import Sections
from .segmentation_job import SegmentationJob
from .step_choice import StepChoice
from .worker_command import WorkerCommand


class Panel(VTKObservationMixin):
    """Connects widgets, parameters and logic.

    Args:
        ui: the widgets of InfantBrainSeg.ui by name.
        logic: what segments and scores.
    """

    def __init__(self, ui: Any, logic: SegmentationLogic) -> None:
        super().__init__()
        self.ui, self.logic = ui, logic
        self.parameters: InfantBrainSegParameterNode | None = None
        self.job: SegmentationJob | None = None
        self._gui_tag: Any = None
        self._message, self._message_is_error = "", False
        self._own_results = OwnResults()
        self._edits = EditWatch(self._on_segmentation_edited)
        self._model = ModelChoice(ui, logic, lambda value: self._set("weightsFile", value))
        self._steps = StepChoice(ui, lambda value: self._set("overlapStep", value))
        self._devices = DeviceChoice(ui, lambda value: self._set("device", value))
        self._worker_choice = WorkerChoice(ui, self._warm_up)
        self._mask = NodeChoice(ui.maskSelector, lambda node: self._set("mask", node))
        self._reference = NodeChoice(ui.referenceSelector, lambda node: self._set("reference", node))
        self._raw = RawChoice(ui, lambda: self.parameters.t1, lambda mask: self._set("mask", mask), self._tell_now)
        self._extraction = ExtractionChoice(ui, lambda value: self._set("brainExtraction", value))
        self._run = RunControls(ui)
        self._sections = Sections(ui)
        self.results = ResultsView(ui, lambda: self._scoring.start())
        self._scoring = ScoringControls(ui, logic, self.results, lambda: self.parameters, self.refresh)
        self.export = ExportMenu(ui.exportButton, self._output, self._own_results.is_untouched, self._tell_now)
        self.batch = BatchSection(ui, self._batch_options, self._show_opened)
        ui.segmentButton.connect("clicked()", self.onSegmentButton)
        ui.keepButton.connect("clicked()", self.onKeepButton)
        logic.worker.onChanged.append(self.refresh)

    @property
    def scoringJob(self) -> ScoringJob | None:
        """The newest comparison with a reference."""
        return self._scoring.job

    # The module's life

    def enter(self, parameterNode: Any) -> None:
        """Show the scene's parameters, propose a pair, and start the worker in the background."""
        self.attach(parameterNode)
        for event in (slicer.mrmlScene.NodeAddedEvent, slicer.mrmlScene.NodeRemovedEvent):
            if not self.hasObserver(slicer.mrmlScene, event, self._on_scene_changed):
                self.addObserver(slicer.mrmlScene, event, self._on_scene_changed)
        self._propose()
        self._warm_up()

    def attach(self, parameterNode: Any) -> None:
        """Follow a parameter node of the scene; what runs goes on if it is the one that is followed already."""
        if self.parameters is not None and self.parameters.parameterNode is parameterNode:
            self._let_go()
        else:
            self.detach()
        self.parameters = InfantBrainSegParameterNode(parameterNode)
        self._gui_tag = self.parameters.connectGui(self.ui)
        self.addObserver(parameterNode, "ModifiedEvent", self._on_parameters_changed)
        if self.parameters.output is not None:
            self._sections.results_are_there()
        self.refresh()

    def detach(self) -> None:
        """Let go of the parameter node, as when the scene closes; what runs is cancelled."""
        if self.job is not None and not self.job.isFinished:
            self.job.cancel()
        self._scoring.cancel()
        self._let_go()

    def _let_go(self) -> None:
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self.parameters.parameterNode, "ModifiedEvent", self._on_parameters_changed)
        self.parameters = None

    def leave(self) -> None:
        """Stop following the scene while another module is shown; what runs goes on."""
        for event in (slicer.mrmlScene.NodeAddedEvent, slicer.mrmlScene.NodeRemovedEvent):
            self.removeObserver(slicer.mrmlScene, event, self._on_scene_changed)

    def sceneClosed(self) -> None:
        """Forget what the closed scene held."""
        if self.job is not None:
            self.job.scene_closed()
        self._scoring.scene_closed()
        self.detach()
        self._follow(None)
        self.job = None
        self._own_results.forget()
        self._sections.before_a_run()
        self._tell("")
        self.results.show_warnings([])

    def cleanup(self) -> None:
        """End everything."""
        self.detach()
        self.results.forget_result()
        self.batch.close()
        self._edits.follow(None)
        self.removeObservers()
        self.logic.close()

    # What the user does

    def onSegmentButton(self) -> None:
        """Start a run, or cancel the one that is in progress."""
        if self.job is not None and not self.job.isFinished:
            self.job.cancel()
            return
        if not self._own_results.may_replace(self.parameters.output):
            return
        parameters = self.parameters
        try:
            self.job = self.logic.startSegmentation(
                **run_options(parameters),
                overlapStep=self._step(),
                weights=resolve_weights(parameters.weightsFile),
                onProgress=lambda progress: self._refresh_run(),
                onChanged=self._on_job_changed,
            )
            self._tell("")
            self.results.show_warnings([])
        except SegmentationError as error:
            self._tell(str(error), is_error=True)
        self.refresh()

    def onKeepButton(self) -> None:
        """Stop early and keep the map so far."""
        if self.job is not None and self.job.canKeep:
            self.job.keepThisMap()

    # What changes

    def refresh(self) -> None:
        """Bring all widgets up to date with parameters, worker and job."""
        parameters = self.parameters
        if parameters is None:
            return
        self._mask.refresh(parameters.mask)
        self._reference.refresh(parameters.reference)
        self._model.refresh(parameters.weightsFile)
        show_what_is_missing(self.ui, parameters.t1, parameters.t2, self._model.card)
        scan = parameters.t2 if parameters.t1 is None else parameters.t1
        info = self.logic.worker.info
        self._devices.refresh(parameters.device, info, "" if info else why_no_device(self.logic.worker.problem))
        self._steps.refresh(
            step=self._step(),
            window=self._model.window,
            whole_brain=takes_whole_brain(self._model.card),
            scan=None if parameters.raw and parameters.mask is None else scan,  # the brain is not known yet
            mask=parameters.mask,
            device_title=device_title(parameters.device, info),
            network=self._model.network,
        )
        self._raw.refresh(raw=parameters.raw, t1=parameters.t1, mask=parameters.mask, is_busy=self.logic.worker.is_busy)
        self._extraction.refresh(parameters.brainExtraction, raw=parameters.raw, mask=parameters.mask, info=info)
        self._follow(parameters.output)
        self._refresh_run()
        self._scoring.refresh()

    def _refresh_run(self) -> None:
        if self.parameters is None:
            return
        if self.job is not None and not self.job.isFinished:
            self._run.show_running(self.job.progress, self.job.state, can_keep=self.job.canKeep)
        else:
            message = self._message or describe_scans(self.parameters.t1, self.parameters.t2)
            self._run.show_idle(self._reason(), message, is_error=self._message_is_error)

    def _reason(self) -> str:
        """Why a run cannot start, or an empty text."""
        parameters = self.parameters
        if self._scoring.is_running:
            return _("The scores are being computed; wait for a moment.")
        problem = describe_scans_problem(
            parameters.t1,
            parameters.t2,
            parameters.mask,
            self._model.card,
            raw=parameters.raw,
            align_t2=parameters.alignT2,
        )
        return problem or self._model.problem

    def _on_parameters_changed(self, *event: Any) -> None:
        self.refresh()

    def _on_scene_changed(self, *event: Any) -> None:
        if not slicer.mrmlScene.IsBatchProcessing() and not slicer.mrmlScene.IsClosing():
            self._propose()

    def _on_job_changed(self, job: SegmentationJob) -> None:
        if self.parameters is None or job is not self.job:
            return
        if job.state is JobState.DONE:
            self._take_result(job)
        elif job.state is JobState.FAILED:
            self._tell(job.error, is_error=True)
        elif job.state is JobState.CANCELLED:
            self._tell(_("Cancelled; the scene is as it was."))
        self.refresh()

    def _take_result(self, job: SegmentationJob) -> None:
        node = job.segmentationNode
        self.parameters.output = node
        self._own_results.remember(node)
        self._tell(describe_result(job.summary))
        self._sections.after_a_run()
        self.results.show_result(job.summary.get("volumes_ml", {}), job.confidence)
        self.results.show_warnings(job.warnings)
        if self.parameters.reference is not None and self.parameters.reference is not node:
            self._scoring.start()

    def _on_segmentation_edited(self) -> None:
        if self.job is None or self.job.isFinished:
            self._scoring.tell_edited()

    def _follow(self, node: Any) -> None:
        """Let the display controls show the output, and notice its edits."""
        self._edits.follow(node)
        self.results.set_segmentation(node)

    def _batch_options(self) -> list[str]:
        if self._model.problem:
            raise SegmentationError(self._model.problem)
        return batch_options(self.parameters, self._step(), resolve_weights(self.parameters.weightsFile))

    def _show_opened(self, node: Any, sidecar: dict[str, Any]) -> None:
        self.parameters.output = node
        self._sections.results_are_there()
        self.results.show_result(sidecar.get("volumes_ml") or {}, Confidence.told_by_sidecar(sidecar))

    # Small helpers

    def _set(self, name: str, value: Any) -> None:
        if self.parameters is not None:
            setattr(self.parameters, name, value)

    def _tell(self, message: str, *, is_error: bool = False) -> None:
        self._message, self._message_is_error = message, is_error

    def _tell_now(self, sentence: str, is_error: bool = True) -> None:
        self._tell(sentence, is_error=is_error)
        self.refresh()

    def _output(self) -> Any:
        return self.parameters.output if self.parameters is not None else None

    def _step(self) -> int:
        card = self._model.card
        chosen = self.parameters.overlapStep
        return chosen if is_step(chosen, card) else self.logic.defaultStep(self.parameters.device, card)

    def _warm_up(self) -> None:
        if not (WorkerCommand.from_settings().runs_in_slicer_python and missing_packages()):
            self.logic.worker.warm_up()
        self.refresh()

    def _propose(self) -> None:
        if self.parameters is None or self.parameters.t1 is not None or self.parameters.t2 is not None:
            return
        pair = propose_pair()
        if pair is not None:
            self.parameters.t1, self.parameters.t2 = pair
