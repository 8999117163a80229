"""Scores: checked by hand, by brute force, by published cases and by MONAI."""

import json
import math
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial.distance import cdist

from model_core.metric_table import CONVENTIONS, METRICS
from model_core.metrics import (
    TissueScore,
    average_surface_distance,
    column_distances,
    dice,
    format_scores,
    hausdorff_95,
    mhd_3d,
    score_tissues,
    tissue_volumes,
)
from model_core.metrics.scores import MEASURES

CASES = json.loads((Path(__file__).parent / "data" / "metric_cases.json").read_text())["cases"]
MM = (1.0, 1.0, 1.0)


def case_values(case):
    return np.array(case["pred"]), np.array(case["ref"]), case["expected"]


def by_name(cases):
    return {"argvalues": cases, "ids": [case["name"] for case in cases]}


def words(line):
    return " ".join(line.split())


def score_row(tissue, *values):
    """A row of scores; the difference of the volumes, which come last, is worked out here."""
    found, expected = values[-2:]
    difference = 100 * (found - expected) / expected if expected else math.nan
    return TissueScore(tissue, dict(zip((metric.key for metric in METRICS), (*values, difference), strict=True)))


def brute_force_means(first, second):
    """Directed mean distances between all columns of both volumes, with the full matrix, for each axis."""
    means = []
    for axis in range(3):
        columns = [
            np.moveaxis(volume, axis, -1).reshape(-1, volume.shape[axis]).astype(float) for volume in (first, second)
        ]
        distances = cdist(*columns)
        means.append((distances.min(axis=1).mean(), distances.min(axis=0).mean()))
    return means


def blob(rng, shape, sigma=1.5):
    return ndimage.gaussian_filter(rng.standard_normal(shape), sigma) > 0.02


