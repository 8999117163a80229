"""The command segment.py: what it writes, where, and how it stops."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scan_phantoms import AXIS_ORDERS, T1_INTENSITIES, T2_INTENSITIES, grid, labels_at, scans, world_points

from model_core import segment
from model_core.confidence.calibration import Calibration, Curve
from model_core.inference.accumulator import Progress, Segmentation
from model_core.networks import build_network
from model_core.system.command_line import run_command
from model_core.volumes import read_labels, read_volume, write_volume
from model_core.weights import save_weights

REPOSITORY = Path(__file__).resolve().parents[2]


class KnowingSegmenter:
    """Stands in for the network: tells tissues by their T1 intensity, and checks what it is given."""

    def __init__(self, network, *, window, device):
        assert network.name == "nonlocal_unet"
        assert (window, device) == (32, "cpu")

    def segment(self, t1, t2, *, step, mask, on_progress):
        labels = np.abs(t1[None] - T1_INTENSITIES[:, None, None, None]).argmin(axis=0).astype(np.uint8)
        labels[~mask] = 0
        assert np.corrcoef(t2[mask], T2_INTENSITIES[labels][mask])[0, 1] > 0.8
        on_progress(Progress(1, 2, 0.5, 2 * step, 2 * step))
        on_progress(Progress(2, 2, 0.0, step, step))
        return Segmentation(labels, np.eye(4, dtype=np.float32)[:, labels], step, 2, 2)


@pytest.fixture
def knowing(monkeypatch):
    monkeypatch.setattr(segment, "Segmenter", KnowingSegmenter)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_weights(path, build_network("nonlocal_unet"), {})
    return path


def write_case(folder, shape, affine, suffix=".nii.gz"):
    """Write t1, t2 and reference; give the options for them."""
    t1, t2, labels = scans(shape, affine)
    for name, array in (("t1", t1.array), ("t2", t2.array), ("reference", labels)):
        write_volume(folder / f"{name}{suffix}", array, affine)
    return ["--t1", folder / f"t1{suffix}", "--t2", folder / f"t2{suffix}"], labels


def run(*arguments):
    segment.main([str(argument) for argument in arguments])


def shell(*arguments):
    return [sys.executable, str(REPOSITORY / "model_core" / "segment.py"), *map(str, arguments)]


# ---- With a real network -----------------------------------------------------------------------------------


def test_from_the_shell_it_writes_everything_that_it_was_asked_for(tmp_path, weights):
    shape, affine = grid(AXIS_ORDERS[22], spacing=(1, 1.2, 0.9))
    pair, _ = write_case(tmp_path, shape, affine)
    options = ["--weights", weights, "--step", 32, "--device", "cpu", "--output", "labels.nii.gz"]
    more = ["--probabilities", "p", "--picture", "a.png", "--scores", "a.json", "--reference", "reference.nii.gz"]
    done = subprocess.run(
        shell(*pair, *options, *more), cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Step 32:" in done.stdout
    assert "windows/s" in done.stdout
    assert "Volumes: CSF" in done.stdout
    assert "3D-MHD" in done.stdout
    assert "Written: labels.json\nWritten: p/background.nii.gz\n" in done.stdout
    assert "Written: a.json\nWritten: a.png\n" in done.stdout

    image = nibabel.load(tmp_path / "labels.nii.gz")
    labels = np.asarray(image.dataobj)
    assert image.get_data_dtype() == np.uint8
    assert labels.shape == shape
    assert np.allclose(image.affine, affine, atol=1e-5)
    images = [nibabel.load(tmp_path / "p" / f"{name}.nii.gz") for name in ("background", "csf", "gm", "wm")]
    assert all(
        image.get_data_dtype() == np.float32 and np.allclose(image.affine, affine, atol=1e-5) for image in images
    )
    probabilities = np.stack([np.asarray(image.dataobj) for image in images])
    assert np.allclose(probabilities.sum(axis=0), 1, atol=1e-4)
    assert np.array_equal(probabilities.argmax(axis=0), labels)
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    report = json.loads((tmp_path / "a.json").read_text("utf-8"))
    assert [row["tissue"] for row in report["tissues"]] == ["csf", "gm", "wm"]
    assert [stage["step"] for stage in report["stages"]] == [32]
    assert report["network"] == "nonlocal_unet"
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    assert report["volumes_ml"]["gm"] == pytest.approx((labels == 2).sum() * voxel_ml)
    assert not list(tmp_path.rglob(".partial-*"))


def calibrated(tmp_path, dice):
    """Weights whose maps are expected to reach a Dice, whatever they agree on."""
    curve = Curve((0.5,), (dice,), -0.5, 0.5)
    entry = {"tissues": Calibration(dict.fromkeys(("csf", "gm", "wm"), curve)).as_dict()}
    save_weights(tmp_path / "calibrated.safetensors", build_network("nonlocal_unet"), {"expected_dice": entry})
    return tmp_path / "calibrated.safetensors"


@pytest.mark.usefixtures("knowing")
@pytest.mark.parametrize(("dice", "said"), [(0.8, ".70-.90"), (0.6, ".40-.80")])
def test_what_is_expected_of_the_map_is_said_and_written_and_a_bad_one_warned_of(tmp_path, capsys, dice, said):
    pair, _ = write_case(tmp_path, *grid())
    output, uncertainty = tmp_path / "labels.nii.gz", tmp_path / "uncertainty.nii.gz"
    arguments = [*pair, "--weights", calibrated(tmp_path, dice), "--output", output, "--uncertainty", uncertainty]
    segment.main([str(argument) for argument in (*arguments, "--device", "cpu", "--step", 16)])
    printed = capsys.readouterr().out
    assert f"Expected Dice, without a reference: CSF {said}, Gray matter {said}, White matter {said}" in printed
    sidecar = json.loads((tmp_path / "labels.json").read_text("utf-8"))
    assert sidecar["expected_dice"]["gm"]["middle"] == dice
    warned = [warning["sentence"] for warning in sidecar["warnings"] if warning["code"] == "expected-dice"]
    assert len(warned) == (dice < 0.7)
    assert all(said in sentence and "correct the map before you use it" in sentence for sentence in warned)
    image = nibabel.load(uncertainty)
    assert image.get_data_dtype() == np.float32
    assert not np.asarray(image.dataobj).any()  # the stand-in is sure of each voxel
    assert (sidecar["mean_uncertainty"], sidecar["uncertain_places_mm"]) == (0, {})


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_the_user_it_ends_with_130_one_line_and_the_old_output(tmp_path, weights, ending):
    pair, _ = write_case(tmp_path, *grid())
    (tmp_path / "labels.nii.gz").write_bytes(b"result of yesterday")
    process = subprocess.Popen(
        shell(*pair, "--weights", weights, "--output", "labels.nii.gz", "--step", 1, "--device", "cpu"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    for line in process.stdout:
        if line.startswith("Network grid"):
            break
    process.send_signal(ending)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.startswith("Stopped by the user")
    assert said.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["labels.nii.gz", "reference.nii.gz", "t1.nii.gz", "t2.nii.gz"]
    assert (tmp_path / "labels.nii.gz").read_bytes() == b"result of yesterday"


# ---- With a stand-in that knows the answer -----------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".hdr", ".nrrd", ".mha", ".mhd"])
@pytest.mark.parametrize("order", [0, 9, 26, 47])
def test_every_voxel_of_the_result_is_that_voxel_of_t1(tmp_path, weights, knowing, order, suffix):
    pair, labels = write_case(tmp_path, *grid(AXIS_ORDERS[order], angles=(10, -6, 15)), suffix)
    run(*pair, "--weights", weights, "--device", "cpu", "--output", tmp_path / f"labels{suffix}")
    found = read_labels(tmp_path / f"labels{suffix}")
    assert np.array_equal(found.array, labels)
    assert np.allclose(found.affine, read_volume(pair[1]).affine, rtol=0, atol=1e-6)


def test_an_anisotropic_scan_gets_labels_on_its_own_grid(tmp_path, weights, knowing):
    shape, affine = grid(AXIS_ORDERS[35], spacing=(0.7, 1.4, 0.9), angles=(4, 8, -3))
    pair, labels = write_case(tmp_path, shape, affine)
    run(*pair, "--weights", weights, "--device", "cpu", "--output", tmp_path / "labels.nii.gz")
    found = read_labels(tmp_path / "labels.nii.gz")
    assert np.allclose(found.affine, affine, atol=1e-5)
    for label in (1, 2, 3):
        assert 2 * ((found.array == label) & (labels == label)).sum() > 0.85 * (
            (found.array == label).sum() + (labels == label).sum()
        )
    assert ((found.array > 0) <= (labels > 0)).all()


def test_iseg_values_are_written_on_request(tmp_path, weights, knowing):
    pair, labels = write_case(tmp_path, *grid())
    run(*pair, "--weights", weights, "--device", "cpu", "--output", tmp_path / "labels.hdr", "--iseg-values")
    values = np.asarray(nibabel.load(tmp_path / "labels.hdr").dataobj)
    assert np.array_equal(values, np.array([0, 10, 150, 250])[labels])


def test_a_perfect_result_scores_1_on_the_references_own_grid(tmp_path, weights, knowing, capsys):
    pair, _ = write_case(tmp_path, *grid())
    run(
        *pair, "--weights", weights, "--device", "cpu", "--output", tmp_path / "labels.nii.gz",
        "--reference", tmp_path / "reference.nii.gz", "--scores", tmp_path / "a.json",
    )  # fmt: skip
    rows = json.loads((tmp_path / "a.json").read_text("utf-8"))["tissues"]
    assert [(row["dice"], row["mhd_3d"]) for row in rows] == [(1, 0)] * 3
    assert "resampled" not in capsys.readouterr().out


def test_a_reference_on_another_grid_is_scored_there_and_this_is_said(tmp_path, weights, knowing, capsys):
    pair, _ = write_case(tmp_path, *grid())
    shape, affine = grid(AXIS_ORDERS[11], spacing=(0.8, 0.8, 0.8))
    reference = labels_at(world_points(shape, affine))
    write_volume(tmp_path / "other.nrrd", reference, affine)
    run(
        *pair, "--weights", weights, "--device", "cpu", "--output", tmp_path / "labels.nii.gz",
        "--reference", tmp_path / "other.nrrd", "--scores", tmp_path / "a.json", "--picture", tmp_path / "a.png",
    )  # fmt: skip
    rows = json.loads((tmp_path / "a.json").read_text("utf-8"))["tissues"]
    assert min(row["dice"] for row in rows) > 0.85
    assert rows[1]["reference_volume_ml"] == pytest.approx((reference == 2).sum() * 0.8**3 / 1000)
    assert "resampled (nearest neighbour) onto the reference: " in capsys.readouterr().out


def test_a_mask_takes_the_place_of_stripping(tmp_path, weights, knowing):
    shape, affine = grid()
    pair, labels = write_case(tmp_path, shape, affine)
    t1 = read_volume(pair[1]).array
    write_volume(pair[1], np.where(t1 == 0, 33, t1), affine)
    write_volume(tmp_path / "mask.nii.gz", (labels > 0).astype(np.uint8), affine)
    run(
        *pair, "--weights", weights, "--device", "cpu", "--output", tmp_path / "labels.nii.gz",
        "--mask", tmp_path / "mask.nii.gz",
    )  # fmt: skip
    assert np.array_equal(read_labels(tmp_path / "labels.nii.gz").array, labels)


def test_beside_the_labels_a_sidecar_says_what_they_were_made_from(tmp_path, weights, knowing, capsys):
    pair, labels = write_case(tmp_path, *grid())
    reference = ["--reference", tmp_path / "reference.nii.gz"]
    run(*pair, "--weights", weights, "--device", "cpu", "--output", tmp_path / "labels.hdr", "--step", 16, *reference)
    sidecar = json.loads((tmp_path / "labels.json").read_text("utf-8"))
    assert sidecar["sources"] == {"t1": str(pair[1]), "t2": str(pair[3]), "mask": None}
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert sidecar["weights"] == {"file": "untrained.safetensors", "sha256": digest, "network": "nonlocal_unet"}
    assert (sidecar["step"], sidecar["device"], sidecar["raw"], sidecar["raw_steps"]) == (16, "cpu", False, [])
    assert sidecar["age_months"] is None
    assert sidecar["volumes_ml"]["wm"] == pytest.approx((labels == 3).sum() / 1000)
    assert sidecar["windows"] == 2
    assert [row["dice"] for row in sidecar["tissues"]] == [1, 1, 1]
    assert datetime.fromisoformat(sidecar["made"]).utcoffset().total_seconds() == 0
    assert {"python", "torch", "numpy", "SimpleITK"} <= set(sidecar["versions"])
    # The body of the tests has 10 ml and three gray levels.
    assert "implausible-volume" in [finding["code"] for finding in sidecar["warnings"]]
    said = capsys.readouterr().out
    assert said.endswith("".join(f"Warning: {finding['sentence']}\n" for finding in sidecar["warnings"]))


def test_swapped_scans_are_refused_and_nothing_is_written(tmp_path, weights, knowing, capsys):
    pair, _ = write_case(tmp_path, *grid())
    before = sorted(os.listdir(tmp_path))
    options = ["--weights", weights, "--device", "cpu", "--output", tmp_path / "labels.nii.gz"]
    swapped = ["--t1", pair[3], "--t2", pair[1], *options]
    assert run_command(segment.main, [str(option) for option in swapped]) == 1
    assert "seem to be swapped" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == before


def test_the_report_of_prepared_scans_is_one_page_with_the_result(tmp_path, weights, knowing):
    pair, _ = write_case(tmp_path, *grid())
    options = ["--weights", weights, "--device", "cpu", "--output", tmp_path / "labels.nii.gz"]
    run(*pair, *options, "--report", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 9  # T1, T2 and the uncertainty in three planes
    assert page.count("<img") == 9
    assert "CSF, gray and white matter together have" in page


# ---- Usage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--t1", "a.nii"],
        ["--t1", "a.nii", "--t2", "b.nii", "--output", "c.nii", "--step", "half"],
        ["--t1", "a.nii", "--t2", "b.nii", "--output", "c.nii", "--device", "tpu"],
        ["--t1", "a.nii", "--t2", "b.nii", "--out", "c.nii"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        segment.main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_help_tells_what_it_does(capsys):
    with pytest.raises(SystemExit) as caught:
        segment.main(["--help"])
    assert caught.value.code == 0
    assert "skull-stripped" in capsys.readouterr().out
