"""The command evaluate.py: grids, value sets, JSON, and what it says of bad input."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest

from model_core import evaluate
from model_core.system.command_line import run_command

REPOSITORY = Path(__file__).resolve().parents[2]
ISEG_VALUES = np.array([0, 10, 150, 250], np.uint8)


@pytest.fixture
def labels():
    """Three nested boxes, off the centre, so that no flip leaves them in place."""
    array = np.zeros((20, 24, 28), np.uint8)
    array[2:16, 3:20, 5:20] = 1
    array[4:14, 5:18, 7:18] = 2
    array[6:12, 7:15, 9:14] = 3
    return array


def save(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def scores_of(tmp_path, prediction, reference):
    evaluate.main(
        ["--prediction", str(prediction), "--reference", str(reference), "--json", str(tmp_path / "out.json")]
    )

    def refuse(constant):
        raise AssertionError(f"{constant} is not valid JSON")

    return json.loads((tmp_path / "out.json").read_text("utf-8"), parse_constant=refuse)


def fault(capsys, *arguments):
    """Run the command as from a shell on input at fault; give the one line that it says."""
    assert run_command(evaluate.main, list(map(str, arguments))) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    return said.err


def test_runs_from_the_shell_and_prints_the_table(tmp_path, labels):
    file = save(tmp_path / "labels.nii.gz", labels)
    command = [sys.executable, REPOSITORY / "model_core" / "evaluate.py", "--prediction", file, "--reference", file]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Tissue")
    # 10 · 13 · 11 = 1430 voxels inside the CSF, of which 6 · 8 · 5 = 240 are WM and 1190 GM
    assert lines[4].split()[2:] == ["1.0000", "0.0000", "0.000", "0.000", "1.19", "1.19", "0.0"]


def test_json_holds_scores_conventions_and_versions(tmp_path, labels):
    prediction = labels.copy()
    prediction[labels == 3] = 2
    scores = scores_of(tmp_path, save(tmp_path / "p.nii.gz", prediction), save(tmp_path / "r.nii.gz", labels))
    csf, gray, white = scores["tissues"]
    assert [row["tissue"] for row in scores["tissues"]] == ["csf", "gm", "wm"]
    assert csf["dice"] == 1.0
    assert gray["dice"] == pytest.approx(2 * 1190 / (1190 + 1430))
    assert (white["dice"], white["asd_mm"], white["volume_difference_percent"]) == (0.0, "inf", -100.0)
    assert "mean of the two directed" in scores["conventions"]["asd_mm"]
    assert scores["versions"]["numpy"] == np.__version__
    assert scores["prediction_resampled"] is False


def test_undefined_scores_are_null_in_json(tmp_path, labels):
    labels[labels == 3] = 2
    file = save(tmp_path / "labels.nii.gz", labels)
    white = scores_of(tmp_path, file, file)["tissues"][2]
    assert (white["asd_mm"], white["hd95_mm"], white["volume_difference_percent"]) == (None, None, None)


def test_iseg_values_and_ours_may_meet(tmp_path, labels):
    prediction = save(tmp_path / "p.nii.gz", labels)
    reference = save(tmp_path / "r.nii.gz", ISEG_VALUES[labels])
    assert [row["dice"] for row in scores_of(tmp_path, prediction, reference)["tissues"]] == [1.0, 1.0, 1.0]


def test_spacing_of_the_reference_scales_distances_and_volumes(tmp_path, labels):
    prediction = np.roll(labels, 1, axis=2)
    affine = np.diag([2.0, 1.0, 3.0, 1.0])
    scores = scores_of(tmp_path, save(tmp_path / "p.nii", prediction, affine), save(tmp_path / "r.nii", labels, affine))
    assert scores["spacing_mm"] == [2.0, 1.0, 3.0]
    assert scores["tissues"][2]["hd95_mm"] == pytest.approx(3.0)
    assert scores["tissues"][2]["volume_ml"] == pytest.approx(240 * 6 / 1000)


def test_a_prediction_with_other_axes_is_put_on_the_references_grid(tmp_path, labels, capsys):
    # The same voxels in the same places: axes 0 and 2 swapped, axis 1 running backwards.
    affine = np.array([[0, 0, 1, 0], [0, -1, 0, 23], [1, 0, 0, 0], [0, 0, 0, 1]], float)
    prediction = save(tmp_path / "p.nii.gz", np.ascontiguousarray(labels.transpose(2, 1, 0)[:, ::-1]), affine)
    scores = scores_of(tmp_path, prediction, save(tmp_path / "r.nii.gz", labels))
    assert [row["dice"] for row in scores["tissues"]] == [1.0, 1.0, 1.0]
    assert scores["prediction_resampled"] is True
    assert "resampled (nearest neighbour) onto the reference" in capsys.readouterr().out


def test_same_shape_in_another_place_is_resampled_too(tmp_path, labels):
    affine = np.eye(4)
    affine[0, 3] = -1  # the array below is one voxel further along, its place in space the same
    prediction = save(tmp_path / "p.nii.gz", np.roll(labels, 1, axis=0), affine)
    scores = scores_of(tmp_path, prediction, save(tmp_path / "r.nii.gz", labels))
    assert [row["dice"] for row in scores["tissues"]] == [1.0, 1.0, 1.0]


def test_rounding_in_the_header_is_no_other_grid(tmp_path, labels, capsys):
    affine = np.eye(4)
    affine[:3] += 1e-5
    scores = scores_of(tmp_path, save(tmp_path / "p.nii", labels, affine), save(tmp_path / "r.nii", labels))
    assert scores["prediction_resampled"] is False
    assert "resampled" not in capsys.readouterr().out


def test_what_the_prediction_does_not_cover_is_background(tmp_path, labels):
    affine = np.eye(4)
    affine[0, 3] = 9
    prediction = save(tmp_path / "p.nii.gz", labels[9:], affine)
    white = scores_of(tmp_path, prediction, save(tmp_path / "r.nii.gz", labels))["tissues"][2]
    assert white["dice"] == pytest.approx(2 * 0.5 / 1.5)  # WM lies at 6 to 11 along the cut axis


class TestBadInput:
    def test_no_overlap_in_space(self, tmp_path, labels, capsys):
        affine = np.eye(4)
        affine[:3, 3] = 500
        prediction, reference = save(tmp_path / "p.nii", labels, affine), save(tmp_path / "r.nii", labels)
        said = fault(capsys, "--prediction", prediction, "--reference", reference)
        assert "do not overlap in space" in said
        assert str(prediction) in said

    def test_unknown_values_are_named_with_the_known_sets(self, tmp_path, labels, capsys):
        labels[0, 0, 0] = 77
        file = save(tmp_path / "p.nii.gz", labels)
        said = fault(capsys, "--prediction", file, "--reference", file)
        assert "77" in said
        assert "0, 1, 2, 3" in said
        assert "0, 10, 150, 250" in said

    def test_a_missing_file_leaves_older_scores_alone(self, tmp_path, labels, capsys):
        file, out = save(tmp_path / "p.nii.gz", labels), tmp_path / "scores.json"
        out.write_text("older")
        said = fault(capsys, "--prediction", file, "--reference", tmp_path / "none.nii.gz", "--json", out)
        assert "none.nii.gz" in said
        assert out.read_text() == "older"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["p.nii.gz", "scores.json"]

    def test_an_output_folder_that_is_not_there_is_told_before_the_work(self, tmp_path, labels, capsys):
        file = save(tmp_path / "p.nii.gz", labels)
        said = fault(capsys, "--prediction", file, "--reference", file, "--json", tmp_path / "no" / "scores.json")
        assert str(tmp_path / "no") in said

    def test_wrong_usage_exits_with_2(self, capsys):
        with pytest.raises(SystemExit) as stopped:
            run_command(evaluate.main, ["--prediction", "p.nii"])
        assert stopped.value.code == 2
        assert "--reference" in capsys.readouterr().err
