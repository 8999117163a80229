"""The fast U-Net: blocks of voxels as channels, where in the brain they lie, and several networks as one."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from trained_networks import trained, unsettle

from model_core.networks import build_network
from model_core.networks.ensemble import Ensemble, MeanOfMembers, WithMirrored
from model_core.networks.fast_unet import FastUNet, coordinates, depth_to_space, space_to_depth
from model_core.networks.fused import fused
from model_core.networks.input_form import InputForm, form_of

REACH = 80  # voxels; more than one of the input acts in any direction, by adding up the kernels


def small(seed=5, **parts):
    """A trained fast U-Net of few channels, so that large volumes take no time."""
    torch.manual_seed(seed)
    return unsettle(FastUNet("fast_unet", channels=(6, 7, 8), **parts).eval())


def box_in_box(first, last, sides):
    """Place of a window in a box of some sides that begins at 0, by its first and last voxel + 1."""
    return torch.tensor(
        [[[2 * a / side - 1, 2 * b / side - 1] for a, b, side in zip(first, last, sides, strict=True)]],
        dtype=torch.float32,
    )


# ---- blocks of voxels ----


def test_each_corner_of_the_blocks_becomes_a_channel():
    x = np.arange(2 * 3 * 4 * 6 * 2, dtype=np.float32).reshape(2, 3, 4, 6, 2)
    found = space_to_depth(torch.from_numpy(x)).numpy()
    assert found.shape == (2, 24, 2, 3, 1)
    for scan in range(3):
        for number, (i, j, k) in enumerate(itertools.product((0, 1), repeat=3)):
            np.testing.assert_array_equal(found[:, 8 * scan + number], x[:, scan, i::2, j::2, k::2])


def test_channels_become_the_corners_of_blocks():
    y = np.random.default_rng(0).normal(size=(2, 16, 2, 3, 1))
    found = depth_to_space(torch.from_numpy(y)).numpy()
    assert found.shape == (2, 2, 4, 6, 2)
    for n, c, d, h, w in np.ndindex(found.shape):
        corner = 4 * (d % 2) + 2 * (h % 2) + w % 2
        assert found[n, c, d, h, w] == y[n, 8 * c + corner, d // 2, h // 2, w // 2]


def test_one_undoes_the_other():
    x, y = torch.randn(2, 3, 8, 4, 6), torch.randn(1, 24, 2, 5, 3)
    assert torch.equal(depth_to_space(space_to_depth(x)), x)
    assert torch.equal(space_to_depth(depth_to_space(y)), y)


# ---- places ----


def test_coordinates_are_those_of_the_centres_and_count_outwards_from_left_to_right():
    found = coordinates(torch.Size((2, 7, 4, 2, 5)), None).numpy()
    assert found.shape == (2, 3, 4, 2, 5)
    for axis, expected in enumerate(([0.75, 0.25, 0.25, 0.75], [-0.5, 0.5], [-0.8, -0.4, 0, 0.4, 0.8])):
        along = np.moveaxis(found[:, axis], 1 + axis, -1)
        np.testing.assert_allclose(along, np.broadcast_to(expected, along.shape), atol=1e-6)


def test_a_window_beyond_the_brain_s_box_has_coordinates_beyond_one():
    place = torch.tensor([[[-2.0, 2.0], [0.0, 3.0], [-1.0, 1.0]], [[-1.0, 0.0], [-1.0, 1.0], [1.0, 2.0]]])
    found = coordinates(torch.Size((2, 1, 4, 3, 1)), place).numpy()
    np.testing.assert_allclose(found[0, 0, :, 0, 0], [1.5, 0.5, 0.5, 1.5])
    np.testing.assert_allclose(found[0, 1, 0, :, 0], [0.5, 1.5, 2.5])
    np.testing.assert_allclose(found[1, 0, :, 0, 0], [0.875, 0.625, 0.375, 0.125])
    np.testing.assert_allclose(found[:, 2, 0, 0, 0], [0, 1.5])


def test_a_window_of_the_box_has_the_coordinates_of_its_part_of_the_box():
    whole = coordinates(torch.Size((1, 1, 12, 10, 8)), None)
    place = box_in_box((2, 4, 0), (8, 8, 8), (12, 10, 8))
    part = coordinates(torch.Size((1, 1, 6, 4, 8)), place)
    torch.testing.assert_close(part, whole[:, :, 2:8, 4:8, 0:8], atol=1e-6, rtol=0)


def test_left_and_right_are_alike_and_a_mirrored_window_knows_it():
    whole = coordinates(torch.Size((1, 1, 6, 4, 8)), None)
    torch.testing.assert_close(whole.flip(2), whole)
    assert not torch.equal(whole.flip(3), whole)
    window = coordinates(torch.Size((1, 1, 6, 4, 8)), torch.tensor([[[-0.9, 0.3], [-1.0, 0.0], [0.2, 1.0]]]))
    mirrored = coordinates(torch.Size((1, 1, 6, 4, 8)), torch.tensor([[[-0.3, 0.9], [-1.0, 0.0], [0.2, 1.0]]]))
    torch.testing.assert_close(mirrored, window.flip(2))


def test_the_first_convolution_sees_scans_the_part_inside_the_brain_and_the_place():
    x = torch.zeros(1, 2, 8, 8, 8)
    x[0, 0, :3, :, :] = 2.0
    x[0, 1, 4, 0, 0] = -1.0  # T2 alone is enough to be brain
    blocks = small().blocks(x, None)
    assert blocks.shape == (1, 16 + 1 + 3, 4, 4, 4)
    expected = np.zeros((4, 4, 4))
    expected[0], expected[1], expected[2, 0, 0] = 1, 0.5, 1 / 8
    np.testing.assert_allclose(blocks[0, 16].numpy(), expected)
    np.testing.assert_allclose(blocks[0, 17, :, 0, 0].numpy(), [0.75, 0.25, 0.25, 0.75])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_far_from_a_window_s_border_it_does_not_matter_where_the_window_begins(axis):
    network = small().double()
    sides = [8, 8, 8]
    sides[axis] = 2 * REACH + 40
    volume = torch.randn(1, 2, *sides, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    windows, places = [], []
    for shift in (0, 8):
        first, last = [0, 0, 0], list(sides)
        first[axis], last[axis] = shift, sides[axis] - 8 + shift
        windows.append(volume[(..., *map(slice, first, last))])
        places.append(box_in_box(first, last, sides))
    with torch.inference_mode():
        one, other = (network(window, place) for window, place in zip(windows, places, strict=True))
        lost = network(windows[1], places[0])
    middle = slice(REACH + 8, sides[axis] - 8 - REACH)  # of the first window
    moved = slice(middle.start - 8, middle.stop - 8)
    found = other.movedim(2 + axis, -1)[..., moved]
    expected = one.movedim(2 + axis, -1)[..., middle]
    assert expected.shape[-1] > 0
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert (lost.movedim(2 + axis, -1)[..., moved] - expected).abs().max() > 1e-4


def test_without_places_the_place_does_not_count_and_with_them_it_does():
    x = torch.randn(1, 2, 16, 8, 8)
    place = torch.tensor([[[-0.5, 0.5], [0.0, 1.0], [-1.0, 0.0]]])
    with torch.inference_mode():
        placed, plain = small(), small(placed=False)
        assert (placed(x, place) - placed(x)).abs().max() > 1e-3
        assert torch.equal(plain(x, place), plain(x))
    assert (placed.stem.conv.in_channels, plain.stem.conv.in_channels) == (20, 17)
    assert (placed.input_form.placed, plain.input_form.placed) == (True, False)


def test_no_place_means_the_brain_s_whole_box():
    network, x = small(), torch.randn(2, 2, 8, 16, 8)
    with torch.inference_mode():
        torch.testing.assert_close(network(x, torch.tensor([[-1.0, 1.0]]).expand(2, 3, 2)), network(x))


# ---- what it takes ----


def test_one_of_the_scans_may_be_missing():
    network = small()
    both = torch.randn(1, 2, 16, 16, 8)
    answers = []
    for missing in (None, 0, 1):
        x = both.clone()
        if missing is not None:
            x[:, missing] = 0
        with torch.inference_mode():
            answers.append(network(x))
    assert all(answer.shape == (1, 4, 16, 16, 8) and torch.isfinite(answer).all() for answer in answers)
    assert all((one - other).abs().max() > 1e-3 for one, other in itertools.combinations(answers, 2))


@pytest.mark.parametrize("shape", [(1, 2, 16, 12, 16), (1, 2, 16, 16, 4), (1, 2, 0, 16, 16), (1, 1, 16, 16, 16)])
def test_an_input_that_does_not_fit_is_named_with_its_shape(shape):
    with pytest.raises(ValueError, match=rf"input has shape \({', '.join(map(str, shape))}\); fast_unet takes"):
        build_network("fast_unet")(torch.zeros(shape))


def test_networks_say_how_they_want_their_input_and_are_taken_for_the_papers_where_they_do_not():
    assert form_of(nn.Identity()) == form_of(build_network("model2")) == InputForm()
    assert InputForm().memory_format is torch.contiguous_format
    form = form_of(build_network("fast_unet"))
    assert (form.standardised_over, form.placed, form.whole_brain, form.optional_scans) == ("volume", True, True, True)
    assert form.window == 64
    assert form.memory_format is torch.channels_last_3d


def test_channels_last_gives_the_same_numbers():
    network, x = small(), torch.randn(1, 2, 8, 16, 8)
    with torch.inference_mode():
        expected = network(x)
        form = network.input_form.memory_format
        found = network.to(memory_format=form)(x.contiguous(memory_format=form))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


# ---- the form for inference ----


@pytest.mark.parametrize("shape", [(1, 2, 8, 24, 16), (3, 2, 16, 8, 8)])
@pytest.mark.parametrize("placed", [True, False])
def test_the_fused_form_gives_the_same_logits_wherever_a_window_lies(shape, placed):
    network = small(placed=placed)
    x = torch.randn(shape)
    x[:, :, :3] = 0
    place = torch.rand(shape[0], 3, 2).sort(dim=2).values * 2 - 1
    given = x.clone()
    with torch.inference_mode():
        expected, found = network(x, place), fused(network)(x, place)
        torch.testing.assert_close(fused(network)(x), network(x), atol=1e-4, rtol=1e-4)
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert torch.equal(x, given)


def test_later_changes_of_the_network_do_not_reach_its_fused_form():
    network, x = small(), torch.randn(1, 2, 8, 8, 8)
    with torch.inference_mode():
        form = fused(network)
        before = form(x)
        unsettle(network)
        assert torch.equal(form(x), before)
        assert not torch.equal(network(x), before)


# ---- several as one ----


def members_of(name):
    return [trained(name, seed) for seed in (1, 2, 3)]


@pytest.mark.parametrize("name", ["fast_unet", "model2"])
def test_an_ensemble_s_probabilities_are_the_mean_of_its_members(name):
    members = members_of(name)
    x = torch.randn(2, 2, 8, 16, 8)
    place = [torch.rand(2, 3, 2).sort(dim=2).values] if form_of(members[0]).placed else []
    with torch.inference_mode():
        scores = [np.exp(member(x, *place).double().numpy()) for member in members]
        expected = np.mean([score / score.sum(axis=1, keepdims=True) for score in scores], axis=0)
        ensemble = Ensemble(members).eval()
        found = ensemble(x, *place)
        rewritten = fused(ensemble)(x, *place)
    np.testing.assert_allclose(found.softmax(dim=1).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(rewritten.softmax(dim=1).numpy(), expected, atol=1e-4)


def test_an_ensemble_is_what_its_members_are():
    members = members_of("fast_unet")
    ensemble = Ensemble(members)
    assert (ensemble.name, ensemble.in_channels, ensemble.num_classes) == ("fast_unet", 2, 4)
    assert ensemble.window_multiple == 8
    assert form_of(ensemble) == form_of(members[0])
    assert all(one is other for one, other in zip(ensemble.members, members, strict=True))


def test_members_that_are_sure_of_different_classes_leave_finite_logits():
    class Sure(nn.Module):
        def __init__(self, label):
            super().__init__()
            self.label = label

        def forward(self, x):
            logits = torch.full((len(x), 4, *x.shape[2:]), -300.0)
            logits[:, self.label] = 300.0
            return logits

    logits = MeanOfMembers([Sure(1), Sure(2)])(torch.zeros(1, 2, 2, 2, 2))
    assert torch.isfinite(logits).all()
    np.testing.assert_allclose(logits.softmax(dim=1)[0, :, 0, 0, 0].numpy(), [0, 0.5, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "channels"), [("model1", {}), ("model2", {"in_channels": 1}), ("model2", {"num_classes": 3})]
)
def test_members_of_different_kinds_are_refused(name, channels):
    with pytest.raises(ValueError, match=f"the members are model2, {name}; expected one kind"):
        Ensemble([build_network("model2"), build_network(name, **channels)])


def test_a_second_look_at_the_mirrored_brain_is_averaged_and_makes_the_answer_symmetric():
    network = trained("fast_unet")
    x, place = torch.randn(1, 2, 16, 24, 8), torch.tensor([[[-0.8, 0.3], [-1.0, 0.5], [-0.2, 1.0]]])
    turned = torch.tensor([[[-0.3, 0.8], [-1.0, 0.5], [-0.2, 1.0]]])
    with torch.inference_mode():
        twice = WithMirrored(network)
        found = twice(x, place).softmax(1)
        mirrored = network(x.flip(2), turned).softmax(1).flip(2)
        torch.testing.assert_close(found, (network(x, place).softmax(1) + mirrored) / 2, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(twice(x.flip(2), turned).softmax(1).flip(2), found, atol=1e-6, rtol=1e-5)
