"""The results in the panel: how the segmentation is drawn, volumes and scores, and the places to look at."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from .confidence import Confidence
from .core_paths import make_core_importable
from .disagreement_display import hide_disagreement, show_disagreement
from .overlay_switch import OverlaySwitch
from .result_table import ResultTable
from .scoring_job import ScoringJob
from .slice_views import jump_to
from .uncertainty_display import hide_uncertainty, show_uncertainty

make_core_importable()
from model_core.tissues import TISSUES  # noqa: E402

WHAT_IS_EXPECTED = _(
    "Expected: agreement (Dice) with a person's labels, estimated from the members' disagreement; no measurement. "
    "Choose a tissue to see where the result is least certain."
)


class ResultsView:
    """Opacity, outline and fill of the segmentation; the table; the warnings; disagreement and uncertainty.

    Args:
        ui: the panel's widgets.
        onScore: called when the user asks for scores.
    """

    def __init__(self, ui: Any, onScore: Callable[[], Any]) -> None:
        self._ui = ui
        self._scoring: ScoringJob | None = None
        self._node: Any = None
        self._refreshing = False
        self._volumes_ml: Mapping[str, float] = {}
        self._confidence = Confidence()
        self._table = ResultTable(ui.scoreTable)
        self._disagreement = OverlaySwitch(ui.disagreementCheckBox, ui.fillCheckBox, hide_disagreement)
        self._uncertainty = OverlaySwitch(ui.uncertaintyCheckBox, ui.fillCheckBox, hide_uncertainty)
        self._disagreement.others.append(self._uncertainty)
        self._uncertainty.others.append(self._disagreement)
        ui.opacitySlider.connect("valueChanged(double)", self._draw)
        ui.fillCheckBox.connect("toggled(bool)", self._draw)
        ui.outlineCheckBox.connect("toggled(bool)", self._draw)
        ui.scoreTable.connect("cellClicked(int,int)", self.jump_to_row)  # once more on the row that is chosen already
        ui.scoreTable.connect("itemSelectionChanged()", self._jump_to_selection)
        ui.scoreButton.connect("clicked()", onScore)
        ui.tableButton.connect("clicked()", self._show_table)
        self.forget_result()
        self.show_warnings([])

    def set_segmentation(self, node: Any) -> None:
        """Follow a segmentation node: the display controls show and change how it is drawn."""
        if node is not self._node:
            self.forget_result()  # of the one before
        self._node = node
        self._ui.show3DButton.setSegmentationNode(node)
        display = node.GetDisplayNode() if node is not None else None
        for widget in (self._ui.opacitySlider, self._ui.fillCheckBox, self._ui.outlineCheckBox, self._ui.show3DButton):
            widget.enabled = display is not None
        if display is not None:
            self._refreshing = True
            self._ui.opacitySlider.value = display.GetOpacity2DFill()
            self._ui.fillCheckBox.checked = bool(display.GetVisibility2DFill())
            self._ui.outlineCheckBox.checked = bool(display.GetVisibility2DOutline())
            self._refreshing = False

    def show_result(self, volumes_ml: Mapping[str, float], confidence: Confidence) -> None:
        """Show what a run tells of its result without a reference: volumes, what to expect, where it is unsure."""
        self.forget_result()
        self._volumes_ml, self._confidence = volumes_ml, confidence
        self._table.show(self._volumes_ml, self._confidence.expected_dice)
        self._ui.scoreLabel.text = WHAT_IS_EXPECTED if self._confidence.expected_dice else ""
        if self._confidence.uncertainty is not None:
            self._uncertainty.offer(lambda: show_uncertainty(self._confidence.uncertainty, self._node))

    def forget_result(self) -> None:
        """Show no result: none has been made, or another segmentation is chosen."""
        self._volumes_ml, self._confidence = {}, Confidence()
        self._uncertainty.withdraw()
        self.forget_scores()
        self._ui.scoreLabel.text = ""

    def show_warnings(self, sentences: Sequence[str]) -> None:
        """Show what a person should look at, a line each; none take the place away."""
        self._ui.warningsLabel.text = "\n".join(f"• {sentence}" for sentence in sentences)
        self._ui.warningsLabel.setVisible(bool(sentences))

    def show_scores(self, job: ScoringJob) -> None:
        """Show a finished comparison."""
        was_shown = self._disagreement.is_on
        self.forget_scores()
        self._scoring = job
        self._table.show(self._volumes_ml, self._confidence.expected_dice, job.rows)
        self._disagreement.offer(lambda: _show_disagreement_of(job))
        self._ui.tableButton.enabled = True
        if was_shown:
            self._disagreement.turn_on()

    def forget_scores(self) -> None:
        """Take scores and overlay away; what the run told stays."""
        self._ui.scoreTable.clearSelection()
        self._disagreement.withdraw()
        self._scoring = None
        self._ui.tableButton.enabled = False
        self._table.show(self._volumes_ml, self._confidence.expected_dice)

    @property
    def scoring(self) -> ScoringJob | None:
        """The comparison that is shown."""
        return self._scoring

    def jump_to_row(self, row: int) -> None:
        """Move the slice views to where a tissue differs most from the reference, or is least certain without one."""
        tissue, job = TISSUES[row], self._scoring
        place = job.places.get(tissue.key) if job is not None else None
        if job is not None and place is not None and slicer.mrmlScene.IsNodePresent(job.referenceNode):
            jump_to(tuple(place["position"]), job.referenceNode)
            self._ui.scoreLabel.text = _(
                "{tissue}: the largest disagreement is here, {depth} mm deep; found {found}, expected {expected}."
            ).format(
                tissue=tissue.name,
                depth=f"{place['depth_mm']:.1f}",
                found=_class_name(place["label_found"]),
                expected=_class_name(place["label_expected"]),
            )
        elif job is not None:
            self._ui.scoreLabel.text = _("{tissue}: result and reference agree everywhere.").format(tissue=tissue.name)
        elif tissue.key in self._confidence.uncertain_places and self._node is not None:
            right, anterior, superior = self._confidence.uncertain_places[tissue.key]
            jump_to((right, anterior, superior), self._node)
            self._ui.scoreLabel.text = _(
                "{tissue}: the largest uncertain region is here; look at it, and correct it in the Segment Editor."
            ).format(tissue=tissue.name)

    def _jump_to_selection(self) -> None:
        chosen = self._ui.scoreTable.selectedItems()
        if chosen:
            self.jump_to_row(chosen[0].row())

    def _draw(self) -> None:
        display = self._node.GetDisplayNode() if self._node is not None and not self._refreshing else None
        if display is None:
            return
        display.SetOpacity2DFill(self._ui.opacitySlider.value)
        display.SetVisibility2DFill(self._ui.fillCheckBox.checked)
        display.SetVisibility2DOutline(self._ui.outlineCheckBox.checked)

    def _show_table(self) -> None:
        table = self._scoring.tableNode if self._scoring is not None else None
        if table is None or slicer.app.layoutManager() is None:
            return
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
        slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()


def _show_disagreement_of(job: ScoringJob) -> Any:
    if not slicer.mrmlScene.IsNodePresent(job.referenceNode):
        return None
    return show_disagreement(job.disagreement, job.referenceNode)


def _class_name(label: int) -> str:
    return next((tissue.name for tissue in TISSUES if tissue.label == label), _("background"))
