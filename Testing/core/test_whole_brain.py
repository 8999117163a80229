"""Segmentation by a network that is told where its windows lie, and takes the whole brain as one of them."""

import threading

import numpy as np
import pytest
import torch
from torch import nn
from trained_networks import trained

from model_core.errors import UserError
from model_core.inference import Segmenter
from model_core.inference.plan import plan_whole_brain
from model_core.inference.standardisation import standardise_volume
from model_core.networks.ensemble import Ensemble
from model_core.networks.input_form import InputForm
from model_core.windows import WHOLE_BRAIN, describe_step, plan_windows

WINDOW, MULTIPLE = 8, 4
FORM = InputForm(standardised_over="volume", placed=True, whole_brain=True, optional_scans=True, window=WINDOW)


class PlacedNetwork(nn.Module):
    """Convolutions of the scans and of a ramp that follows the place; keeps what it was given."""

    window_multiple, input_form = MULTIPLE, FORM

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.layers = nn.Sequential(nn.Conv3d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 4, 3, padding=1))
        self.weight = nn.Parameter(torch.randn(4, 6))
        self.given = []

    def forward(self, x, place):
        self.given.append((x.clone().numpy(), place.clone().numpy(), threading.current_thread()))
        return 3 * self.layers(x) + (place.flatten(1) @ self.weight.T)[:, :, None, None, None]


class PublishedNetwork(nn.Module):
    """Says nothing of how it wants its input."""

    def forward(self, x):
        return torch.cat([x, -x], dim=1)


@pytest.fixture(autouse=True)
def _specks_stay(monkeypatch):
    """The answers of random weights are specks, which are tidied away; that has a test of its own."""
    monkeypatch.setattr("model_core.inference.tidying.LARGEST_SPECK", 0)


def scans_of(brain, seed=0):
    """Two scans of noise inside a brain, 0 outside."""
    rng = np.random.default_rng(seed)
    return [np.where(brain, rng.uniform(50, 900, brain.shape), 0).astype(np.float32) for _ in range(2)]


def box(shape, first, last):
    brain = np.zeros(shape, dtype=bool)
    brain[tuple(map(slice, first, last))] = True
    return brain


def ellipsoid(shape):
    grid = np.meshgrid(*(np.linspace(-1.2, 1.2, side) for side in shape), indexing="ij")
    return sum(axis**2 for axis in grid) < 1


def standardised_by_hand(scan, brain):
    values = scan[brain].astype(np.float64)
    low, high = np.percentile(values, [0.5, 99.5])
    values = np.minimum(np.maximum(values, low), high)
    result = np.zeros(scan.shape)
    result[brain] = (values - values.mean()) / values.std()
    return result


def borders_of(brain):
    """First and last voxel + 1 of a brain along each axis."""
    found = np.argwhere(brain)
    return found.min(axis=0), found.max(axis=0) + 1


def place_by_hand(start, sides, brain):
    """-1 at the first border of the brain's box, 1 at the last, a straight line between and beyond."""
    low, high = borders_of(brain)
    return np.array(
        [
            [
                -1 + 2 * (edge - low[axis]) / (high[axis] - low[axis])
                for edge in (start[axis], start[axis] + sides[axis])
            ]
            for axis in range(3)
        ]
    )


def start_of(place, brain):
    """The first voxel of a window from its place: the place's straight line backwards."""
    low, high = borders_of(brain)
    return np.rint((place[:, 0] + 1) / 2 * (high - low) + low).astype(int)


def answers_by_hand(network, window, place):
    with torch.inference_mode():
        logits = network(torch.from_numpy(window[None]).float(), torch.from_numpy(place[None]).float())[0].double()
    scores = np.exp(logits.numpy() - logits.numpy().max(axis=0))
    return scores / scores.sum(axis=0)


# ---- standardisation over the volume ----


def test_a_volume_has_mean_0_and_deviation_1_in_the_brain_after_clipping_at_the_percentiles():
    brain = ellipsoid((9, 10, 11))
    scan = np.random.default_rng(1).normal(400, 120, brain.shape).astype(np.float32)
    scan[4, 5, 5] = 1e5  # one voxel alone does not decide
    found = standardise_volume(scan, brain)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, standardised_by_hand(scan, brain), atol=1e-4)
    assert found[brain].mean() == pytest.approx(0, abs=1e-5)
    assert found[brain].std() == pytest.approx(1, abs=1e-4)
    assert not found[~brain].any()
    assert found[brain].max() < 5


