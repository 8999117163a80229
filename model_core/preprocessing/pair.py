"""From a T1/T2 pair as it was given to the network grid, and back.

The network grid has RAS-canonical axes, 1 mm isotropic voxels, and ends a margin outside of the brain. Its
axes are the scan's own: an oblique scan is not rotated, so that voxels are interpolated as little as can be. A
scan that is 1 mm isotropic already is only reoriented and cropped, and its labels come back exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model_core.errors import UserError
from model_core.grid_size import MARGIN, SPACING_TOLERANCE_MM
from model_core.preprocessing.alignment import align_rigidly
from model_core.preprocessing.bias_field import correct_bias
from model_core.preprocessing.network_grid import LARGEST_BRAIN_MM, NetworkGrid
from model_core.preprocessing.stripping import fill_cavities, refuse_unstripped
from model_core.tissues import BACKGROUND, CSF
from model_core.volumes import Volume, have_same_grid, resample

__all__ = ["LARGEST_BRAIN_MM", "MARGIN", "SPACING_TOLERANCE_MM", "NetworkGrid", "PreparedPair", "prepare_pair"]

SMALLEST_T2_SHARE = 0.5  # of the brain in T1 that T2 must cover
SMALLEST_MASK_SHARE = 0.1  # of the mask in which T1 must have a signal

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class PreparedPair:
    """A T1/T2 pair on the network grid, and the way back.

    Attributes:
        t1: float32 (D, H, W), 0 outside the brain; 0 everywhere where T1 was not given.
        t2: float32 (D, H, W), 0 outside the brain; 0 everywhere where T2 was not given.
        mask: bool (D, H, W), the brain, cavities included.
        grid: where the network grid lies in T1, or in T2 where that alone was given.
        holes: bool (D, H, W), where the brain encloses zeros of T1 or T2: clipped fluid, vessels. A network may take
            them for what is outside; where it does, they are CSF. None stands for no such place.
    """

    t1: np.ndarray
    t2: np.ndarray
    mask: np.ndarray
    grid: NetworkGrid
    holes: np.ndarray | None = None

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
        if self.holes is not None:
            labels = np.where(self.holes & (labels == BACKGROUND.label), CSF.label, labels)
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
        missed = None if self.holes is None else self.holes.copy()
        if missed is not None:
            missed[self.holes] = probabilities[:, self.holes].argmax(axis=0) == BACKGROUND.label
        result = np.zeros((len(probabilities), *self.grid.brain.shape), dtype=np.float32)
        for label, channel in enumerate(probabilities):
            weighted = channel.astype(np.float32, copy=False) * weights
            if missed is not None and label == BACKGROUND.label:
                weighted[missed] = 0
            elif missed is not None and label == CSF.label:
                weighted[missed] += probabilities[BACKGROUND.label][missed]
            values = self.grid.to_native(weighted, order=1)
            result[label][inside] = values[inside] / known
        result[BACKGROUND.label][~inside] = 1
        return result

    def result_to_native(
        self, labels: np.ndarray, probabilities: np.ndarray, *, with_probabilities: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Bring a segmentation to T1's own grid: labels exactly where nothing was interpolated, else smoothly.

        Args:
            labels: uint8 (D, H, W), 0 to 3, on the network grid.
            probabilities: float32 (4, D, H, W), on the network grid.
            with_probabilities: whether the probabilities are wanted, too; without them less is computed.

        Returns:
            Labels, uint8 (I, J, K), and probabilities, float32 (4, I, J, K), or None where they are not wanted.
        """
        if not self.grid.is_interpolated:
            native = self.probabilities_to_native(probabilities) if with_probabilities else None
            return self.labels_to_native(labels), native
        native = self.probabilities_to_native(probabilities)
        native_labels = np.empty(native.shape[1:], dtype=np.uint8)
        for index, slab in enumerate(native.swapaxes(0, 1)):  # by slabs, for places of the largest take 8 bytes each
            native_labels[index] = np.argmax(slab, axis=0)  # of equal probabilities the lower label
        return native_labels, native if with_probabilities else None

    def _check_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if tuple(shape) != self.grid.shape:
            raise ValueError(f"{name} must have the network grid's shape {self.grid.shape}, not {tuple(shape)}")


