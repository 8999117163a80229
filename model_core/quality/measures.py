"""What can be measured on a scan pair or a label map to tell whether something is wrong with it; arrays alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

TAIL_PERCENT = 2.0  # of the voxels on either side: CSF deep in the brain is more than that, noise is the same on both
SWAPPED_SKEWNESS = -0.15  # 0.30 to 0.45 in infants of 6 months, so -0.45 to -0.30 swapped
FLUID_IN_T2, FLUID_IN_T1 = 1.25, 0.9  # of the median; 1.4 and 0.54 to 0.70 in infants of 6 months
RIM_MM = 3.0  # of the brain that is left out: partial volume with the background is dark in both scans
SHELL_MM = range(16)  # depths below the surface in which bone may lie
DEEP_MM = 20.0
BONE_SHARE = 0.6  # of the deep brain's intensity, in both scans
SCALP_RATIO = 1.6  # of what lies outside of the bone to the bone
SMOOTH_BORDER_MM = 12.0  # of a surface's outline that is left out when its roughness is measured
SYMMETRY_SHIFTS = range(-4, 5)  # voxels about the centre of mass, in which the plane of symmetry is searched for


def contrast_of_fluid(t1: np.ndarray, t2: np.ndarray, mask: np.ndarray) -> float:
    """Measure whether the outlying voxels deep in the brain are dark in T1 and bright in T2, as CSF is.

    Args:
        t1, t2: (D, H, W), of 1 mm voxels.
        mask: bool (D, H, W), the brain.

    Returns:
        The skewness (P98 + P2 - 2·median) / (P98 - P2) of T2 - T1, both standardised: -1 to 1; positive as it should
        be, near 0 or below where neither has fluid of its own.
    """
    inside = _deep_signal(t1, t2, mask)
    if not inside.any():
        return 0.0
    first, second = (_standardised(scan[inside]) for scan in (t1, t2))
    low, middle, high = np.percentile(second - first, (TAIL_PERCENT, 50, 100 - TAIL_PERCENT))
    return float((high + low - 2 * middle) / (high - low)) if high > low else 0.0


def are_swapped(t1: np.ndarray, t2: np.ndarray, mask: np.ndarray) -> bool:
    """Say whether what outlies is bright in T1 and dark in T2, and so far off that it is fluid, not white matter.

    Args:
        t1, t2: (D, H, W), of 1 mm voxels.
        mask: bool (D, H, W), the brain.
    """
    if contrast_of_fluid(t1, t2, mask) >= SWAPPED_SKEWNESS:
        return False
    inside = _deep_signal(t1, t2, mask)
    bright = np.percentile(t1[inside], 100 - TAIL_PERCENT) / np.median(t1[inside])
    dark = np.percentile(t2[inside], TAIL_PERCENT) / np.median(t2[inside])
    return bool(bright > FLUID_IN_T2 and dark < FLUID_IN_T1)


def _deep_signal(t1: np.ndarray, t2: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return where both scans have a signal, away from the brain's rim."""
    deep = ndimage.distance_transform_edt(mask) > RIM_MM
    return (deep if deep.any() else mask) & (t1 != 0) & (t2 != 0)


def _standardised(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float64)
    return (values - np.median(values)) / max(float(values.std()), 1e-9)


def has_skull(t1: np.ndarray, t2: np.ndarray, mask: np.ndarray) -> bool:
    """Say whether a shell that is dark in both scans, as bone is, lies below a brighter one over the upper half.

    Args:
        t1, t2: (D, H, W) along right, anterior, superior, of 1 mm voxels.
        mask: bool (D, H, W), what is taken as the brain.
    """
    depth = ndimage.distance_transform_edt(mask)
    upper = np.arange(mask.shape[2]) >= ndimage.center_of_mass(mask)[2]
    deep = depth > DEEP_MM
    if not deep.any():
        return False
    shells = []
    for low, high in pairwise(SHELL_MM):
        shell = (depth > low) & (depth <= high) & upper
        shells.append([np.median(scan[shell]) / max(float(np.median(scan[deep])), 1e-9) for scan in (t1, t2)])
    values = np.array(shells)
    return any(
        (values[at] < BONE_SHARE).all() and (values[:at].max(axis=0) > SCALP_RATIO * values[at].max()).any()
        for at in range(1, len(values))
    )


def flat_end(mask: np.ndarray, spacing: Sequence[float]) -> tuple[str, float]:
    """Find the side on which a brain most looks cut off: where its last slice is wide.

    Args:
        mask: bool (I, J, K) along right, anterior, superior.
        spacing: in mm.

    Returns:
        The side, and the last slice's share of the widest one, less what the roundness of a brain gives a slice of
        this thickness.
    """
    ends = []
    for axis, sides in enumerate((("left", "right"), ("back", "front"), ("bottom", "top"))):
        areas = mask.sum(axis=tuple(other for other in range(3) if other != axis)).astype(float)
        taken = np.flatnonzero(areas)
        rounded = 2 * spacing[axis] / (len(taken) * spacing[axis] / 2)
        for side, last in zip(sides, (taken[0], taken[-1]), strict=True):
            ends.append((side, float(areas[last] / areas.max() - rounded)))
    return max(ends, key=lambda end: end[1])


def mirror_symmetry(mask: np.ndarray, axis: int) -> float:
    """Return the Dice overlap of a brain with its mirror image along an axis, at the best place of the mirror."""
    twice_centre = round(2 * ndimage.center_of_mass(mask)[axis])
    lines = np.moveaxis(mask, axis, 0)
    length, best = len(lines), 0.0
    for shift in SYMMETRY_SHIFTS:
        partners = twice_centre + shift - np.arange(length)
        known = (partners >= 0) & (partners < length)
        best = max(best, 2 * float((lines[known] & lines[partners[known]]).sum()) / (2 * float(mask.sum())))
    return best


def roughness(mask: np.ndarray, spacing: Sequence[float]) -> tuple[float, float]:
    """Measure how far the brain's surface seen from above, and that from below, are from a smooth dome.

    Args:
        mask: bool (I, J, K) along right, anterior, superior.
        spacing: in mm.

    Returns:
        For top and bottom the root mean square distance from the best quadratic surface, in mm; (0, 0) for a body
        that is too small.
    """
    columns = ndimage.distance_transform_edt(mask.any(axis=2), sampling=spacing[:2]) > SMOOTH_BORDER_MM
    if columns.sum() < 50:
        return 0.0, 0.0
    top = (mask.shape[2] - 1 - np.argmax(mask[:, :, ::-1], axis=2)) * spacing[2]
    bottom = np.argmax(mask, axis=2) * spacing[2]
    places = np.argwhere(columns).astype(float)
    x, y = ((places - places.mean(axis=0)) / places.std(axis=0)).T
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=1)

    def off(heights: np.ndarray) -> float:
        found = heights[columns]
        fit, *_ = np.linalg.lstsq(terms, found, rcond=None)
        return float(np.sqrt(np.mean((found - terms @ fit) ** 2)))

    return off(top), off(bottom)


def share_outside_largest(voxels: np.ndarray) -> float:
    """Return the share of the true voxels (bool) outside of their largest piece; voxels that touch hang together."""
    pieces, _ = ndimage.label(voxels, structure=np.ones((3, 3, 3)))
    counts = np.bincount(pieces.ravel())[1:]
    return 1 - float(counts.max() / counts.sum()) if len(counts) else 0.0
