"""slicer.app.layoutManager(): builds the views that Slicer's own layout descriptions ask for."""

import xml.etree.ElementTree as ElementTree
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets
from vtkmodules.vtkCommonCore import vtkCommand

from .classes import all_constructors, behaviour, make
from .pythonqt import qt
from .widgets_mrml import Observations

FIRST_LAYOUT = "SlicerLayoutFourUpView"


@behaviour("ctkLayoutManager")
class PlainLayoutManager:
    """Where the views stand."""

    def viewport(self, name: str = "") -> Any:
        return self._state.viewport


@behaviour("qMRMLLayoutManager")
class LayoutManager:
    """Views by layout; a view is made when a layout first shows it, and kept."""

    def _attach(self, scene: Any, application_logic: Any) -> None:
        state = self._state
        state.scene, state.application_logic, state.paused = scene, application_logic, 0
        state.slices, state.three_d, state.tables = {}, {}, {}
        state.viewport = qt.QWidget()
        QtWidgets.QVBoxLayout(state.viewport).setContentsMargins(0, 0, 0, 0)
        state.arrangement = None
        state.logic = slicer.vtkMRMLLayoutLogic()
        state.logic.SetMRMLScene(scene)
        state.observations = Observations(self)
        node = state.logic.GetLayoutNode()
        state.observations.add(node, vtkCommand.ModifiedEvent, lambda manager: manager._rebuild())
        node.SetViewArrangement(getattr(slicer.vtkMRMLLayoutNode, FIRST_LAYOUT))
        self._rebuild()

    def _node(self) -> Any:
        return self._state.logic.GetLayoutNode()

    def _rebuild(self) -> None:
        state = self._state
        arrangement = self._node().GetViewArrangement()
        if arrangement == state.arrangement or not self._node().GetCurrentLayoutDescription():
            return
        state.arrangement = arrangement
        holder = QtWidgets.QWidget.layout(state.viewport)
        for widget in (*state.slices.values(), *state.three_d.values(), *state.tables.values()):
            QtWidgets.QWidget.setParent(widget, None)
        while holder.count():
            old = holder.takeAt(0).widget()
            if old is not None:
                old.deleteLater()
        holder.addWidget(self._built(ElementTree.fromstring(self._node().GetCurrentLayoutDescription())))
        self._emit("layoutChanged(int)", arrangement)

    def _built(self, element: ElementTree.Element) -> QtWidgets.QWidget:
        if element.tag == "view":
            widget = self._view(element.get("class", ""), element.get("singletontag", ""))
            QtWidgets.QWidget.show(widget)
            return widget
        orientation = QtCore.Qt.Vertical if element.get("type") == "vertical" else QtCore.Qt.Horizontal
        if element.get("type") == "tab":
            raise NotImplementedError("tabbed layouts exist in Slicer; the stand-in does not model them")
        box = QtWidgets.QSplitter(orientation)
        box.setHandleWidth(3)
        sizes = []
        for item in element.findall("item"):
            box.addWidget(self._built(item[0]))
            sizes.append(int(item.get("splitSize", "500")))
        box.setSizes(sizes)
        for index, size in enumerate(sizes):
            box.setStretchFactor(index, size)
        return box

    def _view(self, node_class: str, tag: str) -> Any:
        state = self._state
        node = state.scene.GetSingletonNode(tag, node_class)
        kinds = {
            "vtkMRMLSliceNode": (state.slices, "qMRMLSliceWidget"),
            "vtkMRMLViewNode": (state.three_d, "qMRMLThreeDWidget"),
            "vtkMRMLTableViewNode": (state.tables, "qMRMLTableWidget"),
        }
        if node_class not in kinds:
            raise NotImplementedError(f"a layout with a {node_class} exists in Slicer; the stand-in does not model it")
        known, widget_class = kinds[node_class]
        if tag not in known:
            with all_constructors():
                widget = make(widget_class)()
            if node_class == "vtkMRMLTableViewNode":
                widget.setMRMLTableViewNode(node)
            else:
                widget._attach(state.application_logic, state.scene, node)
            QtCore.QObject.setObjectName(widget, f"{widget_class}{tag}")
            known[tag] = widget
        return known[tag]

    layout = property(lambda self: self._node().GetViewArrangement(), lambda self, number: self.setLayout(number))
    threeDViewCount = property(lambda self: len(self._state.three_d))
    tableViewCount = property(lambda self: len(self._state.tables))
    plotViewCount = property(lambda self: 0)

    def setLayout(self, number: int) -> None:
        self._node().SetViewArrangement(number)

    def mrmlScene(self) -> Any:
        return self._state.scene

    def layoutLogic(self) -> Any:
        return self._state.logic

    def sliceViewNames(self) -> list[str]:
        return list(self._state.slices)

    def sliceWidget(self, name: str) -> Any:
        return self._state.slices.get(name)

    def threeDWidget(self, which: int | str) -> Any:
        widgets = self._state.three_d
        if isinstance(which, str):
            return widgets.get(which.removeprefix("View"))
        return list(widgets.values())[which] if 0 <= which < len(widgets) else None

    def tableWidget(self, index: int) -> Any:
        widgets = list(self._state.tables.values())
        return widgets[index] if 0 <= index < len(widgets) else None

    def mrmlSliceLogics(self) -> Any:
        return self._state.application_logic.GetSliceLogics()

    def mrmlViewLogics(self) -> Any:
        return self._state.application_logic.GetViewLogics()

    def resetSliceViews(self) -> None:
        for widget in self._state.slices.values():
            widget.sliceLogic().FitSliceToBackground()

    def resetThreeDViews(self) -> None:
        for widget in self._state.three_d.values():
            widget.threeDView().resetFocalPoint()

    def setRenderPaused(self, paused: bool) -> None:
        self._state.paused += 1 if paused else -1

    def pauseRender(self) -> None:
        self.setRenderPaused(True)

    def resumeRender(self) -> None:
        self.setRenderPaused(False)
