"""A small scripted module that the tests of the stand-in load: inputs, parameters, a child process, a segmentation."""

import enum
import sys
from pathlib import Path
from typing import Annotated

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import *  # noqa: F403 - as every scripted module does
from slicer.util import VTKObservationMixin


class Mode(enum.Enum):
    FAST = "fast"
    EXACT = "exact"

    def label(self):
        return self.value.capitalize()


class BenchDemo(ScriptedLoadableModule):  # noqa: F405
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)  # noqa: F405
        self.parent.title = _("Stand-in demo")
        self.parent.categories = ["Testing"]
        self.parent.helpText = "Counts in a child process."


@parameterNodeWrapper
class BenchDemoParameterNode:
    inputVolume: slicer.vtkMRMLScalarVolumeNode
    reference: slicer.vtkMRMLLabelMapVolumeNode | slicer.vtkMRMLSegmentationNode | None
    threshold: Annotated[float, WithinRange(0, 100)] = 40.0
    step: Annotated[int, Choice([4, 8, 16, 32]), Default(8)]
    mode: Mode
    weights: Path
    enabled: bool = True
    names: list[str]


class BenchDemoWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):  # noqa: F405
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)  # noqa: F405
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self.calls = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)  # noqa: F405
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/BenchDemo.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = BenchDemoLogic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.ui.runButton.connect("clicked(bool)", self.onRun)
        self.initializeParameterNode()

    def enter(self):
        self.calls.append("enter")
        self.initializeParameterNode()

    def exit(self):
        self.calls.append("exit")
        self.releaseParameterNode()

    def cleanup(self):
        self.calls.append("cleanup")
        self.logic.cancel()
        self.releaseParameterNode()
        self.removeObservers()

    def onSceneStartClose(self, caller, event):
        self.releaseParameterNode()

    def releaseParameterNode(self):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self._parameterNode = None

    def initializeParameterNode(self):
        self.releaseParameterNode()
        self._parameterNode = BenchDemoParameterNode(self.logic.getParameterNode())
        self._guiTag = self._parameterNode.connectGui(self.ui)

    def onRun(self):
        self.ui.runButton.enabled = False
        self.ui.progressBar.value = 0
        self.logic.count(5, self.onProgress, self.onDone)

    def onProgress(self, number):
        self.ui.progressBar.value = number

    def onDone(self, exitCode):
        self.ui.statusLabel.text = f"done ({exitCode})"
        self.ui.runButton.enabled = True


CHILD = """
import sys
for line in sys.stdin:
    for i in range(int(line)):
        print(i + 1, flush=True)
"""


class BenchDemoLogic(ScriptedLoadableModuleLogic):  # noqa: F405
    process = None

    def getParameterNode(self):
        return super().getParameterNode()

    def count(self, limit, onProgress, onDone):
        """Let a child process count; it ends when its input is closed."""
        self.process = qt.QProcess()
        self._buffer = b""

        def read():
            self._buffer += bytes(self.process.readAllStandardOutput().data())
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                onProgress(int(line))
                if int(line) == limit:
                    self.process.closeWriteChannel()

        self.process.connect("readyReadStandardOutput()", read)
        self.process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: onDone(code))
        self.process.start(sys.executable, ["-c", CHILD])
        self.process.write(f"{limit}\n".encode())

    def cancel(self):
        if self.process is not None:
            self.process.closeWriteChannel()
            self.process.waitForFinished(2000)


class BenchDemoTest(ScriptedLoadableModuleTest):  # noqa: F405
    def runTest(self):
        self.setUp()
        self.delayDisplay("Starting")
        widget = slicer.util.getModuleWidget("BenchDemo")
        assert widget.ui.progressBar.maximum == 5
