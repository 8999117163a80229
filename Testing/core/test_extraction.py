"""The built-in brain extraction: the mask on T1's grid, what it refuses, and what the shipped weights find."""

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from model_core.default_weights.extraction_recipe import head_files
from model_core.errors import UserError
from model_core.extraction import extractor, find_brain
from model_core.extraction.extractor import LARGEST_CUT, certainty_of, find_brain_with, largest_cut
from model_core.metrics import dice
from model_core.model_card import DEFAULT_WEIGHTS, EXTRACTION_WEIGHTS
from model_core.networks import (
    BRAIN_EXTRACTION,
    EXTRACTION_NETWORKS,
    NETWORKS,
    TISSUES,
    build_network,
    task_of,
)
from model_core.networks.fused import fused
from model_core.preprocessing.brain_extraction import EXTRACTORS, choose_extractor
from model_core.segmentation_options import BRAIN_EXTRACTIONS, SegmentationOptions
from model_core.synthesis.head_maps import read_heads
from model_core.synthesis.head_scan import Field
from model_core.synthesis.heads import GRID_MM, synthesize_head
from model_core.synthesis.no_head import synthesize_no_head
from model_core.volumes import Volume
from model_core.weights import load_weights, save_weights

SIDE = 60  # voxels of 3 mm


class BrightIsBrain(nn.Module):
    """Stands in for the network: what is bright in either scan is brain."""

    def forward(self, x):
        logit = 8 * (x / x.amax() - 0.6).amax(dim=1, keepdim=True)
        return torch.cat([-logit, logit], dim=1)


@pytest.fixture
def network(monkeypatch):
    monkeypatch.setattr("model_core.extraction.network_pass.fused", lambda network: BrightIsBrain())
    return build_network("brain_extraction")


def ball(radius, centre=(30, 30, 30), side=SIDE):
    return sum((axis - middle) ** 2 for axis, middle in zip(np.indices((side,) * 3), centre, strict=True)) < radius**2


def scan_of(brain, codes="RAS", spacing=3.0):
    """A dark head around a bright brain, stored along other axes; the brain on the same voxels."""
    image = np.zeros(brain.shape, np.float32)
    image[ndimage.binary_dilation(brain, iterations=4)] = 100
    image[brain] = 400
    affine = np.diag([spacing] * 3 + [1.0])
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(affine), nibabel.orientations.axcodes2ornt(codes)
    )
    stored, mask = (nibabel.Nifti1Image(array, affine).as_reoriented(turn) for array in (image, brain.astype(np.uint8)))
    return Volume(np.asarray(stored.dataobj), stored.affine, "t1.nii"), np.asarray(mask.dataobj) > 0


# ---- The mask ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codes", ["RAS", "PIL", "LSA"])
def test_the_mask_lies_on_t1s_own_voxels_whatever_their_axes(network, codes):
    t1, brain = scan_of(ball(18), codes)
    mask = find_brain_with(network, t1, None)
    assert np.array_equal(mask.affine, t1.affine)
    assert mask.array.dtype == bool
    assert dice(mask.array, brain) > 0.96


def test_the_mask_is_one_piece_without_holes(network):
    brain = ball(18)
    t1, _ = scan_of((brain & ~ball(4)) | ball(5, (30, 30, 54)))
    mask = find_brain_with(network, t1, None).array
    assert dice(mask, brain) > 0.96
    assert not mask[:, :, 52:].any()
    assert mask[30, 30, 30]


def test_t2_is_looked_at_where_it_lies(network):
    t1, brain = scan_of(ball(18))
    t2 = Volume(t1.array[10:].copy(), t1.affine.copy(), "t2.nii")
    t2.affine[:3, 3] = (t1.affine @ [10, 0, 0, 1])[:3]
    ramp = np.indices(brain.shape, np.float32)[0]
    dark = Volume(ramp, t1.affine, "t1.nii")
    assert dice(find_brain_with(network, dark, t2).array, brain) > 0.96


def test_t2_alone_does(network):
    t2, brain = scan_of(ball(18))
    assert dice(find_brain_with(network, None, t2).array, brain) > 0.96


def test_a_finer_scan_gets_a_smooth_surface(network):
    brain = ball(54, (75, 75, 75), side=150)
    t1, _ = scan_of(brain, spacing=1.0)
    mask = find_brain_with(network, t1, None).array
    surface = mask ^ ndimage.binary_erosion(mask)
    radii = np.linalg.norm(np.argwhere(surface) - 75, axis=1)
    assert radii.std() < 0.6  # of a ball of 2 mm voxels it is 0.7 and more


