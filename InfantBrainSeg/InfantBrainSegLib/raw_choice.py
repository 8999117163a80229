"""The switch for raw scans: what it changes in the widgets, and the offer to make the brain mask in Slicer itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
from slicer.i18n import tr as _

from . import hd_brain_extraction
from .errors import SegmentationError
from .scene_volumes import describe_scan_problem

NO_MASK = _("None: the scans are skull-stripped")
NO_MASK_OF_RAW = _("None: the brain is found")
PART_OF_RAW = _("Raw scans are aligned and corrected in any case.")
QUESTION = _(
    "HD Brain Extraction will look for the brain in {name}. Slicer cannot be used meanwhile, nor can this be "
    "cancelled: about 20 s with a GPU, 5 to 10 min without. At its first use it also installs what it needs."
)


class RawChoice:
    """Keeps the widgets in step with the switch; the switch itself is a parameter like others.

    Args:
        ui: the panel's widgets.
        chosenT1: called for the T1 node that is chosen; it is not kept, lest it outlive its scene.
        onMask: called with the label map node that was made.
        onProblem: called with a sentence when none could be made.
    """

    def __init__(
        self,
        ui: Any,
        chosenT1: Callable[[], Any],
        onMask: Callable[[Any], Any],
        onProblem: Callable[[str], Any],
    ) -> None:
        self._ui, self._chosenT1, self._onMask, self._onProblem = ui, chosenT1, onMask, onProblem
        self._own_tooltips = [(box, box.toolTip) for box in (ui.alignT2CheckBox, ui.biasCorrectionCheckBox)]
        ui.extractButton.connect("clicked()", self.make_mask)

    def refresh(self, *, raw: bool, t1: Any, mask: Any, is_busy: bool) -> None:
        """Show what the switch leads to.

        Args:
            raw: whether it is on.
            t1, mask: the nodes chosen, or None.
            is_busy: whether a run is in progress.
        """
        ui = self._ui
        for box, tooltip in self._own_tooltips:
            box.enabled = not raw
            box.toolTip = PART_OF_RAW if raw else tooltip
        no_mask = NO_MASK_OF_RAW if raw else NO_MASK
        if ui.maskSelector.noneDisplay != no_mask:
            ui.maskSelector.noneDisplay = no_mask
        is_offered = raw and mask is None and hd_brain_extraction.is_installed()
        for widget in (ui.extractLabel, ui.extractButton):
            widget.setVisible(is_offered)
        ui.extractButton.enabled = not is_busy and t1 is not None and not describe_scan_problem(t1, "T1")

    def make_mask(self) -> None:
        """Ask, let HD Brain Extraction find the brain, and hand its mask on."""
        t1 = self._chosenT1()
        question = QUESTION.format(name=t1.GetName())
        if not slicer.util.confirmOkCancelDisplay(question, _("Segment infant brain")):
            return
        try:
            mask = hd_brain_extraction.make_brain_mask(t1)
        except SegmentationError as error:
            self._onProblem(str(error))
        else:
            self._onMask(mask)
