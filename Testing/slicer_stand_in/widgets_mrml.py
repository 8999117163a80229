"""What the qMRML widgets of a panel do, on the real MRML scene: scenes and node selectors."""

import weakref
from collections.abc import Callable
from typing import Any

from PySide6 import QtWidgets
from shiboken6 import isValid
from vtkmodules.vtkCommonCore import vtkCommand

from . import api
from .classes import behaviour, internal


class Observations:
    """VTK observers of a widget: they end with it, and they hold no reference to it."""

    def __init__(self, widget: Any) -> None:
        self._widget = weakref.ref(widget)
        self._entries: list[tuple[Any, int]] = []

    def add(self, subject: Any, event: int, method: Callable[[Any], None]) -> None:
        """Call method(widget) at every event of a VTK object."""
        widget = self._widget

        def observer(*_: Any) -> None:
            target = widget()
            if target is not None and isValid(target):
                method(target)

        self._entries.append((subject, subject.AddObserver(event, observer)))

    def clear(self) -> None:
        for subject, tag in self._entries:
            subject.RemoveObserver(tag)
        self._entries.clear()


@behaviour("qSlicerWidget")
class SceneReceiver:
    """Anything that is told its scene."""

    def setMRMLScene(self, scene: Any) -> None:
        changed = scene is not getattr(self._state, "scene", None)
        self._state.scene = scene
        if changed and "mrmlSceneChanged" in api.signals_by_name(type(self)._api_name):
            self._emit("mrmlSceneChanged(vtkMRMLScene*)", scene)


@behaviour("qMRMLWidget", "qMRMLSliderWidget", "qMRMLSpinBox")
class SceneWidget(SceneReceiver):
    """Anything that is told its scene and tells it."""

    def mrmlScene(self) -> Any:
        return getattr(self._state, "scene", None)


def _refreshing(name: str) -> property:
    """Return a property of the node selector after whose change the list is made anew."""

    def write(self: Any, value: Any) -> None:
        self._state.values[name] = tuple(value) if isinstance(value, (list, tuple)) else value
        self._refresh()

    return property(lambda self: self._state.values[name], write)


