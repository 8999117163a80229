"""Zeros inside the brain belong to it, and get a label, whatever the network makes of them."""

import numpy as np
import pytest
from scan_phantoms import CENTRE_MM, T1_INTENSITIES, T2_INTENSITIES, grid, labels_at, world_points

from model_core.inference import Segmenter
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.preprocessing import prepare_pair
from model_core.preprocessing.stripping import fill_cavities
from model_core.volumes import Volume
from model_core.weights import load_weights

VENTRICLE_MM = np.array([-3.0, 4.0, 1.0])  # of the phantom, from its centre


def phantom(spacing, zeroed, opened=False):
    """T1, T2, the brain and the ventricle, which is 0 in some scans and may open outwards through one voxel."""
    shape, affine = grid(spacing=spacing)
    points = world_points(shape, affine)
    labels = labels_at(points)
    around = points - CENTRE_MM - VENTRICLE_MM
    ventricle = (around**2).sum(axis=-1) <= 16
    channel = np.zeros(shape, bool)
    if opened:
        at = np.argwhere(ventricle).mean(axis=0).round().astype(int)
        channel[at[0], at[1], at[2] :] = True
    scans = []
    for name, values in (("t1", T1_INTENSITIES), ("t2", T2_INTENSITIES)):
        noise = np.random.default_rng(len(scans)).normal(0, 2, shape)
        array = np.where(labels > 0, values[labels] + noise, 0)
        hole = ventricle | channel if name in zeroed else np.zeros(shape, bool)
        scans.append(Volume(np.where(hole, 0, array).astype(np.float32), affine, f"{name}.nii"))
    return *scans, labels > 0, ventricle


class Blind:
    """A network that takes what is dark in one scan for background, and all else for gray matter."""

    @staticmethod
    def segment(pair):
        seen = (pair.t1 > 15) & (pair.t2 > 40)
        labels = np.where(seen, 2, 0).astype(np.uint8)
        probabilities = np.full((4, *labels.shape), 0.02, np.float32)
        np.put_along_axis(probabilities, labels[None].astype(np.intp), 0.94, axis=0)
        return labels, probabilities


@pytest.mark.parametrize("opened", [False, True], ids=["enclosed", "with a narrow opening"])
@pytest.mark.parametrize("zeroed", [("t1",), ("t2",), ("t1", "t2")], ids="+".join)
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.8, 0.8, 0.8)], ids=["1 mm", "interpolated"])
def test_zeros_in_a_ventricle_become_csf_where_the_network_sees_background(spacing, zeroed, opened):
    t1, t2, brain, ventricle = phantom(spacing, zeroed, opened)
    pair = prepare_pair(t1, t2)
    labels, probabilities = pair.result_to_native(*Blind.segment(pair), with_probabilities=True)
    assert (labels[ventricle] == 1).mean() > (0.9 if spacing == (1, 1, 1) else 0.6)
    assert labels[ventricle].all()
    np.testing.assert_array_equal(labels, probabilities.argmax(axis=0))
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    assert pair.labels_to_native(Blind.segment(pair)[0])[ventricle].all()
    assert not labels[~brain].any()


def test_a_hole_in_the_mask_is_filled_and_zeros_of_a_rim_that_is_too_wide_stay_background():
    t1, t2, brain, ventricle = phantom((1, 1, 1), ("t1", "t2"))
    wide = np.pad(brain, 1)[2:, 1:-1, 1:-1] | brain
    pair = prepare_pair(t1, t2, Volume(wide & ~ventricle, t1.affine, "mask.nii"))
    labels, _ = pair.result_to_native(*Blind.segment(pair), with_probabilities=False)
    assert labels[ventricle].all()
    assert not labels[wide & ~brain].any()


def test_the_networks_own_answer_stands_where_it_is_a_tissue():
    t1, t2, _, ventricle = phantom((1, 1, 1), ("t1", "t2"))
    pair = prepare_pair(t1, t2)
    labels = np.where(pair.mask, 3, 0).astype(np.uint8)
    probabilities = np.eye(4, dtype=np.float32)[:, labels]
    native, _ = pair.result_to_native(labels, probabilities, with_probabilities=False)
    assert (native[ventricle] == 3).all()


def test_with_the_weights_that_ship_no_zero_inside_the_brain_is_left_without_a_label():
    t1, t2, _, ventricle = phantom((1, 1, 1), ("t1", "t2"))
    pair = prepare_pair(t1, t2)
    found = Segmenter(load_weights(DEFAULT_WEIGHTS)[0], device="cpu").segment(pair.t1, pair.t2, step=32, mask=pair.mask)
    labels, _ = pair.result_to_native(found.labels, found.probabilities, with_probabilities=False)
    assert labels[ventricle].all()


def test_what_opens_widely_is_outside():
    block = np.ones((12, 12, 12), bool)
    block[4:8, 4:8, 4:] = False  # four voxels wide, up to the surface
    assert np.array_equal(fill_cavities(block), block)
    block[4:8, 4:8, 9:] = True
    block[5, 5, 9:] = False  # one voxel
    filled = fill_cavities(block)
    assert filled[4:8, 4:8, 4:9].all()
