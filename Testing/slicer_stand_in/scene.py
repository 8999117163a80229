"""The real scene and logics of Slicer, without its Qt part: what slicer.mrmlScene and the module logics stand on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import slicer
import vtk

TERMINOLOGIES = Path(__file__).parent / "data" / "terminologies"  # the brain's codes only; the wheel holds none
LOGIC_CLASSES = {  # module -> class of its logic
    "Data": "vtkSlicerDataModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Models": "vtkSlicerModelsLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Plots": "vtkSlicerPlotsLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Units": "vtkSlicerUnitsLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "ViewControllers": "vtkSlicerViewControllersLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
}


@dataclass(frozen=True)
class SceneAndLogics:
    """The MRML scene, the application logic and the module logics by module name."""

    scene: Any
    application_logic: Any
    logics: dict[str, Any]
    data_managers: tuple[Any, ...]


def build(share_folder: Path) -> SceneAndLogics:
    """Make a scene with its logics in the order that Slicer's application keeps.

    Args:
        share_folder: an empty folder that stands for the modules' share directories.
    """
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)

    application_logic = slicer.vtkSlicerApplicationLogic()
    application_logic.SetTemporaryPath(str(share_folder))
    application_logic.SetMRMLScene(scene)
    remote = slicer.vtkMRMLRemoteIOLogic()
    remote.GetCacheManager().SetRemoteCacheDirectory(str(share_folder))  # scene bundles unpack there
    data = slicer.vtkDataIOManagerLogic()
    data.SetMRMLApplicationLogic(application_logic)
    application_logic.SetMRMLSceneDataIO(scene, remote, data)
    application_logic.GetColorLogic().SetMRMLScene(scene)
    application_logic.GetColorLogic().AddDefaultColorNodes()
    application_logic.SetSliceLogics(vtk.vtkCollection())
    application_logic.SetViewLogics(vtk.vtkCollection())
    for factory in (
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(application_logic)

    logics = {"Colors": application_logic.GetColorLogic()}
    application_logic.SetModuleLogic("Colors", logics["Colors"])
    for name, class_name in LOGIC_CLASSES.items():
        logics[name] = _registered(getattr(slicer, class_name)(), name, scene, application_logic, share_folder)
    return SceneAndLogics(scene, application_logic, logics, (remote, data))


def _registered(logic: Any, name: str, scene: Any, application_logic: Any, share_folder: Path) -> Any:
    if hasattr(logic, "SetModuleShareDirectory"):
        folder = TERMINOLOGIES if name == "Terminologies" else share_folder / name
        folder.mkdir(exist_ok=True)
        logic.SetModuleShareDirectory(str(folder))
    logic.SetMRMLApplicationLogic(application_logic)
    logic.SetMRMLScene(scene)
    application_logic.SetModuleLogic(name, logic)
    return logic
