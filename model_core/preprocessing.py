"""From a T1/T2 pair as it was given to the network grid, and back.

The network grid has RAS-canonical axes, 1 mm isotropic voxels, and ends a margin outside of the brain. Its
axes are the scan's own: an oblique scan is not rotated, so that voxels are interpolated as little as can be. A
scan that is 1 mm isotropic already is only reoriented and cropped, and its labels come back exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel
import numpy as np
from scipy import ndimage

from model_core.corrections import align_rigidly, correct_bias
from model_core.errors import UserError
from model_core.tissues import BACKGROUND
from model_core.volumes import Volume, have_same_grid, resample

MARGIN = 4  # voxels around the brain on the network grid
SPACING_TOLERANCE_MM = 1e-3  # a scan this near to 1 mm is not interpolated

LARGEST_NONZERO_SHARE = 0.6  # of the volume; a stripped brain fills 10 to 40 %
LARGEST_BRAIN_MM = 400.0  # no head is that long
SMALLEST_T2_SHARE = 0.5  # of the brain in T1 that T2 must cover
SMALLEST_MASK_SHARE = 0.1  # of the mask in which T1 must have a signal

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


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
    def around(cls, t1: Volume, brain: np.ndarray) -> NetworkGrid:
        """Lay the network grid around the brain (bool, shape of T1)."""
        orientation = nibabel.io_orientation(t1.affine)
        canonical_affine = t1.affine @ nibabel.orientations.inv_ornt_aff(orientation, brain.shape)
        spacing = np.linalg.norm(canonical_affine[:3, :3], axis=0)
        scale = np.where(np.abs(spacing - 1) <= SPACING_TOLERANCE_MM, 1.0, spacing)
        box = _bounding_box(nibabel.apply_orientation(brain, orientation))
        first, last = np.array([(side.start, side.stop - 1) for side in box]).T
        extent = (last - first) * spacing
        if extent.max() > LARGEST_BRAIN_MM:
            raise UserError(
                f"The brain in T1 ({t1.path}) measures {' × '.join(f'{side:.0f}' for side in extent)} mm; expected at "
                f"most {LARGEST_BRAIN_MM:.0f} mm a side; correct the voxel size in the header, or pass --mask."
            )
        # Coarser than the scan, network voxels hold whole scan voxels; finer, their centres meet. So none of the scan's
        # centres lies half-way between two network voxels, where the nearest one is a matter of rounding.
        coarser = scale < 1
        start = first - MARGIN / scale + np.where(coarser, (1 / scale - 1) / 2, 0)
        within = np.where(coarser, (last - first + 1) * scale, (last - first) * scale + 1)
        shape = np.ceil(within - SPACING_TOLERANCE_MM).astype(int) + 2 * MARGIN
        to_canonical_voxels = np.diag([*(1 / scale), 1.0])
        to_canonical_voxels[:3, 3] = start
        depth, height, width = (int(side) for side in shape)
        return cls(brain, orientation, scale, start, (depth, height, width), canonical_affine @ to_canonical_voxels)

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


@dataclass(frozen=True)
class PreparedPair:
    """A T1/T2 pair on the network grid, and the way back.

    Attributes:
        t1: float32 (D, H, W), 0 outside the brain.
        t2: float32 (D, H, W), 0 outside the brain.
        mask: bool (D, H, W), the brain.
        grid: where the network grid lies in T1.
    """

    t1: np.ndarray
    t2: np.ndarray
    mask: np.ndarray
    grid: NetworkGrid

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) of the network grid, from voxel to RAS mm."""
        return self.grid.affine

    def labels_to_native(self, labels: np.ndarray) -> np.ndarray:
        """Bring labels to T1's own grid: exactly where nothing was interpolated, else by the nearest voxel.

        Smoother outlines come from `probabilities_to_native` and the class of the highest value.

        Args:
            labels: uint8 (D, H, W), 0 to 3, on the network grid.

        Returns:
            uint8 (I, J, K), background outside the brain.
        """
        self._check_shape("labels", labels.shape)
        return np.where(
            self.grid.brain, self.grid.to_native(labels.astype(np.uint8), order=0), BACKGROUND.label
        ).astype(np.uint8)

    def probabilities_to_native(self, probabilities: np.ndarray) -> np.ndarray:
        """Interpolate probabilities linearly on T1's own grid.

        Only values inside the brain enter, so that the background around it does not eat into its rim.

        Args:
            probabilities: float32 (classes, D, H, W), on the network grid.

        Returns:
            float32 (classes, I, J, K); they sum to 1; outside the brain the background has 1.
        """
        self._check_shape("probabilities", probabilities.shape[1:])
        weights = self.mask.astype(np.float32)
        known = self.grid.to_native(weights, order=1)
        inside = self.grid.brain & (known > 0)
        known = known[inside]
        result = np.zeros((len(probabilities), *self.grid.brain.shape), dtype=np.float32)
        for label, channel in enumerate(probabilities):
            values = self.grid.to_native(channel.astype(np.float32, copy=False) * weights, order=1)
            result[label][inside] = values[inside] / known
        result[BACKGROUND.label][~inside] = 1
        return result

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if tuple(shape) != self.grid.shape:
            raise ValueError(f"{name} must have the network grid's shape {self.grid.shape}, not {tuple(shape)}")


