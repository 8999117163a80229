"""The brain's mask of a head: one pass of the network at 2 mm, its largest piece, and what is no brain refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from model_core.errors import UserError
from model_core.extraction.network_pass import CoarseScan, brain_probability
from model_core.model_card import EXTRACTION_WEIGHTS
from model_core.networks import BRAIN_EXTRACTION, SegmentationNetwork
from model_core.volumes import Volume, resample, to_canonical
from model_core.volumes.above_air import above_air
from model_core.weights import load_weights

FWHM_PER_SIGMA = 2.355

# Below these it is no brain: of a mask's volume, and of how sure the network is of its voxels, 0 to 1.
SMALLEST_ML = 150.0
LEAST_CERTAINTY = 0.85
# Of the widest slice along an axis, the share of the brain's at a face of the scan: a ball that has lost a tenth of its
# volume by a flat cut has there 0.63.
LARGEST_CUT = 0.63
# The same of the head at the top, where air must lie over it: 0.73 of a ball with a centimetre of skull and scalp
# around it; less of a head, whose widest slice goes through the face.
LARGEST_CUT_OF_HEAD = 0.65


def find_brain(t1: Volume, t2: Volume | None, weights: Path = EXTRACTION_WEIGHTS) -> Volume:
    """Find brain, cerebellum, brain stem and the CSF around them.

    Args:
        t1: a head, any orientation and voxel size.
        t2: on any grid that lies over T1's place, or ``None``.
        weights: of the task brain extraction.

    Returns:
        The mask on T1's own grid, bool: one piece without holes.

    Raises:
        UserError: the weights are of another task or damaged; the scans show no brain, or one that is cut off.
    """
    network, _ = load_weights(weights, BRAIN_EXTRACTION)
    return find_brain_with(network, t1, t2)


def find_brain_with(network: SegmentationNetwork, t1: Volume | None, t2: Volume | None) -> Volume:
    """Find the brain with a network that is loaded; see ``find_brain``. The mask lies on T1's grid, or on T2's alone.

    Raises:
        UserError: the scans show no brain, or one that is cut off.
    """
    given = next(scan for scan in (t1, t2) if scan is not None)
    canonical, spacing = to_canonical(given), network.input_form.spacing_mm
    shape, affine = _coarse_grid(canonical, spacing)
    for scan in filter(None, (t1, t2)):
        _refuse_one_value(scan)
    scans = [None if scan is None else _on_coarse_grid(scan, shape, affine, spacing) for scan in (t1, t2)]
    probability = brain_probability(network, scans)
    coarse = _largest_piece(probability > 0.5)
    _refuse_what_is_no_brain(given, probability, coarse, spacing)
    _refuse_what_is_cut(given, coarse, [scan.array for scan in scans if scan is not None])
    near = ndimage.binary_dilation(coarse, iterations=2)
    fine = _on_grid_of(given, Volume(np.where(near, probability, 0).astype(np.float32), affine))
    mask = ndimage.binary_fill_holes(_largest_piece(fine > 0.5))
    return Volume(mask, given.affine, "the mask by the built-in network")


def _coarse_grid(canonical: Volume, spacing: float) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine of the same field of view in voxels of the network's size."""
    step = spacing / np.asarray(canonical.spacing)
    shape = tuple(max(1, int(np.ceil(side / size))) for side, size in zip(canonical.array.shape, step, strict=True))
    affine = canonical.affine @ np.diag([*step, 1.0])
    affine[:3, 3] = (canonical.affine @ [*((step - 1) / 2), 1.0])[:3]
    return shape, affine


def _on_coarse_grid(scan: Volume, shape: tuple[int, ...], affine: np.ndarray, spacing: float) -> CoarseScan:
    """A scan without the detail that larger voxels cannot show."""
    sides = np.asarray(scan.spacing)
    sigma = np.sqrt(np.maximum(spacing**2 - sides**2, 0)) / FWHM_PER_SIGMA / sides
    smooth = Volume(ndimage.gaussian_filter(scan.array.astype(np.float32), sigma, truncate=2), scan.affine)
    reached = Volume(np.ones(scan.array.shape, np.float32), scan.affine)
    covered = resample(reached, shape, affine, order=1).array  # below 1 at its rim, where 0 is mixed in
    field = covered > 0.5
    return CoarseScan(resample(smooth, shape, affine, order=1).array / np.where(field, covered, 1) * field, field)


def _refuse_one_value(scan: Volume) -> None:
    if scan.array.min() == scan.array.max():
        raise UserError(
            f"The built-in brain extraction finds no brain in {scan.path}: it has the value {scan.array.flat[0]:g} in "
            "every voxel; expected a scan of a head; check the series and the file."
        )


