"""From a scan pair to the network grid and back: places, values, brain, alignment, bias."""

import numpy as np
import pytest
from scan_phantoms import (
    AXIS_ORDERS,
    CENTRE_MM,
    SEMI_AXES_MM,
    T1_INTENSITIES,
    T2_INTENSITIES,
    grid,
    labels_at,
    scans,
    world_points,
)
from scipy.ndimage import binary_erosion, gaussian_filter
from scipy.spatial.transform import Rotation

from model_core.errors import UserError
from model_core.preprocessing import prepare_pair
from model_core.preprocessing.pair import MARGIN
from model_core.volumes import Volume


def labels_from(t1):
    """Labels of a network-grid T1 whose voxels were only moved."""
    return np.searchsorted(T1_INTENSITIES, t1).astype(np.uint8)


def dice(first, second):
    return [2 * ((first == k) & (second == k)).sum() / ((first == k).sum() + (second == k).sum()) for k in (1, 2, 3)]


# ---- There and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("angles", [(0, 0, 0), (12, -9, 21)], ids=["straight", "oblique"])
@pytest.mark.parametrize("order", range(48))
def test_a_1_mm_scan_is_only_moved_and_its_labels_come_back_exactly(order, angles):
    t1, t2, labels = scans(*grid(AXIS_ORDERS[order], angles=angles))
    pair = prepare_pair(t1, t2)
    assert np.array_equal(pair.t1, T1_INTENSITIES[labels_at(world_points(pair.t1.shape, pair.affine))])
    assert np.array_equal(pair.t2, T2_INTENSITIES[labels_at(world_points(pair.t1.shape, pair.affine))])
    assert np.array_equal(pair.mask, pair.t1 != 0)
    assert np.array_equal(pair.labels_to_native(labels_from(pair.t1)), labels)
    assert (np.diag(pair.affine)[:3] > 0.8).all()


@pytest.mark.parametrize("spacing", [(0.5, 1.2, 2.0), (0.8, 0.8, 0.8), (1.0, 1.0, 0.6)])
@pytest.mark.parametrize("order", range(0, 48, 5))
def test_other_spacings_become_1_mm_and_come_back_to_the_same_place(order, spacing):
    t1, t2, labels = scans(*grid(AXIS_ORDERS[order], spacing=spacing, angles=(7, -5, 10)))
    pair = prepare_pair(t1, t2)
    assert np.linalg.norm(pair.affine[:3, :3], axis=0) == pytest.approx((1, 1, 1))
    truth = labels_at(world_points(pair.t1.shape, pair.affine))
    assert np.mean(pair.mask == (truth > 0)) > 0.98
    native = pair.labels_to_native(truth)
    assert native.dtype == np.uint8
    assert min(dice(native, labels)) > 0.85
    smooth = pair.probabilities_to_native(np.eye(4, dtype=np.float32)[:, truth])
    assert min(dice(smooth.argmax(axis=0), labels)) > 0.88
    for label in (1, 2, 3):  # no shift, not even by a part of a voxel
        places = [np.argwhere(found == label).mean(axis=0) * spacing for found in (native, smooth.argmax(0), labels)]
        assert np.abs(places[0] - places[2]).max() < 0.2
        assert np.abs(places[1] - places[2]).max() < 0.2


def test_probabilities_sum_to_1_and_outside_the_brain_are_background():
    t1, t2, labels = scans(*grid(spacing=(0.9, 1.1, 1.4)))
    pair = prepare_pair(t1, t2)
    noise = np.random.default_rng(0).random((4, *pair.t1.shape), dtype=np.float32)
    found = pair.probabilities_to_native(noise / noise.sum(axis=0))
    assert found.dtype == np.float32
    assert found.shape == (4, *labels.shape)
    assert np.allclose(found.sum(axis=0), 1, atol=1e-5)
    assert np.array_equal(found[:, labels == 0].T, np.tile([1, 0, 0, 0], ((labels == 0).sum(), 1)))


def test_background_around_the_brain_does_not_eat_into_its_rim():
    t1, t2, labels = scans(*grid(spacing=(0.7, 0.7, 0.7)))
    pair = prepare_pair(t1, t2)
    probabilities = np.zeros((4, *pair.t1.shape), np.float32)
    probabilities[0], probabilities[1] = ~pair.mask, pair.mask
    assert (pair.probabilities_to_native(probabilities)[1][labels > 0] > 0.99).mean() > 0.999


def test_maps_of_another_shape_are_refused():
    t1, t2, _ = scans(*grid())
    pair = prepare_pair(t1, t2)
    with pytest.raises(ValueError, match="labels must have the network grid's shape"):
        pair.labels_to_native(np.zeros((3, 3, 3), np.uint8))
    with pytest.raises(ValueError, match="probabilities must have the network grid's shape"):
        pair.probabilities_to_native(np.zeros((4, 3, 3, 3), np.float32))


