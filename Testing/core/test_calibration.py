"""Synthetic six-month pairs overlap in intensity and share the brain as published of real ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model_core.default_weights.recipe import anatomy_files
from model_core.synthesis.anatomies import read_anatomies
from model_core.synthesis.generator import SyntheticPair, make_pair
from model_core.synthesis.shares import Shares
from model_core.synthesis.statistics import ISEG_2017, fisher_ratio, histogram_overlap, pair_statistics

SEED, PAIRS = 7, 50
# How far the median of the pairs may lie from the published mean.
TOLERANCES = {
    key: 0.07 if "csf" in key else 0.05 for key in ISEG_2017 if key.endswith("share") or "overlap" in key
} | dict.fromkeys(("csf share", "gm share", "wm share"), 0.05)


def test_the_overlap_of_histograms_is_the_one_counted_by_hand():
    one, other = np.array([0.0, 0.0, 1.0, 3.9]), np.array([0.0, 3.9])
    # Of 256 bins from 0 to 4 three are filled: by 1/2 and 1/2, by 1/4 and 0, by 1/4 and 1/2.
    assert histogram_overlap(one, other, (0, 4)) == pytest.approx(0.75)
    assert histogram_overlap(other, one, (0, 4)) == pytest.approx(0.75)
    assert histogram_overlap(one, one, (0, 4)) == pytest.approx(1)
    assert histogram_overlap(one, one + 0.5, (0, 5)) == 0


def test_two_gaussians_overlap_as_their_distributions_do():
    rng = np.random.default_rng(0)
    one, other = rng.normal(100, 10, 200_000), rng.normal(120, 10, 100_000)
    # Densities of one spread cross in the middle: twice the tail of a normal beyond one standard deviation.
    assert histogram_overlap(one, other, (0, 220)) == pytest.approx(2 * 0.158655, abs=0.01)


def test_the_fisher_ratio_is_the_one_worked_out_by_hand():
    one, other = np.array([1.0, 3.0]), np.array([4.0, 6.0, 8.0])
    assert fisher_ratio(one, other) == pytest.approx((6 - 2) ** 2 / (1 + 8 / 3))
    assert fisher_ratio(one, one[::-1]) == 0


def test_a_pair_s_statistics_are_of_the_voxels_that_the_mask_and_the_scan_show():
    labels = np.array([1, 1, 2, 2, 2, 2, 3, 3, 3, 0, 2]).reshape(11, 1, 1)
    mask = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], dtype=bool).reshape(11, 1, 1)
    t1 = np.array([10, 0, 20, 20, 30, 30, 30, 40, 50, 900, 900], dtype=np.float32).reshape(11, 1, 1)
    t2 = np.array([90, 0, 50, 50, 60, 60, 50, 60, 40, 900, 900], dtype=np.float32).reshape(11, 1, 1)
    found = pair_statistics(SyntheticPair(t1, t2, labels * mask, mask, np.eye(4), "by hand", "six-month"))
    assert set(ISEG_2017) <= set(found)
    assert found["gm/wm overlap t1"] == pytest.approx(1 / 3)  # 30: half of gray, a third of white
    assert found["gm/wm overlap t2"] == pytest.approx(2 / 3)  # 50 and 60: a half and a third each
    assert found["csf/gm overlap t1"] == found["csf/wm overlap t2"] == 0
    # Gray 25 ± 5, white 40 with variance 200/3.
    assert found["gm/wm fisher t1"] == pytest.approx(15**2 / (25 + 200 / 3))
    assert found["gm/wm fisher t2"] == pytest.approx(5**2 / (25 + 200 / 3))
    assert [found[f"{key} share"] for key in ("csf", "gm", "wm")] == pytest.approx([2 / 9, 4 / 9, 3 / 9])
    assert found["gm/wm volume"] == pytest.approx(4 / 3)


# ---- fifty pairs: four minutes of one busy core ----


@pytest.fixture(scope="module")
def measured():
    """The statistics of fifty pairs: key -> (50,)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    anatomies = read_anatomies(anatomy_files()[0])
    rows = [pair_statistics(make_pair(anatomies, SEED, number, Shares())) for number in range(1, PAIRS + 1)]
    torch.set_num_threads(threads)
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


@pytest.mark.timeout(900)  # the first one makes the pairs
@pytest.mark.parametrize("key", TOLERANCES)
def test_overlaps_and_shares_are_those_of_six_month_scans(measured, key):
    assert np.median(measured[key]) == pytest.approx(ISEG_2017[key], abs=TOLERANCES[key])


@pytest.mark.timeout(900)
def test_gray_and_white_matter_are_as_far_apart_as_in_six_month_scans(measured):
    assert np.median(measured["gm/wm fisher t1"]) == pytest.approx(ISEG_2017["gm/wm fisher t1"], abs=0.08)
    assert np.median(measured["gm/wm fisher t2"]) < 0.06


@pytest.mark.timeout(900)
def test_gray_matter_is_less_or_more_beside_white_matter_from_pair_to_pair(measured):
    ratios = measured["gm/wm volume"]
    assert 0.8 < ratios.min() < 1.3
    assert 2.0 < ratios.max() < 3
