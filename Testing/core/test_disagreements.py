"""Where a segmentation and its reference disagree: kinds, and the deepest place by brute force."""

import itertools

import numpy as np
import pytest

from model_core.metrics.disagreements import deepest_place, disagreement_map
from model_core.tissues import CSF, GRAY_MATTER, TISSUES, WHITE_MATTER


def test_every_pair_of_labels_has_its_kind():
    labels, reference = np.divmod(np.arange(16).reshape(4, 2, 2), 4)
    kinds = disagreement_map(labels.astype(np.uint8), reference.astype(np.uint8))
    # rows: what was found, from background to WM; columns: what was expected
    assert kinds.reshape(4, 4).tolist() == [[0, 1, 1, 1], [2, 0, 3, 3], [2, 3, 0, 3], [2, 3, 3, 0]]
    assert kinds.dtype == np.uint8


def by_brute_force(labels, reference, spacing, tissue):
    """First deepest voxel in C order, over all pairs of voxels inside and outside."""
    region = (labels == tissue.label) != (reference == tissue.label)
    outside = np.argwhere(~region)
    best, deepest = None, -1.0
    for voxel in itertools.product(*map(range, labels.shape)):
        if region[voxel]:
            depth = min(np.sqrt((((np.array(voxel) - other) * spacing) ** 2).sum()) for other in outside)
            if depth > deepest + 1e-7:
                best, deepest = voxel, depth
    return best, deepest


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.7, 1.3, 0.9), (2, 1, 0.3)])
@pytest.mark.parametrize("seed", range(3))
def test_the_deepest_place_is_that_of_brute_force(seed, spacing):
    rng = np.random.default_rng(seed)
    labels, reference = rng.choice(4, (2, 5, 6, 7), p=[0.1, 0.1, 0.2, 0.6]).astype(np.uint8)
    reference[1:4, 1:5, 2:6] = 0  # one large region beside the scattered ones
    for tissue in TISSUES:
        place = deepest_place(labels, reference, spacing, tissue)
        voxel, depth = by_brute_force(labels, reference, spacing, tissue)
        assert place.voxel == voxel
        assert place.depth_mm == pytest.approx(depth)
        assert (place.label_found, place.label_expected) == (labels[voxel], reference[voxel])


def test_of_equal_depths_the_first_in_c_order_is_taken_whatever_the_rounding():
    labels, reference = np.zeros((2, 20, 5, 3), np.uint8)
    labels[1:6, 1:4, 1] = 1  # at (3, 1, 1): 3 voxels of 0.3 mm, which is 0.8999999999999999 in floating point
    labels[8:19, 2, 1] = 1  # at (10, 2, 1): 1 voxel of 0.9 mm
    place = deepest_place(labels, reference, (0.3, 0.9, 5), CSF)
    assert place.voxel == (3, 1, 1)
    assert place.depth_mm == pytest.approx(0.9)


def test_labels_of_the_place_say_what_was_found_and_what_was_expected():
    labels, reference = np.full((2, 7, 7, 7), 3, np.uint8)
    labels[2:5, 2:5, 2:5] = 2
    for tissue in (GRAY_MATTER, WHITE_MATTER):
        place = deepest_place(labels, reference, (1, 1, 1), tissue)
        assert (place.voxel, place.depth_mm, place.label_found, place.label_expected) == ((3, 3, 3), 2.0, 2, 3)


def test_where_both_agree_on_a_tissue_there_is_no_place():
    labels, reference = np.zeros((2, 4, 4, 4), np.uint8)
    labels[1, 1, 1] = 2
    assert deepest_place(labels, reference, (1, 1, 1), WHITE_MATTER) is None
    assert deepest_place(labels, reference, (1, 1, 1), GRAY_MATTER).voxel == (1, 1, 1)


def test_a_disagreement_that_fills_the_volume_is_deepest_in_the_middle():
    labels, reference = np.ones((5, 5, 7), np.uint8), np.zeros((5, 5, 7), np.uint8)
    place = deepest_place(labels, reference, (1, 1, 1), CSF)
    assert (place.voxel, place.depth_mm) == ((2, 2, 2), 3.0)
