"""slicer.app.coreIOManager(): loading and saving of nodes and scenes with the real storage nodes."""

import os
from pathlib import Path
from typing import Any

from .classes import behaviour

DOUBLE_EXTENSIONS = (".seg.nrrd", ".nii.gz", ".seg.vtm", ".tar.gz")
FILE_TYPES = {
    ".seg.nrrd": "SegmentationFile",
    ".mrml": "SceneFile",
    ".mrb": "SceneFile",
    ".csv": "TableFile",
    ".tsv": "TableFile",
    ".ctbl": "ColorTableFile",
    ".vtk": "ModelFile",
    ".stl": "ModelFile",
    ".h5": "TransformFile",
    ".tfm": "TransformFile",
    ".txt": "TextFile",
}
WRITE_FORMATS = {  # the wheel's storage nodes list none
    "vtkMRMLSegmentationNode": ("Segmentation (.seg.nrrd)", "Segmentation (.nrrd)"),
    "vtkMRMLVolumeNode": ("NRRD (.nrrd)", "NIfTI (.nii.gz)", "NIfTI (.nii)", "MetaImage (.mha)"),
    "vtkMRMLTableNode": ("Table (.tsv)", "Table (.csv)"),
}


def known_extension(file_name: str) -> str:
    """Return ".nii.gz" for "a.nii.gz" and ".nrrd" for "a.nrrd"."""
    lower = str(file_name).lower()
    return next((e for e in DOUBLE_EXTENSIONS if lower.endswith(e)), os.path.splitext(lower)[1])


@behaviour("qSlicerCoreIOManager")
class CoreIOManager:
    """The readers and writers that a panel with volumes, segmentations and tables needs."""

    def _attach(self, scene: Any, logics: dict[str, Any]) -> None:
        self._state.scene, self._state.logics = scene, logics

    def fileType(self, file_name: str) -> str:
        return FILE_TYPES.get(known_extension(file_name), "VolumeFile")

    def loadNodes(self, file_type: str, properties: dict[str, Any], loaded: Any = None, messages: Any = None) -> bool:
        path = properties["fileName"]
        name = properties.get("name") or Path(path).name.removesuffix(known_extension(path))
        if not os.path.exists(path):
            return False
        if file_type == "SceneFile":
            return self._load_scene(path, bool(properties.get("clear", False)))
        node = self._load(file_type, path, name, properties)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def _load(self, file_type: str, path: str, name: str, properties: dict[str, Any]) -> Any:
        logics, scene = self._state.logics, self._state.scene
        if file_type == "VolumeFile":
            node = logics["Volumes"].AddArchetypeVolume(path, name, 1 if properties.get("labelmap") else 0)
            if node is not None and properties.get("show", True) and not properties.get("labelmap"):
                selection = scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")
                selection.SetActiveVolumeID(node.GetID())
                logics["Volumes"].GetMRMLApplicationLogic().PropagateVolumeSelection()
            return node
        if file_type == "SegmentationFile":
            return logics["Segmentations"].LoadSegmentationFromFile(path, True, name)
        classes = {"TableFile": "vtkMRMLTableNode", "TextFile": "vtkMRMLTextNode"}
        if file_type not in classes:
            raise NotImplementedError(f"loading a {file_type} exists in Slicer; the stand-in does not model it")
        node = scene.AddNewNodeByClass(classes[file_type], name)
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        node.GetStorageNode().ReadData(node)
        return node

    def _load_scene(self, path: str, clear: bool) -> bool:
        scene = self._state.scene
        if known_extension(path) == ".mrb":
            return bool(scene.ReadFromMRB(path, clear))
        scene.SetURL(path)
        return bool(scene.Connect() if clear else scene.Import())

    def loadScene(self, path: str, clear: bool = True, messages: Any = None) -> bool:
        return self._load_scene(path, clear)

    def saveNodes(self, file_type: str, properties: dict[str, Any], messages: Any = None, scene: Any = None) -> bool:
        if file_type == "SceneFile":
            return self.saveScene(properties["fileName"], None)
        node = self._state.scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(str(properties["fileName"]))
        if "useCompression" in properties:
            storage.SetUseCompression(properties["useCompression"])
        return bool(storage.WriteData(node))

    def saveScene(self, path: str, screenshot: Any, messages: Any = None) -> bool:
        scene = self._state.scene
        extension = known_extension(path)
        if extension == ".mrb":
            return bool(scene.WriteToMRB(path))
        if extension != ".mrml":
            raise NotImplementedError("saving a scene as a folder exists in Slicer; the stand-in does not model it")
        scene.SetRootDirectory(os.path.dirname(os.path.abspath(path)))
        scene.SetURL(path)
        return bool(scene.Commit())

    def exportNodes(
        self, ids: list[str], files: list[str], properties: Any, harden: bool = False, messages: Any = None
    ) -> bool:
        written = True
        for node_id, path in zip(ids, files, strict=True):
            node = self._state.scene.GetNodeByID(node_id)
            storage = node.CreateDefaultStorageNode()
            storage.SetScene(self._state.scene)
            storage.SetFileName(str(path))
            written = bool(storage.WriteData(node)) and written
        return written

    def fileWriterFileType(self, node: Any, file_format: str = "") -> str:
        return "SegmentationFile" if node.IsA("vtkMRMLSegmentationNode") else "NodeFile"

    def fileWriterExtensions(self, node: Any) -> list[str]:
        return [f for base, formats in WRITE_FORMATS.items() if node.IsA(base) for f in formats]

    def extractKnownExtension(self, file_name: str, node: Any) -> str:
        return known_extension(file_name)

    def stripKnownExtension(self, file_name: str, node: Any) -> str:
        return str(file_name)[: len(str(file_name)) - len(known_extension(file_name))]

    def addDefaultStorageNodes(self) -> None:
        scene = self._state.scene
        for index in range(scene.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
            scene.GetNthNodeByClass(index, "vtkMRMLStorableNode").AddDefaultStorageNode()