# ---- The network grid --------------------------------------------------------------------------------------


def test_the_grid_ends_a_margin_outside_of_the_brain_even_beyond_the_volume():
    array = np.zeros((20, 20, 20), np.float32)
    array[1:7, 5:12, 10:19] = np.random.default_rng(0).uniform(1, 2, (6, 7, 9))
    volume = Volume(array, np.eye(4), "t1.nii")
    pair = prepare_pair(volume, volume)
    assert pair.t1.shape == (6 + 2 * MARGIN, 7 + 2 * MARGIN, 9 + 2 * MARGIN)
    assert np.array_equal(pair.t1[MARGIN:-MARGIN, MARGIN:-MARGIN, MARGIN:-MARGIN], array[1:7, 5:12, 10:19])
    assert pair.affine[:3, 3].tolist() == [1 - MARGIN, 5 - MARGIN, 10 - MARGIN]
    assert np.array_equal(pair.labels_to_native(pair.mask.astype(np.uint8)), array > 0)


def test_finer_scans_are_smoothed_to_1_mm_before_they_are_thinned_out():
    shape, affine = grid(spacing=(0.4, 0.4, 0.4))
    brain = labels_at(world_points(shape, affine)) > 0
    noise = np.random.default_rng(0).normal(100, 10, shape).astype(np.float32)
    scan = Volume(np.where(brain, noise, 0).astype(np.float32), affine, "t1.nii")
    pair = prepare_pair(scan, scan)
    inner = binary_erosion(pair.mask, iterations=3)
    # A 1 mm voxel averages some 15 of these; white noise that is only picked or interpolated keeps over 0.4 of its 10.
    assert pair.t1[inner].std() < 3
    assert pair.t1[inner].mean() == pytest.approx(100, abs=0.3)


def test_the_rim_of_the_brain_does_not_darken():
    shape, affine = grid(spacing=(0.8, 0.8, 0.8))
    scan = Volume(np.where(labels_at(world_points(shape, affine)) > 0, 100, 0).astype(np.float32), affine, "t1.nii")
    pair = prepare_pair(Volume(scan.array + 0, affine, "t1.nii"), scan)
    assert np.allclose(pair.t1[pair.mask], 100, atol=0.01)
    assert (pair.t1[~pair.mask] == 0).all()


def test_a_head_of_half_a_metre_is_a_wrong_header():
    t1, t2, _ = scans(*grid())
    affine = t1.affine @ np.diag([10, 10, 10, 1])
    with pytest.raises(UserError, match=r"The brain in T1 .* measures 240? .* mm; expected at most 400 mm|measures"):
        prepare_pair(Volume(np.pad(np.tile(t1.array, (2, 1, 1)), 5), affine, "t1.nii"), t2)


# ---- T2 on a grid of its own -------------------------------------------------------------------------------


def test_t2_on_another_grid_lands_where_its_tissue_is_in_t1():
    t1, _, _ = scans(*grid(AXIS_ORDERS[3]))
    shape, affine = grid(AXIS_ORDERS[40], spacing=(0.8, 1.0, 1.3), angles=(9, 4, -12), rim_mm=3)

    def smooth(points):
        return 100 + (points - CENTRE_MM) @ [1.0, 2.0, -1.5]

    brain = labels_at(world_points(shape, affine)) > 0
    t2 = Volume(np.where(brain, smooth(world_points(shape, affine)), 0).astype(np.float32), affine, "t2.nii")
    pair = prepare_pair(t1, t2)
    inner = binary_erosion(pair.mask, iterations=2)
    assert np.allclose(pair.t2[inner], smooth(world_points(pair.t2.shape, pair.affine))[inner], atol=0.3)
    assert (pair.t2[~pair.mask] == 0).all()
    assert np.array_equal(pair.t1, T1_INTENSITIES[labels_at(world_points(pair.t1.shape, pair.affine))])


def test_scans_that_do_not_overlap_are_refused_with_the_switch_that_helps():
    t1, t2, _ = scans(*grid())
    away = t2.affine.copy()
    away[0, 3] += 60
    with pytest.raises(
        UserError,
        match=r"T2 .* covers 0% of the brain in T1 .*; register T2 .* or switch on the alignment of T2 \(--align-t2\)",
    ):
        prepare_pair(t1, Volume(t2.array, away, "t2.nii.gz"))


