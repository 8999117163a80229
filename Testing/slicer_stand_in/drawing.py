"""Drawing of the views without a display, and the coloured bars above them."""

from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
)
BAR_HEIGHT = 22  # pixels of the coloured bar above a view


class OffscreenView:
    """A VTK render window without a display, with the displayable managers of one view node."""

    def __init__(self, application_logic: Any, factory: Any, managers: tuple[str, ...], view_node: Any) -> None:
        self.window = vtk.vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(320, 320)
        self.renderer = vtk.vtkRenderer()
        self.window.AddRenderer(self.renderer)
        self.interactor = vtk.vtkRenderWindowInteractor()
        self.interactor.SetRenderWindow(self.window)
        self.interactor.Initialize()
        for name in managers:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        factory.SetMRMLApplicationLogic(application_logic)
        self.group = slicer.vtkMRMLDisplayableManagerGroup()
        self.group.Initialize(factory, self.renderer)
        self.group.SetMRMLDisplayableNode(view_node)

    def image(self) -> QtGui.QImage:
        """Render and return the picture."""
        self.window.Render()
        grab = vtk.vtkWindowToImageFilter()
        grab.SetInput(self.window)
        grab.SetInputBufferTypeToRGB()
        grab.ReadFrontBufferOff()
        grab.Update()
        width, height, _ = grab.GetOutput().GetDimensions()
        pixels = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()
        return QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format_RGB888).copy()


class Bar(QtWidgets.QFrame):
    """The coloured bar of a view: its letter, for slices the slider of the offset."""

    def __init__(self, label: str, color: QtGui.QColor) -> None:
        super().__init__()
        self.setFixedHeight(BAR_HEIGHT)
        self.setAutoFillBackground(True)
        palette = self.palette()
        palette.setColor(QtGui.QPalette.Window, color)
        self.setPalette(palette)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 0)
        text = QtWidgets.QLabel(label)
        font = text.font()
        font.setBold(True)
        text.setFont(font)
        text.setStyleSheet("color: black")
        layout.addWidget(text)
        self.slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self.value = QtWidgets.QLabel()
        self.value.setStyleSheet("color: black")
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.value)

    def hide_slider(self) -> None:
        self.slider.hide()
        self.value.hide()
        self.layout().addStretch(1)

    def show_offset(self, low: float, high: float, offset: float, position: str) -> None:
        blocked = self.slider.blockSignals(True)
        self.slider.setRange(round(low * 10), round(high * 10))
        self.slider.setValue(round(offset * 10))
        self.slider.blockSignals(blocked)
        self.value.setText(position)