def folded_ribbon(shape, rng):
    """A ribbon as folded as a cortex, in a volume of brain size, and a copy that is wrong along its edges."""
    x, y, z = (
        axis.astype(np.float32)
        for axis in np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j, -1 : 1 : shape[2] * 1j]
    )
    depth = np.sqrt(x**2 + y**2 + z**2) + 0.07 * np.sin(16 * x) * np.sin(19 * y) + 0.07 * np.sin(17 * z + 9 * x)
    noise = ndimage.zoom(rng.standard_normal([side // 4 for side in shape]).astype(np.float32), 4, order=1)
    return tuple((field > 0.55) & (field < 0.72) for field in (depth, depth + 0.01 * noise))


@pytest.mark.parametrize("case", **by_name(CASES))
class TestPublishedCases:
    def test_dice(self, case):
        prediction, reference, expected = case_values(case)
        undefined = expected["dice"] is None  # both empty: the formula is 0/0, ours is 1
        assert dice(prediction, reference) == pytest.approx(1.0 if undefined else expected["dice"], abs=1e-9)

    def test_mhd_3d_is_the_reference_codes(self, case):
        prediction, reference, expected = case_values(case)
        values = expected["mhd3d_all_vectors(REFERENCE CODE)"]
        assert mhd_3d(prediction, reference) == pytest.approx(values["MHD_3D"], abs=1e-8)

    def test_directed_means_along_each_axis(self, case):
        prediction, reference, expected = case_values(case)
        values = expected["mhd3d_all_vectors(REFERENCE CODE)"]
        found = column_distances.mean_nearest_distances(prediction.astype(bool), reference.astype(bool))
        published = [(values[f"fwd_{axis}"], values[f"rev_{axis}"]) for axis in "dhw"]
        np.testing.assert_allclose(found, published, atol=1e-8)


@pytest.mark.parametrize("case", **by_name([case for case in CASES if case["expected"]["surface_brute_force_6nbr"]]))
def test_surface_distances_of_published_cases(case):
    prediction, reference, expected = case_values(case)
    spacing = case["spacing_axis0_axis1_axis2"]
    surface = expected["surface_brute_force_6nbr"]
    assert average_surface_distance(prediction, reference, spacing) == pytest.approx(surface["ASD_mean_of_directed"])
    assert hausdorff_95(prediction, reference, spacing) == pytest.approx(surface["HD95_max_of_directed"])


class TestDice:
    def test_counts_by_hand(self):
        prediction, reference = np.zeros((2, 2, 2)), np.zeros((2, 2, 2))
        prediction[0] = 1  # 4 voxels
        reference[0, 0] = reference[1, 1] = 1  # 4 voxels, 2 of them shared
        assert dice(prediction, reference) == 0.5

    def test_empty_masks(self):
        empty, full = np.zeros((2, 2, 2), bool), np.ones((2, 2, 2), bool)
        assert dice(empty, empty) == 1.0
        assert dice(full, empty) == dice(empty, full) == 0.0


class TestMhd3d:
    @pytest.mark.parametrize("shape", [(5, 6, 7), (1, 9, 70), (65, 3, 8), (3, 130, 5), (1, 1, 1)])
    @pytest.mark.parametrize("density", [0.1, 0.5])
    def test_noise_as_by_brute_force(self, shape, density):
        rng = np.random.default_rng(1)
        first, second = rng.random((2, *shape)) < density
        np.testing.assert_allclose(
            column_distances.mean_nearest_distances(first, second), brute_force_means(first, second), atol=1e-12
        )

    @pytest.mark.parametrize("seed", range(4))
    def test_hundreds_of_similar_columns_as_by_brute_force(self, seed):
        rng = np.random.default_rng(seed)
        first = blob(rng, (26, 33, 29))
        second = np.roll(first, (1, 2, 0), (0, 1, 2)) ^ (rng.random(first.shape) < 0.03)
        means = brute_force_means(first, second)
        np.testing.assert_allclose(column_distances.mean_nearest_distances(first, second), means, atol=1e-12)
        assert mhd_3d(first, second) == pytest.approx(np.mean([max(both) for both in means]), abs=1e-12)

    def test_unrelated_volumes_as_by_brute_force(self):
        rng = np.random.default_rng(7)
        first, second = blob(rng, (20, 40, 30)), blob(rng, (20, 40, 30), sigma=3)
        np.testing.assert_allclose(
            column_distances.mean_nearest_distances(first, second), brute_force_means(first, second), atol=1e-12
        )

    @pytest.mark.parametrize("length", [255, 256, 257, 300])
    def test_columns_that_differ_in_more_voxels_than_a_byte_counts(self, length):
        # Along the long axis each of the four columns differs in `length` voxels, along the others in 2.
        full, empty = np.ones((2, 2, length)), np.zeros((2, 2, length))
        assert mhd_3d(full, empty) == pytest.approx((2 * math.sqrt(2) + math.sqrt(length)) / 3)

    def test_cropping_changes_the_value(self):
        # One voxel against none: 1 of n·n columns has distance 1, along each axis.
        one = np.zeros((4, 4, 4))
        one[1, 1, 1] = 1
        assert mhd_3d(one, np.zeros_like(one)) == pytest.approx(1 / 16)
        assert mhd_3d(one[:2, :2, :2], np.zeros((2, 2, 2))) == pytest.approx(1 / 4)

    def test_empty_masks(self):
        assert mhd_3d(np.zeros((3, 4, 5)), np.zeros((3, 4, 5))) == 0.0

    def test_a_volume_of_brain_size_within_time_and_memory(self):
        prediction, reference = folded_ribbon((144, 192, 256), np.random.default_rng(0))
        assert 0.7 < dice(prediction, reference) < 0.98
        tracemalloc.start()
        started = time.process_time()
        value = mhd_3d(prediction, reference)
        seconds = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 0 < value < 3
        assert seconds < 5
        assert peak < 0.5e9


class TestSurfaceDistances:
    @pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.2, 2.5)])
    @pytest.mark.parametrize("seed", range(3))
    def test_as_monai(self, spacing, seed):
        metrics = pytest.importorskip("monai.metrics")
        torch = pytest.importorskip("torch")
        rng = np.random.default_rng(seed)
        first, second = blob(rng, (14, 11, 17)), blob(rng, (14, 11, 17))
        one, two = (torch.from_numpy(mask)[None, None].float() for mask in (first, second))
        directed = [
            metrics.compute_average_surface_distance(*pair, include_background=True, spacing=spacing).item()
            for pair in ((one, two), (two, one))
        ]
        percentile = metrics.compute_hausdorff_distance(
            one, two, include_background=True, percentile=95, spacing=spacing
        ).item()
        assert average_surface_distance(first, second, spacing) == pytest.approx(np.mean(directed), rel=1e-5)
        assert hausdorff_95(first, second, spacing) == pytest.approx(percentile, rel=1e-5)

    def test_two_voxels_by_hand_with_the_spacing_of_each_axis(self):
        first, second = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
        first[0, 0, 0] = 1
        second[1, 2, 3] = 1
        distance = math.sqrt((1 * 0.5) ** 2 + (2 * 1.0) ** 2 + (3 * 2.0) ** 2)
        assert average_surface_distance(first, second, (0.5, 1.0, 2.0)) == pytest.approx(distance)
        assert hausdorff_95(first, second, (0.5, 1.0, 2.0)) == pytest.approx(distance)

    def test_both_directions_count_the_same(self):
        # One way the mean is 0; the other way it is (0 + 3) / 2. Their mean is 0.75, the pooled one 1.0.
        first, second = np.zeros((1, 1, 5)), np.zeros((1, 1, 5))
        first[0, 0, 0] = 1
        second[0, 0, [0, 3]] = 1
        assert average_surface_distance(first, second, MM) == pytest.approx(0.75)
        assert hausdorff_95(first, second, MM) == pytest.approx(0.95 * 3)

    def test_the_inside_of_an_object_is_no_surface(self):
        full = np.ones((5, 5, 5))
        shell = full.copy()
        shell[1:4, 1:4, 1:4] = 0
        hollow = shell.copy()
        hollow[2, 2, 2] = 1  # a voxel at 2 voxels from the shell
        assert average_surface_distance(full, shell, MM) == 0.0
        assert average_surface_distance(full, hollow, MM) == pytest.approx((0 + 2 / 99) / 2)

    @pytest.mark.parametrize("distance", [average_surface_distance, hausdorff_95])
    def test_empty_masks(self, distance):
        empty, full = np.zeros((3, 3, 3)), np.ones((3, 3, 3))
        assert math.isnan(distance(empty, empty, MM))
        assert distance(full, empty, MM) == distance(empty, full, MM) == math.inf


