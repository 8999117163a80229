"""Starts the stand-in application: one scene, one application object and one main window a process.

stand-in = application.start()
module = stand-in.load_module(Path("InfantBrainSeg/InfantBrainSeg.py"))   # slicer.modules.infantbrainseg
panel = stand-in.open_module("InfantBrainSeg")                            # setup() and enter(), the Python widget
assert stand-in.pump(lambda: panel.ui.button.enabled)
stand-in.picture("panel.png")
"""

import atexit
import os
import shutil
import stat
import sys
import tempfile
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from PySide6 import QtCore, QtGui, QtWidgets

from . import (
    behaviours,  # noqa: F401 - registers what the classes do
    dialogs,
    event_loop,
    look,
    modules,
    scene,
    slots,
    ui_loader,
)
from .classes import LightModule, all_constructors, make
from .pythonqt import qt
from .stand_ins import (
    i18n,
    packaging,
    parameter_node_wrapper,
    pytorch_utils,
    sample_data,
    scripted_loadable_module,
    testing,
)

SLICER_ONLY_LATER = ("LazyImport",)  # in the wheel's slicer.util, not in the Slicer that users have
LAUNCHER = """#!{python}
import subprocess, sys
sys.exit(subprocess.call([{python!r}, *sys.argv[1:]]))
"""
PICTURE_SIZE = (1600, 1000)
_running: "StandIn | None" = None


@dataclass
class StandIn:
    """The running stand-in, with what a test needs beside Slicer's own names."""

    folder: Path  # everything temporary, settings included; removed at the end of the process
    parts: scene.SceneAndLogics
    app: Any
    window: Any
    dialogs: dialogs.DialogRecorder

    @property
    def meter(self) -> event_loop.ResponsivenessMeter:
        """How long the application stood still at most since the last reset."""
        return event_loop.meter

    @property
    def packaging(self) -> types.ModuleType:
        """The stand-in of slicer.packaging: `pretend_missing`, `calls`, `install_error`."""
        return packaging

    @property
    def errors(self) -> list[BaseException]:
        """What slots, timers and observers raised since the last reset; Slicer would only have printed it."""
        return slots.exceptions

    @property
    def python_slicer(self) -> Path:
        """A launcher like Slicer's PythonSlicer: it runs this Python as a child, and killing it leaves the child."""
        return self.folder / "bin" / "PythonSlicer"

    def pump(self, until: Callable[[], object] | None = None, *, seconds: float = 10.0) -> bool:
        """Turn the event loop until a condition holds; return whether it came true in time."""
        return event_loop.pump(until, seconds=seconds)

    def load_module(self, path: Path | str) -> Any:
        """Load a scripted module from its .py file as Slicer does at start-up; return the module object."""
        module, _ = modules.load_scripted_module(Path(path).resolve())
        self.app._emit("startupCompleted()")
        self.app._state.receivers["startupCompleted()"].clear()  # it comes once
        return module

    def open_module(self, name: str) -> Any:
        """Switch to a module as a user does; return its Python widget."""
        self.window.moduleSelector().selectModule(name)
        return self.app.moduleManager().module(name).widgetRepresentation().self()

    def leave_module(self) -> None:
        """Leave the current module for none."""
        self.window.moduleSelector().selectModule("")

    def unload_module(self, name: str) -> None:
        """Take a module away as at the end of Slicer."""
        selector = self.window.moduleSelector()
        if selector._state.selected == name:
            selector._state.selected = ""
        modules.unload_scripted_module(name)
        event_loop.process_events()

    def close_scene(self) -> None:
        """File / Close Scene."""
        slicer.mrmlScene.Clear(0)
        event_loop.process_events()

    def offer_pytorch(self, offered: bool) -> None:
        """Install or remove the PyTorch extension: `import PyTorchUtils` works or fails."""
        if offered:
            sys.modules["PyTorchUtils"] = pytorch_utils
            modules.register("qSlicerScriptedLoadableModule", "PyTorchUtils")
        elif sys.modules.pop("PyTorchUtils", None) is not None:
            modules.forget("PyTorchUtils")

    def set_testing(self, enabled: bool) -> None:
        """Set slicer.app.testingEnabled(): true as under --testing (the first state), false as for a user."""
        self.app.commandOptions()._state.testing = enabled

    def reset(self) -> None:
        """Empty the scene and everything recorded, between tests."""
        self.close_scene()
        self.dialogs.clear()
        slots.exceptions.clear()
        packaging.calls.clear()
        packaging.pretend_missing.clear()
        packaging.install_error = None
        pytorch_utils.calls.clear()
        self.offer_pytorch(False)
        self.app.settings().clear()
        self.set_testing(True)
        self.meter.reset()

    def show_window(self, *, size: tuple[int, int] = PICTURE_SIZE) -> None:
        """Show the main window and let its layouts settle."""
        QtWidgets.QMainWindow.resize(self.window, *size)
        QtWidgets.QMainWindow.show(self.window)
        for _ in range(3):  # layouts settle, sections unfold, slices are resized
            event_loop.process_events()

    def picture(self, path: Path | str, *, size: tuple[int, int] = PICTURE_SIZE) -> Path:
        """Write the main window, panel and views, as a PNG."""
        self.show_window(size=size)
        image = QtGui.QImage(*size, QtGui.QImage.Format_RGB32)
        image.fill(QtCore.Qt.white)
        QtWidgets.QWidget.render(self.window, image)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not image.save(str(path)):
            raise OSError(f"{path} could not be written; choose a folder that can be written to and a name in .png")
        return path

    @contextmanager
    def as_slicer_python(self) -> Iterator[None]:
        """Inside, sys.executable is the launcher PythonSlicer, as in Slicer."""
        before, sys.executable = sys.executable, str(self.python_slicer)
        try:
            yield
        finally:
            sys.executable = before


