"""A head given by formulas: a brain of the size of an infant's with bone and scalp around it, for any grid."""

import nibabel
import numpy as np
from scan_phantoms import CENTRE_MM, T1_INTENSITIES, T2_INTENSITIES, labels_at, world_points
from scipy.spatial.transform import Rotation

from model_core.volumes import Volume, write_volume

SCALE = 4.2  # of the small body: semi-axes of 55, 67 and 46 mm, 707 ml
BONE, SCALP = 4, 5
BUMPS = [((0, 19, -2), 3.2), ((-16, -2, -1), 2.6), ((16, -3, -2), 2.2), ((1, -5, -14), 4.5)]  # nose, ears, neck
T1_HEAD = np.array([*T1_INTENSITIES, 8, 190], np.float32)
T2_HEAD = np.array([*T2_INTENSITIES, 8, 130], np.float32)


def head_at(points):
    """Labels at points (..., 3) in RAS mm: 0 air, 1 to 3 tissues, 4 bone, 5 scalp."""
    small = (points - CENTRE_MM) / SCALE
    radius = np.sqrt((small / [13, 16, 11]) ** 2 @ np.ones(3))
    shells = np.select([radius < 1, radius < 1.13, radius < 1.24], [0, BONE, SCALP], 0)
    for (x, y, z), size in BUMPS:
        bump = ((small - [x, y, z]) ** 2).sum(axis=-1) < size**2
        shells = np.where(bump & (radius >= 1.13), SCALP, shells)
    return np.where(radius < 1, labels_at(small + CENTRE_MM), shells).astype(np.uint8)


def head_grid(spacing=(3.0, 3.0, 3.0), angles=(0, 0, 0), codes="RAS", rim_mm=12.0):
    """Shape and affine of a grid around the head, its axes along `codes`, turned by degrees."""
    canonical = np.array([13, 16, 11]) * SCALE * 1.24 + rim_mm
    orientation = nibabel.orientations.axcodes2ornt(codes)
    axes = np.zeros((3, 3))
    for voxel_axis, (world_axis, sign) in enumerate(orientation):
        axes[int(world_axis), voxel_axis] = sign
    shape = tuple(int(2 * side / step) for side, step in zip(np.abs(axes.T) @ canonical, spacing, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ axes * spacing
    affine[:3, 3] = CENTRE_MM - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, affine


def head_scan(intensities, shape, affine, seed, path):
    """A noisy scan of the head on a grid."""
    labels = head_at(world_points(shape, affine))
    noise = np.random.default_rng(seed).normal(0, 3, shape)
    return Volume(np.abs(intensities[labels] + noise).astype(np.float32), affine, path)


def raw_pair(t1_codes="LPS", movement=(6.0, -4.0, 8.0), shift=(5.0, -7.0, 4.0)):
    """T1, T2 that lies elsewhere on a grid of its own, the brain on T1's grid, and T2's true affine."""
    shape, affine = head_grid(codes=t1_codes)
    t1 = head_scan(T1_HEAD, shape, affine, 1, "t1.nii.gz")
    brain = Volume(np.isin(head_at(world_points(shape, affine)), (1, 2, 3)), affine, "mask.nii.gz")
    shape, true = head_grid(spacing=(2.2, 2.2, 3.0), angles=movement, codes="PIR", rim_mm=16.0)
    t2 = head_scan(T2_HEAD, shape, true, 2, "t2.nii.gz")
    _, told = head_grid(spacing=(2.2, 2.2, 3.0), codes="PIR", rim_mm=16.0)
    told[:3, 3] += shift
    return t1, Volume(t2.array, told, t2.path), brain, true


def distance_mm(found, true, brain):
    """How far points of the brain lie apart under two affines of one scan, at most."""
    places = np.argwhere(brain.array)[::50] @ brain.affine[:3, :3].T + brain.affine[:3, 3]
    voxels = np.linalg.inv(true) @ np.c_[places, np.ones(len(places))].T
    return float(np.linalg.norm((found @ voxels)[:3].T - places, axis=1).max())


def write_program(folder, name, script):
    """An executable shell script in a folder that is to be on the search path."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


HD_BET_2 = """
if [ "$1" = --help ]; then echo "options: -i -o --save_bet_mask --disable_tta"; exit 0; fi
[ "$1 $2 $3 $4" = "-i scan.nii.gz -o brain.nii.gz" ] || exit 9
echo "$@" > "{log}"; cp scan.nii.gz "{scan}"; cp "{mask}" brain_bet.nii.gz
"""


def install_hd_bet(tmp_path, monkeypatch, brain):
    """Put a stand-in for HD-BET on the search path that answers with a given brain; its log and the scan it got."""
    write_volume(tmp_path / "answer.nii.gz", brain.array, brain.affine)
    log, scan = tmp_path / "hd-bet.log", tmp_path / "scan it got.nii.gz"
    script = HD_BET_2.format(log=log, scan=scan, mask=tmp_path / "answer.nii.gz")
    write_program(tmp_path / "bin", "hd-bet", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return log, scan
