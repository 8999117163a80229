"""T1 or T2 alone: its own grid, what it costs is said, and networks that need both refuse it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scan_phantoms import AXIS_ORDERS, grid, scans

from model_core import segment
from model_core.errors import UserError
from model_core.networks import build_network
from model_core.preprocessing import prepare_pair
from model_core.quality.checks import check_scans
from model_core.segmentation.one_scan import check_one_scan
from model_core.system.command_line import run_command
from model_core.volumes import Volume, read_labels, read_volume, write_volume
from model_core.weights import save_weights


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one scan")
    shape, affine = grid(AXIS_ORDERS[22])
    t1, t2, _ = scans(shape, affine)
    for name, scan in (("t1", t1), ("t2", t2)):
        write_volume(folder / f"{name}.nii.gz", scan.array, affine)
    tissue = {"csf": {"dice": 0.9}, "gm": {"dice": 0.8}, "wm": {"dice": 0.7}}
    poorer = {"csf": {"dice": 0.6}, "gm": {"dice": 0.6}, "wm": {"dice": 0.6}}
    card = {"one_scan_scores": {"both": tissue, "t1": poorer}}
    save_weights(folder / "fast.safetensors", build_network("fast_unet"), card)
    save_weights(folder / "published.safetensors", build_network("nonlocal_unet"), {})
    return folder


def run(case, output, *given, weights="fast"):
    named = [part for name in given for part in (f"--{name}", str(case / f"{name}.nii.gz"))]
    weights = ["--weights", str(case / f"{weights}.safetensors"), "--device", "cpu"]
    return run_command(
        segment.main, [*named, *weights, "--output", str(output), "--picture", str(output.parent / "p.png")]
    )


@pytest.mark.parametrize("given", ["t1", "t2"])
def test_the_result_lies_on_the_grid_of_the_scan_that_is_there_and_says_what_it_lacks(case, tmp_path, capsys, given):
    assert run(case, tmp_path / "out.nii.gz", given) == 0
    labels, scan = read_labels(tmp_path / "out.nii.gz"), read_volume(case / f"{given}.nii.gz")
    np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-5)
    assert labels.array.shape == scan.array.shape
    assert not labels.array[scan.array == 0].any()
    sidecar = json.loads((tmp_path / "out.json").read_text())
    missing = {"t1": "t2", "t2": "t1"}[given]
    assert sidecar["sources"][missing] is None
    sentences = [warning["sentence"] for warning in sidecar["warnings"] if warning["code"] == "one-scan"]
    assert len(sentences) == 1
    assert sentences[0].startswith(f"{given.upper()} alone was given")
    assert f"{missing.upper()}: not given" in capsys.readouterr().out


def test_what_the_missing_scan_costs_is_the_cards_mean_dice(case, tmp_path):
    assert run(case, tmp_path / "out.nii.gz", "t1") == 0
    (warning,) = (w for w in json.loads((tmp_path / "out.json").read_text())["warnings"] if w["code"] == "one-scan")
    assert "mean Dice on held-out synthetic pairs is 0.60, with T1 and T2 0.80" in warning["sentence"]


def test_a_network_that_needs_both_refuses_one(case, tmp_path, capsys):
    assert run(case, tmp_path / "out.nii.gz", "t1", weights="published") == 1
    said = capsys.readouterr().err
    assert "T2 is missing" in said
    assert said.strip().count("\n") == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "No scan was given"),
        (["--t1", "a.nii", "--raw"], "need both"),
        (["--t2", "a.nii", "--align-t2"], "both"),
    ],
)
def test_no_scan_and_steps_that_need_two_are_wrong_usage(arguments, words, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        segment.main([*arguments, "--output", str(tmp_path / "out.nii.gz")])
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_both_scans_cost_nothing(case):
    scan = read_volume(case / "t1.nii.gz")
    assert check_one_scan(scan, scan, case, {}) == []


def test_a_prepared_scan_is_that_of_the_pair_and_the_other_is_zero(case):
    t1, t2 = (read_volume(case / f"{name}.nii.gz") for name in ("t1", "t2"))
    both, alone = prepare_pair(t1, t2), prepare_pair(t1, None)
    np.testing.assert_array_equal(alone.t1, both.t1)
    np.testing.assert_array_equal(alone.mask, both.mask)
    assert not alone.t2.any()
    other = prepare_pair(None, t2)
    np.testing.assert_array_equal(other.t2, both.t2)
    assert not other.t1.any()
    with pytest.raises(ValueError, match="at least one scan"):
        prepare_pair(None, None)


def test_what_is_wrong_with_t2_alone_is_said_of_t2():
    block = np.full((20, 20, 20), 7.0, np.float32)
    with pytest.raises(UserError, match=r"^T2 \(t2\.nii\) does not look skull-stripped"):
        prepare_pair(None, Volume(block, np.eye(4), "t2.nii"))
    block[:3], block[-3:], block[:, :3], block[:, -3:], block[..., :3], block[..., -3:] = [0] * 6
    scan = Volume(block, np.eye(4), "t2.nii")
    with pytest.raises(UserError, match=r"^T2 \(t2\.nii\) has the value 7 all over the brain"):
        check_scans(None, scan, prepare_pair(None, scan))
