"""Scores are those of the whole: neither the reference's nor the prediction's extent hides voxels."""

import json

import numpy as np
import pytest
from scan_phantoms import AXIS_ORDERS, grid, labels_at, world_points

from model_core import evaluate
from model_core.errors import UserError
from model_core.segmentation.comparison import compare
from model_core.volumes import Volume, write_volume


@pytest.fixture(params=[(1, 1, 1), (0.7, 1.1, 1.3)], ids=["1 mm", "anisotropic"])
def whole(request):
    """A prediction of the whole body, and a reference of its back half on the same grid."""
    shape, affine = grid(AXIS_ORDERS[21], spacing=request.param, angles=(5, 9, -14))
    labels = labels_at(world_points(shape, affine))
    reference = labels.copy()
    reference[:, : shape[1] // 2] = 0
    prediction = np.roll(labels, 1, axis=0)
    return Volume(prediction, affine, "prediction.nii"), Volume(reference, affine, "reference.nii")


def cropped(volume):
    """Cut a label map to the box of its labels."""
    places = np.argwhere(volume.array)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Volume(volume.array[tuple(map(slice, low, high))], affine, volume.path)


def rows_of(prediction, reference):
    return [row.as_dict() for row in compare(prediction, reference).scores()]


def test_a_reference_cropped_to_its_segments_scores_as_the_uncropped_one(whole):
    prediction, reference = whole
    found = compare(prediction, cropped(reference))
    assert np.array_equal(found.reference.array, reference.array)
    np.testing.assert_allclose(found.reference.affine, reference.affine)
    assert rows_of(prediction, cropped(reference)) == rows_of(prediction, reference)
    assert rows_of(prediction, reference)[0]["dice"] < 0.8  # half of the prediction is wrong
    (sentence,) = found.sentences
    outside = np.count_nonzero(prediction.array)
    box = np.argwhere(reference.array)
    inside = prediction.array[tuple(map(slice, box.min(axis=0), box.max(axis=0) + 1))]
    assert f"has {outside - np.count_nonzero(inside):,} voxels of tissue outside the reference" in sentence


def test_so_does_a_prediction_cropped_to_its_segments(whole):
    prediction, reference = whole
    assert rows_of(cropped(reference), prediction) == rows_of(reference, prediction)
    both = rows_of(cropped(prediction), cropped(reference))
    full = rows_of(prediction, reference)
    for key in ("dice", "asd_mm", "hd95_mm", "volume_ml", "reference_volume_ml"):  # 3D-MHD is of the volume it gets
        assert [row[key] for row in both] == pytest.approx([row[key] for row in full])


def test_a_reference_that_holds_all_of_the_prediction_keeps_its_grid(whole):
    prediction, reference = whole
    wide = Volume(np.pad(prediction.array, 4), prediction.affine @ shift(-4), "prediction.nii")
    found = compare(wide, reference)
    assert found.reference.array.shape == reference.array.shape
    assert "resampled (nearest neighbour) onto the reference" in found.sentences[0]
    assert found.resampled


def shift(voxels):
    matrix = np.eye(4)
    matrix[:3, 3] = voxels
    return matrix


def test_a_prediction_on_a_finer_grid_counts_beyond_the_reference_too():
    shape, affine = grid(spacing=(0.5, 0.5, 0.5))
    prediction = Volume(labels_at(world_points(shape, affine)), affine, "prediction.nii")
    shape, affine = grid()
    labels = labels_at(world_points(shape, affine))
    labels[:, : shape[1] // 2] = 0
    reference = Volume(labels, affine, "reference.nii")
    whole, cut = rows_of(prediction, reference), rows_of(prediction, cropped(reference))
    assert [row["dice"] for row in cut] == pytest.approx([row["dice"] for row in whole], abs=0.01)
    assert [row["volume_ml"] for row in cut] == pytest.approx([row["volume_ml"] for row in whole], rel=0.02)


def test_what_does_not_overlap_is_refused(whole):
    prediction, reference = whole
    away = Volume(reference.array, shift(500) @ reference.affine, "reference.nii")
    with pytest.raises(UserError, match=r"prediction.nii .* and reference.nii .* do not overlap in space"):
        compare(prediction, away)


def test_the_command_says_so_and_the_json_too(tmp_path, capsys):
    shape, affine = grid()
    labels = labels_at(world_points(shape, affine))
    back = labels.copy()
    back[:, : shape[1] // 2] = 0
    write_volume(tmp_path / "prediction.nii.gz", labels, affine)
    write_volume(tmp_path / "uncropped.nii.gz", back, affine)
    small = cropped(Volume(back, affine))
    write_volume(tmp_path / "cropped.nii.gz", small.array, small.affine)
    for name in ("uncropped", "cropped"):
        arguments = ["--prediction", "prediction.nii.gz", "--reference", f"{name}.nii.gz", "--json", f"{name}.json"]
        evaluate.main([str(tmp_path / word) if "." in word else word for word in arguments])
    said = capsys.readouterr().out
    assert said.count("voxels of tissue outside the reference") == 1
    first, second = (json.loads((tmp_path / f"{name}.json").read_text("utf-8")) for name in ("uncropped", "cropped"))
    assert first["tissues"] == second["tissues"]
    assert "extended by background" in second["notes"][0]
