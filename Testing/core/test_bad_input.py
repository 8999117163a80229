"""Input at fault: one sentence with the file's name, exit status 1, no traceback, outputs as they were."""

import contextlib
import gzip
import hashlib
import os
import re
import resource
import struct

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scan_phantoms import grid, scans

from model_core import segment
from model_core.errors import UserError
from model_core.inference.accumulator import Segmentation
from model_core.networks import build_network
from model_core.system.command_line import run_command
from model_core.volumes import Volume, read_label_values, read_labels, read_mask, read_volume, write_volume
from model_core.weights import save_weights

# Where fields lie in a NIfTI-1 header, in bytes.
DIM, DATATYPE, BITPIX, PIXDIM, QFORM_CODE, SFORM_CODE, SROW_X = 40, 70, 72, 76, 252, 254, 280


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(1, 900, (12, 10, 8)).astype(np.int16)


def nifti(path, array, *patches):
    """Write an uncompressed NIfTI file and overwrite bytes of its header: (offset, struct format, values…)."""
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    for offset, kind, *values in patches:
        struct.pack_into(kind, content, offset, *values)
    path.write_bytes(content)
    return path


def with_value(array, *values):
    array = array.astype(np.float32)
    array.flat[: len(values)] = values
    return array


def cut(path, keep):
    """Shorten a file to a share of its length."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-6] ^= 16  # in the checksum
    path.write_bytes(content)
    return path


def save(path, array, affine=None):
    write_volume(path, array, np.eye(4) if affine is None else affine)
    return path


def itk_of(path, image):
    sitk.WriteImage(image, str(path))
    return path


def swap(path, old, new):
    """Replace text in the header of a NRRD or MetaImage file."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new, 1))
    return path


def lose_image(folder, noise):
    save(folder / "a.hdr", noise)
    (folder / "a.img").unlink()
    return folder / "a.hdr"


def lose_raw(folder, noise):
    save(folder / "a.mhd", noise)
    (folder / "a.raw").unlink()
    return folder / "a.mhd"


def write_text(path, content):
    path.write_bytes(content)
    return path


