"""The same input, weights, step and device give the same bytes, whenever and with however many workers."""

import gzip
import time

import numpy as np
import pytest
from scan_phantoms import AXIS_ORDERS, grid, scans
from worker_client import write_weights

from model_core import segment
from model_core.inference import segmenter
from model_core.volumes import write_volume

CLASS_FILES = ["background.nii.gz", "csf.nii.gz", "gm.nii.gz", "wm.nii.gz"]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """An oblique, anisotropic pair with noise, and weights of a quick network."""
    folder = tmp_path_factory.mktemp("case")
    shape, affine = grid(AXIS_ORDERS[22], spacing=(1.6, 2.1, 1.9), angles=(5, -8, 3), rim_mm=4)
    t1, t2, _ = scans(shape, affine)
    noise = np.random.default_rng(0).normal(0, 5, shape)
    for name, scan in (("t1", t1), ("t2", t2)):
        write_volume(folder / f"{name}.nii.gz", np.where(scan.array > 0, scan.array + noise, 0), affine)
    write_weights(folder / "w.safetensors")
    return folder


def run(case, folder, suffix=".nii.gz"):
    """Segment into a new folder; give the bytes of the label map and of the probabilities."""
    folder.mkdir()
    names = {"--t1": "t1.nii.gz", "--t2": "t2.nii.gz", "--weights": "w.safetensors"}
    arguments = [text for name, file in names.items() for text in (name, str(case / file))]
    arguments += ["--step", "8", "--device", "cpu", "--output", str(folder / f"labels{suffix}")]
    segment.main([*arguments, "--probabilities", str(folder / "p")])
    files = [folder / f"labels{suffix}", *(folder / "p" / name for name in CLASS_FILES)]
    return {file.name: file.read_bytes() for file in files}


def test_a_second_run_gives_the_same_bytes_with_one_worker_and_with_two(case, tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "available_cores", lambda: 2)
    first = run(case, tmp_path / "first")
    time.sleep(1.1)  # a time in a header has changed by now
    assert run(case, tmp_path / "second") == first
    monkeypatch.setattr(segmenter, "available_cores", lambda: 1)
    assert run(case, tmp_path / "alone") == first
    assert len(set(gzip.decompress(first["labels.nii.gz"])[352:])) == 4  # all labels occur


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_a_volume_is_written_the_same_way_twice(tmp_path, suffix):
    array = np.random.default_rng(0).integers(0, 4, (20, 21, 22)).astype(np.uint8)
    written = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_volume(tmp_path / name / f"x{suffix}", array, np.diag([1, 1.2, 0.9, 1]))
        written.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
        if name == "a" and suffix != ".nii":
            time.sleep(1.1)
    assert written[0] == written[1]
