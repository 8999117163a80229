"""One segmentation: its inputs, what it shows while it runs, what it leaves in the scene."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .confidence import Confidence
from .core_paths import make_core_importable
from .errors import SegmentationError
from .jobs import Callbacks, Job, JobState
from .scene_display import ResultDisplay
from .scene_volumes import write_volume_node
from .settings import Timings
from .slice_views import place_looked_at
from .step_choice import timed_as

make_core_importable()
from model_core.segmentation_options import SegmentationOptions  # noqa: E402


@dataclass(frozen=True)
class SegmentationRequest:
    """What to segment, and how.

    Attributes:
        t1, t2: vtkMRMLScalarVolumeNode, skull-stripped unless there is a mask or they are raw; one may be None.
        mask: volume node, not 0 in the brain; or None.
        output: vtkMRMLSegmentationNode to fill at the end; None makes a new one.
        weights: a .safetensors file; None takes the weights that ship.
        how: the pipeline's options; the step is settled.
        label_map: also leave a label map volume.
        probabilities: also leave a probability volume per class.
        show_maps: show coarse maps while the run goes on.
    """

    t1: Any
    t2: Any
    mask: Any = None
    output: Any = None
    weights: Path | None = None
    how: SegmentationOptions = field(default_factory=SegmentationOptions)
    label_map: bool = False
    probabilities: bool = False
    show_maps: bool = True

    @property
    def base(self) -> Any:
        """The scan on whose grid the result lies."""
        return self.t2 if self.t1 is None else self.t1

    @property
    def volumes(self) -> dict[str, Any]:
        """The volume nodes that there are, by the names of the request's fields."""
        nodes = {"t1": self.t1, "t2": self.t2, "mask": self.mask}
        return {name: node for name, node in nodes.items() if node is not None}


class SegmentationJob(Job):
    """A running segmentation; `logic.startSegmentation` makes it.

    Attributes:
        what: what was asked for.
        segmentationNode: the result, None before the end; while the run goes on, the node with the map so far.
        labelMapNode: the label map volume, if one was asked for.
        probabilityNodes: by class key, if they were asked for.
        stepReached: the overlap step that the result stands for.
        warnings: what a person should look at, a sentence each, about scans and result.
        summary: the worker's `done` event: seconds, windows, volumes, device.
        confidence: the Dice to expect and where the result is unsure, as far as the weights tell.
    """

    def __init__(self, worker: Any, what: SegmentationRequest) -> None:
        super().__init__(worker)
        self.what = what
        self.labelMapNode: Any = None
        self.probabilityNodes: dict[str, Any] = {}
        self.stepReached = 0
        self.warnings: list[str] = []
        self.summary: dict[str, Any] = {}
        self.confidence = Confidence()
        self._node: Any = None
        other = what.t2 if what.t1 is not None else None
        self._display = ResultDisplay(what.base, other, what.output, showMaps=what.show_maps)

    @property
    def segmentationNode(self) -> Any:
        """The result, or before the end the node with the map so far, or None."""
        return self._node if self._node is not None else self._display.live_node

    @property
    def canKeep(self) -> bool:
        """Whether there is a complete map to keep."""
        return self.state is JobState.RUNNING and self.progress.step_reached > 0

    def keepThisMap(self) -> None:
        """Stop early; the map so far becomes the result, with the overlap step that it has reached.

        Raises:
            SegmentationError: there is no complete map yet.
        """
        if not self.canKeep:
            raise SegmentationError(
                _("There is no complete map yet; expected the first grid of windows to be through; wait a moment.")
            )
        self._keeps = True
        self._worker.ask_to_stop(keep=True)
        self._set_state(JobState.STOPPING)

    def value(self) -> Any:
        """Return the segmentation node."""
        return self._node

    def steps(self) -> Iterator[None]:
        """Write the inputs, one a turn of the event loop: each takes tens of milliseconds."""
        folder = self._worker.client.folder
        for name, node in self.what.volumes.items():
            if not slicer.mrmlScene.IsNodePresent(node):
                raise SegmentationError(
                    _(
                        "The volume of {name} is no longer in the scene; expected it to stay until the "
                        "end of the run; load it again."
                    ).format(name=name.upper())
                )
            write_volume_node(node, folder / f"{name}.nrrd")
            yield

    def request(self) -> tuple[dict[str, Any], list[Path]]:
        """Return the request and its files."""
        client, what = self._worker.client, self.what
        names = {name: f"{name}.nrrd" for name in what.volumes}
        files = [client.folder / name for name in names.values()]
        if what.weights is not None:
            files.append(what.weights)
        request = {
            "request": "segment",
            **names,
            "weights": client.reference(what.weights) if what.weights is not None else None,
            **asdict(what.how),
            "probabilities": what.probabilities,
            "maps": what.show_maps,
            "uncertainty": True,
            "look_at": place_looked_at(what.base),
        }
        return request, files

    def file_names(self) -> dict[str, str]:
        """Return the names of the input nodes by the names of their files."""
        return {f"{name}.nrrd": node.GetName() for name, node in self.what.volumes.items()}

    def receive(self, event: dict[str, Any]) -> None:
        """Show coarse maps; all else as for any job."""
        if event["event"] != "map":
            super().receive(event)
        elif self.state is JobState.RUNNING:
            with self.failing():
                self._display.show_map(self._worker.client.folder / event["file"], event["step"])
                Callbacks.call(self.callbacks.changed, self)

    def take_result(self, event: dict[str, Any]) -> None:
        """Put label map and probabilities into the scene, keep the warnings and how long a window took."""
        folder = self._worker.client.folder
        self._node, self.labelMapNode, self.probabilityNodes = self._display.finish(
            folder / event["file"],
            event["step_reached"],
            label_map=self.what.label_map,
            probabilities={key: folder / name for key, name in event["probabilities"].items()},
        )
        self.stepReached, self.summary = event["step_reached"], event
        self.confidence = Confidence.told_by(event, folder, self.what.base)
        names = self.file_names()
        self.warnings = [
            self._worker.client.in_the_panels_words(str(warning["sentence"]), names)
            for warning in event.get("warnings", [])
        ]
        if event["windows_done"] and event["seconds"] > 0:
            timed = timed_as(event["network"], event["step"])
            Timings().record(event["device_title"], timed, event["seconds"] / event["windows_done"])

    def forget_nodes(self) -> None:
        """Hold no node of the scene any more."""
        self.what = replace(self.what, t1=None, t2=None, mask=None, output=None)
        self._node, self.labelMapNode, self.probabilityNodes = None, None, {}
        self._display.forget()

    def take_back(self) -> None:
        """Leave the scene as it was."""
        self._display.revert()
