"""The slice and 3D views of the layout: real displayable managers that draw without a display, shown in Qt widgets."""

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.vtkCommonCore import vtkCommand

from .classes import all_constructors, behaviour, internal, make
from .drawing import SLICE_MANAGERS, THREE_D_MANAGERS, Bar, OffscreenView
from .widgets_mrml import Observations


class _View:
    """What slice and 3D views share: drawn when painted, so that nothing is rendered that nobody looks at."""

    def _attach(self, drawing: OffscreenView) -> None:
        self._state.drawing = drawing
        self._state.cursor = None

    def renderWindow(self) -> Any:
        return self._state.drawing.window

    def interactor(self) -> Any:
        return self._state.drawing.interactor

    def scheduleRender(self) -> None:
        QtWidgets.QWidget.update(self)

    def forceRender(self) -> None:
        self._state.drawing.window.Render()

    def _draw(self) -> QtGui.QImage:
        size = QtWidgets.QWidget.size(self)
        self._state.drawing.window.SetSize(max(size.width(), 16), max(size.height(), 16))
        return self._state.drawing.image()

    def _annotation(self) -> str:
        return ""

    def paintEvent(self, _: QtGui.QPaintEvent) -> None:
        image = self._draw()
        painter = QtGui.QPainter(self)
        painter.drawImage(0, 0, image)
        painter.setPen(QtGui.QColor(255, 220, 80))
        corner = QtWidgets.QWidget.rect(self).adjusted(6, 4, -6, -4)
        painter.drawText(corner, QtCore.Qt.AlignLeft | QtCore.Qt.AlignBottom, self._annotation())
        painter.end()


@behaviour("qMRMLSliceView")
class SliceView(_View):
    """The picture of one slice."""

    def initialise(self) -> None:
        self._state.slice_logic = None

    def _show_slice(self, slice_logic: Any, drawing: OffscreenView) -> None:
        self._attach(drawing)
        state = self._state
        state.slice_logic = slice_logic
        state.mapper = vtk.vtkImageMapper()
        state.mapper.SetColorWindow(255)
        state.mapper.SetColorLevel(127.5)
        state.actor = vtk.vtkActor2D()
        state.actor.SetMapper(state.mapper)
        state.actor.GetProperty().SetDisplayLocationToBackground()
        drawing.renderer.AddActor2D(state.actor)
        drawing.renderer.GetActiveCamera().ParallelProjectionOn()

    def mrmlSliceNode(self) -> Any:
        return self._state.slice_logic.GetSliceNode()

    def _annotation(self) -> str:
        """Return the names of the volumes in the layers, as in the lower left corner of Slicer's views."""
        composite = self._state.slice_logic.GetSliceCompositeNode()
        layers = {
            "L": composite.GetLabelVolumeID(),
            "F": composite.GetForegroundVolumeID(),
            "B": composite.GetBackgroundVolumeID(),
        }
        nodes = {letter: slicer.mrmlScene.GetNodeByID(node_id) for letter, node_id in layers.items() if node_id}
        return "\n".join(f"{letter}: {node.GetName()}" for letter, node in nodes.items() if node is not None)

    def _draw(self) -> QtGui.QImage:
        state = self._state
        size = QtWidgets.QWidget.size(self)
        state.slice_logic.ResizeSliceNode(max(size.width(), 16), max(size.height(), 16))
        state.slice_logic.UpdatePipeline()
        connection = state.slice_logic.GetImageDataConnection()
        state.actor.SetVisibility(connection is not None)
        if connection is not None:
            state.mapper.SetInputConnection(connection)
        return super()._draw()


DIRECTIONS = ("RL", "AP", "SI")  # letters of the positive and negative directions of R, A and S


def position_text(slice_node: Any) -> str:
    """Return where a slice lies, as the view's slider writes it: "R: 10.0 mm"."""
    slice_to_ras = slice_node.GetSliceToRAS()
    axis = max(range(3), key=lambda row: abs(slice_to_ras.GetElement(row, 2)))
    position = slice_to_ras.GetElement(axis, 3)
    return f"{DIRECTIONS[axis][position < 0]}: {abs(position):.1f} mm"


