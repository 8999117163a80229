"""The sample subject on Slicer's Sample Data page and for SampleData.downloadSamples: local files, no network."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.i18n import tr as _

from .core_paths import reference_segmentation, sample_folder
from .tissue_colors import tissue_colors

CATEGORY, SAMPLE_NAME = "Infant brain", "InfantBrain"
NODE_NAMES = ("Infant T1", "Infant T2", "Infant reference")


def register_sample_data() -> None:
    """Register the sample subject: a synthetic T1/T2 pair in six-month contrast with its exact labels.

    The page's button calls `load_sample`. `downloadSamples` knows only files, which it copies into its cache first (the
    checksums keep it from taking those of an earlier version), and loads a file's kind alone, not as a label map: there
    the reference is a segmentation.
    """
    import SampleData

    files = [sample_folder() / "T1.nii.gz", sample_folder() / "T2.nii.gz", reference_segmentation()]
    SampleData.SampleDataLogic.registerCustomSampleDataCategory(CATEGORY, _("Infant brain"))
    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        uris=[path.as_uri() for path in files],
        fileNames=[f"{SAMPLE_NAME}-{path.name}" for path in files],
        nodeNames=list(NODE_NAMES),
        loadFileTypes=["VolumeFile", "VolumeFile", "SegmentationFile"],
        checksums=[f"SHA256:{slicer.util.computeChecksum('SHA256', str(path))}" for path in files],
        customDownloader=load_sample,
        thumbnailFileName=str(slicer.modules.InfantBrainSegInstance.resourcePath("Icons/InfantBrainSeg.png")),
    )


def load_sample(source: Any = None) -> list[Any]:
    """Load the sample subject from the extension's own files.

    Returns:
        The nodes of T1, T2 and the reference label map.
    """
    folder = sample_folder()
    names = dict(zip(("T1", "T2", "labels"), NODE_NAMES, strict=True))
    t1 = slicer.util.loadVolume(str(folder / "T1.nii.gz"), {"name": names["T1"]})
    t2 = slicer.util.loadVolume(str(folder / "T2.nii.gz"), {"name": names["T2"], "show": False})
    labels = slicer.util.loadLabelVolume(str(folder / "labels.nii.gz"), {"name": names["labels"], "show": False})
    labels.GetDisplayNode().SetAndObserveColorNodeID(tissue_colors().GetID())
    return [t1, t2, labels]
