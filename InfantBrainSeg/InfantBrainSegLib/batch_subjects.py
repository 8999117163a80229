"""The subjects of a batch: what cohort.py tells of them, and opening one's result in the scene."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .errors import SegmentationError
from .scene_display import ResultDisplay

PROGRESS = re.compile(r"\[(\d+)/(\d+)\] (\S+): (.*)")  # as cohort.py tells of each subject that is through
COMPLETE, FAILED, PENDING, INCOMPLETE = "complete", "failed", "pending", "incomplete"


@dataclass
class BatchSubject:
    """A subject, or a session of one.

    Attributes:
        name: like ``sub-01_ses-06mo``.
        participant, session: labels without their prefixes; no session is "".
        state: COMPLETE, FAILED, PENDING or INCOMPLETE (a scan is missing).
        sentence: what more there is to say of the state.
        t1, labels, sidecar, failure: files of the scan and of the result, there or not; empty for INCOMPLETE.
    """

    name: str
    participant: str
    session: str
    state: str
    sentence: str
    t1: str
    labels: str
    sidecar: str
    failure: str

    @classmethod
    def from_line(cls, line: str) -> BatchSubject | None:
        """Read a line of ``cohort.py --list-subjects``; None if it is none."""
        try:
            return cls(**json.loads(line))
        except (ValueError, TypeError):
            return None

    def look_again(self, sentence: str) -> None:
        """Learn the state from the files, after the command has told of the subject."""
        self.sentence = sentence
        if self.state != INCOMPLETE:
            is_there = Path(self.sidecar).is_file()
            self.state = FAILED if Path(self.failure).is_file() else COMPLETE if is_there else PENDING

    def read_sidecar(self) -> dict[str, Any]:
        """Return what the result's sidecar says; nothing where it cannot be read."""
        try:
            content = json.loads(Path(self.sidecar).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def open_result(subject: BatchSubject) -> Any:
    """Load a subject's T1 and its labels, and show them.

    Returns:
        The vtkMRMLSegmentationNode.

    Raises:
        SegmentationError: a file cannot be read.
    """
    try:
        scan = slicer.util.loadVolume(subject.t1)
    except RuntimeError as error:
        raise SegmentationError(
            _("The scan {file} could not be loaded; expected a volume; check that it is still there.").format(
                file=subject.t1
            )
        ) from error
    step = subject.read_sidecar().get("step")
    try:
        display = ResultDisplay(scan, None, None, showMaps=True)
        segmentation, *_others = display.finish(Path(subject.labels), step if isinstance(step, int) else 0)
    except SegmentationError:
        slicer.mrmlScene.RemoveNode(scan)
        raise
    return segmentation
