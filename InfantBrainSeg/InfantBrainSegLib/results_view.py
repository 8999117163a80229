"""The results in the panel: how the segmentation is drawn, its scores, and where it disagrees with the reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .core_paths import make_core_importable
from .disagreement_display import hide_disagreement, show_disagreement
from .score_table import format_score
from .scoring_job import ScoringJob
from .slice_views import jump_to

make_core_importable()
from model_core.metric_table import METRICS  # noqa: E402
from model_core.tissues import TISSUES  # noqa: E402

SHOWN = tuple(metric for metric in METRICS if metric.key != "reference_volume_ml")
HEADINGS = {"volume_difference_percent": _("Diff. %")}  # where the title is too long for the panel
ROW_HEIGHT = 24  # pixels; Qt may need more for its font
SWATCH = 12  # pixels of the tissue's colour in its row


class ResultsView:
    """Opacity, outline and fill of the segmentation; the table of scores; the warnings; the disagreement.

    Args:
        ui: the panel's widgets.
        onScore: called when the user asks for scores.
    """

    def __init__(self, ui: Any, onScore: Callable[[], Any]) -> None:
        self._ui = ui
        self._scoring: ScoringJob | None = None
        self._node: Any = None
        self._overlay: Any = None
        self._refreshing = False
        self._fill_again = False
        self._fill_headings()
        ui.opacitySlider.connect("valueChanged(double)", self._draw)
        ui.fillCheckBox.connect("toggled(bool)", self._draw)
        ui.outlineCheckBox.connect("toggled(bool)", self._draw)
        ui.scoreTable.connect("cellClicked(int,int)", self.jump_to_row)  # once more on the row that is chosen already
        ui.scoreTable.connect("itemSelectionChanged()", self._jump_to_selection)
        ui.scoreButton.connect("clicked()", onScore)
        ui.disagreementCheckBox.connect("toggled(bool)", self._toggle_disagreement)
        ui.tableButton.connect("clicked()", self._show_table)
        self.show_volumes({})
        self.show_warnings([])

    def set_segmentation(self, node: Any) -> None:
        """Follow a segmentation node: the display controls show and change how it is drawn."""
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

    def show_volumes(self, volumes_ml: Mapping[str, float]) -> None:
        """Show volumes alone, as there are before a comparison; by tissue key."""
        self.forget_scores()
        for row, tissue in enumerate(TISSUES):
            for column, metric in enumerate(SHOWN, 1):
                value = volumes_ml.get(tissue.key) if metric.key == "volume_ml" else None
                self._set_cell(row, column, format_score(metric.key, value))

    def show_warnings(self, sentences: Sequence[str]) -> None:
        """Show what a person should look at, a line each; none take the place away."""
        self._ui.warningsLabel.text = "\n".join(f"• {sentence}" for sentence in sentences)
        self._ui.warningsLabel.setVisible(bool(sentences))

    def show_scores(self, job: ScoringJob) -> None:
        """Show a finished comparison."""
        was_shown = self._overlay is not None
        self.forget_scores()
        self._scoring = job
        by_tissue = {scores["tissue"]: scores for scores in job.rows}
        for row, tissue in enumerate(TISSUES):
            for column, metric in enumerate(SHOWN, 1):
                self._set_cell(row, column, format_score(metric.key, by_tissue[tissue.key][metric.key]))
        self._ui.disagreementCheckBox.enabled = True
        self._ui.tableButton.enabled = True
        self._ui.disagreementCheckBox.checked = was_shown

    def forget_scores(self) -> None:
        """Take scores and overlay away."""
        self._ui.scoreTable.clearSelection()
        self._ui.disagreementCheckBox.checked = False
        self._remove_overlay()
        self._scoring = None
        self._ui.disagreementCheckBox.enabled = False
        self._ui.tableButton.enabled = False

    @property
    def scoring(self) -> ScoringJob | None:
        """The comparison that is shown."""
        return self._scoring

    def jump_to_row(self, row: int) -> None:
        """Move the slice views to where result and reference differ most in the tissue of a row."""
        job = self._scoring
        place = job.places.get(TISSUES[row].key) if job is not None else None
        if job is not None and place is not None and slicer.mrmlScene.IsNodePresent(job.referenceNode):
            jump_to(tuple(place["position"]), job.referenceNode)
            self._ui.scoreLabel.text = _(
                "{tissue}: the largest disagreement is here, {depth} mm deep; found {found}, expected {expected}."
            ).format(
                tissue=TISSUES[row].name,
                depth=f"{place['depth_mm']:.1f}",
                found=_class_name(place["label_found"]),
                expected=_class_name(place["label_expected"]),
            )
        elif job is not None:
            self._ui.scoreLabel.text = _("{tissue}: result and reference agree everywhere.").format(
                tissue=TISSUES[row].name
            )

    def _jump_to_selection(self) -> None:
        chosen = self._ui.scoreTable.selectedItems()
        if chosen:
            self.jump_to_row(chosen[0].row())

    def _fill_headings(self) -> None:
        table = self._ui.scoreTable
        table.setRowCount(len(TISSUES))
        table.setColumnCount(len(SHOWN) + 1)
        table.verticalHeader().setVisible(False)
        table.setWordWrap(False)
        table.setHorizontalHeaderItem(0, qt.QTableWidgetItem(_("Tissue")))
        for column, metric in enumerate(SHOWN, 1):
            item = qt.QTableWidgetItem(HEADINGS.get(metric.key, _(metric.title)))
            explanation = _(metric.explanation)
            item.setToolTip(f"{explanation} ({metric.unit})" if metric.unit else explanation)
            table.setHorizontalHeaderItem(column, item)
        for row, tissue in enumerate(TISSUES):
            item = qt.QTableWidgetItem(tissue.name)
            swatch = qt.QPixmap(SWATCH, SWATCH)
            swatch.fill(qt.QColor(*tissue.color))
            item.setIcon(qt.QIcon(swatch))
            table.setItem(row, 0, item)
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.Stretch)
        header.setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
        table.verticalHeader().setDefaultSectionSize(ROW_HEIGHT)
        rows = sum(table.rowHeight(row) for row in range(len(TISSUES)))
        table.setFixedHeight(header.sizeHint.height() + rows + 2 * table.frameWidth)

    def _set_cell(self, row: int, column: int, text: str) -> None:
        item = qt.QTableWidgetItem(text)
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        self._ui.scoreTable.setItem(row, column, item)

    def _draw(self) -> None:
        display = self._node.GetDisplayNode() if self._node is not None and not self._refreshing else None
        if display is None:
            return
        display.SetOpacity2DFill(self._ui.opacitySlider.value)
        display.SetVisibility2DFill(self._ui.fillCheckBox.checked)
        display.SetVisibility2DOutline(self._ui.outlineCheckBox.checked)

    def _toggle_disagreement(self, on: bool) -> None:
        self._remove_overlay()
        if on:  # filled tissues would hide the overlay, outlines do not
            self._fill_again = self._ui.fillCheckBox.checked
            self._ui.fillCheckBox.checked = False
        elif self._fill_again:
            self._ui.fillCheckBox.checked = True
        job = self._scoring
        if on and job is not None and slicer.mrmlScene.IsNodePresent(job.referenceNode):
            self._overlay = show_disagreement(job.disagreement, job.referenceNode)

    def _remove_overlay(self) -> None:
        overlay, self._overlay = self._overlay, None
        hide_disagreement(overlay)

    def _show_table(self) -> None:
        table = self._scoring.tableNode if self._scoring is not None else None
        if table is None or slicer.app.layoutManager() is None:
            return
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
        slicer.app.applicationLogic().GetSelectionNode().SetActiveTableID(table.GetID())
        slicer.app.applicationLogic().PropagateTableSelection()


def _class_name(label: int) -> str:
    return next((tissue.name for tissue in TISSUES if tissue.label == label), _("background"))
