"""Raw scans through their chain: places, skull, refusals, intermediates, and the command with --raw."""

import json
import os
import re

import nibabel
import numpy as np
import pytest
from head_phantoms import (
    T1_HEAD,
    T2_HEAD,
    distance_mm,
    head_at,
    head_grid,
    head_scan,
    install_hd_bet,
    raw_pair,
)
from scan_phantoms import CENTRE_MM, T1_INTENSITIES, world_points

from model_core import segment
from model_core.errors import UserError
from model_core.inference.accumulator import Progress, Segmentation
from model_core.networks import build_network
from model_core.preprocessing.raw_scans import RawOptions, find_head, prepare_raw
from model_core.segmentation_options import RAW_STEPS
from model_core.system.command_line import run_command
from model_core.volumes import Volume, read_labels, write_volume
from model_core.weights import save_weights

WITHOUT_BIAS = RawOptions(skip=frozenset({"bias-correction"}))


@pytest.fixture(scope="module")
def heads():
    return raw_pair()


@pytest.fixture
def no_tools(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))


# ---- The chain ---------------------------------------------------------------------------------------------


def test_t2_in_its_own_space_comes_to_lie_over_t1_and_every_step_is_kept_and_drawn(heads, tmp_path):
    t1, t2, brain, true = heads
    stages, kept = [], tmp_path / "kept here"
    options = RawOptions(skip=frozenset({"bias-correction"}), keep_intermediates=kept, pictures=True)
    raw = prepare_raw(t1, t2, brain, options, on_stage=stages.append)
    assert distance_mm(t2.affine, true, brain) > 15
    assert distance_mm(raw.t2.affine, true, brain) < 2.5  # voxels have 3 mm
    assert np.array_equal(raw.t1.array, t1.array)
    assert np.array_equal(raw.t1.affine, t1.affine)
    assert np.array_equal(raw.mask.array, brain.array)
    assert [step.name for step in raw.steps] == list(RAW_STEPS)
    assert [step.done for step in raw.steps] == [True, False, True, True]
    assert stages == ["orientation", "alignment", "brain-extraction"]
    assert raw.steps[0].details == {"t1": "LPS", "t2": "PIR"}
    assert raw.steps[2].details["contrast"] > 1.5
    assert raw.steps[2].details["shift_mm"] == pytest.approx(np.linalg.norm([5, -7, 4]), abs=1)
    assert raw.steps[3].details == {"brain_ml": pytest.approx(brain.array.sum() * 0.027, abs=0.1)}
    assert all(step.picture.startswith(b"\x89PNG") for step in raw.steps)

    assert sorted(os.listdir(kept)) == [
        "1-orientation-t1.nii.gz", "1-orientation-t2.nii.gz", "3-alignment-t1.nii.gz", "3-alignment-t2.nii.gz",
        "4-brain-extraction-mask.nii.gz",
    ]  # fmt: skip
    assert nibabel.aff2axcodes(nibabel.load(kept / "1-orientation-t2.nii.gz").affine) == ("R", "A", "S")
    assert np.allclose(nibabel.load(kept / "3-alignment-t2.nii.gz").affine, raw.t2.affine, atol=1e-4)


def test_n4_flattens_a_field_over_the_head(heads):
    t1, t2, brain, _ = heads
    x = np.linspace(-1, 1, t1.array.shape[0], dtype=np.float32)[:, None, None]
    shaded = Volume(t1.array * np.exp(0.5 * x), t1.affine, t1.path)
    options = RawOptions(skip=frozenset({"alignment"}))
    raw = prepare_raw(shaded, t2, brain, options)

    def slope(scan):
        matter = head_at(world_points(t1.array.shape, t1.affine)) == 3
        values = np.log(scan.array[matter])
        return abs(np.polyfit(np.broadcast_to(x, matter.shape)[matter], values, 1)[0])

    assert slope(shaded) == pytest.approx(0.5, abs=0.05)
    assert slope(raw.t1) < 0.15