class TestArguments:
    @pytest.mark.parametrize("score", [dice, mhd_3d])
    def test_other_values_are_refused(self, score):
        with pytest.raises(ValueError, match=r"reference of shape \(2, 2, 2\) holds values other than 0 and 1"):
            score(np.ones((2, 2, 2)), np.full((2, 2, 2), 2))

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="prediction of shape"):
            dice(np.full((2, 2, 2), np.nan), np.ones((2, 2, 2)))

    @pytest.mark.parametrize("score", [dice, mhd_3d])
    def test_shapes_that_differ_are_refused(self, score):
        with pytest.raises(ValueError, match=r"prediction \(2, 2, 2\) and reference \(2, 2, 3\)"):
            score(np.ones((2, 2, 2)), np.ones((2, 2, 3)))

    @pytest.mark.parametrize("shape", [(2, 2), (1, 2, 2, 2), (0, 2, 2)])
    def test_arrays_that_are_no_volume_are_refused(self, shape):
        with pytest.raises(ValueError, match="prediction has shape"):
            mhd_3d(np.ones(shape), np.ones(shape))

    @pytest.mark.parametrize("spacing", [(1, 1), (1, 1, 0), (1, -1, 1), (1, 1, math.nan)])
    def test_impossible_spacings_are_refused(self, spacing):
        with pytest.raises(ValueError, match="spacing is"):
            average_surface_distance(np.ones((2, 2, 2)), np.ones((2, 2, 2)), spacing)

    def test_unknown_labels_are_refused(self):
        with pytest.raises(ValueError, match="reference_labels of shape"):
            score_tissues(np.zeros((2, 2, 2), int), np.full((2, 2, 2), 4), MM)


