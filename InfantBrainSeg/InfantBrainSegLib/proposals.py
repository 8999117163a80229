"""Which volumes of the scene are T1 and T2: proposed only where it is obvious."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import slicer
import vtk

# A name's part that says the contrast, bounded so that "t12" or "part1" are not taken for it.
T1_NAME = re.compile(r"(?<![a-z0-9])t1(w|c|_?mprage)?(?![a-z0-9])|(?<![a-z])mprage", re.IGNORECASE)
T2_NAME = re.compile(r"(?<![a-z0-9])t2(w|_?space)?(?![a-z0-9])", re.IGNORECASE)
SAME_GRID_MM = 1e-3


def propose_pair() -> tuple[Any, Any] | None:
    """Return the T1 and T2 volume nodes of the scene, or None where it is not obvious.

    Names decide first (T1, T1w, MPRAGE; T2, T2w); among several T2 the one that lies on T1's grid. Where only one of
    two volumes says its contrast, the other one is its partner if both lie on one grid.
    """
    volumes = [
        node
        for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and node.GetImageData() is not None
    ]
    t1s = [node for node in volumes if T1_NAME.search(node.GetName()) and not T2_NAME.search(node.GetName())]
    t2s = [node for node in volumes if T2_NAME.search(node.GetName()) and not T1_NAME.search(node.GetName())]
    if len(t1s) == 1 and not t2s:
        t2s = _partners(t1s[0], volumes)
    elif len(t2s) == 1 and not t1s:
        t1s = _partners(t2s[0], volumes)
    pairs = [(t1, t2) for t1 in t1s for t2 in t2s]
    if len(pairs) > 1:
        pairs = [pair for pair in pairs if _have_same_grid(*pair)]
    return pairs[0] if len(pairs) == 1 else None


def _partners(node: Any, volumes: list[Any]) -> list[Any]:
    others = [other for other in volumes if other is not node]
    return others if len(others) == 1 and _have_same_grid(node, others[0]) else []


def _have_same_grid(first: Any, second: Any) -> bool:
    if first.GetImageData().GetDimensions() != second.GetImageData().GetDimensions():
        return False
    affines = []
    for node in (first, second):
        matrix = vtk.vtkMatrix4x4()
        node.GetIJKToRASMatrix(matrix)
        affines.append(slicer.util.arrayFromVTKMatrix(matrix))
    return bool(np.allclose(*affines, atol=SAME_GRID_MM))