def _largest_piece(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    return mask if count < 2 else pieces == 1 + np.bincount(pieces.ravel())[1:].argmax()


def _refuse_what_is_no_brain(t1: Volume, probability: np.ndarray, mask: np.ndarray, spacing: float) -> None:
    millilitres = float(mask.sum()) * spacing**3 / 1000
    certainty = certainty_of(probability, mask)
    if millilitres >= SMALLEST_ML and certainty >= LEAST_CERTAINTY:
        return
    found = f"{millilitres:.0f} ml that could be a brain" + (
        f", and it is {certainty:.0%} sure of them" if mask.any() else ""
    )
    raise UserError(
        f"The built-in brain extraction finds no brain in T1 ({t1.path}): {found}; expected a head, {SMALLEST_ML:.0f} "
        f"ml or more and {LEAST_CERTAINTY:.0%}; check that the scan shows a head and that its header tells its "
        "orientation, try another tool (--brain-extraction), or give a brain mask (--mask)."
    )


def certainty_of(probability: np.ndarray, mask: np.ndarray) -> float:
    """How sure the network is of a mask: Dice of the mask with its own probabilities near it, 0 to 1.

    Args:
        probability: (D, H, W), 0 to 1.
        mask: (D, H, W) bool.
    """
    near = ndimage.binary_dilation(mask, iterations=3)
    total = float(mask.sum() + probability[near].sum())
    return 2 * float(probability[mask].sum()) / total if total else 0.0


def _refuse_what_is_cut(given: Volume, mask: np.ndarray, scans: Sequence[np.ndarray]) -> None:
    side, share = largest_cut(mask)
    of_head = min(map(_at_the_top, scans))
    if share > LARGEST_CUT:
        found = f"the {side}: the scan ends there in a slice with {share:.0%} of the brain's widest one"
        most = LARGEST_CUT
    elif of_head > LARGEST_CUT_OF_HEAD:
        found = f"the top: the scan ends there in a slice with {of_head:.0%} of the head's widest one"
        most = LARGEST_CUT_OF_HEAD
    else:
        return
    raise UserError(
        f"The brain in T1 ({given.path}) is cut off at {found}; expected at most a tenth of the brain missing (a slice "
        f"of {most:.0%}); take a scan of the whole head, or give a brain mask (--mask)."
    )


def largest_cut(mask: np.ndarray) -> tuple[str, float]:
    """Where a face of the scan cuts most through a brain: the side, and the cut's share of the widest slice, 0 to 1.

    The network rounds a mask off at a face; so the slice there is also told from the third and the fifth.

    Args:
        mask: (D, H, W) bool, right, anterior, superior, with at least one voxel. Along an axis with fewer than five
            slices the slice at the face alone counts.
    """
    cuts = []
    for axis, names in enumerate((("left", "right"), ("back", "front"), ("bottom", "top"))):
        slices = mask.sum(axis=tuple(other for other in range(3) if other != axis))
        shares = slices / slices.max()
        for inward, name in zip((shares, shares[::-1]), names, strict=True):
            told = 2 * inward[2] - inward[4] if len(inward) >= 5 else 0
            cuts.append((float(max(inward[0], told)), name))
    share, side = max(cuts)
    return side, share


def _at_the_top(scan: np.ndarray) -> float:
    """How much of the head's widest axial slice lies in the scan's uppermost one, 0 to 1."""
    slices = above_air(scan).sum(axis=(0, 1))
    return float(slices[-1] / max(1, slices.max()))


def _on_grid_of(t1: Volume, probability: Volume) -> np.ndarray:
    """Interpolate probabilities smoothly on T1's grid, where they are not 0: (I, J, K) float32."""
    filled = np.argwhere(probability.array > 0)
    corners = np.stack(np.meshgrid(*zip(filled.min(axis=0) - 1, filled.max(axis=0) + 1, strict=True), indexing="ij"))
    homogeneous = np.vstack([corners.reshape(3, -1), np.ones(8)])
    places = (np.linalg.inv(t1.affine) @ probability.affine @ homogeneous)[:3]
    first = np.floor(places.min(axis=1)).astype(int).clip(0, t1.array.shape)
    last = np.ceil(places.max(axis=1)).astype(int).clip(0, t1.array.shape) + 1
    affine = t1.affine.copy()
    affine[:3, 3] = (t1.affine @ [*first, 1.0])[:3]
    box = tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))
    result = np.zeros(t1.array.shape, np.float32)
    result[box] = resample(probability, result[box].shape, affine, order=3).array
    return result
