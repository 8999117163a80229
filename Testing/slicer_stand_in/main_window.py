"""A main window that looks like Slicer's: the module panel on the left, the views on the right."""

from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import isValid

from .classes import all_constructors, behaviour, make

# Pixels, as measured in Slicer on a screen of 1920 x 1080.
PANEL_WIDTH, DATA_PROBE_HEIGHT, DOCK_TITLE_HEIGHT = 575, 176, 17
MENUS = ("File", "Edit", "View", "Help")


@behaviour("qSlicerModuleSelectorToolBar")
class ModuleSelectorToolBar:
    """Switches modules: the old one is left, the new one entered; the one that is shown already stays as it is."""

    def initialise(self) -> None:
        self._state.selected = ""
        self._state.label = QtWidgets.QLabel("  Modules:  ")
        self._state.box = QtWidgets.QComboBox()
        self._state.box.setMinimumWidth(230)
        QtWidgets.QToolBar.setMovable(self, False)
        QtWidgets.QToolBar.addWidget(self, self._state.label)
        QtWidgets.QToolBar.addWidget(self, self._state.box)

    selectedModule = property(lambda self: self._state.selected, lambda self, name: self.selectModule(name))

    def selectModule(self, name: str) -> None:
        if name == self._state.selected:
            return
        manager = slicer.app.moduleManager()
        previous = manager.module(self._state.selected) if self._state.selected else None
        if previous is not None:
            previous.widgetRepresentation().exit()
        self._state.selected = name
        if name:
            module = manager.module(name)
            self._state.window._show_module(module)
            module.widgetRepresentation().enter()
        self._emit("moduleSelected(QString)", name)


@behaviour("qSlicerMainWindow")
class MainWindow:
    """The window; `slicer.util.mainWindow()` finds it by its name."""

    def initialise(self) -> None:
        QtCore.QObject.setObjectName(self, "qSlicerMainWindow")
        QtWidgets.QMainWindow.setWindowTitle(self, "3D Slicer 5.12.4 (stand-in)")
        with all_constructors():
            self._state.selector = make("qSlicerModuleSelectorToolBar")()
        self._state.selector._state.window = self
        QtWidgets.QMainWindow.addToolBar(self, self._state.selector)
        for title in MENUS:
            QtWidgets.QMainWindow.menuBar(self).addMenu(title)
        QtWidgets.QMainWindow.statusBar(self)
        self._state.panel = _ModulePanel()
        self._state.splitter = QtWidgets.QSplitter(QtCore.Qt.Horizontal)
        self._state.splitter.addWidget(self._state.panel)
        QtWidgets.QMainWindow.setCentralWidget(self, self._state.splitter)

    def _show_views(self, viewport: QtWidgets.QWidget) -> None:
        self._state.splitter.addWidget(viewport)
        self._state.splitter.setStretchFactor(0, 0)
        self._state.splitter.setStretchFactor(1, 1)

    def _show_module(self, module: Any) -> None:
        self._state.panel.show_module(module)
        box = self._state.selector._state.box
        if box.findText(module.title) < 0:
            box.addItem(QtGui.QIcon(module.icon) if module.icon is not None else QtGui.QIcon(), module.title)
        box.setCurrentText(module.title)

    def moduleSelector(self) -> Any:
        return self._state.selector


class _ModulePanel(QtWidgets.QWidget):
    """Help section and the module's widget in a scroll area, Data Probe below."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("ModulePanel")
        self.setFixedWidth(PANEL_WIDTH)
        layout = QtWidgets.QVBoxLayout(self)
        layout.setContentsMargins(4, 4, 4, 4)
        layout.setSpacing(4)
        title = QtWidgets.QLabel("Module Panel")
        title.setFixedHeight(DOCK_TITLE_HEIGHT)
        layout.addWidget(title)
        logo = QtWidgets.QLabel("<span style='font-size:15pt; color:#4a5560'><b>3D</b>Slicer</span>")
        logo.setObjectName("LogoLabel")
        layout.addWidget(logo)
        self.scroll = QtWidgets.QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setFrameShape(QtWidgets.QFrame.NoFrame)
        self.scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        contents = QtWidgets.QWidget()
        self.contents = QtWidgets.QVBoxLayout(contents)
        self.contents.setContentsMargins(0, 0, 0, 0)
        self.contents.setSpacing(4)
        with all_constructors():
            self.help = make("ctkCollapsibleButton")()
        self.help.text = "Help && Acknowledgement"
        self.help.contentsFrameShape = QtWidgets.QFrame.StyledPanel
        self.help_text = QtWidgets.QTextBrowser()
        self.help_text.setFixedHeight(120)
        QtWidgets.QVBoxLayout(self.help).addWidget(self.help_text)
        self.contents.addWidget(self.help)
        self.scroll.setWidget(contents)
        layout.addWidget(self.scroll, 1)
        with all_constructors():
            self.probe = make("ctkCollapsibleButton")()
        self.probe.text = "Data Probe"
        self.probe.name = "DataProbeCollapsibleWidget"
        self.probe.setFixedHeight(DATA_PROBE_HEIGHT)
        probe_text = QtWidgets.QLabel("Show Zoomed Slice\n\nL\nF\nB")
        probe_text.setAlignment(QtCore.Qt.AlignLeft | QtCore.Qt.AlignTop)
        QtWidgets.QVBoxLayout(self.probe).addWidget(probe_text)
        layout.addWidget(self.probe)
        self.shown: QtWidgets.QWidget | None = None

    def show_module(self, module: Any) -> None:
        self.help_text.setHtml(module.helpText + "<hr>" + module.acknowledgementText)
        self.help.collapsed = True
        widget = module.widgetRepresentation()
        if self.shown is not None and self.shown is not widget and isValid(self.shown):
            self.contents.removeWidget(self.shown)
            QtWidgets.QWidget.hide(self.shown)
            QtWidgets.QWidget.setParent(self.shown, None)
        QtWidgets.QWidget.layout(widget).setContentsMargins(0, 0, 0, 0)
        self.contents.addWidget(widget, 1)
        self.shown = widget
        QtWidgets.QWidget.show(widget)
