"""qMRMLTableView and the widget that holds it in the layout: a vtkMRMLTableNode shown in rows and columns."""

from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.vtkCommonCore import vtkCommand

from .classes import all_constructors, behaviour, make
from .widgets_mrml import Observations


@behaviour("qMRMLTableView")
class TableView:
    """A table node as Slicer shows it: column titles in the header, cells read-only when the node is locked."""

    def initialise(self) -> None:
        state = self._state
        state.scene, state.node, state.view_node = None, None, None
        state.model = QtGui.QStandardItemModel(self)
        state.observations, state.view_observations = Observations(self), Observations(self)
        QtWidgets.QTableView.setModel(self, state.model)
        state.model.itemChanged.connect(self._edited)
        selection = QtWidgets.QTableView.selectionModel(self)
        selection.selectionChanged.connect(lambda *_: self._emit("selectionChanged()"))

    def mrmlScene(self) -> Any:
        return self._state.scene

    def setMRMLScene(self, scene: Any) -> None:
        self._state.scene = scene
        self._emit("mrmlSceneChanged(vtkMRMLScene*)", scene)

    def mrmlTableNode(self) -> Any:
        return self._state.node

    def setMRMLTableNode(self, node: Any) -> None:
        self._state.node = node
        self._state.observations.clear()
        if node is not None:
            self._state.observations.add(node, vtkCommand.ModifiedEvent, lambda view: view._show())
        self._show()

    def mrmlTableViewNode(self) -> Any:
        return self._state.view_node

    def setMRMLTableViewNode(self, node: Any) -> None:
        self._state.view_node = node
        self._state.view_observations.clear()
        if node is not None:
            self._state.view_observations.add(node, vtkCommand.ModifiedEvent, lambda view: view._follow())
            self._follow()

    def _follow(self) -> None:
        table = self._state.view_node.GetTableNode()
        if table is not self._state.node:
            self.setMRMLTableNode(table)

    def _show(self) -> None:
        node, model = self._state.node, self._state.model
        blocked = model.blockSignals(True)
        rows, columns = (node.GetNumberOfRows(), node.GetNumberOfColumns()) if node is not None else (0, 0)
        model.blockSignals(blocked)
        model.setRowCount(rows)
        model.setColumnCount(columns)
        self._state.filling = True
        for column in range(columns):
            title = node.GetColumnTitle(node.GetColumnName(column)) or node.GetColumnName(column)
            model.setHorizontalHeaderItem(column, QtGui.QStandardItem(title))
            for row in range(rows):
                item = model.item(row, column) or QtGui.QStandardItem()
                item.setText(node.GetCellText(row, column))
                item.setEditable(not node.GetLocked())
                model.setItem(row, column, item)
        self._state.filling = False

    def _edited(self, item: QtGui.QStandardItem) -> None:
        if not getattr(self._state, "filling", False) and self._state.node is not None:
            self._state.node.SetCellText(item.row(), item.column(), item.text())

    def tableModel(self) -> QtCore.QAbstractItemModel:
        return self._state.model


@behaviour("qMRMLTableWidget")
class TableWidget:
    """A table view of the layout."""

    def initialise(self) -> None:
        with all_constructors():
            self._state.view = make("qMRMLTableView")()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._state.view)

    def tableView(self) -> Any:
        return self._state.view

    def viewWidget(self) -> Any:
        return self._state.view

    def mrmlTableViewNode(self) -> Any:
        return self._state.view.mrmlTableViewNode()

    def setMRMLTableViewNode(self, node: Any) -> None:
        self._state.view.setMRMLTableViewNode(node)
