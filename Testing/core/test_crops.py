"""Training crops: pieces of the pairs, told where in the brain they lie, changed only as scans differ."""

import numpy as np
import pytest

from model_core.datasets.crops import (
    GAIN,
    LARGEST_NOISE,
    MARGIN,
    MISSING_SCAN,
    Box,
    CropSampler,
    cut_box,
    draw_crops,
    sampler_for,
)
from model_core.datasets.subjects import LabelledPair, PatchSampler
from model_core.networks import build_network
from model_core.networks.input_form import InputForm

CROP = 6
WHOLE_VOLUME = InputForm(standardised_over="volume", placed=True)


def pair_of(shape=(20, 22, 18), first=(3, 6, 2), last=(13, 20, 11), seed=0):
    """Scans of noise in a box of brain; labels of noise, so that a piece of them is found in one place alone."""
    rng = np.random.default_rng(seed)
    brain = np.zeros(shape, dtype=bool)
    brain[tuple(map(slice, first, last))] = True
    t1, t2 = (np.where(brain, rng.uniform(50, 900, shape), 0).astype(np.float32) for _ in range(2))
    labels = rng.integers(0, 256, shape).astype(np.uint8)
    return LabelledPair(f"pair {seed}", t1, t2, labels), brain


def standardised_by_hand(scan, brain):
    values = scan[brain].astype(np.float64)
    values = np.clip(values, *np.percentile(values, [0.5, 99.5]))
    result = np.zeros(scan.shape)
    result[brain] = (values - values.mean()) / values.std()
    return result


def find(piece, labels):
    """First voxels of all places at which a piece of labels lies."""
    views = np.lib.stride_tricks.sliding_window_view(labels, piece.shape)
    return np.argwhere((views == piece).all(axis=(3, 4, 5)))


def located(crops, box):
    """Each crop with its images and its place as they lay in the box, mirroring undone, and its first voxel."""
    for image, label, place in zip(*crops, strict=True):
        for mirrored in (False, True):
            seen = label[::-1] if mirrored else label
            for start in find(seen, box.labels):
                yield (
                    image[:, ::-1] if mirrored else image,
                    np.concatenate([-place[:1, ::-1], place[1:]]) if mirrored else place,
                    start,
                    mirrored,
                )


def box_of(pair, brain, crop=CROP):
    return cut_box(pair.t1, pair.t2, pair.labels, brain, crop)


# ---- boxes ----


def test_a_box_is_the_brain_standardised_with_a_margin():
    pair, brain = pair_of()
    box = box_of(pair, brain)
    assert box.labels.shape == (10 + 2 * MARGIN, 14 + 2 * MARGIN, 9 + 2 * MARGIN)
    assert box.brain.tolist() == [[4, 14], [4, 18], [4, 13]]
    assert (box.images.dtype, box.labels.dtype) == (np.float16, np.uint8)
    inside = (slice(4, 14), slice(4, 18), slice(4, 13))
    for image, scan in zip(box.images, (pair.t1, pair.t2), strict=True):
        np.testing.assert_allclose(image[inside], standardised_by_hand(scan, brain)[3:13, 6:20, 2:11], atol=2e-3)
        assert np.count_nonzero(image) <= brain.sum()
    np.testing.assert_array_equal(box.labels[inside], pair.labels[3:13, 6:20, 2:11])
    margin = np.ones(box.labels.shape, dtype=bool)
    margin[inside] = False
    assert not box.labels[margin].any()
    assert not box.images[:, margin].any()


def test_a_brain_smaller_than_a_crop_gets_the_room_of_one():
    pair, brain = pair_of()
    box = box_of(pair, brain, crop=25)
    assert box.labels.shape == (25, 25, 25)
    # 10, 14 and 9 voxels lack 15, 11 and 16; the odd one goes to the far side.
    assert box.brain.tolist() == [[7, 17], [5, 19], [8, 17]]


def test_a_mask_decides_what_the_brain_is():
    pair, brain = pair_of()
    part = brain.copy()
    part[:8] = False
    box = box_of(pair, part)
    assert box.brain.tolist() == [[4, 9], [4, 18], [4, 13]]
    np.testing.assert_allclose(
        box.images[1, 4:9, 4:18, 4:13], standardised_by_hand(pair.t2, part)[8:13, 6:20, 2:11], atol=2e-3
    )


# ---- crops ----


@pytest.fixture(scope="module")
def many():
    """Four hundred crops of one box."""
    pair, brain = pair_of()
    box = box_of(pair, brain)
    return draw_crops([box], CROP, 400, np.random.default_rng(1)), box


def test_every_crop_is_a_piece_of_the_pair_half_of_them_mirrored(many):
    crops, box = many
    assert crops.images.shape == (400, 2, CROP, CROP, CROP)
    assert crops.labels.shape == (400, CROP, CROP, CROP)
    assert (crops.images.dtype, crops.labels.dtype, crops.places.dtype) == (np.float32, np.uint8, np.float32)
    found = list(located(crops, box))
    assert len(found) >= 400
    mirrored = sum(was for *_, was in found) / len(found)
    assert mirrored == pytest.approx(0.5, abs=0.1)  # its standard error is .025
    starts = np.array([start for _, _, start, _ in found])
    assert (starts.min(axis=0) == 0).all()
    assert (starts.max(axis=0) == np.array(box.labels.shape) - CROP).all()