def prepare_pair(
    t1: Volume, t2: Volume, mask: Volume | None = None, *, align_t2: bool = False, bias_correction: bool = False
) -> PreparedPair:
    """Bring a T1/T2 pair to the network grid.

    Where T1 is not 1 mm isotropic, both are interpolated linearly, finer scans after smoothing to what a 1 mm
    voxel would have measured (lest noise and edges alias). Only brain voxels enter the interpolation: the rim of
    the brain does not darken. T2 on another grid than T1 is brought over in one step, by the affines.

    Args:
        t1: scan, 0 outside the brain unless there is a mask.
        t2: scan of the same brain, on any grid that covers it.
        mask: the brain (not 0), on any grid that covers it; without it the brain is where T1 is not 0, cavities
            included: CSF inside the head may well be 0.
        align_t2: first find the rigid movement that brings T2 onto T1.
        bias_correction: divide each scan by its bias field (N4), on the network grid.

    Raises:
        UserError: T1 is not skull-stripped and there is no mask; mask and T1, or T2 and T1, do not lie over each
            other; the alignment or N4 fails.
    """
    brain = _find_brain(t1) if mask is None else _place_mask(mask, t1)
    grid = NetworkGrid.around(t1, brain)
    if align_t2:
        t2 = align_rigidly(t2, t1, brain)
    network_t1, share_of_brain = _sample(t1, brain, t1, grid)
    network_t2, share_of_t2 = _sample(t2, _fill_cavities(t2.array != 0), t1, grid)
    network_mask = share_of_brain >= 0.5
    _check_overlap(t1, t2, float((share_of_t2[network_mask] >= 0.5).mean()), align_t2)
    if bias_correction:
        network_t1, network_t2 = correct_bias(network_t1, network_mask), correct_bias(network_t2, network_mask)
    return PreparedPair(
        np.where(network_mask, network_t1, 0), np.where(network_mask, network_t2, 0), network_mask, grid
    )


def _sample(scan: Volume, inside: np.ndarray, t1: Volume, grid: NetworkGrid) -> tuple[np.ndarray, np.ndarray]:
    """Return a scan on the network grid, and of each voxel there the share that is ``inside`` (bool, on the scan's)."""
    values = np.where(inside, scan.array, 0).astype(np.float32)
    weights = inside.astype(np.float32)
    if have_same_grid(scan, t1) and not grid.is_interpolated:
        return grid.crop(values), grid.crop(weights)
    # What a 1 mm voxel measures (Cardoso et al. 2015): a Gaussian that widens the scan's resolution to 1 mm.
    voxels_in_one = np.maximum(1 / np.array(scan.spacing), 1)
    sigma = np.where(voxels_in_one > 1 + SPACING_TOLERANCE_MM, np.sqrt(voxels_in_one**2 - 1), 0) / FWHM_PER_SIGMA
    values, weights = (
        resample(Volume(ndimage.gaussian_filter(array, sigma), scan.affine), grid.shape, grid.affine, order=1).array
        for array in (values, weights)
    )
    return np.divide(values, weights, out=np.zeros_like(values), where=weights > SPACING_TOLERANCE_MM), weights


def _find_brain(t1: Volume) -> np.ndarray:
    """Return where a skull-stripped T1 is not 0, cavities included; refuse a scan that does not look stripped."""
    nonzero = t1.array != 0
    share = float(nonzero.mean())
    touches = any(nonzero.take(end, axis).any() for axis in range(3) for end in (0, -1))
    if share > LARGEST_NONZERO_SHARE or touches:
        found = f"{share:.0%} of its voxels are not 0" + (" and it reaches the border of the volume" if touches else "")
        raise UserError(
            f"T1 ({t1.path}) does not look skull-stripped: {found}; expected a brain surrounded by zeros; run a "
            "skull-stripping tool such as SynthStrip or HD-BET on it, or pass a brain mask with --mask "
            "(which also helps when the scan is cropped tightly to the brain)."
        )
    return _fill_cavities(nonzero)


def _place_mask(mask: Volume, t1: Volume) -> np.ndarray:
    """Return the mask on T1's grid as bool."""
    if not have_same_grid(mask, t1):
        mask = resample(mask, t1.array.shape, t1.affine, order=0)
    brain = mask.array != 0
    if not brain.any() or (t1.array[brain] != 0).mean() < SMALLEST_MASK_SHARE:
        raise UserError(
            f"The mask ({mask.path}) does not lie over the brain in T1 ({t1.path}, {t1.description}); expected both in "
            "the same place; make the mask from this T1, or resample it onto T1."
        )
    return brain


def _fill_cavities(foreground: np.ndarray) -> np.ndarray:
    """Return the foreground with the cavities that it encloses: only what joins the outside stays background."""
    if not foreground.any():
        return foreground
    box = _bounding_box(foreground)
    background, _ = ndimage.label(np.pad(~foreground[box], 1, constant_values=True))
    filled = foreground.copy()
    filled[box] = (background != background[0, 0, 0])[1:-1, 1:-1, 1:-1]
    return filled


def _bounding_box(foreground: np.ndarray) -> tuple[slice, ...]:
    return ndimage.find_objects(foreground.astype(np.uint8))[0]


def _check_overlap(t1: Volume, t2: Volume, covered: float, aligned: bool) -> None:
    if covered < SMALLEST_T2_SHARE:
        after = " even after their alignment" if aligned else ""
        to_do = "check that both are of one head" if aligned else "register T2 onto T1 first or switch on --align-t2"
        raise UserError(
            f"T2 ({t2.path}, {t2.description}) covers {covered:.0%} of the brain in T1 ({t1.path}, {t1.description})"
            f"{after}; expected the same brain in the same place; {to_do}."
        )
