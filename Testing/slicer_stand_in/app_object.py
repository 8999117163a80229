"""slicer.app: qSlicerApplication on a real QApplication, as far as a scripted module asks for it."""

import os
import platform
from typing import Any

from PySide6 import QtCore, QtWidgets

from . import event_loop
from .classes import all_constructors, behaviour, make

DOCUMENTATION = "https://slicer.readthedocs.io/en/latest/"


@behaviour("qSlicerCommandOptions")
class CommandOptions:
    """What the command line would have said."""

    def initialise(self) -> None:
        self._state.testing = True

    testingEnabled = property(lambda self: self._state.testing)
    noMainWindow = property(lambda self: False)
    additionalModulePaths = property(lambda self: ())


@behaviour("qSlicerModuleManager")
class ModuleManager:
    """The modules that are loaded."""

    def initialise(self) -> None:
        self._state.modules = {}

    def module(self, name: str) -> Any:
        return self._state.modules.get(name)

    def modulesNames(self) -> list[str]:
        return list(self._state.modules)

    def factoryManager(self) -> Any:
        return self._state.factory_manager


@behaviour("qSlicerModuleFactoryManager")
class FactoryManager:
    """What was registered and loaded; here the same."""

    def initialise(self) -> None:
        self._state.names = list

    def loadedModuleNames(self) -> list[str]:
        return self._state.names()

    def isLoaded(self, name: str) -> bool:
        return name in self._state.names()

    def registeredModuleNames(self) -> list[str]:
        return self._state.names()

    def isRegistered(self, name: str) -> bool:
        return name in self._state.names()


@behaviour("qSlicerApplication")
class Application:
    """The application object. The stand-in reaches it by `_attach` and `_state`; modules by Slicer's names."""

    def _attach(self, parts: Any, temporary_folder: str, settings_file: str) -> None:
        state = self._state
        state.parts, state.temporary, state.layout_manager = parts, temporary_folder, None
        state.settings = QtCore.QSettings(settings_file, QtCore.QSettings.IniFormat)
        state.startup_environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH")}
        state.restarts, state.exit_status, state.render_pauses = 0, None, 0
        with all_constructors():
            state.options = make("qSlicerCommandOptions")()
            state.modules = make("qSlicerModuleManager")()
            state.io = make("qSlicerIOManager")()
            state.factory = make("qSlicerModuleFactoryManager")()
        state.modules._state.factory_manager = state.factory
        state.factory._state.names = state.modules.modulesNames
        state.io._attach(parts.scene, parts.logics)

    temporaryPath = property(
        lambda self: self._state.temporary, lambda self, path: setattr(self._state, "temporary", path)
    )
    cachePath = property(lambda self: self._state.temporary)
    slicerHome = property(lambda self: os.path.join(self._state.temporary, "Slicer"))
    startupWorkingPath = property(lambda self: os.getcwd())
    intDir = property(lambda self: "")
    isInstalled = property(lambda self: True)
    majorVersion = property(lambda self: 5)
    minorVersion = property(lambda self: 12)
    mainApplicationName = property(lambda self: "Slicer")
    revision = property(lambda self: "34000")
    releaseType = property(lambda self: "Stable")
    os = property(lambda self: {"Linux": "linux", "Darwin": "macosx", "Windows": "win"}.get(platform.system(), ""))
    arch = property(lambda self: "amd64")
    documentationBaseUrl = property(lambda self: DOCUMENTATION)

    def mrmlScene(self) -> Any:
        return self._state.parts.scene

    def applicationLogic(self) -> Any:
        return self._state.parts.application_logic

    def moduleLogic(self, name: str) -> Any:
        return self._state.parts.application_logic.GetModuleLogic(name)

    def moduleManager(self) -> Any:
        return self._state.modules

    def ioManager(self) -> Any:
        return self._state.io

    def coreIOManager(self) -> Any:
        return self._state.io

    def layoutManager(self) -> Any:
        return self._state.layout_manager

    def setLayoutManager(self, manager: Any) -> None:
        self._state.layout_manager = manager

    def commandOptions(self) -> Any:
        return self._state.options

    def testingEnabled(self) -> bool:
        return self._state.options._state.testing

    def processEvents(self, *_: Any) -> None:
        event_loop.process_events()

    def settings(self) -> Any:
        return self._state.settings

    def userSettings(self) -> Any:
        return self._state.settings

    def revisionUserSettings(self) -> Any:
        return self._state.settings

    def startupEnvironment(self) -> Any:
        environment = QtCore.QProcessEnvironment()
        for name, value in self._state.startup_environment.items():
            environment.insert(name, value)
        return environment

    def environment(self) -> Any:
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"{DOCUMENTATION}user_guide/modules/{name.lower()}.html"

    def restart(self) -> None:
        self._state.restarts += 1

    def exit(self, status: int = 0) -> None:
        self._state.exit_status = status

    def setRenderPaused(self, paused: bool) -> None:
        self._state.render_pauses += 1 if paused else -1
        self._emit("renderPaused(bool)", self._state.render_pauses > 0)

    def pauseRender(self) -> None:
        self.setRenderPaused(True)

    def resumeRender(self) -> None:
        self.setRenderPaused(False)

    def topLevelWidgets(self) -> list[QtWidgets.QWidget]:
        return QtWidgets.QApplication.topLevelWidgets()
