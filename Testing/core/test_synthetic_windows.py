"""Windows from pairs that are made while training: the same for every iteration number, always of fresh pairs."""

from __future__ import annotations

import numpy as np
import pytest

from model_core import train
from model_core.networks.input_form import InputForm
from model_core.synthesis.anatomies import Anatomy, prepare_anatomy
from model_core.synthesis.generator import make_pair
from model_core.synthesis.sampler import RENEW_EVERY, SyntheticSampler, stock_at
from model_core.synthesis.shares import Shares
from model_core.system.command_line import run_command
from model_core.volumes import Volume, write_volume
from model_core.weights import load_weights

WINDOW = 8
FIRST_STOCK, STOCK = 2, 4
SHARES = Shares(wide=0.5)


def ball(radius: int) -> np.ndarray:
    distance = np.sqrt(((np.indices((40, 40, 40)) - 20) ** 2).sum(0))
    return np.select([distance <= 3, distance <= radius - 4, distance <= radius], [4, 2, 3], 0).astype(np.uint8)


@pytest.fixture(scope="module", autouse=True)
def tiny_brains():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model_core.synthesis.deformation.PARENCHYMA_ML", (14.0, 16.0))
        patch.setattr("model_core.synthesis.sampler.FIRST_STOCK", FIRST_STOCK)
        patch.setattr("model_core.synthesis.sampler.STOCK", STOCK)
        yield


@pytest.fixture(scope="module")
def anatomies() -> list[Anatomy]:
    return [prepare_anatomy(Volume(ball(radius), np.eye(4), f"{radius}.nii.gz")) for radius in (14, 16)]


def sampler_of(anatomies, **changes) -> SyntheticSampler:
    return SyntheticSampler(anatomies, **{"window": WINDOW, "seed": 5, "shares": SHARES, "workers": 2} | changes)


def test_the_stock_grows_and_then_renews_itself_one_pair_at_a_time():
    assert stock_at(0) == range(1, FIRST_STOCK + 1)
    assert stock_at(RENEW_EVERY - 1) == stock_at(0)
    assert stock_at(RENEW_EVERY) == range(1, FIRST_STOCK + 2)
    late = RENEW_EVERY * 1000
    assert stock_at(late) == range(FIRST_STOCK + 1000 - STOCK + 1, FIRST_STOCK + 1000 + 1)


def test_every_window_is_a_piece_of_a_pair_in_stock(anatomies):
    with sampler_of(anatomies) as sampler:
        images, labels = sampler.batch(0, 6)
    assert images.shape == (6, 2, WINDOW, WINDOW, WINDOW)
    assert images.dtype == np.float32
    pairs = [make_pair(anatomies, 5, number, SHARES) for number in stock_at(0)]
    for image, label in zip(images, labels, strict=True):
        assert any(_is_a_piece(image, label, pair) for pair in pairs)


def _is_a_piece(image, label, pair) -> bool:
    views = np.lib.stride_tricks.sliding_window_view(pair.t1, (WINDOW,) * 3)
    for place in np.argwhere((views == image[0]).all(axis=(3, 4, 5))):
        box = tuple(slice(start, start + WINDOW) for start in place)
        if (pair.t2[box] == image[1]).all() and (pair.labels[box] == label).all():
            return True
    return False


def test_an_iteration_gets_the_same_windows_whatever_came_before_it(anatomies):
    with sampler_of(anatomies) as unbroken, sampler_of(anatomies, workers=1) as resumed:
        for iteration in (0, 1, RENEW_EVERY):
            expected = unbroken.batch(iteration, 3)
        found = resumed.batch(RENEW_EVERY, 3)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_another_seed_gives_other_windows(anatomies):
    with sampler_of(anatomies) as one, sampler_of(anatomies, seed=6) as other:
        assert (one.batch(0, 3)[0] != other.batch(0, 3)[0]).any()


def test_a_network_that_is_told_where_windows_lie_gets_crops_of_the_pairs_in_stock(anatomies):
    form = InputForm(standardised_over="volume", placed=True)
    with sampler_of(anatomies, form=form) as sampler, sampler_of(anatomies, form=form, workers=1) as again:
        batch = sampler.batch(0, 8)
        for one, other in zip(batch, again.batch(0, 8), strict=True):
            np.testing.assert_array_equal(one, other)
    pairs = [make_pair(anatomies, 5, number, SHARES) for number in stock_at(0)]
    held = 0
    for image, label, place in zip(*batch, strict=True):
        if len(np.unique(label)) < 2:
            continue  # a crop of one class lies in many places
        held += 1
        assert any(_lies_there(image, label, place, pair) for pair in pairs)
    assert held >= 4


def _lies_there(image, label, place, pair) -> bool:
    """Whether a crop, or its mirror image, is a piece of a pair where its place says, and is 0 outside the mask."""
    borders = [np.flatnonzero(pair.mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    low = np.array([filled[0] for filled in borders])
    high = np.array([filled[-1] + 1 for filled in borders])
    room = 8  # of zeros around the pair, in which crops may begin
    labels, mask = np.pad(pair.labels, room), np.pad(pair.mask, room)
    for turned in (False, True):
        told = np.concatenate([-place[:1, ::-1], place[1:]]) if turned else place
        start = np.rint((told[:, 0] + 1) / 2 * (high - low) + low).astype(int) + room
        box = tuple(slice(first, first + WINDOW) for first in start)
        seen, scans = (label[::-1], image[:, ::-1]) if turned else (label, image)
        if np.array_equal(labels[box], seen) and not scans[:, ~mask[box]].any():
            return True
    return False


def test_pairs_that_no_iteration_needs_any_more_are_let_go(anatomies):
    with sampler_of(anatomies) as sampler:
        sampler.batch(0, 1)
        last = RENEW_EVERY * (STOCK - FIRST_STOCK + 3)
        sampler.batch(last, 1)
        assert min(sampler._made) == stock_at(last).start == 4


def test_no_anatomy_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="anatomies is empty"):
        SyntheticSampler([], window=WINDOW, seed=0)


def test_the_command_trains_on_label_maps_alone_and_its_card_names_them(tmp_path):
    write_volume(tmp_path / "ball.nii.gz", ball(14), np.eye(4))
    arguments = ["--anatomy", str(tmp_path / "ball.nii.gz"), "--wide-share", "0.3", "--data-licence", "CC0", "--device"]
    quick = ["cpu", "--network", "model5", "--window", "16", "--batch", "1", "--iterations", "2"]
    assert run_command(train.main, [*arguments, *quick, "--output", str(tmp_path / "run")]) == 0
    data = load_weights(tmp_path / "run" / "weights.safetensors")[1]["training_data"]
    assert (data["anatomies"], data["wide_share"], data["licence"]) == (["ball.nii.gz"], 0.3, "CC0")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--anatomy", "a.nii", "--data", "pairs"],
        ["--anatomy", "a.nii", "--leave-out", "1"],
        ["--data", "pairs", "--wide-share", "0.3"],
        ["--anatomy", "a.nii", "--wide-share", "1.5"],
        [],
    ],
)
def test_label_maps_and_labelled_scans_are_two_ways_to_train(wrong, tmp_path):
    with pytest.raises(SystemExit) as ended:
        train.main([*wrong, "--output", str(tmp_path / "run")])
    assert ended.value.code == 2
