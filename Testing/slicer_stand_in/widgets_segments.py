"""What the widgets around a segmentation do: the list of segments, the button for their surfaces."""

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.vtkCommonCore import vtkCommand

from .classes import behaviour, internal
from .widgets_mrml import Observations


class SegmentationWidget:
    """Anything that shows one segmentation node."""

    def _watch(self, node: Any) -> None:
        state = self._state
        state.observations = getattr(state, "observations", None) or Observations(self)
        state.observations.clear()
        state.segmentation = node
        if node is not None:
            for event in (vtkCommand.ModifiedEvent, slicer.vtkMRMLDisplayableNode.DisplayModifiedEvent):
                state.observations.add(node, event, lambda widget: widget._show())
            segmentation = node.GetSegmentation()
            for event in (
                segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified,
                segmentation.RepresentationModified, segmentation.ContainedRepresentationNamesModified,
            ):  # fmt: skip
                state.observations.add(segmentation, event, lambda widget: widget._show())
        self._show()

    def _show(self) -> None:
        raise NotImplementedError

    def segmentationNode(self) -> Any:
        return getattr(self._state, "segmentation", None)

    def setSegmentationNode(self, node: Any) -> None:
        if node is not None and not node.IsA("vtkMRMLSegmentationNode"):
            node = None
        self._watch(node)


@behaviour("qMRMLSegmentationShow3DButton")
class SegmentationShow3DButton(SegmentationWidget):
    """A button that makes and removes the closed surfaces of a segmentation."""

    def initialise(self) -> None:
        QtWidgets.QPushButton.setText(self, "Show 3D")
        QtWidgets.QPushButton.setCheckable(self, True)
        QtCore.QObject.connect(self, QtCore.SIGNAL("toggled(bool)"), self._toggled)
        self._state.segmentation = None
        self._show()

    def _show(self) -> None:
        node = self._state.segmentation
        QtWidgets.QPushButton.setEnabled(self, node is not None)
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        blocked = QtCore.QObject.blockSignals(self, True)
        shown = node is not None and node.GetSegmentation().ContainsRepresentation(surface)
        QtWidgets.QPushButton.setChecked(self, bool(shown))
        QtCore.QObject.blockSignals(self, blocked)

    def _toggled(self, on: bool) -> None:
        node = self._state.segmentation
        if node is None:
            return
        if on:
            node.CreateClosedSurfaceRepresentation()
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetVisibility3D(True)
        else:
            node.RemoveClosedSurfaceRepresentation()


VISIBLE, COLOUR, OPACITY, NAME = range(4)  # columns of the table of segments


@behaviour("qMRMLSegmentsTableView")
class SegmentsTableView(SegmentationWidget):
    """The list of segments with visibility, colour, opacity and name."""

    def initialise(self) -> None:
        table = internal(QtWidgets.QTableWidget(0, 4))
        table.setHorizontalHeaderLabels(["", "", "Opacity", "Name"])
        table.verticalHeader().hide()
        table.horizontalHeader().setStretchLastSection(True)
        table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        for column, width in ((VISIBLE, 28), (COLOUR, 28), (OPACITY, 58)):
            table.setColumnWidth(column, width)
        table.itemSelectionChanged.connect(self._selection_changed)
        table.itemChanged.connect(self._edited)
        self._state.table, self._state.segmentation = table, None
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(table)

    def _segment_ids(self) -> tuple[str, ...]:
        node = self._state.segmentation
        return tuple(node.GetSegmentation().GetSegmentIDs()) if node is not None else ()

    def _show(self) -> None:
        table, node = self._state.table, self._state.segmentation
        selected = self.selectedSegmentIDs()
        blocked = table.blockSignals(True)
        table.setRowCount(len(self._segment_ids()))
        display = node.GetDisplayNode() if node is not None else None
        for row, segment_id in enumerate(self._segment_ids()):
            segment = node.GetSegmentation().GetSegment(segment_id)
            visible = QtWidgets.QTableWidgetItem()
            on = display is None or display.GetSegmentVisibility(segment_id)
            visible.setCheckState(QtCore.Qt.Checked if on else QtCore.Qt.Unchecked)
            colour = QtWidgets.QTableWidgetItem()
            colour.setBackground(QtGui.QColor.fromRgbF(*segment.GetColor()))
            opacity = QtWidgets.QTableWidgetItem(f"{display.GetSegmentOpacity3D(segment_id) if display else 1.0:.2f}")
            items = (visible, colour, opacity, QtWidgets.QTableWidgetItem(segment.GetName()))
            for column, item in enumerate(items):
                table.setItem(row, column, item)
        table.blockSignals(blocked)
        self.setSelectedSegmentIDs(selected)

    def _edited(self, item: QtWidgets.QTableWidgetItem) -> None:
        if item.column() == VISIBLE and self._state.segmentation.GetDisplayNode() is not None:
            segment_id = self._segment_ids()[item.row()]
            on = item.checkState() == QtCore.Qt.Checked
            self._state.segmentation.GetDisplayNode().SetSegmentVisibility(segment_id, on)

    def _selection_changed(self) -> None:
        nothing = QtCore.QItemSelection()
        selected = self._state.table.selectionModel().selection()
        self._emit("selectionChanged(QItemSelection,QItemSelection)", selected, nothing)

    segmentCount = property(lambda self: len(self._segment_ids()))

    def selectedSegmentIDs(self) -> list[str]:
        rows = sorted({index.row() for index in self._state.table.selectedIndexes()})
        return [self._segment_ids()[row] for row in rows if row < len(self._segment_ids())]

    def setSelectedSegmentIDs(self, segment_ids: list[str]) -> None:
        self._state.table.clearSelection()
        for segment_id in segment_ids:
            if segment_id in self._segment_ids():
                self._state.table.selectRow(self._segment_ids().index(segment_id))

    def clearSelection(self) -> None:
        self._state.table.clearSelection()

    def displayedSegmentIDs(self) -> list[str]:
        return list(self._segment_ids())

    def rowForSegmentID(self, segment_id: str) -> int:
        return self._segment_ids().index(segment_id) if segment_id in self._segment_ids() else -1

    def segmentIDForRow(self, row: int) -> str:
        return self._segment_ids()[row]

    def tableWidget(self) -> QtWidgets.QTableWidget:
        return self._state.table