class TestScoreTissues:
    def test_rows_by_hand(self):
        labels, reference = np.zeros((2, 6, 6), np.uint8), np.zeros((2, 6, 6), np.uint8)
        labels[:, 0], labels[:, 2], labels[:, 4] = 1, 2, 3
        reference[:, 0], reference[:, 2:4], reference[:, 5] = 1, 2, 3
        csf, gray, white = score_tissues(labels, reference, (1.0, 2.0, 0.5))
        assert [row.tissue for row in (csf, gray, white)] == ["csf", "gm", "wm"]
        assert (csf.dice, csf.mhd_3d, csf.asd_mm, csf.hd95_mm) == (1.0, 0.0, 0.0, 0.0)
        assert csf.volume_ml == csf.reference_volume_ml == pytest.approx(0.012)  # 12 voxels of 1 mm³
        assert gray.dice == pytest.approx(2 * 12 / (12 + 24))
        assert gray.asd_mm == pytest.approx((0 + (0 + 2) / 2) / 2)
        assert gray.volume_difference_percent == pytest.approx(-50)
        assert (white.dice, white.asd_mm, white.hd95_mm) == (0.0, 2.0, 2.0)

    def test_volumes_in_millilitres(self):
        labels = np.array([[[0, 1, 1, 2, 3, 3, 3, 3]]])
        assert tissue_volumes(labels, (10, 10, 10)) == pytest.approx({"csf": 2.0, "gm": 1.0, "wm": 4.0})

    def test_a_missing_tissue_is_valid_json(self):
        labels, reference = np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int)
        labels[0], reference[0] = 2, 1
        csf, gray, white = (row.as_dict() for row in score_tissues(labels, reference, MM))
        json.dumps([csf, gray, white], allow_nan=False)
        assert (csf["dice"], csf["asd_mm"], csf["volume_difference_percent"]) == (0.0, "inf", -100.0)
        assert (gray["hd95_mm"], gray["volume_difference_percent"]) == ("inf", None)
        assert (white["dice"], white["mhd_3d"], white["asd_mm"], white["hd95_mm"]) == (1.0, 0.0, None, None)


class TestTable:
    rows = (
        score_row("csf", 0.953, 0.2554, 0.114, 1.0, 110.0, 100.0),
        score_row("gm", 0.9245, 0.595, 0.307, 1.414, 400.256, 500.0),
        score_row("wm", 0.9102, 0.4454, 0.353, 1.732, 0.0, 300.0),
    )

    def test_one_line_a_tissue_and_the_mean(self):
        lines = format_scores(self.rows).splitlines()
        assert words(lines[0]) == "Tissue Dice 3D-MHD ASD HD95 Volume Reference volume Volume difference"
        assert words(lines[3]) == "CSF 0.9530 0.2554 0.114 1.000 110.00 100.00 10.0"
        assert words(lines[4]) == "Gray matter 0.9245 0.5950 0.307 1.414 400.26 500.00 -19.9"
        assert words(lines[5]) == "White matter 0.9102 0.4454 0.353 1.732 0.00 300.00 -100.0"
        assert words(lines[7]) == "Mean 0.9292 0.4319 0.258 1.382"

    def test_columns_are_aligned(self):
        lines = format_scores(self.rows).splitlines()
        assert len({len(line) for line in lines[:6]}) == 1
        assert max(map(len, lines[:8])) <= 110

    def test_the_conventions_are_named(self):
        text = format_scores(self.rows)
        assert words(text.splitlines()[1]) == "√voxel mm mm ml ml %"
        assert "mean of the two directed means" in text.splitlines()[-1]
        assert list(CONVENTIONS) == list(MEASURES) == [metric.key for metric in METRICS]

    def test_undefined_and_infinite_values_have_words_of_their_own(self):
        rows = (
            score_row("csf", 1.0, 0.0, math.nan, math.nan, 0.0, 0.0),
            score_row("gm", 0.0, 0.1, math.inf, math.inf, 0.0, 1.0),
        )
        lines = format_scores(rows).splitlines()
        assert words(lines[3]) == "CSF 1.0000 0.0000 n/a n/a 0.00 0.00 n/a"
        assert words(lines[4]) == "Gray matter 0.0000 0.1000 ∞ ∞ 0.00 1.00 -100.0"
