"""The quality gate: each check on a case that must fire and on one that must not."""

import numpy as np
import pytest
from scan_phantoms import CENTRE_MM, T1_INTENSITIES, T2_INTENSITIES, labels_at, world_points

from model_core.errors import UserError
from model_core.preprocessing import prepare_pair
from model_core.quality.checks import check_result, check_scans
from model_core.volumes import Volume

SCALE = 2.0  # of the small body: semi-axes of 26, 32 and 22 mm
BITES = [(12, 9, -18), (-12, 9, -18), (12, -15, -18), (-12, -15, -18), (0, -3, -25)]  # mm from the middle
SHAPE = (68, 80, 58)


def body_at(points):
    """Tissues of a body that is even from left to right, a dome above and rough below; its inside is not even."""
    labels = labels_at((points - CENTRE_MM) / SCALE + CENTRE_MM)
    for bite in BITES:
        labels = np.where(((points - CENTRE_MM - bite) ** 2).sum(axis=-1) < 8.5**2, 0, labels)
    return labels


def pair_of(labels, seed=0, t2_labels=None):
    affine = np.eye(4)
    affine[:3, 3] = CENTRE_MM - (np.array(SHAPE) - 1) / 2
    rng = np.random.default_rng(seed)
    scans = []
    for name, values, tissue in (
        ("t1", T1_INTENSITIES, labels),
        ("t2", T2_INTENSITIES, labels if t2_labels is None else t2_labels),
    ):
        noisy = values[tissue] + rng.normal(0, 4, tissue.shape)
        scans.append(Volume(np.where(tissue > 0, np.maximum(noisy, 1), 0).astype(np.float32), affine, f"{name}.nii"))
    return scans


def findings(t1, t2, mask=None):
    return [finding.code for finding in check_scans(t1, t2, prepare_pair(t1, t2, mask))]


@pytest.fixture(scope="module")
def labels():
    affine = np.eye(4)
    affine[:3, 3] = CENTRE_MM - (np.array(SHAPE) - 1) / 2
    return body_at(world_points(SHAPE, affine))


@pytest.fixture(scope="module")
def pair(labels):
    return pair_of(labels)


# ---- Before ------------------------------------------------------------------------------------------------


def test_a_good_pair_has_no_findings(pair):
    assert findings(*pair) == []


def test_swapped_scans_are_an_error_that_says_so(pair):
    t1, t2 = pair
    with pytest.raises(
        UserError, match=r"T1 \(t2.nii\) and T2 \(t1.nii\) seem to be swapped: CSF is bright .*exchange"
    ):
        findings(t2, t1)


def test_one_scan_given_twice_is_an_error(pair):
    with pytest.raises(UserError, match="show the same contrast"):
        findings(pair[0], pair[0])


def test_scans_in_which_fluid_does_not_stand_out_are_doubtful(labels):
    flat = np.where(labels == 1, 2, labels)
    assert findings(*pair_of(flat)) == ["doubtful-contrast"]


def test_a_scan_of_few_gray_levels_is_told(labels, pair):
    t1 = Volume(T1_INTENSITIES[labels], pair[0].affine, "levels.nii")
    assert findings(t1, pair[1]) == ["few-gray-levels"]


def test_a_brain_without_its_top_is_cut_off(labels, pair):
    mask = labels > 0
    mask[:, :, 42:] = False
    assert findings(*pair, Volume(mask, pair[0].affine, "mask.nii")) == ["cut-off"]


