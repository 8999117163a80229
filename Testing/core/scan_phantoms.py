"""A small brain-like body given by formulas, so that scans of it can be sampled on any grid."""

import itertools

import numpy as np
from scipy.spatial.transform import Rotation

from model_core.volumes import Volume

SEMI_AXES_MM = np.array([13.0, 16.0, 11.0])
T1_INTENSITIES = np.array([0, 40, 100, 120], np.float32)
T2_INTENSITIES = np.array([0, 200, 110, 90], np.float32)
CENTRE_MM = np.array([6.0, -11.0, 17.0])

# All 48 ways to order and flip three axes, as (3, 3) matrices of 0, 1 and -1.
AXIS_ORDERS = [
    np.eye(3)[list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def labels_at(points):
    """Labels 0 to 3 at points (..., 3) in RAS mm; no symmetry of the body hides a wrong axis or flip."""
    x, y, z = np.moveaxis(points - CENTRE_MM, -1, 0)
    radius = np.sqrt((x / 13) ** 2 + (y / 16) ** 2 + (z / 11) ** 2)
    labels = np.digitize(-radius, [-1.0, -0.85, -0.6])
    ventricle = (x + 3) ** 2 + (y - 4) ** 2 + (z - 1) ** 2 <= 9
    nucleus = (x - 4) ** 2 + (y + 4) ** 2 + (z - 3) ** 2 <= 9
    return np.where(ventricle, 1, np.where(nucleus, 2, labels)).astype(np.uint8)


def world_points(shape, affine):
    """RAS mm of all voxel centres, (I, J, K, 3)."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def grid(axes=None, spacing=(1.0, 1.0, 1.0), angles=(0, 0, 0), rim_mm=5.0):
    """Shape and affine of a grid around the body: axis order, spacing of its axes in mm, rotation in degrees."""
    axes = np.eye(3) if axes is None else axes
    columns = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ axes * spacing
    reach = np.abs(np.linalg.inv(columns)) @ (SEMI_AXES_MM + rim_mm)
    shape = tuple(int(side) for side in 2 * np.ceil(reach) + 1)
    affine = np.eye(4)
    affine[:3, :3] = columns
    affine[:3, 3] = CENTRE_MM - columns @ ((np.array(shape) - 1) / 2)
    return shape, affine


def scans(shape, affine):
    """T1, T2 (Volume) and labels (uint8 array) of the body on a grid."""
    labels = labels_at(world_points(shape, affine))
    return (
        Volume(T1_INTENSITIES[labels], affine, "t1.nii.gz"),
        Volume(T2_INTENSITIES[labels], affine, "t2.nii.gz"),
        labels,
    )
