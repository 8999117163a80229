"""What the three slice views look at, and moving them."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

VIEWS = ("Red", "Green", "Yellow")
PARALLEL = 1e-3  # determinant of the three normals below which the slices do not meet in one point


def place_looked_at(node: Any) -> list[float] | None:
    """Return where the slices of the three views meet, in mm (RAS) of a node's own, untransformed space; or None."""
    normals, offsets = [], []
    for name in VIEWS:
        view = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLSliceNode")
        if view is None:
            return None
        to_ras = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        normals.append(to_ras[:3, 2])
        offsets.append(to_ras[:3, 2] @ to_ras[:3, 3])
    if abs(np.linalg.det(normals)) < PARALLEL:
        return None
    place = np.linalg.solve(normals, offsets)
    transform = node.GetParentTransformNode()
    if transform is not None:
        from_world = vtk.vtkGeneralTransform()
        transform.GetTransformFromWorld(from_world)
        place = from_world.TransformPoint(place)
    return [float(side) for side in place]


def jump_to(position: tuple[float, float, float], node: Any) -> None:
    """Move all slice views to a position in mm (RAS) of a node's own, untransformed space."""
    transform = node.GetParentTransformNode()
    world = list(position)
    if transform is not None:
        to_world = vtk.vtkGeneralTransform()
        transform.GetTransformToWorld(to_world)
        world = to_world.TransformPoint(world)
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *world, slicer.vtkMRMLSliceNode.OffsetJumpSlice)
