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
from model_core.metric_table import METRIC, METRICS  # noqa: E402
from model_core.tissues import TISSUES  # noqa: E402

TISSUE_NAMES = {tissue.key: tissue.name for tissue in TISSUES}


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
        for metric in METRICS:
            name, unit = metric.title, metric.unit
            values = vtk.vtkDoubleArray()
            values.SetName(name)
            for row in rows:
                values.InsertNextValue(as_number(row[metric.key]))
            node.AddColumn(values)
            node.SetColumnUnitLabel(name, unit)
            node.SetColumnTitle(name, metric.heading)
            node.SetColumnDescription(name, _(metric.explanation))
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
    return f"{number:.{METRIC[key].short_digits}f}"