@behaviour("qMRMLNodeComboBox")
class NodeComboBox:
    """A selector of one node of given types; it never selects a node by itself."""

    def initialise(self) -> None:
        state = self._state
        state.values.update(
            nodeTypes=(), noneEnabled=False, addEnabled=True, removeEnabled=True, showHidden=False, noneDisplay="None",
            showChildNodeTypes=True, hideChildNodeTypes=(), selectNodeUponCreation=True, baseName="",
        )  # fmt: skip
        state.scene, state.current, state.ids, state.attributes = None, "", [], []
        state.observations = Observations(self)
        state.node_observations = Observations(self)
        state.part = internal(QtWidgets.QComboBox())
        state.part.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        state.part.setMinimumContentsLength(8)
        state.part.currentIndexChanged.connect(self._chosen)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(state.part)
        QtWidgets.QWidget.setEnabled(self, False)

    nodeTypes = _refreshing("nodeTypes")
    noneEnabled = _refreshing("noneEnabled")
    noneDisplay = _refreshing("noneDisplay")
    showHidden = _refreshing("showHidden")
    showChildNodeTypes = _refreshing("showChildNodeTypes")
    hideChildNodeTypes = _refreshing("hideChildNodeTypes")
    addEnabled = _refreshing("addEnabled")

    def mrmlScene(self) -> Any:
        return self._state.scene

    def setMRMLScene(self, scene: Any) -> None:
        state = self._state
        state.observations.clear()
        state.scene = scene
        QtWidgets.QWidget.setEnabled(self, scene is not None)
        if scene is not None:
            for name in ("NodeAdded", "NodeRemoved", "EndClose", "EndBatchProcess"):
                event = getattr(scene, f"{name}Event")
                state.observations.add(scene, event, lambda widget: widget._refresh())
        self._refresh()

    def addAttribute(self, node_type: str, attribute: str, value: Any = None) -> None:
        self._state.attributes.append((node_type, attribute, value))
        self._refresh()

    def removeAttribute(self, node_type: str, attribute: str) -> None:
        self._state.attributes = [a for a in self._state.attributes if a[:2] != (node_type, attribute)]
        self._refresh()

    def _is_listed(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if any(node.IsA(hidden) for hidden in self.hideChildNodeTypes):
            return False
        if not any(node.IsA(t) if self.showChildNodeTypes else node.GetClassName() == t for t in self.nodeTypes):
            return False
        return all(
            node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == str(value))
            for node_type, name, value in self._state.attributes
            if node.IsA(node_type)
        )

    def _refresh(self) -> None:
        state = self._state
        scene = state.scene
        nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())] if scene is not None else []
        listed = [node for node in nodes if node is not None and self._is_listed(node)]
        entries = [("", self.noneDisplay)] if self.noneEnabled else []
        entries += [(node.GetID(), node.GetName() or "") for node in listed]
        state.node_observations.clear()
        for node in listed:
            state.node_observations.add(node, vtkCommand.ModifiedEvent, lambda widget: widget._rename())
        state.ids = [node_id for node_id, _ in entries]
        blocked = state.part.blockSignals(True)
        state.part.clear()
        state.part.addItems([name for _, name in entries])
        known = state.current in state.ids
        state.part.setCurrentIndex(state.ids.index(state.current) if known else -1)
        state.part.setPlaceholderText(f"Select a {self._type_label()}")
        state.part.blockSignals(blocked)
        self._make_current(state.current if known else "")

    def _type_label(self) -> str:
        return self.nodeTypes[0].removeprefix("vtkMRML").removesuffix("Node") if self.nodeTypes else "node"

    def _rename(self) -> None:
        for index, node_id in enumerate(self._state.ids):
            node = self._state.scene.GetNodeByID(node_id) if node_id else None
            if node is not None and self._state.part.itemText(index) != node.GetName():
                self._state.part.setItemText(index, node.GetName())

    def _chosen(self, index: int) -> None:
        self._make_current(self._state.ids[index] if 0 <= index < len(self._state.ids) else "")

    def _make_current(self, node_id: str) -> None:
        if node_id == self._state.current:
            return
        self._state.current = node_id
        node = self.currentNode()
        self._emit("currentNodeChanged(vtkMRMLNode*)", node)
        self._emit("currentNodeChanged(bool)", node is not None)
        self._emit("currentNodeIDChanged(QString)", node_id)

    def currentNode(self) -> Any:
        scene = self._state.scene
        return scene.GetNodeByID(self._state.current) if scene is not None and self._state.current else None

    def currentNodeId(self) -> str:
        return self._state.current

    currentNodeID = property(lambda self: self._state.current, lambda self, node_id: self.setCurrentNode(node_id))

    def setCurrentNodeID(self, node_id: str) -> None:
        self.setCurrentNode(node_id)

    def setCurrentNode(self, node: Any) -> None:
        node_id = node if isinstance(node, str) else (node.GetID() if node is not None else "")
        index = self._state.ids.index(node_id) if node_id in self._state.ids else -1
        self._state.part.setCurrentIndex(index)
        self._make_current(node_id if index >= 0 else "")

    def setCurrentNodeIndex(self, index: int) -> None:
        node = self.nodeFromIndex(index)
        self.setCurrentNode(node)

    def nodeCount(self) -> int:
        return sum(1 for node_id in self._state.ids if node_id)

    def nodeFromIndex(self, index: int) -> Any:
        ids = [node_id for node_id in self._state.ids if node_id]
        return self._state.scene.GetNodeByID(ids[index]) if 0 <= index < len(ids) else None

    def addNode(self, node_type: str = "") -> Any:
        node_type = node_type or self.nodeTypes[0]
        name = self._state.values["baseName"] or self._type_label()
        node = self._state.scene.AddNewNodeByClass(node_type, self._state.scene.GenerateUniqueName(name))
        self._refresh()
        if self._state.values["selectNodeUponCreation"]:
            self.setCurrentNode(node)
        self._emit("nodeAddedByUser(vtkMRMLNode*)", node)
        self._emit("nodeAddedByUserAction(vtkMRMLNode*)", node)
        return node

    def removeCurrentNode(self) -> None:
        if self.currentNode() is not None:
            self._state.scene.RemoveNode(self.currentNode())