@pytest.mark.parametrize("shift_mm", [3.0, 90.0], ids=["near", "beside"])
def test_alignment_finds_a_rigid_transform_and_is_repeatable(shift_mm):
    t1, _, _ = scans(*grid(spacing=(0.8, 0.8, 0.8)))
    _, t2, _ = scans(*grid(AXIS_ORDERS[17], spacing=(0.9, 0.9, 0.9), rim_mm=6))
    noise = np.random.default_rng(1)
    t1, t2 = (
        Volume(
            np.where(s.array > 0, s.array + noise.normal(0, 3, s.array.shape), 0).astype(np.float32), s.affine, s.path
        )
        for s in (t1, t2)
    )
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_euler("xyz", (6, -4, 8), degrees=True).as_matrix()
    transform[:3, 3] = CENTRE_MM - transform[:3, :3] @ CENTRE_MM + [shift_mm, -2, 1]
    moved = Volume(t2.array, transform @ t2.affine, t2.path)
    pair = prepare_pair(t1, moved, align_t2=True)
    apart = prepare_pair(t1, t2)
    assert np.corrcoef(pair.t2[pair.mask], apart.t2[pair.mask])[0, 1] > 0.95
    if shift_mm < 10:
        unaligned = prepare_pair(t1, moved)
        assert np.corrcoef(unaligned.t2[pair.mask], apart.t2[pair.mask])[0, 1] < 0.8
        assert np.array_equal(prepare_pair(t1, moved, align_t2=True).t2, pair.t2)


def test_alignment_refuses_axes_that_are_not_at_right_angles():
    t1, t2, _ = scans(*grid())
    sheared = t2.affine.copy()
    sheared[0, 1] += 0.2
    with pytest.raises(UserError, match="right angles"):
        prepare_pair(t1, Volume(t2.array, sheared, "t2.nii"), align_t2=True)


# ---- Brain -------------------------------------------------------------------------------------------------


def test_a_cavity_of_zeros_belongs_to_the_brain():
    t1, t2, labels = scans(*grid())
    with_cavity = np.where((labels == 1) & binary_erosion(labels > 0, iterations=4), 0, t1.array)
    assert (with_cavity != t1.array).any()
    pair = prepare_pair(Volume(with_cavity, t1.affine, "t1.nii"), t2)
    assert np.array_equal(pair.labels_to_native(pair.mask.astype(np.uint8)), labels > 0)


@pytest.mark.parametrize("case", ["full", "face"])
def test_a_scan_that_is_not_stripped_is_refused_and_taken_with_a_mask(case):
    t1, t2, labels = scans(*grid())
    head = np.where(t1.array == 0, 7, t1.array) if case == "full" else t1.array.copy()
    head[:, 4:, 0] = 7
    whole = Volume(head.astype(np.float32), t1.affine, "head.nii")
    with pytest.raises(UserError, match=r"head.nii.* does not look skull-stripped: .*SynthStrip.*--mask"):
        prepare_pair(whole, t2)
    pair = prepare_pair(whole, t2, Volume(labels > 0, t1.affine, "mask.nii"))
    assert np.array_equal(pair.t1, prepare_pair(t1, t2).t1)


def test_a_mask_on_another_grid_is_brought_to_t1_and_one_elsewhere_is_refused():
    t1, t2, labels = scans(*grid())
    shape, affine = grid(AXIS_ORDERS[20], spacing=(0.9, 0.7, 0.8), angles=(3, 2, 1))
    mask = Volume(labels_at(world_points(shape, affine)) > 0, affine, "mask.nii")
    pair = prepare_pair(t1, t2, mask)
    assert np.mean(pair.labels_to_native(pair.mask.astype(np.uint8)) == (labels > 0)) > 0.97
    away = affine.copy()
    away[1, 3] += 200
    with pytest.raises(UserError, match=r"The mask \(mask.nii\) does not lie over the brain in T1"):
        prepare_pair(t1, t2, Volume(mask.array, away, "mask.nii"))
    with pytest.raises(UserError, match="does not lie over the brain"):
        prepare_pair(t1, t2, Volume(labels == 0, t1.affine, "mask.nii"))


# ---- Bias --------------------------------------------------------------------------------------------------


def test_bias_correction_flattens_a_tissue_under_a_sloping_field():
    t1, t2, labels = scans(*grid())
    slope = (world_points(t1.array.shape, t1.affine) - CENTRE_MM) / SEMI_AXES_MM @ [0.25, 0.1, -0.15]
    shaded = Volume((gaussian_filter(t1.array, 0.5) * (labels > 0) * np.exp(slope)).astype(np.float32), t1.affine, "t1")
    before, after = (prepare_pair(shaded, t2, bias_correction=on) for on in (False, True))
    white = labels_from(prepare_pair(t1, t2).t1) == 3
    white = binary_erosion(white, iterations=1)
    spread = [pair.t1[white].std() / pair.t1[white].mean() for pair in (before, after)]
    assert spread[1] < 0.5 * spread[0]
    assert (after.t1[~after.mask] == 0).all()
    assert np.isfinite(after.t1).all()
