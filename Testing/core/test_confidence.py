"""Trust without a reference: how looks agree, what Dice that lets expect, where the errors may lie."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from trained_networks import trained

from model_core.confidence.agreement import dice_with_probabilities, pairwise_dice
from model_core.confidence.calibration import (
    CARD_ENTRY,
    UNUSABLE_BELOW,
    Calibration,
    Curve,
    Range,
    calibration_of,
    fit_curve,
)
from model_core.confidence.uncertainty import share_of_errors_found, uncertain_places, uncertainty_of
from model_core.errors import UserError
from model_core.inference import Segmenter
from model_core.networks.ensemble import Ensemble
from model_core.tissues import TISSUES
from model_core.windows import WHOLE_BRAIN

LINE = Curve((0.5, 0.9), (0.4, 0.8), -0.5, 0.25)


def tables(*pairs: np.ndarray) -> np.ndarray:
    return np.stack(pairs).astype(np.int64)


def counted(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The table of two label maps, voxel by voxel."""
    table = np.zeros((4, 4), np.int64)
    for row, column in zip(one.ravel(), other.ravel(), strict=True):
        table[row, column] += 1
    return table


class TestAgreement:
    def test_it_is_the_dice_of_each_two_label_maps_averaged(self):
        numbers = np.random.default_rng(1)
        maps = numbers.integers(0, 4, (3, 6, 5, 4))
        pairs = list(itertools.combinations(maps, 2))
        found = pairwise_dice(tables(*(counted(*pair) for pair in pairs)))
        for tissue in TISSUES:
            masks = [(one == tissue.label, other == tissue.label) for one, other in pairs]
            dice = [2 * (one & other).sum() / (one.sum() + other.sum()) for one, other in masks]
            assert found[tissue.key] == pytest.approx(np.mean(dice))

    def test_a_tissue_that_neither_found_counts_as_nothing_agreed_on(self):
        table = np.zeros((4, 4))
        table[1, 1] = table[3, 3] = 10
        assert pairwise_dice(tables(table)) == {"csf": 1, "gm": 0, "wm": 1}

    def test_a_map_and_its_probabilities_agree_as_far_as_draws_from_them_do(self):
        numbers = np.random.default_rng(4)
        probabilities = numbers.dirichlet((1, 1, 1, 1), (8, 8, 8)).transpose(3, 0, 1, 2)
        labels, brain = probabilities.argmax(axis=0), numbers.random((8, 8, 8)) < 0.7
        found = dice_with_probabilities(labels, probabilities, brain)
        draws = (probabilities.cumsum(axis=0)[:, None] < numbers.random((400, 8, 8, 8))).sum(axis=0)
        for tissue in TISSUES:
            mine, drawn = (labels == tissue.label) & brain, (draws == tissue.label) & brain
            dice = [2 * (mine & one).sum() / (mine.sum() + one.sum()) for one in drawn]
            assert found[tissue.key] == pytest.approx(np.mean(dice), abs=0.01)

    def test_one_look_alone_has_no_agreement(self):
        assert pairwise_dice(np.zeros((0, 4, 4))) == {}


