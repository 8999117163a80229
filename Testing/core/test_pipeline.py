"""One subject from scans to labels: the call in Python goes the way of the command."""

import json

import numpy as np
import pytest
import torch
from scan_phantoms import grid, scans

from model_core import segment
from model_core.errors import UserError
from model_core.networks import build_network
from model_core.segmentation.pipeline import segment_scans
from model_core.segmentation_options import SegmentationOptions
from model_core.volumes import read_labels, read_volume, write_volume
from model_core.weights import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(1)
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_weights(path, build_network("fast_unet"), {})
    return path


@pytest.mark.parametrize("spacing", [1.0, 1.4])  # reoriented only; interpolated, where a shortcut gives other labels
def test_the_call_gives_the_labels_volumes_and_warnings_of_the_command(tmp_path, weights, spacing):
    shape, affine = grid(spacing=(spacing,) * 3)
    t1, t2, _ = scans(shape, affine)
    for name, scan in (("t1", t1), ("t2", t2)):
        write_volume(tmp_path / f"{name}.nii.gz", scan.array, affine)
    options = ["--t1", tmp_path / "t1.nii.gz", "--t2", tmp_path / "t2.nii.gz", "--output", tmp_path / "out.nii.gz"]
    segment.main([str(word) for word in (*options, "--weights", weights)])
    result = segment_scans(read_volume(tmp_path / "t1.nii.gz"), read_volume(tmp_path / "t2.nii.gz"), weights=weights)
    np.testing.assert_array_equal(result.labels.array, read_labels(tmp_path / "out.nii.gz").array)
    told = json.loads((tmp_path / "out.json").read_text())
    assert result.volumes_ml == pytest.approx(told["volumes_ml"])
    assert [finding.code for finding in result.findings] == [warning["code"] for warning in told["warnings"]]


def test_a_raw_scan_alone_is_refused(weights):
    t1, _, _ = scans(*grid())
    with pytest.raises(UserError, match="raw scans and the alignment of T2 need both"):
        segment_scans(t1, None, weights=weights, options=SegmentationOptions(raw=True))