# name -> (how to make the file in a folder from noise, words that the sentence must have)
BAD_SCANS = {
    "missing": (lambda f, a: f / "none.nii.gz", "does not exist"),
    "folder": (lambda f, a: f, "is a folder"),
    "suffix": (lambda f, a: write_text(f / "a.dcm", b"x"), "no known suffix"),
    "empty": (lambda f, a: write_text(f / "a.nii.gz", b""), "is empty"),
    "text": (lambda f, a: write_text(f / "a.nii", b"no scan " * 100), "no NIfTI header"),
    "text as gz": (lambda f, a: write_text(f / "a.nii.gz", b"no scan " * 100), "cannot be read"),
    "text as nrrd": (lambda f, a: write_text(f / "a.nrrd", b"no scan " * 100), "cannot be read"),
    "text as mha": (lambda f, a: write_text(f / "a.mha", b"no scan " * 100), "cannot be read"),
    "text as hdr": (lambda f, a: write_text(lose_image(f, a), b"no scan " * 100), "half of a pair"),
    "truncated nii": (lambda f, a: cut(save(f / "a.nii", a), 0.7), "promises .* truncated"),
    "truncated gz": (lambda f, a: cut(save(f / "a.nii.gz", a), 0.7), "cannot be read|truncated"),
    "gz without its end": (lambda f, a: cut(save(f / "a.nii.gz", a), 0.998), "cannot be read|truncated"),
    "only a gz header": (lambda f, a: cut(save(f / "a.nii.gz", a), 0.02), "cannot be read"),
    "truncated img": (lambda f, a: cut(save(f / "a.hdr", a).with_suffix(".img"), 0.5), "promises .* truncated"),
    "truncated nrrd": (lambda f, a: cut(save(f / "a.nrrd", a), 0.7), "promises .* truncated"),
    "truncated mha": (lambda f, a: cut(save(f / "a.mha", a), 0.7), "promises .* truncated"),
    "truncated raw": (lambda f, a: cut(save(f / "a.mhd", a).with_suffix(".raw"), 0.7).with_suffix(".mhd"), "truncated"),
    "damaged gz": (lambda f, a: flip_a_bit(save(f / "a.nii.gz", a)), "cannot be read"),
    "no image file": (lose_image, "half of a pair and .*a.img is missing"),
    "no raw file": (lose_raw, "half of a pair and .*a.raw is missing"),
    "huge nii": (lambda f, a: nifti(f / "a.nii", a, (DIM, "<4h", 3, 700, 700, 700)), "promises 686,000,352"),
    "absurd nii": (
        lambda f, a: nifti(f / "a.nii", a, (DIM, "<4h", 3, 32000, 32000, 32000)),
        "claims 32000×32000×32000",
    ),
    "huge nrrd": (
        lambda f, a: swap(save(f / "a.nrrd", a), b"sizes: 12 10 8", b"sizes: 700 700 700"),
        "promises 686,000,000",
    ),
    "huge mha": (lambda f, a: swap(save(f / "a.mha", a), b"12 10 8", b"700 700 700"), "promises 686,000,000"),
    "4-D": (lambda f, a: nifti(f / "a.nii", np.stack([a, a], -1)), r"4 dimensions \(12×10×8×2\); expected one 3-D"),
    "4-D nrrd": (lambda f, a: itk_of(f / "a.nrrd", sitk.Image([5, 6, 7, 2], sitk.sitkInt16)), "4 dimensions"),
    "2-D": (lambda f, a: nifti(f / "a.nii", a[..., 0]), "2 dimensions|3 dimensions"),
    "one slice": (
        lambda f, a: nifti(f / "a.nii", a[..., :1]),
        r"has a single slice \(12×10×1 voxels\); expected a 3-D",
    ),
    "no voxels": (lambda f, a: nifti(f / "a.nii", a, (DIM, "<4h", 3, 0, 10, 8)), "has no voxels|cannot be read"),
    "negative side": (lambda f, a: nifti(f / "a.nii", a, (DIM, "<4h", 3, -5, 10, 8)), "has no voxels|cannot be read"),
    "NaN": (lambda f, a: nifti(f / "a.nii", with_value(a, np.nan, np.nan)), "2 voxels that are NaN or infinite"),
    "infinite": (lambda f, a: nifti(f / "a.nii", with_value(a, -np.inf)), "1 voxels that are NaN or infinite"),
    "too large for float32": (lambda f, a: nifti(f / "a.nii", a * 1e300), "960 voxels that are NaN or infinite"),
    "constant": (lambda f, a: nifti(f / "a.nii", a * 0 + 7), "the value 7 in every voxel"),
    "complex": (lambda f, a: nifti(f / "a.nii", a.astype(np.complex64)), "holds complex64 voxels"),
    "RGB": (
        lambda f, a: nifti(f / "a.nii", np.zeros(a.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "holds RGB voxels",
    ),
    "vector nrrd": (
        lambda f, a: itk_of(f / "a.nrrd", sitk.Image([5, 6, 7], sitk.sitkVectorUInt8, 3)),
        "holds vector of 8-bit unsigned integer voxels",
    ),
    "complex mha": (
        lambda f, a: itk_of(f / "a.mha", sitk.Image([5, 6, 7], sitk.sitkComplexFloat32)),
        "holds vector of 32-bit float voxels",
    ),
    "unknown type": (lambda f, a: nifti(f / "a.nii", a, (DATATYPE, "<h", 77)), "cannot be read"),
    "NaN affine": (lambda f, a: nifti(f / "a.nii", a, (SROW_X, "<f", np.nan)), "affine with NaN"),
    "flat affine": (
        lambda f, a: nifti(f / "a.nii", a, (SROW_X, "<12f", *[1, 0, 0, 0] * 3)),
        "spacing of|fall together",
    ),
    "parallel axes": (
        lambda f, a: nifti(f / "a.nii", a, (SROW_X, "<12f", 1, 1, 0, 0, 0, 0.01, 0, 0, 0, 0, 1, 0)),
        "axes .* fall together",
    ),
    "zero spacing": (
        lambda f, a: nifti(f / "a.nii", a, (SFORM_CODE, "<h", 0), (PIXDIM + 4, "<f", 0)),
        "spacing of 0 × 1 × 1 mm",
    ),
    "metres": (
        lambda f, a: nifti(f / "a.nii", a, (SFORM_CODE, "<h", 0), (PIXDIM + 4, "<3f", 0.001, 0.001, 0.001)),
        "spacing of 0.001 × 0.001 × 0.001 mm; expected 0.1 to 10 mm",
    ),
    "wide spacing": (lambda f, a: save(f / "a.nrrd", a, np.diag([12.0, 1, 1, 1])), "spacing of 12 × 1 × 1 mm"),
}


@pytest.mark.parametrize("case", BAD_SCANS)
def test_a_bad_scan_is_refused_in_one_sentence_that_names_it(tmp_path, noise, case, capfd):
    make, words = BAD_SCANS[case]
    path = make(tmp_path, noise)
    with pytest.raises(UserError, match=words) as caught:
        read_volume(path)
    sentence = str(caught.value)
    assert path.name[:1] in sentence
    assert str(tmp_path) in sentence
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence
    assert capfd.readouterr() == ("", "")  # libraries keep silent, too


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_file_raises_anything_but_a_sentence(tmp_path, noise, suffix, data):
    path = save(tmp_path / f"scan{suffix}", noise)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, min(len(content), 420) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))] if data.draw(st.booleans()) else content)
    with contextlib.suppress(UserError):
        assert isinstance(read_volume(path), Volume)