def test_a_brain_of_one_intensity_or_of_no_voxel_is_a_missing_scan():
    brain = ellipsoid((6, 7, 8))
    assert not standardise_volume(np.full(brain.shape, 17.0, np.float32), brain).any()
    assert not standardise_volume(np.ones(brain.shape, np.float32), np.zeros_like(brain)).any()
    alike = np.ones((20, 20, 20), np.float32)
    alike[3, 4, 5] = 9.0  # clipped away
    assert not standardise_volume(alike, alike > 0).any()


# ---- the window around the brain ----


def test_the_window_around_a_brain_is_the_one_worked_out_by_hand():
    plan = plan_whole_brain(box((24, 28, 32), (5, 6, 7), (15, 19, 11)), 4)
    # 10, 13 and 4 voxels of brain need 12, 16 and 4; the room is shared, the odd voxel goes to the far side.
    assert plan.sides == (12, 16, 4)
    assert plan.shape == (24, 28, 32)
    assert [(stage.step, stage.starts.tolist()) for stage in plan.stages] == [(WHOLE_BRAIN, [[4, 5, 7]])]
    assert plan.brain.tolist() == [[5, 15], [6, 19], [7, 11]]
    assert plan.windows_total == 1


@pytest.mark.parametrize(
    ("shape", "first", "last"),
    [
        ((24, 28, 32), (5, 6, 7), (15, 19, 11)),
        ((24, 28, 32), (0, 0, 0), (10, 13, 5)),
        ((24, 28, 32), (14, 15, 27), (24, 28, 32)),
        ((24, 28, 32), (0, 9, 27), (11, 12, 32)),
        ((25, 27, 30), (1, 1, 0), (25, 26, 30)),  # its multiple of 4 is more than the volume
        ((10, 9, 14), (0, 0, 0), (10, 9, 14)),
        ((3, 16, 2), (0, 0, 1), (3, 16, 2)),
    ],
)
def test_the_network_sees_the_whole_brain_once_and_is_told_where_it_lies(shape, first, last):
    network, brain = PlacedNetwork(), box(shape, first, last)
    t1, t2 = scans_of(brain)
    result = Segmenter(network, device="cpu").segment(t1, t2, step=WHOLE_BRAIN)
    ((seen, place, _),) = network.given
    window, place = seen[0], place[0]
    sides = tuple(-(-(b - a) // MULTIPLE) * MULTIPLE for a, b in zip(first, last, strict=True))
    assert window.shape == (2, *sides)
    start = start_of(place, brain)
    np.testing.assert_allclose(place, place_by_hand(start, sides, brain), atol=1e-5)
    room = [(0, 16)] * 3
    volume = np.stack([np.pad(standardised_by_hand(scan, brain), room) for scan in (t1, t2)])
    cut = tuple(slice(a, a + side) for a, side in zip(start, sides, strict=True))
    np.testing.assert_allclose(window, volume[:, *cut], atol=1e-4)
    assert np.count_nonzero(window[0]) == np.count_nonzero(volume[0])  # the brain is all there
    assert (start >= 0).all()

    answer = answers_by_hand(network, window, place)
    probabilities = np.zeros((4, *np.add(shape, 16)))
    probabilities[0] = 1
    probabilities[:, *cut] = answer
    probabilities = probabilities[:, *map(slice, shape)]
    np.testing.assert_allclose(result.probabilities, probabilities, atol=1e-5)
    np.testing.assert_array_equal(result.labels, np.where(brain, probabilities.argmax(axis=0), 0))
    assert (result.windows_done, result.windows_total, result.step_reached) == (1, 1, WHOLE_BRAIN)
    assert result.labels.shape == shape


@pytest.mark.parametrize("step", [3, 4, 8])
def test_windows_of_any_step_are_told_where_they_lie_and_give_what_a_plain_loop_gives(step):
    network, brain = PlacedNetwork(), ellipsoid((13, 17, 22))
    t1, t2 = scans_of(brain)
    result = Segmenter(network, device="cpu").segment(t1, t2, step=step)
    volume = np.stack([standardised_by_hand(scan, brain) for scan in (t1, t2)])
    seen = {}
    for window, place, _ in network.given:
        if window.any():  # the windows of zeros share one run
            seen[tuple(start_of(place[0], brain))] = window[0], place[0]
    sums, counts = np.zeros((4, *brain.shape)), np.zeros(brain.shape)
    for start in plan_windows(brain.shape, WINDOW, step):
        cut = tuple(slice(a, a + WINDOW) for a in start)
        place = place_by_hand(start, (WINDOW,) * 3, brain)
        if volume[:, *cut].any():
            window, told = seen.pop(tuple(start))
            np.testing.assert_allclose(window, volume[:, *cut], atol=1e-4)
            np.testing.assert_allclose(told, place, atol=1e-5)
        else:
            place = place_by_hand((0, 0, 0), (WINDOW,) * 3, brain)  # no brain is in it: any answer would do
        sums[:, *cut] += answers_by_hand(network, volume[:, *cut], place)
        counts[cut] += 1
    assert not seen
    np.testing.assert_allclose(result.probabilities, sums / counts, atol=1e-5)
    np.testing.assert_array_equal(result.labels, np.where(brain, (sums / counts).argmax(axis=0), 0))


@pytest.mark.parametrize("several", [False, True])
def test_the_fast_network_gives_what_its_training_form_gives_for_the_brain_s_window(several):
    network = trained("fast_unet")
    network = Ensemble([network, trained("fast_unet", seed=4)]).eval() if several else network
    brain = box((20, 26, 19), (3, 2, 1), (17, 25, 15))
    t1, t2 = scans_of(brain)
    result = Segmenter(network, device="cpu").segment(t1, t2)
    start, sides = (2, 2, 0), (16, 24, 16)
    cut = tuple(map(slice, start, np.add(start, sides)))
    window = np.stack([standardised_by_hand(scan, brain)[cut] for scan in (t1, t2)])
    place = place_by_hand(start, sides, brain)
    expected = answers_by_hand(network, window, place)
    if not several:  # one network looks a second time, at the mirrored brain
        mirrored = place.copy()
        mirrored[0] = -place[0, ::-1]
        expected = (expected + answers_by_hand(network, window[:, ::-1].copy(), mirrored)[:, ::-1]) / 2
    np.testing.assert_allclose(result.probabilities[:, *cut], expected, atol=1e-4)
    assert not network.training


# ---- which step ----


def test_the_whole_brain_is_the_step_where_a_network_takes_it_and_step_8_for_the_published_ones():
    network, brain = PlacedNetwork(), ellipsoid((14, 15, 16))
    segmenter = Segmenter(network, device="cpu")
    assert segmenter.default_step == WHOLE_BRAIN
    assert segmenter.segment(*scans_of(brain)).step_reached == WHOLE_BRAIN
    published = Segmenter(PublishedNetwork(), device="cpu")
    assert (published.default_step, published.window) == (8, 32)
    assert published.segment(*scans_of(brain)).step_reached == 8
    assert [describe_step(step) for step in (WHOLE_BRAIN, 8)] == ["whole brain", "step 8"]


@pytest.mark.parametrize("step", [0, -1, WINDOW + 1, WHOLE_BRAIN + 1])
def test_a_wrong_step_is_answered_with_the_whole_brain_where_that_is_possible(step):
    sentence = (
        rf"The overlap step is {step} voxels; a whole number from 1 to the window's side of 8 was expected with .*; "
        "take the whole brain at once"
    )
    with pytest.raises(UserError, match=sentence):
        Segmenter(PlacedNetwork(), device="cpu").segment(*scans_of(ellipsoid((9, 9, 9))), step=step)


@pytest.mark.parametrize("step", [0, WINDOW + 1, WHOLE_BRAIN])
def test_a_published_network_does_not_take_the_whole_brain(step):
    found = "the whole brain" if step == WHOLE_BRAIN else f"{step} voxels"
    sentence = (
        rf"step is {found}; .* from 1 to the window's side of 8 was expected .*; take 2, or 4 for a quicker result"
    )
    with pytest.raises(UserError, match=sentence):
        Segmenter(PublishedNetwork(), window=WINDOW, device="cpu").segment(*scans_of(ellipsoid((9, 9, 9))), step=step)


def test_the_network_s_own_window_is_taken_unless_another_one_is_given():
    assert Segmenter(PlacedNetwork(), device="cpu").window == WINDOW
    assert Segmenter(PlacedNetwork(), window=12, device="cpu").window == 12
    with pytest.raises(ValueError, match="window is 10; this network takes multiples of 4"):
        Segmenter(PlacedNetwork(), window=10, device="cpu")


# ---- scans ----


@pytest.mark.parametrize("given", [0, 1])
def test_a_missing_scan_is_0_everywhere_and_the_other_one_finds_the_brain(given):
    network, brain = PlacedNetwork(), ellipsoid((12, 15, 17))
    scan = scans_of(brain)[given]
    pair = [scan if number == given else None for number in (0, 1)]
    result = Segmenter(network, device="cpu").segment(*pair)
    ((window, place, _),) = network.given
    assert not window[0, 1 - given].any()
    start = start_of(place[0], brain)
    cut = tuple(slice(a, a + side) for a, side in zip(start, window.shape[2:], strict=True))
    padded = np.pad(standardised_by_hand(scan, brain), [(0, 16)] * 3)
    np.testing.assert_allclose(window[0, given], padded[cut], atol=1e-4)
    assert not result.labels[~brain].any()
    assert len(np.unique(result.labels[brain])) > 1


def test_a_scan_of_zeros_is_a_missing_one():
    brain = ellipsoid((12, 15, 17))
    t1 = scans_of(brain)[0]
    segmenter = Segmenter(PlacedNetwork(), device="cpu")
    without, zeros = segmenter.segment(t1, None), segmenter.segment(t1, np.zeros_like(t1))
    np.testing.assert_array_equal(without.probabilities, zeros.probabilities)


def test_no_scan_at_all_is_refused():
    with pytest.raises(ValueError, match=r"t1 and t2 missing; expected one scan"):
        Segmenter(PlacedNetwork(), device="cpu").segment(None, None)


@pytest.mark.parametrize(("missing", "name"), [(0, "t1"), (1, "t2")])
def test_a_published_network_needs_both_scans(missing, name):
    pair = [None if number == missing else scan for number, scan in enumerate(scans_of(ellipsoid((9, 9, 9))))]
    with pytest.raises(ValueError, match=f"{name} missing; expected both scans"):
        Segmenter(PublishedNetwork(), window=WINDOW, device="cpu").segment(*pair)


@pytest.mark.parametrize("step", [WHOLE_BRAIN, 4])
def test_the_result_does_not_depend_on_the_scans_scale_and_offset(step):
    brain = ellipsoid((12, 15, 17))
    t1, t2 = scans_of(brain)
    segmenter = Segmenter(PlacedNetwork(), device="cpu")
    expected = segmenter.segment(t1, t2, step=step, mask=brain)
    found = segmenter.segment(0.03 * t1 + 5, 40 * t2 - 7000, step=step, mask=brain)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-4)
    assert (found.labels == expected.labels).mean() > 0.999


def test_a_mask_says_what_is_the_brain_and_what_lies_beside_it_does_not_count():
    brain = box((20, 20, 20), (3, 4, 5), (12, 16, 17))
    t1, t2 = scans_of(np.ones_like(brain))
    segmenter = Segmenter(PlacedNetwork(), device="cpu")
    result = segmenter.segment(t1, t2, mask=brain)
    ((window, place, _),) = segmenter.network.given
    assert window.shape == (1, 2, 12, 12, 12)
    np.testing.assert_allclose(place[0], place_by_hand((2, 4, 5), (12, 12, 12), brain), atol=1e-5)
    assert not result.labels[~brain].any()
    other = [np.where(brain, scan, 10 * scan + 3) for scan in (t1, t2)]
    np.testing.assert_array_equal(segmenter.segment(*other, mask=brain).probabilities, result.probabilities)


def test_what_the_brain_encloses_belongs_to_it():
    brain = box((16, 16, 16), (2, 2, 2), (14, 14, 14))
    t1, t2 = scans_of(brain)
    t1[7, 8, 6], t2[7, 8, 6] = 0, 0
    segmenter = Segmenter(PlacedNetwork(), device="cpu")
    segmenter.segment(t1, t2)
    ((window, _, _),) = segmenter.network.given
    np.testing.assert_allclose(window[0, 0], standardised_by_hand(t1, brain)[2:14, 2:14, 2:14], atol=1e-4)
    assert window[0, 0, 5, 6, 4] < -1


def test_an_empty_volume_is_background():
    empty = np.zeros((9, 10, 11), dtype=np.float32)
    result = Segmenter(PlacedNetwork(), device="cpu").segment(empty, empty)
    assert not result.labels.any()
    assert result.windows_done == result.windows_total == 1


# ---- on the way ----


def test_the_whole_brain_is_one_step_of_progress_and_one_map():
    brain, seen, maps = ellipsoid((12, 15, 17)), [], []
    result = Segmenter(PlacedNetwork(), device="cpu").segment(
        *scans_of(brain), on_progress=seen.append, on_map=lambda *found: maps.append(found)
    )
    ((step, labels),) = maps
    assert step == WHOLE_BRAIN
    np.testing.assert_array_equal(labels, result.labels)
    (progress,) = seen
    assert (progress.windows_done, progress.windows_total, progress.seconds_left) == (1, 1, 0)
    assert (progress.stage_step, progress.step_reached) == (WHOLE_BRAIN, WHOLE_BRAIN)


def test_windows_of_such_a_network_come_coarse_grid_first_as_any_other_s():
    brain, maps = ellipsoid((12, 15, 17)), []
    segmenter = Segmenter(PlacedNetwork(), device="cpu")
    segmenter.segment(*scans_of(brain), step=2, on_map=lambda step, labels: maps.append((step, labels)))
    assert [step for step, _ in maps] == [8, 4, 2]
    for step, labels in maps:
        np.testing.assert_array_equal(labels, segmenter.segment(*scans_of(brain), step=step).labels)


def test_a_stop_before_the_window_leaves_background_and_runs_nothing():
    network, brain = PlacedNetwork(), ellipsoid((12, 15, 17))
    result = Segmenter(network, device="cpu").segment(*scans_of(brain), should_stop=lambda: True)
    assert (result.step_reached, result.windows_done, result.windows_total) == (0, 0, 1)
    assert not result.labels.any()
    assert (result.probabilities[0] == 1).all()
    assert not network.given


def test_the_whole_brain_takes_all_cores_and_windows_one_each():
    network, brain = PlacedNetwork(), ellipsoid((12, 15, 17))
    segmenter = Segmenter(network, device="cpu", workers=2)
    segmenter.segment(*scans_of(brain))
    assert {thread for _, _, thread in network.given} == {threading.main_thread()}
    network.given.clear()
    segmenter.segment(*scans_of(brain), step=4)
    assert threading.main_thread() not in {thread for _, _, thread in network.given}


def test_memory_too_short_for_the_whole_brain_is_told_with_the_way_out():
    class ShortOfMemory(PlacedNetwork):
        def forward(self, x, place):
            if x[0, 0].numel() > WINDOW**3:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
            return super().forward(x, place)

    brain = box((24, 28, 32), (5, 6, 7), (15, 19, 11))
    segmenter = Segmenter(ShortOfMemory(), device="cpu")
    sentence = (
        r"The memory of cpu does not suffice for 24×28×32 voxels, even one window of 12×16×4 at a time; close other "
        "programs, crop the scan to the brain, choose an overlap step or choose another device"
    )
    with pytest.raises(UserError, match=sentence):
        segmenter.segment(*scans_of(brain))
    assert segmenter.segment(*scans_of(brain), step=8).step_reached == 8  # the way out works


@pytest.mark.parametrize("step", [WHOLE_BRAIN, 8])
def test_specks_are_tidied_for_a_network_that_knows_background_and_not_for_the_published_ones(step, monkeypatch):
    monkeypatch.setattr("model_core.inference.tidying.LARGEST_SPECK", 10)

    class Thresholds(nn.Module):
        """Background where T1 is low, else gray matter."""

        input_form, window_multiple = InputForm(standardised_over="volume", whole_brain=True, window=8), 4

        def forward(self, x):
            low = torch.where(x[:, 0] < -1, 4.0, -4.0)
            return torch.stack([low, low - 9, -low, low - 9], dim=1)

    brain = box((20, 20, 20), (2, 2, 2), (18, 18, 18))
    t1 = np.where(brain, 500.0, 0).astype(np.float32)
    t1[6, 6, 6:9], t1[10:14, 10:14, 10:14] = 20, 20  # 3 voxels, and 64
    network = Thresholds()
    result = Segmenter(network, device="cpu").segment(t1, t1, step=step)
    expected = np.where(brain, 2, 0)
    expected[10:14, 10:14, 10:14] = 0
    np.testing.assert_array_equal(result.labels, expected)
    network.input_form = InputForm(standardised_over="volume", window=8)
    plain = Segmenter(network, device="cpu").segment(t1, t1, step=8)
    assert not plain.labels[6, 6, 6:9].any()
