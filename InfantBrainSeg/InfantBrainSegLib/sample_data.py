"""The sample subject on Slicer's Sample Data page: local files, no download."""

from __future__ import annotations

from typing import Any

import slicer

from .core_paths import sample_folder
from .tissue_colors import tissue_colors

CATEGORY, SAMPLE_NAME = "Infant brain", "InfantBrain"


def register_sample_data() -> None:
    """Register the sample subject: a synthetic T1/T2 pair in six-month contrast with its exact labels."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        customDownloader=load_sample,
        thumbnailFileName=str(slicer.modules.InfantBrainSegInstance.resourcePath("Icons/InfantBrainSeg.png")),
    )


def load_sample(source: Any = None) -> list[Any]:
    """Load the sample subject from the extension's own files.

    Returns:
        The nodes of T1, T2 and the reference label map.
    """
    folder = sample_folder()
    t1 = slicer.util.loadVolume(str(folder / "T1.nii.gz"), {"name": "Infant T1"})
    t2 = slicer.util.loadVolume(str(folder / "T2.nii.gz"), {"name": "Infant T2", "show": False})
    reference = slicer.util.loadLabelVolume(str(folder / "labels.nii.gz"), {"name": "Infant reference", "show": False})
    reference.GetDisplayNode().SetAndObserveColorNodeID(tissue_colors().GetID())
    return [t1, t2, reference]