def start() -> StandIn:
    """Start the stand-in application, or return the one that runs."""
    global _running
    if _running is None:
        folder = Path(tempfile.mkdtemp(prefix="slicer-stand-in-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        _running = _started(folder)
    return _running


def _started(folder: Path) -> StandIn:
    QtCore.qInstallMessageHandler(_report_qt_message)
    _make_launcher(folder / "bin")
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    for scope in (QtCore.QSettings.UserScope, QtCore.QSettings.SystemScope):
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, scope, str(folder / "settings"))
    (folder / "share").mkdir()
    parts = scene.build(folder / "share")
    slicer.__class__ = LightModule
    sys.modules["qt"], sys.modules["ctk"] = qt, LightModule("ctk")
    with all_constructors():
        app = make("qSlicerApplication")(["Slicer"])
    QtCore.QCoreApplication.setOrganizationName("slicer.org")
    QtCore.QCoreApplication.setApplicationName("Slicer")
    QtCore.QCoreApplication.setApplicationVersion("5.12.4")
    look.put_on(app)
    (folder / "tmp").mkdir()
    settings_file = QtCore.QSettings().fileName()
    app._attach(parts, str(folder / "tmp"), settings_file)
    slicer.app, slicer.mrmlScene, slicer.selfTests = app, parts.scene, {}
    for name in ("modules", "moduleNames"):
        module = types.ModuleType(f"slicer.{name}")
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    for name, logic in parts.logics.items():
        modules.register("qSlicerLoadableModule", name, logic=logic)
    with all_constructors():
        manager = make("qSlicerLayoutManager")()
        manager._attach(parts.scene, parts.application_logic)
        app.setLayoutManager(manager)
        window = make("qSlicerMainWindow")()
    window._show_views(manager.viewport())
    _install_python_modules()
    recorder = dialogs.DialogRecorder()
    recorder.install()
    sys.excepthook = lambda kind, error, trace: slots.report(error)  # observers and Qt's virtual methods
    return StandIn(folder, parts, app, window, recorder)


def _report_qt_message(kind: Any, context: Any, text: str) -> None:
    """Pass Qt's warnings on, but for what the platform without a display says of every window."""
    if "propagateSizeHints" not in text:
        print(f"Qt: {text}", file=sys.stderr)


def _make_launcher(folder: Path) -> None:
    folder.mkdir()
    launcher = folder / "PythonSlicer"
    launcher.write_text(LAUNCHER.format(python=sys.executable))
    launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"


def _install_python_modules() -> None:
    """Put the stand-ins where modules import them, and keep slicer.util to what Slicer has."""
    stand_ins = {
        "ScriptedLoadableModule": scripted_loadable_module,
        "parameterNodeWrapper": parameter_node_wrapper,
        "packaging": packaging,
        "i18n": i18n,
        "testing": testing,
    }
    sys.modules["SampleData"] = sample_data
    for name, module in stand_ins.items():
        sys.modules[f"slicer.{name}"] = module
        setattr(slicer, name, module)
    for name in SLICER_ONLY_LATER:
        if hasattr(slicer.util, name):
            delattr(slicer.util, name)
    slicer.util.loadUI = ui_loader.load_ui