def test_places_are_where_the_crops_lie_in_the_brain_s_box(many):
    crops, box = many
    for _, place, start, _ in located(crops, box):
        for axis, (low, high) in enumerate(((4, 14), (4, 18), (4, 13))):
            for edge, told in zip((start[axis], start[axis] + CROP), place[axis], strict=True):
                assert told == pytest.approx(-1 + 2 * (edge - low) / (high - low), abs=1e-5)


def test_intensities_change_by_a_gain_a_shift_and_noise_and_stay_0_outside(many):
    crops, box = many
    slopes, spreads, shifts = [], [], []
    for image, _, start, _ in located(crops, box):
        original = box.images[(slice(None), *(slice(a, a + CROP) for a in start))].astype(np.float64)
        assert not image[original == 0].any()
        for scan, before in zip(image, original, strict=True):
            inside = before != 0
            if scan.any() and inside.sum() > 90:
                (slope, shift), residue = np.polyfit(before[inside], scan[inside], 1, full=True)[:2]
                slopes.append(slope)
                shifts.append(shift)
                spreads.append(np.sqrt(residue[0] / inside.sum()))
    assert len(slopes) > 100
    assert GAIN[0] - 0.05 < min(slopes) < 0.88
    assert 1.12 < max(slopes) < GAIN[1] + 0.05
    assert np.std(shifts) == pytest.approx(0.1, rel=0.25)
    assert min(spreads) < 0.02
    assert 0.1 < max(spreads) < 1.1 * LARGEST_NOISE


def test_one_crop_in_five_lacks_one_of_its_scans(many):
    crops, box = many
    lacking = []
    for image, _, start, _ in located(crops, box):
        original = box.images[(slice(None), *(slice(a, a + CROP) for a in start))]
        if original[0].any():
            lacking.append([not scan.any() for scan in image])
    lacking = np.array(lacking)
    assert not lacking.all(axis=1).any()
    assert lacking.any(axis=1).mean() == pytest.approx(MISSING_SCAN, abs=0.08)  # its standard error is .02
    assert lacking[:, 0].sum() == pytest.approx(lacking[:, 1].sum(), abs=30)


def test_all_pairs_are_drawn_from():
    boxes = [box_of(*pair_of(seed=seed)) for seed in (1, 2, 3)]
    crops = draw_crops(boxes, CROP, 60, np.random.default_rng(0))
    counts = [len(list(located(crops, box))) for box in boxes]
    assert sum(counts) == 60
    assert min(counts) > 8


def test_the_boxes_stay_as_they_were():
    box = box_of(*pair_of())
    before = Box(*(array.copy() for array in (box.images, box.labels, box.brain)))
    draw_crops([box], CROP, 20, np.random.default_rng(0))
    for name in ("images", "labels", "brain"):
        np.testing.assert_array_equal(getattr(box, name), getattr(before, name))


# ---- the sampler ----


def test_an_iteration_gets_the_same_crops_whatever_came_before_it():
    pairs = [pair_of(seed=seed)[0] for seed in (1, 2)]
    one, other, seeded = (CropSampler(pairs, crop=CROP, seed=seed) for seed in (4, 4, 5))
    one.batch(0, 3)
    for first, second in zip(one.batch(7, 3), other.batch(7, 3), strict=True):
        np.testing.assert_array_equal(first, second)
    assert (one.batch(7, 3).images != one.batch(8, 3).images).any()
    assert (one.batch(7, 3).images != seeded.batch(7, 3).images).any()


def test_the_sampler_takes_what_a_scan_shows_and_encloses_for_the_brain():
    pair, brain = pair_of()
    pair.t1[:, :, 4], pair.t1[8, 12, 5], pair.t2[8, 12, 5] = 0, 0, 0
    (box,) = CropSampler([pair], crop=CROP, seed=0)._boxes
    assert box.brain.tolist() == [[4, 14], [4, 18], [4, 13]]
    expected = standardised_by_hand(pair.t1, brain)[8, 12, 5]
    assert box.images[0, 4 + 5, 4 + 6, 4 + 3] == pytest.approx(expected, abs=2e-3)
    assert expected < -1


def test_no_pair_or_an_empty_one_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="pairs is empty; at least one subject is expected"):
        CropSampler([], crop=CROP, seed=0)
    zeros = np.zeros((9, 10, 11), np.float32)
    with pytest.raises(ValueError, match=r"dark of shape \(9, 10, 11\) is 0 everywhere; a brain is expected"):
        CropSampler([LabelledPair("dark", zeros, zeros, zeros.astype(np.uint8))], crop=CROP, seed=0)


def test_networks_get_crops_or_windows_as_they_want_them():
    pairs = [pair_of()[0]]
    windows = sampler_for(pairs, InputForm(), window=CROP, seed=3)
    crops = sampler_for(pairs, WHOLE_VOLUME, window=CROP, seed=3)
    assert (type(windows), type(crops)) == (PatchSampler, CropSampler)
    assert [array.shape for array in windows.batch(0, 2)] == [(2, 2, CROP, CROP, CROP), (2, CROP, CROP, CROP)]
    assert [array.shape for array in crops.batch(0, 2)] == [
        (2, 2, CROP, CROP, CROP),
        (2, CROP, CROP, CROP),
        (2, 3, 2),
    ]
    fast = sampler_for(pairs, build_network("fast_unet").input_form, window=CROP, seed=3)
    np.testing.assert_array_equal(fast.batch(0, 2).images, crops.batch(0, 2).images)