def prepare_pair(
    t1: Volume | None,
    t2: Volume | None,
    mask: Volume | None = None,
    *,
    align_t2: bool = False,
    bias_correction: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> PreparedPair:
    """Bring a T1/T2 pair to the network grid.

    Where T1 is not 1 mm isotropic, both are interpolated linearly, finer scans after smoothing to what a 1 mm
    voxel would have measured (lest noise and edges alias). Only brain voxels enter the interpolation: the rim of
    the brain does not darken. T2 on another grid than T1 is brought over in one step, by the affines.

    Args:
        t1: scan, 0 outside the brain unless there is a mask. ``None`` where T2 alone is given, which then takes its
            place.
        t2: scan of the same brain, on any grid that covers it; ``None`` where T1 alone is given.
        mask: the brain (not 0), on any grid that covers it; without it the brain is where T1 is not 0, cavities
            included: CSF inside the head may well be 0. Cavities of a mask belong to the brain, too.
        align_t2: first find the rigid transform that brings T2 onto T1.
        bias_correction: divide each scan by its bias field (N4), on the network grid.
        on_stage: called with "preparing", "aligning" or "correcting" when that begins; what it raises ends the work.

    Raises:
        UserError: T1 is not skull-stripped and there is no mask; mask and T1, or T2 and T1, do not lie over each
            other; the alignment or N4 fails.
    """
    begin = on_stage or (lambda stage: None)
    begin("preparing")
    base, name = (t2, "T2") if t1 is None else (t1, "T1")
    if base is None:
        raise ValueError("t1 and t2 are None; at least one scan is expected")
    brain = _find_brain(base, name) if mask is None else _place_mask(mask, base, name)
    grid = NetworkGrid.around(base, brain, name)
    network_base, share_of_brain = _sample(base, brain, base, grid)
    network_mask = share_of_brain >= 0.5
    if not network_mask.any():
        raise UserError(
            f"The brain in {name} ({base.path}, {base.description}) fills no voxel of 1 mm; expected that of a head; "
            "correct the voxel size in the header, or give a brain mask (--mask)."
        )
    zeros = brain & (base.array == 0)
    if mask is not None and zeros.any():  # a mask may be wider than the brain, and zeros in its rim are outside
        zeros &= fill_cavities(base.array != 0)
    holes = network_mask & _share(base, zeros, base, grid)
    if t1 is None or t2 is None:
        if bias_correction:
            begin("correcting")
            network_base = correct_bias(network_base, network_mask)
        scans = {name: np.where(network_mask, network_base, 0)}
        t1_values, t2_values = (scans.get(each, np.zeros_like(network_base)) for each in ("T1", "T2"))
        return PreparedPair(t1_values, t2_values, network_mask, grid, holes if holes.any() else None)
    if align_t2:
        begin("aligning")
        t2 = align_rigidly(t2, t1, brain).t2
        begin("preparing")
    t2_region = fill_cavities(t2.array != 0)
    network_t2, share_of_t2 = _sample(t2, t2_region, t1, grid)
    holes |= network_mask & _share(t2, t2_region & (t2.array == 0), t1, grid)
    _check_overlap(t1, t2, float((share_of_t2[network_mask] >= 0.5).mean()), align_t2)
    if bias_correction:
        begin("correcting")
        network_base, network_t2 = (correct_bias(scan, network_mask) for scan in (network_base, network_t2))
    return PreparedPair(
        np.where(network_mask, network_base, 0),
        np.where(network_mask, network_t2, 0),
        network_mask,
        grid,
        holes if holes.any() else None,
    )


def _share(scan: Volume, region: np.ndarray, t1: Volume, grid: NetworkGrid) -> np.ndarray:
    """Return where on the network grid a region (bool, on the scan's grid) fills half of a voxel or more, bool."""
    if not region.any():
        return np.zeros(grid.shape, dtype=bool)
    return _sample(scan, region, t1, grid)[1] >= 0.5


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


def _find_brain(t1: Volume, name: str) -> np.ndarray:
    """Return where a skull-stripped T1 is not 0, cavities included; refuse a scan that does not look stripped."""
    if not t1.array.any():
        raise UserError(f"{name} ({t1.path}) is 0 everywhere; expected a brain; check the export.")
    refuse_unstripped(t1, name)
    return fill_cavities(t1.array != 0)


def _place_mask(mask: Volume, t1: Volume, name: str) -> np.ndarray:
    """Return the mask on T1's grid as bool, cavities included."""
    if not have_same_grid(mask, t1):
        mask = resample(mask, t1.array.shape, t1.affine, order=0)
    brain = mask.array != 0
    if not brain.any() or (t1.array[brain] != 0).mean() < SMALLEST_MASK_SHARE:
        raise UserError(
            f"The mask ({mask.path}) does not lie over the brain in T1 ({t1.path}, {t1.description}); expected both in "
            "the same place; make the mask from this T1, or resample it onto T1."
        )
    return fill_cavities(brain)


def _check_overlap(t1: Volume, t2: Volume, covered: float, aligned: bool) -> None:
    if covered < SMALLEST_T2_SHARE:
        after = " even after their alignment" if aligned else ""
        align = "register T2 onto T1 first or switch on the alignment of T2 (--align-t2)"
        to_do = "check that both are of one head" if aligned else align
        raise UserError(
            f"T2 ({t2.path}, {t2.description}) covers {covered:.0%} of the brain in T1 ({t1.path}, {t1.description})"
            f"{after}; expected the same brain in the same place; {to_do}."
        )
