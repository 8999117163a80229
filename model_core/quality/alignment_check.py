"""Whether T2 lies where T1 does: moved aside, turned, or mirrored against it."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from model_core.errors import UserError
from model_core.findings import Finding
from model_core.preprocessing import PreparedPair
from model_core.preprocessing.alignment import Alignment, settle
from model_core.preprocessing.similarity import shifted_by, similarities
from model_core.volumes import Volume, resample

CHECK_VOXEL_MM = 2.0
MIRROR_GAIN = 1.10  # of the similarity, by which T2's mirror image must fit better; 0.5 to 0.8 where nothing is wrong
SMALLEST_CHECKED_MM = 60.0  # of a brain: phantoms and pieces tell nothing about left and right
MIRROR_SUSPICION = 0.75  # of the similarity, at which a mirror image is looked at closely
SHIFT_SUSPICION = 1.02  # of the similarity, at which T2's place is looked at closely
NOTABLE_SHIFT_MM, NOTABLE_ANGLE = 3.0, 4.0
NOTABLE_GAIN = 1.15  # of the similarity, by which T2 must fit better elsewhere


def check_place(t1: Volume, t2: Volume, pair: PreparedPair) -> list[Finding]:
    """Look for T2 off its place, or mirrored against T1: quickly on a coarse copy, and closely where it seems so."""
    if not is_large_enough(pair):
        return []
    first, second, brain = coarse_copy(pair)
    if not brain.any():  # scattered voxels or a thin plate, of which nothing is left on coarse voxels
        return []
    middle = pair.affine @ [*ndimage.center_of_mass(pair.mask), 1.0]
    here, *others = similarities(second, first, brain, [np.eye(4), *_nearby(middle), *_mirrored(pair.affine, middle)])
    nearby, mirrored = others[:-3], others[-3:]
    try:
        for axis, sides in enumerate(("left and right", "front and back", "top and bottom")):
            if mirrored[axis] > MIRROR_SUSPICION * here:
                copy = Volume(np.flip(second.array, axis).copy(), second.affine)
                best, as_is = (settle(scan, first, brain).similarity for scan in (copy, second))
                if best > MIRROR_GAIN * as_is:
                    return [_mirrored_finding(t1, t2, sides, best, as_is)]
        if max(nearby) > SHIFT_SUSPICION * here:
            return _check_shift(settle(second, first, brain), here, t2)
    except UserError:  # nothing that could be aligned: other checks say why
        pass
    return []


def _nearby(middle: np.ndarray) -> list[np.ndarray]:
    """Return small transforms (4, 4) about the middle of the brain."""
    turns = []
    for axis in np.eye(3):
        for sign in (1, -1):
            turn = np.eye(4)
            turn[:3, :3] = Rotation.from_rotvec(np.deg2rad(sign * NOTABLE_ANGLE) * axis).as_matrix()
            turn[:3, 3] = middle[:3] - turn[:3, :3] @ middle[:3]
            turns.append(turn)
    return turns + [shifted_by(sign * NOTABLE_SHIFT_MM * axis) for axis in np.eye(3) for sign in (1, -1)]


def _mirrored(affine: np.ndarray, middle: np.ndarray) -> list[np.ndarray]:
    """Return the mirror images (4, 4) along the three axes of a grid, through the middle of the brain."""
    mirrors = []
    for column in affine[:3, :3].T:
        normal = column / np.linalg.norm(column)
        mirror = np.eye(4)
        mirror[:3, :3] -= 2 * np.outer(normal, normal)
        mirror[:3, 3] = 2 * normal * (normal @ middle[:3])
        mirrors.append(mirror)
    return mirrors


def _mirrored_finding(t1: Volume, t2: Volume, sides: str, best: float, as_is: float) -> Finding:
    return Finding(
        "t2-mirrored",
        f"T2 ({t2.path}) fits T1 ({t1.path}) better with {sides} exchanged ({best:.3f} against {as_is:.3f}); "
        "expected one orientation; check how the two were converted.",
    )


def _check_shift(settled: Alignment, similarity: float, t2: Volume) -> list[Finding]:
    moved = settled.shift_mm > NOTABLE_SHIFT_MM or settled.angle_degrees > NOTABLE_ANGLE
    if not moved or settled.similarity < NOTABLE_GAIN * similarity:
        return []
    return [
        Finding(
            "t2-not-aligned",
            f"T2 ({t2.path}) fits T1 better some {settled.shift_mm:.0f} mm and {settled.angle_degrees:.0f}° away; "
            "expected it aligned with T1; switch on the alignment of T2 (--align-t2), or align it first.",
        )
    ]


def is_large_enough(pair: PreparedPair) -> bool:
    """Say whether this is a brain, not a phantom or a piece, which tell nothing about directions."""
    return max(pair.mask.shape) >= SMALLEST_CHECKED_MM


def coarse_copy(pair: PreparedPair) -> tuple[Volume, Volume, np.ndarray]:
    """Return T1, T2 and the brain on voxels of 2 mm."""
    affine = pair.affine @ np.diag([CHECK_VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] += pair.affine[:3, :3] @ np.full(3, (CHECK_VOXEL_MM - 1) / 2)
    shape = tuple(int(side // CHECK_VOXEL_MM) for side in pair.mask.shape)
    first, second, brain = (
        resample(Volume(array.astype(np.float32), pair.affine), shape, affine, order=1)
        for array in (pair.t1, pair.t2, pair.mask)
    )
    return first, second, brain.array >= 0.5