def test_steps_that_are_skipped_change_nothing(heads):
    t1, t2, _, _ = heads
    raw = prepare_raw(t1, t2, None, RawOptions(skip=frozenset(RAW_STEPS[1:])))
    assert np.array_equal(raw.t1.array, t1.array)
    assert np.array_equal(raw.t2.affine, t2.affine)
    assert raw.mask is None
    assert [step.as_dict() for step in raw.steps[1:]] == [
        {"name": name, "done": False, "tool": None, "seconds": 0.0} for name in RAW_STEPS[1:]
    ]


def test_a_mask_on_another_grid_is_brought_to_t1s(heads):
    t1, t2, brain, _ = heads
    shape, affine = head_grid(spacing=(2.0, 2.0, 2.0), codes="ASL")
    other = Volume(np.isin(head_at(world_points(shape, affine)), (1, 2, 3)), affine, "mask.nrrd")
    raw = prepare_raw(t1, t2, other, RawOptions(skip=frozenset(RAW_STEPS[1:])))
    overlap = 2 * (raw.mask.array & brain.array).sum() / (raw.mask.array.sum() + brain.array.sum())
    assert overlap > 0.95


@pytest.fixture(scope="module")
def lost():
    """Scans stored along right, anterior, superior, whose headers tell another orientation; the brain, and T2's truth.

    The truth is T2's affine where T1's own axes are right, anterior, superior and T1's middle is 0.
    """
    shape, affine = head_grid()
    t1 = head_scan(T1_HEAD, shape, affine, 1, "t1.nii.gz")
    brain = np.isin(head_at(world_points(shape, affine)), (1, 2, 3))
    t2_shape, true = head_grid(spacing=(2.2, 2.2, 3.0), angles=(5, -3, 4), rim_mm=16.0)
    t2 = head_scan(T2_HEAD, t2_shape, true, 2, "t2.nii.gz")
    wrong = np.array([[0, 0, -3.0, 40], [0, 3.0, 0, -7], [3.0, 0, 0, 900], [0, 0, 0, 1]])
    wrong_t2 = np.array([[0, 2.2, 0, 0], [-2.2, 0, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])
    middle = np.eye(4)
    middle[:3, 3] = -CENTRE_MM
    return (
        Volume(t1.array, wrong, t1.path), Volume(t2.array, wrong_t2, t2.path),
        Volume(brain, wrong, "mask.nii.gz"), middle @ true,
    )  # fmt: skip


def test_without_the_orientation_headers_are_not_believed(lost, tmp_path):
    t1, t2, brain, true = lost
    kept = tmp_path / "kept"
    options = RawOptions(skip=frozenset({"orientation", "bias-correction"}), keep_intermediates=kept, pictures=True)
    raw = prepare_raw(t1, t2, brain, options)
    assert [step.done for step in raw.steps] == [False, False, True, True]
    assert nibabel.aff2axcodes(raw.t1.affine) == ("R", "A", "S")
    assert raw.t1.spacing == pytest.approx((3, 3, 3))
    assert np.array_equal(raw.mask.array, brain.array)
    assert distance_mm(raw.t2.affine, true, Volume(brain.array, raw.t1.affine)) < 2.5  # voxels have 3 mm
    # What is kept lies over the T1 that was given, and so does what lay over it before.
    assert np.allclose(nibabel.load(kept / "3-alignment-t1.nii.gz").affine, t1.affine, atol=1e-3)
    assert np.allclose(nibabel.load(kept / "4-brain-extraction-mask.nii.gz").affine, t1.affine, atol=1e-3)
    t2_over_t1 = np.linalg.inv(raw.t1.affine) @ raw.t2.affine
    assert np.allclose(
        np.linalg.inv(t1.affine) @ nibabel.load(kept / "3-alignment-t2.nii.gz").affine, t2_over_t1, atol=1e-3
    )
    assert np.allclose(raw.from_given(brain).affine, raw.t1.affine, atol=1e-9)


# ---- Refusals ----------------------------------------------------------------------------------------------


def test_slices_thicker_than_3_mm_are_refused(heads):
    t1, _, brain, _ = heads
    thick = head_scan(T2_HEAD, *head_grid(spacing=(1.5, 1.5, 3.5)), 3, "thick.nii.gz")
    with pytest.raises(UserError, match=r"T2 \(thick.nii.gz\) has .*×3.5 mm; expected slices of at most 3 mm"):
        prepare_raw(t1, thick, brain, WITHOUT_BIAS)


def test_a_t2_that_shows_something_else_is_refused_after_the_alignment(heads):
    t1, t2, brain, _ = heads
    ring = head_scan(np.array([0, 90, 90, 90, 90, 90], np.float32), t2.array.shape, t2.affine, 5, "blank.nii.gz")
    blobs = np.sin(np.indices(ring.array.shape) / 4).prod(axis=0) * 40 * (ring.array > 45)
    other = Volume(np.abs(ring.array + blobs).astype(np.float32), t2.affine, "other.nii.gz")
    with pytest.raises(UserError, match=r"alignment of T2 \(other.nii.gz\) .* failed: .* times .*; expected 1.35"):
        prepare_raw(t1, other, brain, WITHOUT_BIAS)


def test_air_alone_is_no_head():
    air = np.abs(np.random.default_rng(0).normal(0, 5, (40, 40, 40))).astype(np.float32)
    with pytest.raises(UserError, match=r"T1 \(air.nii\) shows no head"):
        find_head("T1", Volume(air, np.diag([3.0, 3, 3, 1]), "air.nii"))


def test_a_head_is_found_with_its_skull_and_without_the_air(heads):
    t1 = heads[0]
    truth = head_at(world_points(t1.array.shape, t1.affine)) > 0
    found = find_head("T1", t1)
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.97


def test_a_tool_that_is_not_there_is_refused_before_any_work(heads, no_tools):
    t1, t2, _, _ = heads
    stages = []
    with pytest.raises(UserError, match=r"SynthStrip .* was not found .*--brain-extraction built-in.*--mask"):
        prepare_raw(t1, t2, None, RawOptions(brain_extraction="synthstrip"), on_stage=stages.append)
    assert stages == []


# ---- The command -------------------------------------------------------------------------------------------


class KnowingSegmenter:
    """Stands in for the network: tells tissues by their T1 intensity."""

    def __init__(self, network, **settings):
        pass

    def segment(self, t1, t2, *, step, mask, on_progress):
        labels = np.abs(t1[None] - T1_INTENSITIES[:, None, None, None]).argmin(axis=0).astype(np.uint8)
        labels[~mask] = 0
        on_progress(Progress(1, 1, 0.0, step, step))
        return Segmentation(labels, np.eye(4, dtype=np.float32)[:, labels], step, 1, 1)


@pytest.fixture
def case(tmp_path, heads, monkeypatch):
    """A folder with raw scans and weights; gives the options for them."""
    monkeypatch.setattr(segment, "Segmenter", KnowingSegmenter)
    monkeypatch.chdir(tmp_path)
    t1, t2, _, _ = heads
    write_volume("raw t1.nii.gz", t1.array, t1.affine)
    write_volume("raw t2.nii.gz", t2.array, t2.affine)
    save_weights(tmp_path / "w.safetensors", build_network("nonlocal_unet"), {})
    return ["--raw", "--t1", "raw t1.nii.gz", "--t2", "raw t2.nii.gz", "--weights", "w.safetensors", "--device", "cpu"]


def test_the_command_takes_raw_scans_to_labels_on_t1s_own_grid(case, heads, tmp_path, monkeypatch, capsys):
    t1, _, brain, _ = heads
    log, _ = install_hd_bet(tmp_path, monkeypatch, brain)
    options = ["--output", "seg.nii.gz", "--report", "report.html", "--age-months", "7", "--skip", "bias-correction"]
    options += ["--brain-extraction", "hd-bet"]
    segment.main([*case, *options])
    said = capsys.readouterr().out
    found = read_labels("seg.nii.gz")
    assert np.allclose(found.affine, t1.affine, atol=1e-4)
    truth = np.where(brain.array, head_at(world_points(t1.array.shape, t1.affine)), 0)
    for label in (1, 2, 3):
        assert 2 * ((found.array == label) & (truth == label)).sum() > 0.85 * (
            (found.array == label).sum() + (truth == label).sum()
        )
    sidecar = json.loads((tmp_path / "seg.json").read_text("utf-8"))
    assert sidecar["raw"] is True
    assert [(step["name"], step["done"], step["tool"]) for step in sidecar["raw_steps"]] == [
        ("orientation", True, "affine"), ("bias-correction", False, None),
        ("alignment", True, "mutual information"), ("brain-extraction", True, "HD-BET"),
    ]  # fmt: skip
    assert sidecar["raw_steps"][2]["similarity"] > 0
    assert sidecar["age_months"] == 7
    assert sidecar["sources"] == {"t1": "raw t1.nii.gz", "t2": "raw t2.nii.gz", "mask": None}
    assert "-device cpu --disable_tta" in log.read_text()
    assert "brain-extraction: HD-BET" in said
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") == 4  # a picture of each step
    assert page.count("data:image/jpeg;base64,") == 9  # T1, T2 and the uncertainty in three planes
    assert not re.search(r"src=\"(?!data:)|href=\"(?!#)", page)
    for finding in sidecar["warnings"]:
        assert f"Warning: {finding['sentence']}\n" in said


def test_the_command_brings_labels_to_a_t1_whose_header_is_wrong(case, lost, tmp_path):
    t1, t2, brain, _ = lost
    for name, volume in (("t1", t1), ("t2", t2), ("mask", brain)):
        write_volume(f"lost {name}.nii.gz", volume.array, volume.affine)
    truth = np.where(brain.array, head_at(world_points(t1.array.shape, head_grid()[1])), 0).astype(np.uint8)
    write_volume("truth.nii.gz", truth, t1.affine)
    files = ["--t1", "lost t1.nii.gz", "--t2", "lost t2.nii.gz", "--mask", "lost mask.nii.gz"]
    more = ["--output", "seg.nii.gz", "--reference", "truth.nii.gz", "--picture", "seg.png"]
    segment.main([*case, *files, *more, "--skip", "orientation", "bias-correction"])
    found = read_labels("seg.nii.gz")
    assert np.allclose(found.affine, t1.affine, atol=1e-4)
    sidecar = json.loads((tmp_path / "seg.json").read_text("utf-8"))
    assert min(row["dice"] for row in sidecar["tissues"]) > 0.85
    assert not {"wrong-axes", "upside-down"} & {finding["code"] for finding in sidecar["warnings"]}


def test_a_head_whose_extraction_was_skipped_is_refused_and_nothing_is_written(case, tmp_path, capsys):
    before = sorted(os.listdir(tmp_path))
    assert run_command(segment.main, [*case, "--output", "seg.nii.gz", "--skip", *RAW_STEPS[1:]]) == 1
    assert "does not look skull-stripped" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == before


def test_a_mask_of_the_whole_head_is_refused_for_its_skull(case, heads, tmp_path, capsys):
    t1 = heads[0]
    write_volume("head.nii.gz", find_head("T1", t1), t1.affine)
    more = ["--mask", "head.nii.gz", "--skip", "bias-correction"]
    assert run_command(segment.main, [*case, "--output", "seg.nii.gz", *more]) == 1
    assert "has bone and scalp around it" in capsys.readouterr().err
    assert not (tmp_path / "seg.nii.gz").exists()


@pytest.mark.parametrize(
    "changes",
    [["--align-t2"], ["--bias-correction"], ["--skip", "report"], ["--age-months", "25"], ["--age-months", "old"]],
)
def test_options_that_contradict_raw_are_wrong_usage(changes, capsys):
    with pytest.raises(SystemExit) as caught:
        segment.main(["--raw", "--t1", "a.nii", "--t2", "b.nii", "--output", "c.nii", *changes])
    assert caught.value.code == 2


def test_steps_of_raw_without_raw_are_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        segment.main(["--t1", "a.nii", "--t2", "b.nii", "--output", "c.nii", "--skip", "alignment"])
    assert caught.value.code == 2


def test_an_intermediate_never_takes_the_place_of_an_input(case, heads, capsys):
    t1 = heads[0]
    os.mkdir("kept")
    write_volume("kept/1-orientation-t1.nii.gz", t1.array, t1.affine)
    arguments = [*case, "--output", "seg.nii.gz", "--keep-intermediates", "kept"]
    arguments[2] = "kept/1-orientation-t1.nii.gz"
    assert run_command(segment.main, arguments) == 1
    assert "which --t1 names, too" in capsys.readouterr().err
