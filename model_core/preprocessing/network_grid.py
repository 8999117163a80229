"""Where the network grid lies in a scan: laid around the brain, cropped to, and brought back from."""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np
from scipy import ndimage

from model_core.errors import UserError
from model_core.grid_size import GridSize
from model_core.volumes import Volume

LARGEST_BRAIN_MM = 400.0  # no head is that long


@dataclass(frozen=True)
class NetworkGrid:
    """The network grid of one T1 scan: where its voxels lie among those of the scan.

    Attributes:
        brain: bool (I, J, K), the brain on T1's own grid.
        orientation: nibabel's orientation array (3, 2) from T1's axes to canonical ones.
        scale: (3,), network voxels a canonical T1 voxel; exactly 1 where nothing is interpolated.
        start: (3,), place of network voxel 0 among the canonical T1 voxels.
        shape: (D, H, W) of the network grid.
        affine: (4, 4) of the network grid, from voxel to RAS mm.
    """

    brain: np.ndarray
    orientation: np.ndarray
    scale: np.ndarray
    start: np.ndarray
    shape: tuple[int, int, int]
    affine: np.ndarray

    @classmethod
    def around(cls, t1: Volume, brain: np.ndarray, name: str = "T1") -> NetworkGrid:
        """Lay the network grid around the brain (bool, shape of T1); ``name`` is the scan's for people."""
        orientation = nibabel.io_orientation(t1.affine)
        canonical_affine = t1.affine @ nibabel.orientations.inv_ornt_aff(orientation, brain.shape)
        spacing = np.linalg.norm(canonical_affine[:3, :3], axis=0)
        box = bounding_box(nibabel.apply_orientation(brain, orientation))
        first, last = np.array([(side.start, side.stop - 1) for side in box]).T
        extent = (last - first) * spacing
        if extent.max() > LARGEST_BRAIN_MM:
            raise UserError(
                f"The brain in {name} ({t1.path}) measures {' × '.join(f'{side:.0f}' for side in extent)} mm; expected "
                f"at most {LARGEST_BRAIN_MM:.0f} mm a side; correct the voxel size in the header, or give a brain mask "
                "(--mask)."
            )
        size = GridSize.around(spacing, first, last)
        to_canonical_voxels = np.diag([*(1 / size.scale), 1.0])
        to_canonical_voxels[:3, 3] = size.start
        return cls(brain, orientation, size.scale, size.start, size.shape, canonical_affine @ to_canonical_voxels)

    @property
    def is_interpolated(self) -> bool:
        """Whether T1's voxels are not those of the network grid."""
        return bool((self.scale != 1).any())

    def crop(self, array: np.ndarray) -> np.ndarray:
        """Reorient and crop an array (I, J, K) of T1's grid to (D, H, W); for grids that are not interpolated."""
        canonical = nibabel.apply_orientation(array, self.orientation)
        result = np.zeros(self.shape, dtype=array.dtype)
        box = self._box_in_scan(canonical.shape)
        result[self._box_in_grid(box)] = canonical[box]
        return result

    def to_native(self, array: np.ndarray, *, order: int) -> np.ndarray:
        """Bring an array (D, H, W) to T1's own grid, (I, J, K), 0 beyond the network grid.

        Args:
            array: on the network grid.
            order: 0 nearest neighbour, 1 linear; without effect where nothing is interpolated.
        """
        canonical = np.zeros(np.take(self.brain.shape, np.argsort(self.orientation[:, 0])), dtype=array.dtype)
        box = self._box_in_scan(canonical.shape)
        if self.is_interpolated:
            offset = (np.array([side.start for side in box]) - self.start) * self.scale
            output = canonical[box]
            ndimage.affine_transform(array, self.scale, offset, output.shape, output, order=order, mode="nearest")
        else:
            canonical[box] = array[self._box_in_grid(box)]
        canonical_axes = nibabel.orientations.axcodes2ornt("RAS")
        return nibabel.apply_orientation(
            canonical, nibabel.orientations.ornt_transform(canonical_axes, self.orientation)
        )

    def _box_in_scan(self, canonical_shape: tuple[int, ...]) -> tuple[slice, ...]:
        """Return the canonical T1 voxels that lie on the network grid."""
        first = np.maximum(np.ceil(self.start), 0).astype(int)
        end = np.floor(self.start + (np.array(self.shape) - 1) / self.scale).astype(int) + 1
        return tuple(slice(*side) for side in zip(first, np.minimum(end, canonical_shape), strict=True))

    def _box_in_grid(self, box: tuple[slice, ...]) -> tuple[slice, ...]:
        return tuple(slice(side.start - int(at), side.stop - int(at)) for side, at in zip(box, self.start, strict=True))


def bounding_box(foreground: np.ndarray) -> tuple[slice, ...]:
    """Return the smallest box around the true voxels (bool, any shape) of which there is at least one."""
    return ndimage.find_objects(foreground.astype(np.uint8))[0]
