"""The panel's parameters: they live in the scene, and are saved and loaded with it."""

from pathlib import Path
from typing import Annotated, Any

from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper

from .core_paths import make_core_importable

make_core_importable()
from model_core.segmentation_options import BUILT_IN, SegmentationOptions  # noqa: E402


@parameterNodeWrapper
class InfantBrainSegParameterNode:
    """What the panel asks for.

    Attributes:
        t1, t2: the scans; one may be missing where the weights do with one.
        mask: brain mask.
        reference: what the result is scored against.
        weightsFile: path of a weights file; empty for the default weights; a plain name is one of those that ship.
        overlapStep: voxels between windows; 0 until one is chosen, which means 8 with a GPU and 16 without.
        device: "auto" or a name of PyTorch's.
        alignT2: whether T2 is first moved onto T1.
        biasCorrection: whether bias fields are first corrected.
        raw: whether the scans are as converted from DICOM, with their skull.
        brainExtraction: what finds the brain in raw scans without a mask, of ``BRAIN_EXTRACTIONS``.
        ageMonths: age at the scan in whole months, 0 to 24; -1 where it is not known.
        output: the segmentation to fill; none makes a new one.
        createLabelMap: whether a label map volume is left, too.
        createProbabilities: whether probability volumes are left, too.
        scoreTable: the table of the scores.
    """

    t1: vtkMRMLScalarVolumeNode
    t2: vtkMRMLScalarVolumeNode
    mask: vtkMRMLLabelMapVolumeNode | vtkMRMLScalarVolumeNode | None  # without None it could not be stored empty
    reference: vtkMRMLLabelMapVolumeNode | vtkMRMLSegmentationNode | None
    weightsFile: str = ""
    overlapStep: int = 0
    device: str = "auto"
    alignT2: bool = False
    biasCorrection: bool = False
    raw: bool = False
    brainExtraction: str = BUILT_IN
    ageMonths: Annotated[int, WithinRange(-1, 24)] = -1  # without the range the spin box would take any number
    output: vtkMRMLSegmentationNode
    createLabelMap: bool = False
    createProbabilities: bool = False
    scoreTable: vtkMRMLTableNode


def batch_options(parameters: InfantBrainSegParameterNode, step: int, weights: Path | None) -> list[str]:
    """Return the options of cohort.py that the panel stands for; `step` is in force; None: the default weights."""
    how = SegmentationOptions(
        step=step,
        device=parameters.device,
        align_t2=parameters.alignT2 and not parameters.raw,
        bias_correction=parameters.biasCorrection and not parameters.raw,
        raw=parameters.raw,
        brain_extraction=parameters.brainExtraction if parameters.raw else BUILT_IN,
    )
    return [*how.as_arguments(), *([] if weights is None else ["--weights", str(weights)])]


def run_options(parameters: InfantBrainSegParameterNode) -> dict[str, Any]:
    """Return what `logic.startSegmentation` is called with, but for step and weights, which depend on the model."""
    return {
        "t1Node": parameters.t1,
        "t2Node": parameters.t2,
        "maskNode": parameters.mask,
        "outputNode": parameters.output,
        "device": parameters.device,
        "alignT2": parameters.alignT2,
        "biasCorrection": parameters.biasCorrection,
        "raw": parameters.raw,
        "brainExtraction": parameters.brainExtraction,
        "ageMonths": parameters.ageMonths if parameters.ageMonths >= 0 else None,
        "createLabelMap": parameters.createLabelMap,
        "createProbabilities": parameters.createProbabilities,
    }
