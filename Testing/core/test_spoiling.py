"""Pairs from easy to hopeless: each fault does what its name says, and the true labels stay true."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from model_core.synthesis import spoiling
from model_core.synthesis.anatomies import prepare_anatomy
from model_core.synthesis.draw import Draw
from model_core.synthesis.generator import make_pair
from model_core.synthesis.spoiling import FAULTS, draw_faults, make_spoiled_pair
from model_core.volumes import Volume

SHAPE = (24, 20, 16)


@pytest.fixture
def images():
    numbers = np.random.default_rng(1)
    return [torch.from_numpy(numbers.uniform(0.5, 2, SHAPE).astype(np.float32)) for _ in range(2)]


@pytest.fixture
def mask():
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[4:20, 4:16, 4:12] = True
    return mask


@pytest.mark.parametrize("name", [name for name in FAULTS if name != "swapped scans"])
def test_a_fault_of_no_strength_changes_nothing(name, images, mask):
    found, kept = FAULTS[name](list(images), mask, Draw(5), 0.0)
    for image, before in zip(found, images, strict=True):
        np.testing.assert_allclose(image[mask], before[mask], atol=1e-4)
    assert torch.equal(kept, mask)


@pytest.mark.parametrize("name", ["noise", "blur", "motion", "bias", "misalignment"])
def test_a_stronger_fault_changes_the_scans_more_and_leaves_the_mask(name, images, mask):
    changes = []
    for strength in (0.2, 1.0):
        found, kept = FAULTS[name](list(images), mask, Draw(5), strength)
        assert torch.equal(kept, mask)
        changes.append(float((found[1] - images[1])[mask].abs().mean()))
    assert changes[1] > changes[0] > 0.01


def test_noise_is_as_strong_as_it_says(images, mask):
    flat = [torch.full(SHAPE, 10.0) for _ in range(2)]
    found, _ = FAULTS["noise"](flat, mask, Draw(5), 1.0)
    assert float(found[0].std()) == pytest.approx(spoiling.LARGEST_NOISE, rel=0.03)


def test_a_misaligned_t2_leaves_t1_alone(images, mask):
    found, _ = FAULTS["misalignment"](list(images), mask, Draw(5), 1.0)
    assert torch.equal(found[0], images[0])


def test_a_cut_mask_loses_one_end_of_the_brain(images, mask):
    found, kept = FAULTS["cut mask"](list(images), mask, Draw(5), 1.0)
    assert all(torch.equal(image, before) for image, before in zip(found, images, strict=True))
    assert not (kept & ~mask).any()
    sides = [int(np.ptp(np.nonzero(kept.numpy())[axis])) + 1 for axis in range(3)]
    shortened = [side for side, before in zip(sides, (16, 12, 8), strict=True) if side != before]
    assert len(shortened) == 1
    assert 1 - int(kept.sum()) / int(mask.sum()) == pytest.approx(spoiling.LARGEST_CUT, abs=0.07)


def test_a_shifted_mask_takes_in_something_else_than_brain(images, mask):
    outside = [torch.where(mask, image, torch.zeros(())) for image in images]
    found, kept = FAULTS["shifted mask"](outside, mask, Draw(5), 0.5)
    beyond = kept & ~mask
    assert beyond.any()
    assert (mask & ~kept).any()
    assert all((image[beyond] > 0).all() for image in found)


def test_exchanged_scans_are_exchanged(images, mask):
    found, _ = FAULTS["swapped scans"](list(images), mask, Draw(5), 0.1)
    assert torch.equal(found[0], images[1])
    assert torch.equal(found[1], images[0])


@pytest.fixture(scope="module")
def anatomies():
    distance = np.sqrt(((np.indices((32, 32, 32)) - 16) ** 2).sum(0))
    maps = [np.select([distance <= 3, distance <= 7, distance <= side], [4, 2, 3], 0) for side in (11, 12)]
    return [prepare_anatomy(Volume(values, np.eye(4), f"{name}.nii")) for name, values in zip("ab", maps, strict=True)]


@pytest.fixture(scope="module")
def series(anatomies):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_core.synthesis.deformation.PARENCHYMA_ML", (5.0, 6.0))
        pairs = [make_spoiled_pair(anatomies, 7, number) for number in range(1, 9)]
        return pairs, [make_pair(anatomies, 7, number, spoiling.SHARES) for number in range(1, 9)]


def test_the_true_labels_are_those_of_the_pair_inside_the_mask_that_was_given(series):
    for spoiled, plain in zip(*series, strict=True):
        np.testing.assert_array_equal(spoiled.labels, np.where(spoiled.mask, plain.labels, 0))
        assert spoiled.anatomy == plain.anatomy
        for scan in (spoiled.t1, spoiled.t2):
            assert scan is None or not scan[~spoiled.mask].any()


def test_a_pair_without_faults_is_as_it_was_made_and_one_with_faults_is_not(series):
    for spoiled, plain in zip(*series, strict=True):
        same = [
            scan is not None and np.array_equal(scan, before)
            for scan, before in zip((spoiled.t1, spoiled.t2), (plain.t1, plain.t2), strict=True)
        ]
        assert all(same) == (not spoiled.faults)
        for name, scan in (("no T1", spoiled.t1), ("no T2", spoiled.t2)):
            assert (scan is None) == (name in spoiled.faults)


def test_a_series_meets_every_fault_and_none():
    met = [draw_faults(Draw((1, number))) for number in range(400)]
    counts = Counter(name for faults in met for name in faults)
    assert set(counts) == {*FAULTS, "no T1", "no T2"}
    assert sum(not faults for faults in met) / 400 == pytest.approx(0.25 * 0.85, abs=0.06)
    assert (counts["no T1"] + counts["no T2"]) / 400 == pytest.approx(0.15, abs=0.06)
    assert not any({"no T1", "no T2"} <= set(faults) for faults in met)
    strengths = [strength for faults in met for name, strength in faults.items() if name in FAULTS]
    assert min(strengths) < 0.05
    assert max(strengths) > 0.95


def test_the_same_seed_gives_the_same_pair(anatomies, series, monkeypatch):
    monkeypatch.setattr("model_core.synthesis.deformation.PARENCHYMA_ML", (5.0, 6.0))
    again, before = make_spoiled_pair(anatomies, 7, 3), series[0][2]
    assert again.faults == before.faults
    np.testing.assert_array_equal(again.mask, before.mask)
    other = make_spoiled_pair(anatomies, 8, 3)
    assert other.labels.shape != again.labels.shape or (other.labels != again.labels).any()