def test_a_scan_cropped_to_the_brain_is_not_cut_off(labels, pair):
    sides = [np.flatnonzero((labels > 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    tight = tuple(slice(side[0], side[-1] + 1) for side in sides)
    affine = pair[0].affine.copy()
    affine[:3, 3] += [side[0] for side in sides]
    t1, t2 = (Volume(scan.array[tight], affine, scan.path) for scan in pair)
    mask = Volume(labels[tight] > 0, affine, "mask.nii")
    assert findings(t1, t2, mask) == []


def test_a_t2_that_ends_inside_the_brain_is_told(pair):
    t1, t2 = pair
    short = t2.array.copy()
    short[:, :, 41:] = 0
    assert findings(t1, Volume(short, t2.affine, t2.path)) == ["t2-covers-part"]


def test_a_t2_mirrored_against_t1_is_told(pair):
    t1, t2 = pair
    assert findings(t1, Volume(t2.array[::-1].copy(), t2.affine, t2.path)) == ["t2-mirrored"]


def test_a_t2_beside_its_place_is_told(pair):
    t1, t2 = pair
    moved = t2.affine.copy()
    moved[:3, 3] += (3, -4, 0)
    assert "t2-not-aligned" in findings(t1, Volume(t2.array, moved, t2.path))


def test_a_brain_upside_down_is_told(pair):
    t1, t2 = (Volume(scan.array[:, :, ::-1].copy(), scan.affine, scan.path) for scan in pair)
    assert findings(t1, t2) == ["upside-down"]


def test_a_brain_whose_axes_are_exchanged_is_told(pair):
    t1, t2 = (Volume(np.swapaxes(scan.array, 0, 2).copy(), scan.affine, scan.path) for scan in pair)
    assert findings(t1, t2) == ["wrong-axes"]


def test_dust_that_leaves_nothing_on_coarse_voxels_is_no_error():
    brain = np.zeros((70, 40, 9), dtype=bool)
    brain[::3, ::3, ::3] = True
    rng = np.random.default_rng(1)
    t1, t2 = (
        Volume(np.where(brain, rng.uniform(50, 200, brain.shape), 0).astype(np.float32), np.eye(4), f"{name}.nii")
        for name in ("t1", "t2")
    )
    found = findings(t1, t2, Volume(brain, np.eye(4), "mask.nii"))
    assert not {"wrong-axes", "upside-down", "t2-mirrored", "t2-not-aligned"} & set(found)


# ---- After -------------------------------------------------------------------------------------------------


def label_map(csf=100, gm=400, wm=200):
    """Slabs side by side, of so many ml; voxels of 1 ml."""
    values = np.repeat([1, 2, 3], [csf, gm, wm]).astype(np.uint8)
    array = np.zeros((12, 12, 12), dtype=np.uint8)
    array[1:11, 1:11, 1:11] = np.pad(values, (0, 1000 - len(values))).reshape(10, 10, 10)
    return array


def codes(array, age=None):
    return [finding.code for finding in check_result(Volume(array, np.diag([10.0, 10, 10, 1]), "seg.nii"), age)]


def test_700_ml_at_the_usual_age_are_plausible():
    assert codes(label_map()) == []
    assert codes(label_map(), 6.5) == []


@pytest.mark.parametrize(
    ("volumes", "age", "found"),
    [
        ((100, 400, 200), 0, ["implausible-volume"]),  # a newborn's: 250 to 650 ml
        ((60, 250, 150), 2, []),  # 350 to 817 ml
        ((60, 250, 150), None, ["implausible-volume"]),  # 600 ml or more
        ((100, 500, 300), 24, []),
        ((60, 400, 200), 24, ["implausible-volume"]),  # 780 ml or more
        ((100, 300, 300), None, ["more-white-than-gray"]),
        ((5, 450, 250), None, ["implausible-csf"]),
        ((400, 250, 200), None, ["implausible-csf"]),
    ],
)
def test_volumes_are_held_against_the_age(volumes, age, found):
    assert codes(label_map(*volumes), age) == found


def test_islands_of_white_matter_are_told_and_small_ones_are_not():
    array = label_map()
    slab = array == 3
    few, many = array.copy(), array.copy()
    few[tuple(np.argwhere(slab)[:10].T)] = 2  # 10 of the 200 move to a corner of the CSF: 5 %
    few[1, 1, 1:11] = 3
    assert codes(few) == []
    many[tuple(np.argwhere(slab)[:30].T)] = 2
    many[1, 1:4, 1:11] = 3
    assert codes(many) == ["disconnected-white-matter"]


def test_islands_of_brain_are_told():
    array = label_map()
    array[11, 11, 11] = 2
    assert codes(array) == []
    big = np.zeros((12, 12, 20), dtype=np.uint8)
    big[:, :, :12] = label_map()
    big[1:4, 1:4, 15:18] = 2  # 27 of 727
    assert codes(big) == ["disconnected-brain"]


def test_an_empty_map_is_told():
    assert codes(np.zeros((4, 4, 4), np.uint8)) == ["empty-result"]
