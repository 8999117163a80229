"""Damaged volume files, however damaged: one sentence, no traceback, no hang, no wild allocation, nothing written."""

import contextlib
import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk
from fuzzing import QuickSegmenter, check_sentence, contents, fenced, fuzz_settings
from hypothesis import event, given
from hypothesis import strategies as st
from scan_phantoms import grid, scans

from model_core import segment
from model_core.errors import UserError
from model_core.networks import build_network
from model_core.system.command_line import run_command
from model_core.volumes import Volume, read_label_values, read_volume, write_volume
from model_core.weights import save_weights

KINDS = ["plain.nii", "packed.nii.gz", "pair.hdr", "raw.nrrd", "packed.nrrd", "two.nhdr", "raw.mha", "packed.mha",
         "two.mhd"]  # fmt: skip
ARRAY = np.random.default_rng(0).integers(1, 900, (6, 5, 4)).astype(np.int16)

# Fields of a NIfTI-1 header: where, how stored.
NIFTI_FIELDS = {
    "dim": (40, "<8h"), "datatype": (70, "<2h"), "pixdim": (76, "<8f"), "vox_offset": (108, "<f"),
    "slope": (112, "<2f"), "qform": (252, "<2h"), "quaternion": (256, "<6f"), "srow": (280, "<12f"),
    "magic": (344, "<4b"), "sizeof_hdr": (0, "<i"),
}  # fmt: skip
NAMES = [
    b"dimension", b"sizes", b"type", b"encoding", b"endian", b"space", b"space directions", b"space origin", b"kinds",
    b"byte skip", b"line skip", b"data file", b"block size", b"space dimension", b"spacings", b"centers", b"min",
    b"NDims", b"DimSize", b"ElementType", b"ElementSpacing", b"TransformMatrix", b"Offset", b"CompressedData",
    b"CompressedDataSize", b"HeaderSize", b"BinaryData", b"ElementNumberOfChannels", b"ElementDataFile", b"ObjectType",
    b"AnatomicalOrientation", b"ElementMax", b"CenterOfRotation", b"BinaryDataByteOrderMSB", b"Name", b"ID",
]  # fmt: skip
VALUES = [
    b"", b"0", b"1", b"2", b"3", b"4", b"5", b"16", b"17", b"300", b"-1", b"-3", b"30000", b"2147483648", b"9" * 18,
    b"9" * 40, b"nan", b"inf", b"1e308", b"700 700 700", b"30000 30000 30000", b"-6 5 4", b"0 0 0", b"6 5 4 1",
    b"6 5 4 99", b"6 5", b"6", b"6,5,4", b"(1,0,0) (0,1,0) (0,0,1)", b"(nan,0,0) (0,1,0) (0,0,1)", b"(0,0,0) none (1",
    b"none", b"raw", b"gzip", b"hex", b"ascii", b"bzip2", b"zrl", b"True", b"False", b"LOCAL", b"LIST", b"LIST 2 x",
    b"a%d.raw 1 9999999 1", b"/dev/zero", b"/etc/passwd", b"..", b"short", b"double", b"block", b"MET_SHORT",
    b"MET_DOUBLE", b"MET_STRING", b"MET_OTHER", b"MET_SHORT_ARRAY", b"Image", b"Tube", b"big", b"little",
    b"right-anterior-superior", b"left-posterior-superior-time", b"domain domain vector", b"1 " * 40, b"x" * 90,
    b"1 " * 400, b"x" * 900, b"\xff\xfe\x00", b"%s%n%n",
]  # fmt: skip


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Good files of every kind: name -> {file name: content}, the header's file first."""
    folder = tmp_path_factory.mktemp("originals")
    files = {}
    for kind in KINDS:
        path = folder / kind / kind
        path.parent.mkdir()
        if kind.startswith("raw"):
            sitk.WriteImage(sitk.GetImageFromArray(ARRAY.T), str(path), useCompression=False)
        else:
            write_volume(path, ARRAY, np.diag([1.1, 0.9, 1.3, 1]))
        assert np.array_equal(read_volume(path).array, ARRAY)
        files[kind] = {file.name: file.read_bytes() for file in sorted(path.parent.iterdir(), key=lambda f: f != path)}
    return files


numbers = st.sampled_from([0, 1, -1, 2, 3, 4, 7, 16, 64, 127, 255, 512, 1000, 30000, 32767, -32768])
reals = st.sampled_from([0.0, 1.0, -1.0, 352.0, 1e9, 1e30, -1e30, 3e38, np.nan, np.inf, -np.inf, 1e-30, 0.5, 2.0**31])


