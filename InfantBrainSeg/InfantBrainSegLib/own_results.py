"""Which results are still as a run has left them, so that the next one may replace them without asking."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _


class OwnResults:
    """Remembers results by their nodes' IDs and the times of the last changes of their voxels; no node is kept."""

    def __init__(self) -> None:
        self._times: dict[str, list[int]] = {}

    def remember(self, node: Any) -> None:
        """Take the segments of a segmentation node for what a run has made."""
        self._times[node.GetID()] = _change_times(node)

    def forget(self) -> None:
        """The scene is closed."""
        self._times.clear()

    def is_untouched(self, node: Any) -> bool:
        """Return whether a node's segments are still as a run has left them."""
        return self._times.get(node.GetID()) == _change_times(node)

    def may_replace(self, node: Any) -> bool:
        """Return whether a node's segments may be replaced; asks the user where they were made or edited by hand."""
        if node is None or node.GetSegmentation().GetNumberOfSegments() == 0:
            return True
        if self.is_untouched(node):
            return True
        question = _(
            "The segments of {name} will be replaced by the new result. To keep them, cancel and choose “Create a new "
            "segmentation” under Results."
        )
        return slicer.util.confirmOkCancelDisplay(question.format(name=node.GetName()), _("Segment infant brain"))


def _change_times(node: Any) -> list[int]:
    """Return when each segment's voxels changed last; surfaces and colours do not count."""
    images = map(node.GetBinaryLabelmapInternalRepresentation, node.GetSegmentation().GetSegmentIDs())
    return [image.GetMTime() if image is not None else 0 for image in images]