# ---- What it refuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("array", [np.zeros((40,) * 3), np.full((40,) * 3, 7.0)], ids=["nothing", "one value"])
def test_an_empty_scan_is_refused(network, array):
    empty = Volume(array.astype(np.float32), np.diag([3.0, 3, 3, 1]), "empty.nii")
    with pytest.raises(UserError, match=r"no brain in empty.nii: it has the value [07] in every voxel; expected a"):
        find_brain_with(network, empty, None)


def test_what_is_too_small_for_a_brain_is_refused(network):
    t1, _ = scan_of(ball(10))  # 113 ml
    with pytest.raises(UserError, match=r"finds no brain .* 11[0-9] ml"):
        find_brain_with(network, t1, None)


def test_what_the_network_is_not_sure_of_is_refused(network, monkeypatch):
    class Doubtful(nn.Module):
        def forward(self, x):
            return BrightIsBrain()(x).clamp(-0.4, 0.4)

    monkeypatch.setattr("model_core.extraction.network_pass.fused", lambda network: Doubtful())
    t1, _ = scan_of(ball(18))
    with pytest.raises(UserError, match=r"and it is [0-9]+% sure of them; expected a head"):
        find_brain_with(network, t1, None)


def test_certainty_is_the_dice_of_a_mask_and_its_probabilities():
    mask = ball(10)
    assert certainty_of(mask.astype(np.float32), mask) == pytest.approx(1)
    assert certainty_of(0.6 * mask, mask) == pytest.approx(2 * 0.6 / 1.6)
    assert certainty_of(np.zeros(mask.shape), np.zeros(mask.shape, bool)) == 0


@pytest.mark.parametrize("missing", [0.02, 0.08, 0.12, 0.3])
def test_a_ball_that_lost_more_than_a_tenth_is_cut_and_one_that_lost_less_is_not(missing):
    brain = ball(25)
    lost = np.cumsum(brain.sum(axis=(0, 1))) / brain.sum()
    first = np.flatnonzero(lost >= missing)[0]
    side, share = largest_cut(brain[:, :, first:])
    assert side == "bottom"
    assert (share > LARGEST_CUT) == (missing > 0.1)


def test_a_head_that_is_cut_through_its_brain_is_refused(network):
    t1, _ = scan_of(ball(18))
    cut = Volume(t1.array[:, 24:], t1.affine, "t1.nii")
    with pytest.raises(UserError, match=r"is cut off at the back: .* at most a tenth .*; take a scan of the whole"):
        find_brain_with(network, cut, None)


def test_a_mask_that_is_rounded_off_at_the_face_is_cut_as_well():
    brain = ball(25)[:, :, 20:]
    brain[:, :, 0] = False
    brain[:, :, 1] &= ball(15)[:, :, 21]
    side, share = largest_cut(brain)
    assert side == "bottom"
    assert share > LARGEST_CUT


def test_a_slab_of_a_few_slices_is_cut_at_its_faces(network):
    t1, _ = scan_of(ball(24), spacing=4.0)
    slab = Volume(t1.array[:, :, 29:31], t1.affine, "t1.nii")  # 8 mm: four slices of the network's
    with pytest.raises(UserError, match=r"is cut off at the (top|bottom): .* of the brain's widest one"):
        find_brain_with(network, slab, None)


def test_a_head_that_ends_at_the_top_is_refused_whatever_its_mask_says(network):
    t1, _ = scan_of(ball(18))
    array = np.where(t1.array == 100, 200, t1.array)[:, :, :38]
    array[:, :, 32:] = np.minimum(array[:, :, 32:], 200)  # the brain is taken for other tissue near the cut
    with pytest.raises(UserError, match=r"cut off at the top: .* with [0-9]+% of the head's widest one; expected"):
        find_brain_with(network, Volume(array, t1.affine, "t1.nii"), None)


# ---- Networks of two tasks ---------------------------------------------------------------------------------


def test_the_network_tells_brain_from_the_rest_on_a_grid_of_its_own():
    network = build_network("brain_extraction").eval()
    assert (network.num_classes, network.input_form.spacing_mm) == (2, 2.0)
    assert build_network("fast_unet").input_form.spacing_mm == 1.0
    assert network(torch.zeros(1, 2, 16, 24, 8)).shape == (1, 2, 16, 24, 8)
    assert [task_of(name) for name in NETWORKS] == [TISSUES] * len(NETWORKS)
    assert [task_of(name) for name in EXTRACTION_NETWORKS] == [BRAIN_EXTRACTION] * len(EXTRACTION_NETWORKS)