@st.composite
def damages(draw, content, kind):
    """A file's content with one to four damages."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        ways = [overwrite, truncate, extend, drop_or_double]
        ways += [lie_in_nifti] * 3 if ".nii" in kind or kind.endswith(".hdr") else []
        ways += [lie_in_text] * 5 if kind.endswith(("nrrd", "nhdr", "mha", "mhd")) else []
        content = draw(st.sampled_from(ways))(draw, content)
    return bytes(content)


def overwrite(draw, content):
    """A few bytes become others, most of them in the header."""
    for _ in range(draw(st.integers(1, 6))):
        if content:
            reach = draw(st.sampled_from([12, 120, 420, len(content)]))
            content[draw(st.integers(0, min(reach, len(content)) - 1))] = draw(st.integers(0, 255))
    return content


def truncate(draw, content):
    return content[: draw(st.integers(0, len(content)))]


def extend(draw, content):
    return content + draw(st.binary(max_size=40)) * draw(st.sampled_from([1, 50]))


def drop_or_double(draw, content):
    """A stretch is lost, or stands there twice."""
    start = draw(st.integers(0, max(len(content) - 1, 0)))
    stretch = content[start : start + draw(st.integers(0, 60))]
    return content[:start] + stretch * draw(st.sampled_from([0, 2])) + content[start + len(stretch) :]


def lie_in_nifti(draw, content):
    name = draw(st.sampled_from(sorted(NIFTI_FIELDS)))
    offset, form = NIFTI_FIELDS[name]
    form = form.replace("b", "B")
    values = [*struct.unpack_from(form, content.ljust(600, b"\0"), offset)]
    for _ in range(draw(st.integers(1, 3))):
        value = draw(reals if "f" in form else numbers)
        values[draw(st.integers(0, len(values) - 1))] = value % 256 if "B" in form else value
    content = content.ljust(offset + struct.calcsize(form), b"\0")
    struct.pack_into(form, content, offset, *values)
    return content


def lie_in_text(draw, content):
    """A field of the header gets another value, or one that it should not have comes in."""
    lines = bytes(content).split(b"\n")
    end = next((i for i, line in enumerate(lines) if not line or line.startswith(b"ElementDataFile")), 1)
    index = draw(st.integers(0, max(min(end, len(lines) - 1), 0)))
    separator = draw(st.sampled_from([b": ", b"="] if b"NRRD" in content[:4] else [b" = ", b": "]))
    value = draw(st.sampled_from(VALUES))
    if draw(st.booleans()):
        name = lines[index].partition(separator.strip())[0].strip()
        lines[index] = name + separator + value
    else:
        lines.insert(index, draw(st.sampled_from(NAMES)) + separator + value)
    return bytearray(b"\n".join(lines))


def damage(data, originals, folder, kind):
    """Write a damaged file; one that is packed may be damaged within."""
    for index, (name, content) in enumerate(originals[kind].items()):
        if index and data.draw(st.booleans()):
            spoilt = bytes(overwrite(data.draw, bytearray(content)))
        elif index:
            spoilt = content
        elif kind.endswith(".gz") and data.draw(st.booleans()):
            spoilt = gzip.compress(data.draw(damages(gzip.decompress(content), kind)), mtime=0)
        else:
            spoilt = data.draw(damages(content, kind))
        (folder / name).write_bytes(spoilt)
    return folder / kind


@pytest.mark.parametrize("kind", KINDS)
@fuzz_settings(30)
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused_in_a_sentence(originals, tmp_path, capfd, kind, data):
    path = damage(data, originals, tmp_path, kind)
    read = data.draw(st.sampled_from([read_volume, read_label_values]))
    sentence = None
    try:
        with fenced():
            assert isinstance(read(path), Volume)
    except UserError as error:
        sentence = str(error)
    if sentence:
        check_sentence(sentence)
        assert str(tmp_path) in sentence
    event("refused" if sentence else "read")
    assert capfd.readouterr() == ("", "")


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Scans, reference and weights for the command; the result of yesterday."""
    folder = tmp_path_factory.mktemp("case")
    shape, affine = grid(spacing=(3, 3, 3), rim_mm=4)
    t1, t2, labels = scans(shape, affine)
    for name, array in (("t1", t1.array), ("t2", t2.array), ("reference", labels), ("mask", labels > 0)):
        write_volume(folder / f"{name}.nii.gz", array.astype(np.int16), affine)
    save_weights(folder / "weights.safetensors", build_network("nonlocal_unet"), {})
    (folder / "out.nii.gz").write_bytes(b"yesterday")
    return folder


