"""Segment infant brain: the module as Slicer sees it; all that it does stands in InfantBrainSegLib."""

import sys
from typing import Any

import slicer
import vtk
from InfantBrainSegLib.logic import SegmentationLogic
from InfantBrainSegLib.panel import Panel
from InfantBrainSegLib.sample_data import register_sample_data
from InfantBrainSegLib.self_tests import run_self_tests
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


class InfantBrainSeg(ScriptedLoadableModule):
    """Title, category, help."""

    def __init__(self, parent: Any) -> None:
        super().__init__(parent)
        parent.title = _("Segment infant brain")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["Segmentations", "Terminologies", "Tables"]
        parent.contributors = ["The InfantBrainSeg contributors"]
        parent.helpText = _(
            "Segments T1 and T2 scans of 6-8-month-old brains into CSF, gray matter and white matter. Choose the two "
            "skull-stripped scans (or give a brain mask) and press Segment: a first map appears early and sharpens "
            "while the run goes on. Given a reference, the panel shows Dice, 3D-MHD and surface distances. Scans stay "
            "on your computer. Research software, not a medical device."
        )
        parent.acknowledgementText = _(
            "Implements the Non-local U-Net (Wang, Zou, Shen and Ji, AAAI 2020) and the dual aggregation network of "
            "the iSeg-2019 challenge. Not affiliated with their authors."
        )
        slicer.app.connect("startupCompleted()", register_sample_data)


class InfantBrainSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel, from its .ui file."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: InfantBrainSegLogic | None = None
        self.panel: Panel | None = None

    def setup(self) -> None:
        """Load the .ui file and connect it."""
        ScriptedLoadableModuleWidget.setup(self)
        widget = slicer.util.loadUI(self.resourcePath("UI/InfantBrainSeg.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.logic = InfantBrainSegLogic()
        self.panel = Panel(self.ui, self.logic)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        if self.parent.isEntered:  # reloaded while it was shown: Slicer does not enter it again
            self.enter()

    def enter(self) -> None:
        """Take up the scene's parameters."""
        self.panel.enter(self.logic.getParameterNode())

    def exit(self) -> None:
        """Leave the scene alone while another module is shown; a run goes on."""
        self.panel.leave()

    def cleanup(self) -> None:
        """End the worker and every observation."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.cleanup()

    def onSceneStartClose(self, caller: vtk.vtkObject, event: str) -> None:
        """Cancel what runs before its nodes go."""
        self.panel.sceneClosed()

    def onSceneEndClose(self, caller: vtk.vtkObject, event: str) -> None:
        """Take up the parameters of the new scene, if the panel is shown."""
        if self.parent.isEntered:
            self.panel.enter(self.logic.getParameterNode())

    def onReload(self) -> None:
        """Load the package anew as well, which Slicer would keep."""
        for name in [name for name in sys.modules if name.split(".")[0] == "InfantBrainSegLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class InfantBrainSegLogic(ScriptedLoadableModuleLogic, SegmentationLogic):
    """What the Python console calls: segment, startSegmentation, score, startScoring; see SegmentationLogic."""

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        SegmentationLogic.__init__(self)


class InfantBrainSegTest(ScriptedLoadableModuleTest):
    """Reload and Test: the self tests in Testing/."""

    def runTest(self) -> None:
        """Run them all; the first failure is raised."""
        run_self_tests()
