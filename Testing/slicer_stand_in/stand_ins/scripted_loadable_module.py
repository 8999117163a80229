"""Stand-in for slicer.ScriptedLoadableModule: the base classes of module, widget, logic and self test."""

import importlib
import logging
import unittest
from pathlib import Path
from typing import Any

import slicer
import slicer.util

from ..pythonqt import qt

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]
PARAMETER_NODE = "vtkMRMLScriptedModuleNode"


class ScriptedLoadableModule:
    """The module's description; `parent` is the module object, whose properties it fills."""

    def __init__(self, parent: Any) -> None:
        super().__init__()
        self.parent = parent
        self.moduleName = type(self).__name__
        for name in ("categories", "dependencies", "contributors"):
            setattr(parent, name, [])
        for name in ("title", "helpText", "acknowledgementText"):
            setattr(parent, name, "")
        icons = Path(parent.path).parent / "Resources" / "Icons"
        icon = next((p for p in (icons / f"{self.moduleName}{s}" for s in (".svg", ".png")) if p.is_file()), None)
        if icon is not None:
            parent.icon = qt.QIcon(str(icon))
        slicer.selfTests[self.moduleName] = self.runTest

    def resourcePath(self, filename: str) -> str:
        return str(Path(self.parent.path).parent / "Resources" / filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        url = (
            slicer.app.documentationBaseUrl + docPage if docPage else slicer.app.moduleDocumentationUrl(self.moduleName)
        )
        return f'<p>See the <a href="{url}">documentation</a>.</p>'

    def runTest(self, msec: int = 100, **keywords: Any) -> None:
        """Run the class <Name>Test of the module's file."""
        test_class = getattr(importlib.import_module(type(self).__module__), self.moduleName + "Test")
        test = test_class()
        test.messageDelay = msec
        test.runTest(**keywords)


class ScriptedLoadableModuleWidget:
    """The module's panel; `parent` is the widget that it fills."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = slicer.util.settingsValue("Developer/DeveloperMode", False, converter=slicer.util.toBool)
        self.parent = parent
        if parent is None:
            self.parent = slicer.qMRMLWidget()
            self.parent.setLayout(qt.QVBoxLayout())
            self.parent.setMRMLScene(slicer.mrmlScene)
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / filename)

    def setup(self) -> None:
        self.setupDeveloperSection()

    def cleanup(self) -> None:
        """Overridden by modules; runs before the module is unloaded or reloaded."""

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def setupDeveloperSection(self) -> None:
        """Add "Reload" and "Reload and Test" when the developer mode is on."""
        if not self.developerMode:
            return
        section = importlib.import_module("ctk").ctkCollapsibleButton(self.parent)
        section.text = "Reload && Test"
        self.layout.addWidget(section)
        row = qt.QHBoxLayout(section)
        for text, slot in (("Reload", self.onReload), ("Reload and Test", self.onReloadAndTest)):
            button = qt.QPushButton(text)
            button.connect("clicked()", slot)
            row.addWidget(button)

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)

    def onTest(self, **keywords: Any) -> None:
        slicer.selfTests[self.moduleName](**keywords)

    def onReloadAndTest(self, **keywords: Any) -> None:
        self.onReload()
        self.onTest(**keywords)

    def onEditSource(self) -> None:
        raise NotImplementedError("onEditSource exists in Slicer; the stand-in does not model it")


class ScriptedLoadableModuleLogic:
    """The module's logic with its parameter node in the scene."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__()
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getParameterNode(self) -> Any:
        """Return the module's node in the scene; make it when there is none."""
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, PARAMETER_NODE)
            if node is not None:
                node.SetAttribute("ModuleName", self.moduleName)
                return node
        elif nodes := self.getAllParameterNodes():
            return nodes[0]
        return slicer.mrmlScene.AddNode(self.createParameterNode())

    def getAllParameterNodes(self) -> list[Any]:
        count = slicer.mrmlScene.GetNumberOfNodesByClass(PARAMETER_NODE)
        nodes = [slicer.mrmlScene.GetNthNodeByClass(index, PARAMETER_NODE) for index in range(count)]
        return [node for node in nodes if node.GetAttribute("ModuleName") == self.moduleName]

    def createParameterNode(self) -> Any:
        node = slicer.mrmlScene.CreateNodeByClass(PARAMETER_NODE)
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A self test; modules override runTest."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.enableScreenshots = False
        self.screenshotScaleFactor = 1.0

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        logging.info(message)
        slicer.app.processEvents()

    def takeScreenshot(self, name: str, description: str, type: int = -1) -> None:
        self.delayDisplay(description)
        if self.enableScreenshots:
            raise NotImplementedError("takeScreenshot exists in Slicer; the stand-in does not model it")

    def setUp(self) -> None:
        """Overridden by modules."""

    def tearDown(self) -> None:
        """Overridden by modules."""

    def runTest(self) -> None:
        logging.warning("%s defines no test", type(self).__name__)