@behaviour("qMRMLSliceWidget")
class SliceWidget:
    """A slice view under its coloured bar."""

    def initialise(self) -> None:
        with all_constructors():
            self._state.view = make("qMRMLSliceView")()
            self._state.controller = make("qMRMLSliceControllerWidget")()
        self._state.observations = Observations(self)

    def _attach(self, application_logic: Any, scene: Any, node: Any) -> None:
        state = self._state
        state.logic = slicer.vtkMRMLSliceLogic()
        state.logic.SetMRMLApplicationLogic(application_logic)
        state.logic.SetMRMLScene(scene)
        state.logic.SetSliceNode(node)
        application_logic.GetSliceLogics().AddItem(state.logic)
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        state.view._show_slice(state.logic, OffscreenView(application_logic, factory, SLICE_MANAGERS, node))
        state.controller._state.slice_logic = state.logic
        state.bar = internal(Bar(node.GetLayoutLabel(), QtGui.QColor.fromRgbF(*node.GetLayoutColor())))
        state.bar.slider.valueChanged.connect(lambda tenths: state.logic.SetSliceOffset(tenths / 10))
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(state.bar)
        layout.addWidget(state.view, 1)
        state.observations.add(node, vtkCommand.ModifiedEvent, lambda widget: widget._follow())
        self._follow()

    def _follow(self) -> None:
        logic, node = self._state.logic, self._state.logic.GetSliceNode()
        bounds = [0.0] * 6
        logic.GetLowestVolumeSliceBounds(bounds)
        self._state.bar.show_offset(bounds[4], bounds[5], logic.GetSliceOffset(), position_text(node))
        self._state.view.scheduleRender()

    def sliceLogic(self) -> Any:
        return self._state.logic

    def logic(self) -> Any:
        return self._state.logic

    def mrmlSliceNode(self) -> Any:
        return self._state.logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._state.logic.GetSliceCompositeNode()

    def sliceView(self) -> Any:
        return self._state.view

    def viewWidget(self) -> Any:
        return self._state.view

    def sliceController(self) -> Any:
        return self._state.controller

    def fitSliceToBackground(self) -> None:
        self._state.logic.FitSliceToBackground()


@behaviour("qMRMLSliceControllerWidget")
class SliceController:
    """The controls of a slice view that scripts call."""

    def initialise(self) -> None:
        self._state.slice_logic = None

    def mrmlSliceNode(self) -> Any:
        return self._state.slice_logic.GetSliceNode()

    def fitSliceToBackground(self) -> None:
        self._state.slice_logic.FitSliceToBackground()

    def setSliceOffsetValue(self, offset: float) -> None:
        self._state.slice_logic.SetSliceOffset(offset)

    def setSliceVisible(self, visible: bool) -> None:
        self._state.slice_logic.GetSliceNode().SetSliceVisible(visible)


@behaviour("qMRMLThreeDView")
class ThreeDView(_View):
    """The picture of the 3D view."""

    def initialise(self) -> None:
        self._state.view_node = None

    def mrmlViewNode(self) -> Any:
        return self._state.view_node

    def resetFocalPoint(self) -> None:
        """Centre on what is visible, the box and its labels apart, as Slicer does."""
        node, renderer = self._state.view_node, self._state.drawing.renderer
        box, labels = node.GetBoxVisible(), node.GetAxisLabelsVisible()
        node.SetBoxVisible(0)
        node.SetAxisLabelsVisible(0)
        renderer.ResetCamera()
        node.SetBoxVisible(box)
        node.SetAxisLabelsVisible(labels)
        renderer.ResetCameraClippingRange()

    def resetCamera(self, *_: bool) -> None:
        self.resetFocalPoint()


@behaviour("qMRMLThreeDWidget")
class ThreeDWidget:
    """A 3D view under its bar."""

    def initialise(self) -> None:
        with all_constructors():
            self._state.view = make("qMRMLThreeDView")()
            self._state.controller = make("qMRMLThreeDViewControllerWidget")()

    def _attach(self, application_logic: Any, scene: Any, node: Any) -> None:
        state = self._state
        state.logic = slicer.vtkMRMLViewLogic()
        state.logic.SetMRMLApplicationLogic(application_logic)
        state.logic.SetMRMLScene(scene)
        application_logic.GetViewLogics().AddItem(state.logic)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        drawing = OffscreenView(application_logic, factory, THREE_D_MANAGERS, node)
        drawing.renderer.SetUseDepthPeeling(True)
        drawing.renderer.GradientBackgroundOn()
        lights = vtk.vtkLightKit()
        lights.AddLightsToRenderer(drawing.renderer)
        state.view._attach(drawing)
        state.view._state.view_node, state.view._state.lights = node, lights
        state.controller._state.view = state.view
        bar = internal(Bar(node.GetLayoutLabel(), QtGui.QColor.fromRgbF(*node.GetLayoutColor())))
        bar.hide_slider()
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(bar)
        layout.addWidget(state.view, 1)

    def threeDView(self) -> Any:
        return self._state.view

    def viewWidget(self) -> Any:
        return self._state.view

    def threeDController(self) -> Any:
        return self._state.controller

    def viewLogic(self) -> Any:
        return self._state.logic

    def mrmlViewNode(self) -> Any:
        return self._state.view._state.view_node


@behaviour("qMRMLThreeDViewControllerWidget")
class ThreeDController:
    """The controls of the 3D view that scripts call."""

    def initialise(self) -> None:
        self._state.view = None

    def resetFocalPoint(self) -> None:
        self._state.view.resetFocalPoint()

    def mrmlThreeDViewNode(self) -> Any:
        return self._state.view.mrmlViewNode()