def scans(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    numbers = np.random.default_rng(2)
    t1, t2 = numbers.uniform(50, 400, (2, *shape)).astype(np.float32)
    mask = np.zeros(shape, bool)
    mask[2:-3, 1:-2, 3:-1] = True
    return t1, t2, mask


class TestLooks:
    """What a segmentation tells of the looks behind it."""

    def test_each_two_members_are_compared_voxel_by_voxel_inside_the_brain(self):
        members = [trained("model2", seed) for seed in (1, 2, 3)]
        t1, t2, mask = scans((32, 16, 16))
        alone = [Segmenter(member, window=16, device="cpu").segment(t1, t2, step=16, mask=mask) for member in members]
        together = Segmenter(Ensemble(members), window=16, device="cpu").segment(t1, t2, step=16, mask=mask)
        for table, (one, other) in zip(together.pair_counts, itertools.combinations(alone, 2), strict=True):
            np.testing.assert_array_equal(table, counted(one.labels[mask], other.labels[mask]))
            assert len(np.unique(one.labels[mask])) > 1
            assert np.trace(table) < table.sum() == mask.sum()

    def test_windows_that_overlap_count_each(self):
        ensemble = Ensemble([trained("model2", seed) for seed in (1, 2)])
        t1, t2, mask = scans((16, 16, 24))
        segment = Segmenter(ensemble, window=16, device="cpu").segment
        whole = segment(t1, t2, step=8, mask=mask).pair_counts
        halves = [
            segment(t1[..., part], t2[..., part], step=8, mask=mask[..., part]) for part in (slice(16), slice(8, 24))
        ]
        np.testing.assert_array_equal(whole, sum(half.pair_counts for half in halves))

    def test_the_agreement_is_that_of_the_looks_or_where_there_is_one_of_map_and_probabilities(self):
        members = [trained("model2", seed) for seed in (1, 2)]
        t1, t2, mask = scans((16, 16, 16))
        together, alone = (
            Segmenter(network, window=16, device="cpu").segment(t1, t2, step=16, mask=mask)
            for network in (Ensemble(members), members[0])
        )
        assert together.agreement == pairwise_dice(together.pair_counts)
        assert alone.agreement == dice_with_probabilities(alone.labels, alone.probabilities, mask)

    def test_the_mirrored_look_of_one_network_is_compared_with_the_first(self):
        network = trained("fast_unet")
        network.input_form = network.input_form.__class__(**(vars(network.input_form) | {"mirrored": False}))
        once = Segmenter(network, device="cpu")
        t1, t2, mask = scans((24, 24, 24))
        mask[:] = False
        mask[4:20, 4:20, 4:20] = True  # the window around it, 16³, is where it was after the turn
        plain = once.segment(t1, t2, step=WHOLE_BRAIN, mask=mask)
        turned = once.segment(t1[::-1], t2[::-1], step=WHOLE_BRAIN, mask=mask)
        assert plain.pair_counts.shape == (0, 4, 4)
        assert once.looks == 1
        network.input_form = network.input_form.__class__(**(vars(network.input_form) | {"mirrored": True}))
        segmenter = Segmenter(network, device="cpu")
        assert segmenter.looks == 2
        both = segmenter.segment(t1, t2, step=WHOLE_BRAIN, mask=mask)
        labels = [found.probabilities.argmax(axis=0) for found in (plain, turned)]
        expected = counted(labels[0][mask], labels[1][::-1][mask])
        np.testing.assert_allclose(both.pair_counts[0], expected, atol=3)  # a mean of whole numbers may end a tie
        np.testing.assert_allclose(
            both.probabilities[:, mask], (plain.probabilities + turned.probabilities[:, ::-1])[:, mask] / 2, atol=1e-5
        )


class TestUncertainty:
    def test_it_is_the_entropy_in_shares_of_two_bits(self):
        columns = [(1, 0, 0, 0), (0.25, 0.25, 0.25, 0.25), (0, 0.5, 0.5, 0), (0.5, 0.25, 0.125, 0.125)]
        probabilities = np.array(columns, np.float32).T.reshape(4, 2, 2, 1)
        np.testing.assert_allclose(uncertainty_of(probabilities).ravel(), [0, 1, 0.5, 1.75 / 2], atol=1e-6)

    def test_outside_the_brain_there_is_none(self):
        brain = np.array([True, False]).reshape(2, 1, 1)
        found = uncertainty_of(np.full((4, 2, 1, 1), 0.25, np.float32), brain)
        assert found.dtype == np.float32
        assert found.ravel().tolist() == [1, 0]

    def test_a_result_has_it(self):
        t1, t2, mask = scans((16, 16, 16))
        found = Segmenter(trained("model2"), window=16, device="cpu").segment(t1, t2, step=16, mask=mask)
        assert not found.uncertainty[~mask].any()
        p = found.probabilities[:, mask].astype(float)
        np.testing.assert_allclose(found.uncertainty[mask], -(p * np.log2(p)).sum(axis=0) / 2, atol=1e-5)

    def test_errors_are_found_among_the_most_uncertain_voxels(self):
        uncertainty = np.arange(20.0).reshape(20, 1, 1)
        reference = np.ones((20, 1, 1), int)
        labels = reference.copy()
        labels[[0, 17, 18, 19]] = 2
        brain = np.ones((20, 1, 1), bool)
        assert share_of_errors_found(uncertainty, labels, reference, brain) == 0.5  # 18 and 19
        brain[10:] = False  # of the ten left one is looked at, the ninth
        assert share_of_errors_found(uncertainty, labels, reference, brain) == 0
        assert share_of_errors_found(uncertainty, labels, reference, brain, looked_at=1) == 1
        assert np.isnan(share_of_errors_found(uncertainty, reference, reference, brain))

    def test_the_place_to_look_at_is_the_middle_of_the_largest_region_in_question(self):
        shape = (40, 40, 40)
        brain = np.ones(shape, bool)
        probabilities = np.zeros((4, *shape), np.float32)
        probabilities[0] = 1
        for tissue, side, corner in (
            (2, 9, 4),
            (2, 5, 28),
            (3, 7, 18),
        ):  # gray matter's larger region, then the smaller
            box = (slice(corner, corner + side),) * 3
            probabilities[0][box] = probabilities[tissue][box] = 0.5
        found = uncertain_places(uncertainty_of(probabilities), probabilities, brain)
        assert set(found) == {"gm", "wm"}
        assert found["gm"].voxel == (8, 8, 8)
        assert found["wm"].voxel == (21, 21, 21)
        assert found["gm"].voxels > found["wm"].voxels

    def test_a_map_that_is_sure_everywhere_has_no_place_to_look_at(self):
        probabilities = np.zeros((4, 8, 8, 8), np.float32)
        probabilities[2] = 1
        brain = np.ones((8, 8, 8), bool)
        assert uncertain_places(uncertainty_of(probabilities, brain), probabilities, brain) == {}


class TestCalibration:
    def test_the_curve_goes_through_the_means_and_never_falls(self):
        # Six values of the agreement, in as many maps as each knot has; the second and third stand the wrong way round.
        values, counts = np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8]), (4, 6, 10, 10, 6, 4)
        means = np.array([0.2, 0.4, 0.32, 0.5, 0.6, 0.7])
        dice = np.repeat(means, counts) + np.tile([-0.1, 0.1], 20)
        curve = fit_curve(np.repeat(values, counts), dice)
        pooled = (6 * 0.4 + 10 * 0.32) / 16
        expected = [0.2, pooled, pooled, 0.5, 0.6, 0.7]
        np.testing.assert_allclose([curve.expect(value).middle for value in values], expected, atol=1e-3)
        for value, between in ((0.0, 0.0), (0.15, 0.1), (0.65, 0.55), (1.0, 0.7)):
            assert curve.expect(value).middle == pytest.approx(between, abs=1e-3)

    def test_four_maps_in_five_lie_within_their_range(self):
        numbers = np.random.default_rng(3)
        agreement = numbers.uniform(0.5, 1, 4000)
        dice = 0.95 * agreement + (1 - 0.95 * agreement) * numbers.normal(0, 0.2, 4000)
        curve = fit_curve(agreement[:2000], dice[:2000])
        ranges = [curve.expect(value) for value in agreement[2000:]]
        within = [expected.low <= true <= expected.high for expected, true in zip(ranges, dice[2000:], strict=True)]
        assert np.mean(within) == pytest.approx(0.8, abs=0.03)
        middle = [expected.middle for expected in ranges]
        np.testing.assert_allclose(middle, 0.95 * agreement[2000:], atol=0.05)

    def test_networks_that_never_agree_are_expected_to_be_wrong(self):
        curve = fit_curve([0.0, 0.0, 0.0], [0.1, 0.0, 0.2])
        assert curve.expect(0.0).middle == 0
        assert curve.expect(0.0).high > 0

    def test_ranges_are_narrower_for_better_maps_and_end_at_0_and_1(self):
        low, middle, high = vars(LINE.expect(0.7)).values()
        assert (low, middle, high) == pytest.approx((0.4, 0.6, 0.7))
        best = LINE.expect(0.95)
        assert (best.low, best.middle, best.high) == pytest.approx((0.7, 0.8, 0.85))
        assert Curve((0.5,), (0.1,), -1.0, 5.0).expect(0.5) == Range(0.0, 0.1, 1.0)

    def test_a_tissue_of_which_too_little_is_expected_makes_the_map_unusable(self):
        calibration = Calibration({"csf": LINE, "gm": LINE, "wm": LINE})
        expected = calibration.expect({"csf": 0.9, "gm": 0.7, "wm": 0.5})
        assert [round(dice.middle, 3) for dice in expected.values()] == [0.8, 0.6, 0.4]
        assert UNUSABLE_BELOW == 0.7
        assert calibration.unusable(expected) == ["gm", "wm"]

    def test_without_an_agreement_nothing_is_expected(self):
        assert Calibration({"csf": LINE}).expect({}) == {}

    def test_a_card_gives_back_what_was_learned(self):
        calibration = Calibration({"csf": LINE, "gm": LINE, "wm": fit_curve([0.6, 0.7, 0.8], [0.5, 0.6, 0.65])})
        card = json.loads(json.dumps({CARD_ENTRY: {"tissues": calibration.as_dict()}}))
        assert calibration_of(card) == calibration
        assert calibration_of({}) is None

    @pytest.mark.parametrize(
        "damage",
        [
            lambda entry: entry.pop("tissues"),
            lambda entry: entry["tissues"].pop("gm"),
            lambda entry: entry["tissues"]["gm"].update(agreement=[0.9, 0.5]),
            lambda entry: entry["tissues"]["gm"].update(dice=[0.5]),
            lambda entry: entry["tissues"]["gm"].update(below="x"),
            lambda entry: entry["tissues"]["gm"].update(above=float("nan")),
            lambda entry: entry.update(tissues=[1]),
        ],
    )
    def test_a_card_that_says_something_else_is_refused_in_a_sentence(self, damage):
        card = {CARD_ENTRY: {"tissues": Calibration({"csf": LINE, "gm": LINE, "wm": LINE}).as_dict()}}
        card = json.loads(json.dumps(card))
        damage(card[CARD_ENTRY])
        with pytest.raises(UserError, match=r"expected what make_weights\.py writes"):
            calibration_of(card)
