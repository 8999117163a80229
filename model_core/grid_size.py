"""How large the network grid is and where it starts: arithmetic alone, for whoever has no scan library at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MARGIN = 4  # voxels around the brain on the network grid
SPACING_TOLERANCE_MM = 1e-3  # a scan this near to 1 mm is not interpolated


@dataclass(frozen=True)
class GridSize:
    """The network grid among the voxels of a scan with canonical axes.

    Attributes:
        scale: (3,), network voxels per scan voxel; exactly 1 where nothing is interpolated.
        start: (3,), place of network voxel 0 among the scan's voxels.
        shape: (D, H, W) of the network grid.
    """

    scale: np.ndarray
    start: np.ndarray
    shape: tuple[int, int, int]

    @classmethod
    def around(cls, spacing: np.ndarray, first: np.ndarray, last: np.ndarray) -> GridSize:
        """Lay 1 mm voxels around a brain.

        Args:
            spacing: (3,), voxel size along the scan's axes in mm.
            first: (3,), first voxel of the brain along each axis.
            last: (3,), its last voxel.
        """
        scale = np.where(np.abs(spacing - 1) <= SPACING_TOLERANCE_MM, 1.0, spacing)
        # Coarser than the scan, network voxels hold whole scan voxels; finer, their centres meet. So none of the scan's
        # centres lies half-way between two network voxels, where the nearest one is a matter of rounding.
        coarser = scale < 1
        start = first - MARGIN / scale + np.where(coarser, (1 / scale - 1) / 2, 0)
        within = np.where(coarser, (last - first + 1) * scale, (last - first) * scale + 1)
        depth, height, width = (np.ceil(within - SPACING_TOLERANCE_MM).astype(int) + 2 * MARGIN).tolist()
        return cls(scale, start, (depth, height, width))


def network_shape(brain_voxels: Sequence[int], spacing_mm: Sequence[float]) -> tuple[int, int, int]:
    """Shape (D, H, W) of the network grid of a scan, for counting its windows before a run.

    Args:
        brain_voxels: (3,), voxels from the first to the last of the brain, both included, along the scan's axes in
            canonical order (right-left, anterior-posterior, superior-inferior).
        spacing_mm: (3,), voxel size along the same axes in mm.
    """
    voxels = np.asarray(brain_voxels)
    return GridSize.around(np.asarray(spacing_mm, dtype=float), np.zeros(3, dtype=int), voxels - 1).shape