def test_its_fused_form_gives_the_same_numbers():
    torch.manual_seed(1)
    network = build_network("brain_extraction").eval()
    x = torch.randn(1, 2, 16, 16, 24)
    with torch.inference_mode():
        assert torch.allclose(fused(network)(x), network(x), atol=1e-5)


def test_weights_of_one_task_are_refused_where_the_other_is_wanted(tmp_path):
    save_weights(tmp_path / "head.safetensors", build_network("brain_extraction"), {})
    save_weights(tmp_path / "tissues.safetensors", build_network("model2"), {})
    with pytest.raises(UserError, match="a network that finds the brain in a head; one that segments tissues was"):
        load_weights(tmp_path / "head.safetensors")
    with pytest.raises(UserError, match="a network that segments tissues; one that finds the brain in a head was"):
        load_weights(tmp_path / "tissues.safetensors", BRAIN_EXTRACTION)
    network, card = load_weights(tmp_path / "head.safetensors", BRAIN_EXTRACTION)
    assert (network.name, card["task"], card["spacing_mm"]) == ("brain_extraction", "brain extraction", 2.0)
    with pytest.raises(UserError, match="segments tissues"):
        find_brain(*[scan_of(ball(18))[0]] * 2, DEFAULT_WEIGHTS)


# ---- The choice --------------------------------------------------------------------------------------------


def test_the_built_in_extraction_is_what_is_always_there(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert tuple(extractor.name for extractor in EXTRACTORS) == BRAIN_EXTRACTIONS
    assert BRAIN_EXTRACTIONS[0] == SegmentationOptions().brain_extraction
    assert choose_extractor("built-in").is_installed


def test_a_tool_that_is_installed_can_be_chosen_and_one_that_is_not_is_refused(monkeypatch, tmp_path):
    program = tmp_path / "hd-bet"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert choose_extractor("hd-bet").name == "hd-bet"
    with pytest.raises(UserError, match=r"SynthStrip \(.*\) was not found on the search path; expected it to be"):
        choose_extractor("synthstrip")


def test_its_mask_is_judged_as_those_of_the_tools_are(network, monkeypatch):
    t1, _ = scan_of(ball(15))  # 382 ml: an own brain to the network, too little for the gate
    monkeypatch.setattr(extractor, "load_weights", lambda path, task: (network, {}))
    with pytest.raises(UserError, match=r"the mask by the built-in network has a volume of 3.. ml; expected a brain"):
        choose_extractor("built-in").find(t1, t1)


# ---- The weights that ship ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def held_out():
    """A head of somebody whom the network has not seen."""
    return read_heads(head_files()[1][:1])[0]


@pytest.mark.parametrize(("given", "overlap"), [("both", 0.95), ("t1", 0.92), ("t2", 0.9)])
def test_the_shipped_weights_find_the_brain_of_somebody_unseen(held_out, given, overlap):
    scans = synthesize_head(held_out, 1, contrast="infant", field=Field(cut=0.0))
    t1, t2 = (volume if given in ("both", name) else None for name, volume in volumes_of(scans).items())
    network, _ = load_weights(EXTRACTION_WEIGHTS, BRAIN_EXTRACTION)
    assert dice(find_brain_with(network, t1, t2).array, scans.brain) > overlap


def test_the_shipped_weights_find_no_brain_in_noise_and_most_limbs():
    network, _ = load_weights(EXTRACTION_WEIGHTS, BRAIN_EXTRACTION)
    scans = [synthesize_no_head((4, number)) for number in range(9)]
    refused = []
    for scan in scans:
        if scan.name in ("limbs", "noise"):
            try:
                find_brain_with(network, *volumes_of(scan).values())
            except UserError:
                refused.append(True)
            else:
                refused.append(False)
    assert len(refused) >= 3
    assert np.mean(refused) > 0.7


def test_the_shipped_weights_refuse_a_head_that_lost_the_top_of_its_brain(held_out):
    network, _ = load_weights(EXTRACTION_WEIGHTS, BRAIN_EXTRACTION)
    scans = synthesize_head(held_out, 1, contrast="infant", field=Field(cut=0.0))
    below = np.cumsum(scans.brain.sum(axis=(0, 1))) / scans.brain.sum()
    last = int(np.searchsorted(below, 0.8))
    cut = [Volume(volume.array[:, :, :last], volume.affine, volume.path) for volume in volumes_of(scans).values()]
    with pytest.raises(UserError, match="is cut off at the top: "):
        find_brain_with(network, *cut)


def volumes_of(scans):
    """T1 and T2 by name, in voxels of the network's size."""
    affine = np.diag([GRID_MM] * 3 + [1.0])
    return {name: Volume(getattr(scans, name), affine, name) for name in ("t1", "t2")}
