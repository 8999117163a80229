"""Scans on any grid, in any place: right labels on T1's own grid, or one sentence and nothing written."""

import numpy as np
import pytest
from fuzzing import QuickSegmenter, check_sentence, contents, fenced, fuzz_settings
from hypothesis import assume, event, given
from hypothesis import strategies as st
from scan_phantoms import AXIS_ORDERS, CENTRE_MM
from scipy.spatial.transform import Rotation

from model_core import segment
from model_core.errors import UserError
from model_core.networks import build_network
from model_core.preprocessing import prepare_pair
from model_core.system.command_line import run_command
from model_core.volumes import Volume, read_labels, read_volume, write_volume
from model_core.weights import save_weights

MOST_VOXELS = 30_000
MOST_MM3 = 300_000  # the network grid has that many voxels


@st.composite
def shapes(draw):
    """Sides from 1 voxel to 300, few voxels in all; which axis is long is drawn, too."""
    first = draw(st.one_of(st.integers(1, 24), st.integers(1, 300)))
    second = draw(st.integers(1, max(1, min(300, MOST_VOXELS // first, 60))))
    third = draw(st.integers(1, max(1, min(300, MOST_VOXELS // (first * second), 40))))
    return tuple(draw(st.permutations([first, second, third])))


@st.composite
def affines(draw, shape):
    """Any order, flip, spacing, and now and then any angle or a shear."""
    spacing = [draw(st.one_of(st.just(1.0), st.floats(0.3, 5), st.sampled_from([0.999, 1.0005, 2.0]))) for _ in "ijk"]
    axes = draw(st.sampled_from(AXIS_ORDERS))
    if draw(st.booleans()):
        axes = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in "xyz"], degrees=True).as_matrix() @ axes
    if draw(st.integers(0, 4)) == 0:
        shear = np.eye(3)
        shear[draw(st.integers(0, 1)), 2] = draw(st.floats(-1.5, 1.5))
        axes = axes @ shear
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    affine[:3, 3] = CENTRE_MM - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[:3, 3] += [draw(st.sampled_from([0.0, 0.0, 0.3, -20.0, 1e4])) for _ in "xyz"]
    assume(np.prod(spacing) * np.prod(shape) <= MOST_MM3)
    return affine


@st.composite
def brains(draw, shape):
    """Where the brain is: a box somewhere with noisy corners, at times everything, a voxel, or nothing."""
    brain = np.zeros(shape, dtype=bool)
    kind = draw(st.sampled_from(["box"] * 8 + ["all", "voxel", "nothing"]))
    if kind == "all":
        return ~brain
    margin = draw(st.sampled_from([0, 1, 1, 1, 2]))
    low = [draw(st.integers(0, side - 1)) if side <= 2 * margin else margin for side in shape]
    high = [max(side - margin, at + 1) for side, at in zip(shape, low, strict=True)]
    if kind == "box":
        brain[tuple(slice(*ends) for ends in zip(low, high, strict=True))] = True
        brain &= np.random.default_rng(draw(st.integers(0, 99))).random(shape) > draw(st.sampled_from([0, 0.1, 0.6]))
    elif kind == "voxel":
        brain[tuple(low)] = True
    return brain


@st.composite
def pairs(draw):
    """T1, T2 and perhaps a mask; T2 and mask on T1's grid or on others."""
    shape = draw(shapes())
    affine = draw(affines(shape))
    brain = draw(brains(shape))
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    t1 = np.where(brain, noise.uniform(50, 200, shape), 0).astype(np.float32)
    t2, t2_affine = np.where(brain, 300 - t1, 0).astype(np.float32), affine
    if draw(st.integers(0, 2)) == 0:
        other = draw(shapes())
        t2, t2_affine = noise.uniform(50, 200, other).astype(np.float32), draw(affines(other))
    mask = draw(st.sampled_from([None, "own", "whole"]))
    masks = {"own": brain, "whole": np.ones(shape, dtype=bool)}
    return (
        Volume(t1, affine, "t1.nii"),
        Volume(t2, t2_affine, "t2.nii"),
        None if mask is None else Volume(masks[mask], affine, "mask.nii"),
    )


@fuzz_settings(60)
@given(pair=pairs())
def test_what_is_on_the_network_grid_comes_back_to_its_own_voxel(pair):
    t1, t2, mask = pair
    try:
        with fenced():
            prepared = prepare_pair(t1, t2, mask)
    except UserError as error:
        sentence = str(error)
    else:
        sentence = None
        grid = prepared.grid
        shape = prepared.t1.shape
        assert prepared.t1.dtype == prepared.t2.dtype == np.float32
        assert prepared.t2.shape == prepared.mask.shape == shape == grid.shape
        assert np.isfinite(prepared.t1).all()
        assert not prepared.t1[~prepared.mask].any()
        # A voxel's label is told by its place: labels of the network grid come back to where they lie in space.
        labels = (np.indices(shape).sum(axis=0) % 4).astype(np.uint8)
        native = prepared.labels_to_native(labels)
        if prepared.holes is not None:  # enclosed zeros are never background
            labels[prepared.holes & (labels == 0)] = 1
        assert native.shape == t1.array.shape
        places = np.argwhere(grid.brain)
        at = places @ t1.affine[:3, :3].T + t1.affine[:3, 3]
        inverse = np.linalg.inv(prepared.affine)
        on_grid = at @ inverse[:3, :3].T + inverse[:3, 3]
        nearest = np.clip(np.rint(on_grid), 0, np.array(shape) - 1).astype(int)
        sure = (np.abs(on_grid - np.floor(on_grid) - 0.5) > 1e-3).all(axis=1)
        assert (native[tuple(places.T)] == labels[tuple(nearest.T)])[sure].all()
        assert not native[~grid.brain].any()
        probabilities = prepared.probabilities_to_native(np.full((4, *shape), 0.25, np.float32))
        np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
        if not grid.is_interpolated:
            np.testing.assert_array_equal(
                np.sort(prepared.t1[prepared.mask]), np.sort(np.where(grid.brain, t1.array, 0)[grid.brain])
            )
    if sentence:
        check_sentence(sentence)
    event("refused" if sentence else "interpolated" if grid.is_interpolated else "cropped")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(path, build_network("nonlocal_unet"), {})
    return path


@fuzz_settings(10)
@given(pair=pairs(), suffix=st.sampled_from([".nii.gz", ".nii", ".hdr", ".nrrd", ".mha"]))
def test_the_command_segments_any_geometry_or_says_why_not(tmp_path, weights, capfd, pair, suffix):
    t1, _, mask = pair
    paths = {"t1": tmp_path / "t1.nii.gz", "t2": tmp_path / "t2.nii", "mask": tmp_path / "mask.nii.gz"}
    output = tmp_path / f"out{suffix}"
    for old in tmp_path.iterdir():
        old.unlink()
    arguments = ["--output", output, "--weights", weights, "--device", "cpu"]
    for (name, path), volume in zip(paths.items(), pair, strict=True):
        if volume is not None:
            write_volume(path, volume.array, volume.affine)
            arguments += [f"--{name}", path]
    before = contents(tmp_path)
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch, fenced():
        patch.setattr(segment, "Segmenter", QuickSegmenter)
        status = run_command(segment.main, [str(argument) for argument in arguments])
    said = capfd.readouterr().err
    if status == 0:
        labels = read_labels(output)
        assert labels.array.shape == t1.array.shape
        np.testing.assert_allclose(labels.affine, read_volume(paths["t1"]).affine, atol=1e-3)
        assert labels.array.any()
        if mask is not None:
            assert not labels.array[mask.array == 0].any()
    else:
        assert status == 1
        check_sentence(said)
        assert contents(tmp_path) == before
    event("refused: " + said[:60].replace(str(tmp_path), "") if status else "segmented")