@fuzz_settings(8)
@given(data=st.data())
def test_the_command_writes_nothing_when_it_refuses_a_damaged_scan(case, tmp_path, capfd, data):
    spoilt = data.draw(st.sampled_from(["t1", "t2", "reference", "mask"]))
    content = gzip.decompress((case / f"{spoilt}.nii.gz").read_bytes())
    path = tmp_path / "spoilt.nii"
    path.write_bytes(data.draw(damages(content, "plain.nii")))
    (case / "out.nii.gz").write_bytes(b"yesterday")
    names = {name: case / f"{name}.nii.gz" for name in ("t1", "t2", "reference", "mask")} | {spoilt: path}
    before = contents(case)
    arguments = [text for name, file in names.items() for text in (f"--{name}", str(file))]
    arguments += ["--output", str(case / "out.nii.gz"), "--weights", str(case / "weights.safetensors")]
    capfd.readouterr()
    with pytest.MonkeyPatch.context() as patch, fenced():
        patch.setattr(segment, "Segmenter", QuickSegmenter)
        status = run_command(segment.main, [*arguments, "--device", "cpu"])
    said = capfd.readouterr().err
    if status == 0:
        assert (case / "out.nii.gz").read_bytes() != b"yesterday"
        event("segmented")
    else:
        assert status == 1
        check_sentence(said)
        assert contents(case) == before
        event("refused")


# ---- What fuzzing found, and what it finds too seldom ----------------------------------------------------


HEADERS_THAT_ENDED_THE_PROCESS = {
    "300 dimensions": ("raw.mha", b"NDims = 3", b"NDims = 300", "has 300 dimensions"),
    "minus 3 dimensions": ("raw.mha", b"NDims = 3", b"NDims = -3", "has -3 dimensions"),
    "a huge number of dimensions": ("raw.mha", b"NDims = 3", b"NDims = 3e9", "'3e9' where a whole number"),
    "300 dimensions behind a colon": ("raw.mha", b"NDims = 3", b"NDims: 300", "has 300 dimensions"),
    "dimensions twice": ("raw.mha", b"NDims = 3", b"NDims = 3\nNDims = 200", "says ndims twice"),
    "endless sizes": ("raw.nrrd", b"sizes: 6 5 4", b"sizes: " + b"12 " * 3000, "a field of 9,007 characters"),
    "an endless type": ("raw.nrrd", b"type: short", b"type: " + b"x" * 30000, "a field of 30,006 characters"),
    "endless kinds": ("raw.nrrd", b"kinds: domain", b"kinds: " + b"domain " * 900, "a field of 6,3.. characters"),
}


@pytest.mark.parametrize("what", HEADERS_THAT_ENDED_THE_PROCESS)
def test_headers_that_overran_the_buffers_of_itk_are_refused_before_it_sees_them(originals, tmp_path, what):
    kind, old, new, words = HEADERS_THAT_ENDED_THE_PROCESS[what]
    content = originals[kind][kind]
    assert old in content
    (tmp_path / kind).write_bytes(content.replace(old, new, 1))
    with pytest.raises(UserError, match=words):
        read_volume(tmp_path / kind)


@pytest.mark.parametrize(
    ("kind", "old", "new"),
    [
        ("raw.nrrd", b"encoding: raw", b"encoding: ascii"),
        ("raw.nrrd", b"encoding: raw", b"encoding: hex"),
        ("raw.nrrd", b"encoding: raw", b"encoding: bzip2"),
        ("raw.mha", b"BinaryData = True", b"BinaryData = False"),
        ("packed.mha", b"CompressedDataSize = ", b"CompressedDataSize = 4000000000"),
    ],
)
def test_a_small_file_that_promises_gigabytes_takes_no_memory(originals, tmp_path, kind, old, new):
    content = originals[kind][kind]
    assert old in content
    content = content.replace(old, new, 1).replace(b"6 5 4", b"790 790 790")
    (tmp_path / kind).write_bytes(content)
    with fenced(), pytest.raises(UserError, match=r"promises|encoding"):
        read_volume(tmp_path / kind)


def test_a_small_file_that_unpacks_without_end_is_refused_in_time(originals, tmp_path):
    member = gzip.compress(b"\0" * (64 << 20), compresslevel=1, mtime=0)
    scan = gzip.compress(gzip.decompress(originals["packed.nii.gz"]["packed.nii.gz"]), mtime=0)
    (tmp_path / "bomb.nii.gz").write_bytes(scan + member * 800)  # 50 GB
    with fenced(), pytest.raises(UserError, match="goes on for more than 64 MB after the"):
        read_volume(tmp_path / "bomb.nii.gz")


def test_the_fences_hold(tmp_path):
    with pytest.raises(MemoryError), fenced():
        np.empty(2_000_000_000, np.uint8)
    with contextlib.suppress(AssertionError):
        check_sentence("x.mha cannot be read (std::bad_alloc)")
        pytest.fail("a sentence on memory was let through")