def test_a_header_that_lies_takes_no_memory(tmp_path, noise):
    """A file of 2 kB that claims a gigabyte is refused although only 400 MB may be taken."""
    path = nifti(tmp_path / "a.nii", noise, (DIM, "<4h", 3, 800, 800, 800))
    packed = tmp_path / "b.nii.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for file in (path, packed):
        with pytest.raises(UserError, match="truncated or damaged"):
            read_volume(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_label_maps_with_other_values_are_refused(tmp_path, noise):
    for values, words in [
        (
            np.array([0, 1, 2, 4], np.uint8),
            r"values 0, 1, 2, 4 \(unknown: 1\); expected 0, 1, 2, 3 or iSeg's 0, 10, 150, 250",
        ),
        (np.array([0, 1, 10, 150], np.uint8), r"values 0, 1, 10, 150 \("),
        (np.array([0, -1, 2, 3], np.int16), r"values -1, 0, 2, 3 \(unknown: -1"),
        (np.arange(100, 140, dtype=np.int16), r"100, 101, .*, 107, … \("),
        (np.array([0, 0.5, 1, 2], np.float32), "2 voxels that are not whole numbers; .*was a scan"),
        (np.array([0, np.nan, 1, 2], np.float32), "2 voxels that are not whole numbers"),
    ]:
        with pytest.raises(UserError, match=words):
            read_labels(save(tmp_path / "labels.nii.gz", np.tile(values, 2).reshape(2, 2, -1)))
    with pytest.raises(UserError, match="empty mask"):
        read_mask(save(tmp_path / "mask.nii.gz", noise * 0))
    with pytest.raises(UserError, match="not whole numbers"):
        read_label_values(save(tmp_path / "scan.nii.gz", noise * np.float32(0.3)))


# ---- The command -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A folder with a small pair, its reference, untrained weights, and files at fault."""
    folder = tmp_path_factory.mktemp("case")
    shape, affine = grid()
    t1, t2, labels = scans(shape, affine)
    save(folder / "t1.nii.gz", t1.array, affine)
    save(folder / "t2.nii.gz", t2.array, affine)
    save(folder / "reference.nii.gz", labels, affine)
    away = affine.copy()
    away[2, 3] += 100
    save(folder / "t2_elsewhere.nii.gz", t2.array, away)
    save(folder / "reference_elsewhere.nii.gz", labels, away)
    save(folder / "mask_elsewhere.nii.gz", (labels > 0).astype(np.uint8), away)
    save(folder / "head.nii.gz", t1.array + 5, affine)
    save(folder / "other_values.nii.gz", labels * 7, affine)
    save(folder / "4d.nii.gz", labels, affine)
    nibabel.save(nibabel.Nifti1Image(np.stack([t1.array] * 2, -1), affine), folder / "4d.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.where(labels == 3, np.nan, t1.array), affine), folder / "nan.nii.gz")
    save(folder / "constant.nii.gz", t1.array * 0 + 3, affine)
    cut(save(folder / "truncated.nii.gz", t1.array, affine), 0.5)
    save_weights(folder / "weights.safetensors", build_network("nonlocal_unet"), {})
    save_weights(folder / "odd_window.safetensors", build_network("nonlocal_unet"), {"window": 33})
    (folder / "checkpoint.pt").write_bytes(b"PK\x03\x04 zip of pickles")
    (folder / "damaged.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:5000])
    (folder / "file").write_text("x")
    return folder


# what is wrong -> (options that replace the good ones, words of the sentence)
BAD_CALLS = {
    "t1 missing": ({"--t1": "none.nii.gz"}, "none.nii.gz does not exist"),
    "t2 truncated": ({"--t2": "truncated.nii.gz"}, "truncated.nii.gz"),
    "t1 4-D": ({"--t1": "4d.nii.gz"}, "4d.nii.gz has 4 dimensions"),
    "t2 NaN": ({"--t2": "nan.nii.gz"}, "nan.nii.gz has .* NaN or infinite"),
    "t1 constant": ({"--t1": "constant.nii.gz"}, "the value 3 in every voxel"),
    "t1 with skull": ({"--t1": "head.nii.gz"}, "does not look skull-stripped"),
    "t2 elsewhere": ({"--t2": "t2_elsewhere.nii.gz"}, "covers 0% of the brain .*--align-t2"),
    "mask elsewhere": ({"--mask": "mask_elsewhere.nii.gz"}, "does not lie over the brain"),
    "mask missing": ({"--mask": "none.nii.gz"}, "none.nii.gz does not exist"),
    "reference values": ({"--reference": "other_values.nii.gz"}, "label values 0, 7, 14, 21"),
    "reference elsewhere": ({"--reference": "reference_elsewhere.nii.gz"}, "overlap"),
    "step 0": ({"--step": "0"}, "The overlap step is 0 voxels; a whole number from 1 to .* 32"),
    "whole brain of a published network": ({"--step": "whole"}, "The overlap step is the whole brain"),
    "step beyond the window": ({"--step": "33"}, "The overlap step is 33 voxels"),
    "weights missing": ({"--weights": "none.safetensors"}, "none.safetensors does not exist"),
    "weights pickled": ({"--weights": "checkpoint.pt"}, "pickled"),
    "weights damaged": ({"--weights": "damaged.safetensors"}, "damaged"),
    "window of the weights": ({"--weights": "odd_window.safetensors"}, "window of 33 voxels; expected a multiple of 4"),
    "output suffix": ({"--output": "out.txt"}, "out.txt has no known suffix"),
    "output is a folder": ({"--output": "."}, "no known suffix"),
    "output in no folder": ({"--output": "none/out.nii.gz"}, "none does not exist"),
    "output is the scan": ({"--output": "t1.nii.gz"}, "--output names .*t1.nii.gz, which --t1 names, too"),
    "output twice": ({"--scores": "old.nii.gz"}, "--scores names .*old.nii.gz, which --output names, too"),
    "picture suffix": ({"--picture": "picture.jpg"}, "picture.jpg has no known suffix; expected one of .png"),
    "probabilities in a file": ({"--probabilities": "file"}, "file is a file; expected a folder"),
    "probabilities in no folder": ({"--probabilities": "none/folder"}, "none does not exist"),
}


def call(folder, changes):
    options = {"--t1": "t1.nii.gz", "--t2": "t2.nii.gz", "--output": "old.nii.gz", "--weights": "weights.safetensors"}
    options |= {"--step": "32", "--device": "cpu"}
    numbers = ("--step", "--device")
    for name, value in (options | changes).items():
        yield from (name, value if name in numbers else str(folder / value))


def fault(capfd, arguments):
    """Run the command on input at fault; give the one line that it says."""
    capfd.readouterr()
    assert run_command(segment.main, list(arguments)) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("what", BAD_CALLS)
def test_the_command_says_what_is_wrong_and_leaves_old_output_alone(case, what, capfd):
    (case / "old.nii.gz").write_bytes(b"result of yesterday")
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in case.rglob("*") if path.is_file()}
    changes, words = BAD_CALLS[what]
    said = fault(capfd, call(case, changes))
    assert re.search(words, said), said
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in case.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("output", ["--output", "--probabilities", "--picture", "--scores"])
def test_a_disk_that_takes_no_more_is_one_sentence_and_the_old_file_stays(case, tmp_path, output, capfd, monkeypatch):
    """The limit on file size lets the first bytes of each file through, as a disk does that is filling up."""
    monkeypatch.setattr(segment, "Segmenter", QuickSegmenter)
    target = {"--output": "a.nii.gz", "--probabilities": "p", "--picture": "a.png", "--scores": "a.json"}[output]
    old = tmp_path / target / "csf.nii.gz" if output == "--probabilities" else tmp_path / target
    old.parent.mkdir(exist_ok=True)
    old.write_bytes(b"result of yesterday")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = {"--output": 1000, "--probabilities": 8000, "--picture": 8000, "--scores": 500}[output]
    # The label map passes, except where it is the one to fail.
    changes = {
        "--output": os.path.relpath(tmp_path / "labels.nii.gz", case),
        output: os.path.relpath(tmp_path / target, case),
    }
    if output == "--scores":
        changes["--output"] = os.path.relpath(tmp_path / "labels.nrrd", case)
        monkeypatch.setattr(segment, "write_volume", lambda *arguments: None)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        said = fault(capfd, call(case, changes))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert target in said
    assert "cannot be written" in said
    assert old.read_bytes() == b"result of yesterday"
    assert not list(tmp_path.rglob(".partial-*"))


class QuickSegmenter:
    """Stands in for the network: every brain voxel is white matter, with some noise in the probabilities."""

    def __init__(self, network, **settings):
        pass

    def segment(self, t1, t2, *, step, mask, on_progress):
        probabilities = np.random.default_rng(0).random((4, *t1.shape), dtype=np.float32)
        return Segmentation(mask.astype(np.uint8) * 3, probabilities, step, 1, 1)
