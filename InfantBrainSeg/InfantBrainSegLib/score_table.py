"""The scores as a table node of the scene."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from .core_paths import make_core_importable

make_core_importable()
from model_core.tissues import TISSUES  # noqa: E402

TISSUE_NAMES = {tissue.key: tissue.name for tissue in TISSUES}

# Column of the table node, key of a row of scores, unit, explanation. The rows come from model_core.metrics.
COLUMNS = (
    ("Dice", "dice", "", _("Dice coefficient: 2|P∩L| / (|P|+|L|); 1 is a perfect overlap")),
    ("3D-MHD", "mhd_3d", "", _("Modified Hausdorff distance of the columns of voxels, mean of the three axes")),
    ("ASD", "asd_mm", "mm", _("Average symmetric surface distance")),
    ("HD95", "hd95_mm", "mm", _("Larger of the two directed 95th percentiles of the surface distances")),
    ("Volume", "volume_ml", "ml", _("Volume in the result")),
    ("Reference volume", "reference_volume_ml", "ml", _("Volume in the reference")),
    ("Volume difference", "volume_difference_percent", "%", _("Result minus reference, in percent of the reference")),
)


def fill_score_table(node: Any, rows: Sequence[Mapping[str, Any]], note: str) -> None:
    """Replace a table node's content by one row a tissue, at full precision, and lock it.

    Args:
        node: vtkMRMLTableNode.
        rows: as model_core.metrics.scores gives them; None is a value that is not defined, "inf" an infinite one.
        note: what was compared, kept as the node's description.
    """
    modifying = node.StartModify()
    try:
        node.SetLocked(False)
        node.RemoveAllColumns()
        node.SetUseColumnTitleAsColumnHeader(True)
        tissues = vtk.vtkStringArray()
        tissues.SetName("Tissue")
        for row in rows:
            tissues.InsertNextValue(TISSUE_NAMES[row["tissue"]])
        node.AddColumn(tissues)
        for name, key, unit, explanation in COLUMNS:
            values = vtk.vtkDoubleArray()
            values.SetName(name)
            for row in rows:
                values.InsertNextValue(as_number(row[key]))
            node.AddColumn(values)
            node.SetColumnUnitLabel(name, unit)
            node.SetColumnTitle(name, f"{name} ({unit})" if unit else name)
            node.SetColumnDescription(name, explanation)
        node.SetDescription(note)
        node.SetLocked(True)
    finally:
        node.EndModify(modifying)


def new_score_table(name: str) -> Any:
    """Return an empty table node of the scene."""
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", slicer.mrmlScene.GenerateUniqueName(name))


def as_number(value: float | str | None) -> float:
    """Return a value of a row as a number: None is nan, "inf" is infinite."""
    return math.nan if value is None else float(value)


def format_score(key: str, value: float | str | None) -> str:
    """Return a score as the panel shows it: Dice to three places, distances to two, volumes to one."""
    number = as_number(value)
    if math.isnan(number):
        return "–"
    if math.isinf(number):
        return "∞"
    if key == "volume_difference_percent":
        return f"{number:+.1f}"
    places = {"dice": 3, "mhd_3d": 2, "asd_mm": 2, "hd95_mm": 2}.get(key, 1)
    return f"{number:.{places}f}"
