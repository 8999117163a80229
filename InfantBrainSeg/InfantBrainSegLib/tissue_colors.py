"""The tissues' names, colours and SNOMED codes as a colour table of the scene."""

from __future__ import annotations

from typing import Any

import slicer

from .core_paths import make_core_importable

make_core_importable()
from model_core.tissues import CLASSES, TISSUES, Tissue  # noqa: E402

TERMINOLOGY = "Segmentation category and type - 3D Slicer General Anatomy list"
ANATOMIC_CODES = "Anatomic codes - DICOM master list"
COLORS_NAME = "Infant brain tissues"


def terminology_entry(tissue: Tissue) -> str:
    """Return a tissue's terminology entry as Slicer serialises it."""
    category = "SCT^123037004^Anatomical Structure"
    kind = f"SCT^{tissue.snomed_code}^{tissue.snomed_meaning}"
    return f"{TERMINOLOGY}~{category}~{kind}~^^~{ANATOMIC_CODES}~^^~^^"


def tissue_colors() -> Any:
    """Return the scene's colour table of the tissues for label map volumes, made when it is not there."""
    existing = slicer.util.getFirstNodeByClassByName("vtkMRMLColorTableNode", COLORS_NAME)
    return existing if existing is not None else make_colors(COLORS_NAME)


def make_colors(name: str = "") -> Any:
    """Make a colour table whose rows carry the tissues' names, colours and codes; one without a name is hidden."""
    colors = slicer.mrmlScene.CreateNodeByClass("vtkMRMLColorTableNode")
    colors.UnRegister(None)
    colors.SetName(name)
    colors.SetHideFromEditors(not name)
    slicer.mrmlScene.AddNode(colors)
    colors.SetTypeToUser()
    colors.SetNumberOfColors(len(CLASSES))
    for tissue in CLASSES:
        opacity = 1 if tissue in TISSUES else 0
        colors.SetColor(tissue.label, tissue.name, *(part / 255 for part in tissue.color), opacity)
        if tissue in TISSUES:
            colors.SetTerminologyFromString(tissue.label, terminology_entry(tissue))
    return colors
