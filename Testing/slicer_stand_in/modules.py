"""Loading of modules: the C++ modules' logics by name, and scripted modules from their file as Slicer does it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from PySide6 import QtWidgets

from .classes import all_constructors, behaviour, make

MODULE_PROPERTIES = ("title", "categories", "contributors", "associatedNodeTypes", "helpText", "acknowledgementText",
                     "extensions", "icon", "hidden", "dependencies", "index")  # fmt: skip


@behaviour("qSlicerAbstractCoreModule")
class CoreModule:
    """A module object as slicer.modules shows it."""

    def initialise(self) -> None:
        state = self._state
        state.name, state.path, state.logic, state.representation = "", "", None, None

    name = property(lambda self: self._state.name)
    path = property(lambda self: self._state.path)
    isInstalled = property(lambda self: False)
    isBuiltIn = property(lambda self: False)
    widgetRepresentationCreationEnabled = property(lambda self: True)

    def logic(self) -> Any:
        return self._state.logic

    def mrmlScene(self) -> Any:
        return slicer.mrmlScene


@behaviour("qSlicerAbstractModule")
class AbstractModule:
    """Makes the module's panel when it is first asked for."""

    def widgetRepresentation(self) -> Any:
        if self._state.representation is None:
            self._state.representation = self.createNewWidgetRepresentation()
        return self._state.representation


@behaviour("qSlicerLoadableModule")
class LoadableModule:
    """A C++ module: its logic is there, its panel is not."""

    def createNewWidgetRepresentation(self) -> Any:
        raise NotImplementedError(f"the panel of {self.name} exists in Slicer; the stand-in does not model it")


def _module_property(name: str) -> property:
    first = {"categories": (), "contributors": (), "associatedNodeTypes": (), "dependencies": (), "hidden": False,
             "index": -1, "icon": None, "extensions": None}.get(name, "")  # fmt: skip

    def read(self: Any) -> Any:
        return self._state.values.get(name, first)

    def write(self: Any, value: Any) -> None:
        self._state.values[name] = tuple(value) if isinstance(first, tuple) else value

    return property(read, write)


@behaviour("qSlicerScriptedLoadableModule")
class ScriptedModule:
    """A scripted module; its panel is the Python class <Name>Widget inside a qSlicerScriptedLoadableModuleWidget."""

    def createNewWidgetRepresentation(self) -> Any:
        with all_constructors():
            panel = make("qSlicerScriptedLoadableModuleWidget")()
        panel._build(self._state.name)
        panel.setMRMLScene(slicer.mrmlScene)
        return panel


for _name in MODULE_PROPERTIES:
    setattr(ScriptedModule, _name, _module_property(_name))


@behaviour("qSlicerAbstractModuleWidget")
class ModuleWidget:
    """Entered and left as the user switches modules."""

    def initialise(self) -> None:
        self._state.entered = False

    isEntered = property(lambda self: self._state.entered)

    def enter(self) -> None:
        self._state.entered = True

    def exit(self) -> None:
        self._state.entered = False


@behaviour("qSlicerScriptedLoadableModuleWidget")
class ScriptedModuleWidget:
    """Holds the Python panel; `self()` gives it, `reload()` makes it anew from the module's reloaded code.

    A panel that is shown while it is reloaded is not entered again.
    """

    def _build(self, name: str) -> None:
        self._state.name = name
        if QtWidgets.QWidget.layout(self) is None:
            QtWidgets.QWidget.setLayout(self, QtWidgets.QVBoxLayout())
        self._state.panel = getattr(sys.modules[name], name + "Widget")(self)
        setattr(slicer.modules, name + "Widget", self._state.panel)
        self._state.panel.setup()

    moduleName = property(lambda self: self._state.name)

    def self(self) -> Any:
        return self._state.panel

    def reload(self) -> None:
        self._build(self._state.name)

    def _call(self, name: str) -> None:
        if hasattr(self._state.panel, name):
            getattr(self._state.panel, name)()

    def enter(self) -> None:
        self._state.entered = True
        self._call("enter")

    def exit(self) -> None:
        self._state.entered = False
        self._call("exit")


def register(class_name: str, name: str, *, path: str = "", logic: Any = None) -> Any:
    """Make a module object and show it as slicer.modules.<lower name>."""
    with all_constructors():
        module = make(class_name)()
    module._state.name, module._state.path, module._state.logic = name, path, logic
    setattr(slicer.modules, name.lower(), module)
    setattr(slicer.moduleNames, name, name)
    slicer.app.moduleManager()._state.modules[name] = module
    return module


def forget(name: str) -> None:
    """Take a module out of slicer.modules, slicer.moduleNames and the module manager."""
    del slicer.app.moduleManager()._state.modules[name]
    delattr(slicer.moduleNames, name)
    for attribute in (name.lower(), name + "Instance", name + "Widget"):
        if hasattr(slicer.modules, attribute):
            delattr(slicer.modules, attribute)
    slicer.selfTests.pop(name, None)


def load_scripted_module(path: Path) -> tuple[Any, ModuleType]:
    """Load a scripted module from its .py file; return the module object and the Python module.

    As in Slicer: the folder goes onto sys.path, the file is imported under the module's name, the class of that name
    is constructed with the module object, and slicer.modules gets <name> and <Name>Instance.
    """
    name = path.stem
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    specification = importlib.util.spec_from_file_location(name, path)
    python_module = importlib.util.module_from_spec(specification)
    sys.modules[name] = python_module
    specification.loader.exec_module(python_module)
    logic = slicer.vtkSlicerScriptedLoadableModuleLogic()
    module = register("qSlicerScriptedLoadableModule", name, path=str(path), logic=logic)
    instance = getattr(python_module, name)(module)
    setattr(slicer.modules, name + "Instance", instance)
    slicer.app.moduleManager()._emit("moduleLoaded(QString)", name)
    return module, python_module


def unload_scripted_module(name: str) -> None:
    """Take a scripted module away as Slicer does at its end: exit, cleanup by signal, widgets deleted."""
    manager = slicer.app.moduleManager()
    module = manager.module(name)
    panel = module._state.representation
    if panel is not None and panel.isEntered:
        panel.exit()
    manager._emit("moduleAboutToBeUnloaded(QString)", name)
    if panel is not None:
        panel.hide()
        QtWidgets.QWidget.setParent(panel, None)
        panel.deleteLater()
        module._state.representation = None
    forget(name)
