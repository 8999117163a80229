"""Notices when the segmentation that the panel shows is edited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.util import VTKObservationMixin


class EditWatch(VTKObservationMixin):
    """Observes one segmentation at a time.

    Args:
        onEdited: called after each edit.
    """

    def __init__(self, onEdited: Callable[[], Any]) -> None:
        super().__init__()
        self._onEdited = onEdited

    def follow(self, node: Any) -> None:
        """Observe a segmentation node in the place of the one before, or none."""
        segmentation = node.GetSegmentation() if node is not None else None
        event = slicer.vtkSegmentation.SourceRepresentationModified
        if segmentation is not None and self.hasObserver(segmentation, event, self._edited):
            return
        self.removeObservers()
        if segmentation is not None:
            self.addObserver(segmentation, event, self._edited)

    def _edited(self, *event: Any) -> None:
        self._onEdited()
