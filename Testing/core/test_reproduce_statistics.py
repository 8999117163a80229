"""Statistics over folds, against values worked out by hand and scipy."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from model_core.experiments.statistics import paired_test, spread


def test_mean_and_sample_standard_deviation():
    measured = spread([0.9, 0.92, 0.97])
    assert (measured.n, measured.mean) == (3, pytest.approx(0.93))
    assert measured.deviation == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert math.isnan(spread([0.9]).deviation)
    assert math.isnan(spread([]).mean)
    assert spread([1.0, math.inf]).mean == math.inf
    assert spread([1.0, math.nan, 3.0]).n == 2


def test_the_best_that_n_folds_can_give_is_two_in_two_to_the_n():
    for n, p in ((2, 0.5), (4, 0.125), (5, 0.0625), (10, 2 / 1024)):
        test = paired_test([1.0 + 0.1 * i for i in range(n)], [0.0] * n)
        assert (test.n, test.smallest_p, test.p) == (n, pytest.approx(p), pytest.approx(p))


def test_a_test_worked_out_by_hand():
    # Differences 1, 2, 3, -4: ranks of the negative ones sum to 4. Of the 16 signs, sums up to 4 arise as
    # 0, 1, 2, 3, 1+2, 4, 1+3: seven. Two-sided: 14/16.
    test = paired_test([1, 2, 3, 0], [0, 0, 0, 4])
    assert test.p == pytest.approx(14 / 16)
    assert test.difference == pytest.approx(0.5)


def test_ties_take_all_signs():
    # Three equal differences, one of the other sign: average ranks 2.5 each. Sums of the negative ranks up to 2.5:
    # none or one of four: 1 + 4 of 16 signs. Two-sided: 10/16.
    assert paired_test([1, 1, 1, 0], [0, 0, 0, 1]).p == pytest.approx(10 / 16)


def test_equal_pairs_say_nothing():
    test = paired_test([0.3, 0.5, 0.7], [0.1 + 0.2, 0.4, 0.5])  # 0.1 + 0.2 is 0.3 but for the last bit
    assert (test.n, test.smallest_p, test.p) == (3, 0.5, pytest.approx(0.5))
    assert paired_test([0.3], [0.3]).p == 1


def test_undefined_values_are_left_out():
    test = paired_test([1.0, math.inf, math.nan, 3.0], [0.0, math.inf, 1.0, 1.0])
    assert (test.n, test.difference) == (2, pytest.approx(1.5))
    assert math.isnan(paired_test([math.nan], [1.0]).p)
    assert paired_test([], []).n == 0


def test_like_all_signs_tried_one_by_one_with_ties():
    differences = [3, -1, 3, 4, 5, -2, 7, 1, 6, 8]
    ranks = stats.rankdata(np.abs(differences))
    middle = ranks.sum() / 2
    distance = abs(ranks[np.array(differences) < 0].sum() - middle)
    sums = [ranks[np.array(signs)].sum() for signs in product((False, True), repeat=10)]
    expected = np.mean([abs(total - middle) >= distance for total in sums])
    assert paired_test(differences, [0] * 10).p == pytest.approx(expected)


def test_without_ties_like_wilcoxons_table():
    # n = 10, smaller rank sum 8: the critical value of the two-sided 5% level (p = 0.0488).
    assert paired_test([-8, 1, 2, 3, 4, 5, 6, 7, 9, 10], [0] * 10).p == pytest.approx(0.0488, abs=5e-5)
