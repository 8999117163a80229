"""Input that is nearly right: the sentence says what it is, and what helps."""

import bz2
import gzip
import shutil
import struct

import nibabel
import numpy as np
import pytest
from scan_phantoms import grid, scans

from model_core.errors import UserError
from model_core.preprocessing import prepare_pair
from model_core.preprocessing.stripping import refuse_unstripped
from model_core.volumes import Volume, read_mask, read_volume, write_volume


@pytest.fixture
def scan(tmp_path):
    array = np.random.default_rng(0).integers(1, 900, (12, 10, 8)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / "scan.nii")
    return tmp_path / "scan.nii"


def refuses(words):
    return pytest.raises(UserError, match=words)


# ---- Names and packing -------------------------------------------------------------------------------------


def test_a_gz_that_is_not_packed_has_a_wrong_name(scan):
    wrong = scan.rename(scan.with_name("scan.nii.gz"))
    with refuses(r"scan.nii.gz is not packed, although .*; rename it to scan.nii, or pack it"):
        read_volume(wrong)


@pytest.mark.parametrize("order", ["<", ">"])
def test_so_has_a_packed_file_without_gz_and_the_half_of_a_pair(tmp_path, order):
    array = np.ones((4, 5, 6), f"{order}i2")
    array[0] = 7
    header = nibabel.Nifti1Header(endianness=order)
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4), header), tmp_path / "a.nii")
    (tmp_path / "b.nii").write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()))
    with refuses(r"b.nii is packed \(gzip\), although .*; rename it to b.nii.gz, or unpack"):
        read_volume(tmp_path / "b.nii")
    nibabel.save(nibabel.Nifti1Pair(array, np.eye(4), header), tmp_path / "c.hdr")
    (tmp_path / "c.hdr").rename(tmp_path / "c.hdr.gz")
    with refuses("c.hdr.gz is not packed"):
        read_volume(tmp_path / "c.hdr.gz")


def test_other_packings_and_formats_are_told_what_unpacks_or_converts_them(scan):
    packed = scan.with_name("scan.nii.bz2")
    packed.write_bytes(bz2.compress(scan.read_bytes()))
    for name, words in {
        "scan.nii.bz2": "unpack it .bunzip2. first",
        "brain.mgz": "convert it .mri_convert. first",
    }.items():
        shutil.copy(scan, scan.with_name(f"copy of {name}"))
        with refuses(words):
            read_volume(scan.with_name(f"copy of {name}"))


# ---- Content that was not fetched --------------------------------------------------------------------------

KEY = ".git/annex/objects/Xx/Yy/MD5E-s123--0a.nii.gz/MD5E-s123--0a.nii.gz"


def test_a_dangling_link_of_an_annex_says_how_the_content_is_got(tmp_path):
    (tmp_path / "T1.nii.gz").symlink_to(f"../../{KEY}")
    with refuses(r"T1.nii.gz is a link to .*annex.*, which is not there; .*get it \(git annex get or datalad get .*T1"):
        read_volume(tmp_path / "T1.nii.gz")


def test_any_other_dangling_link_names_where_it_leads(tmp_path):
    (tmp_path / "T1.nii").symlink_to("/mnt/away/T1.nii")
    with refuses("is a link to /mnt/away/T1.nii, which is not there; .*mount its disk"):
        read_volume(tmp_path / "T1.nii")


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ("/annex/objects/MD5E-s123--0a.nii.gz\n", "git annex get"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
    ],
)
@pytest.mark.parametrize("name", ["T1.nii.gz", "T1.nii", "T1.nrrd", "T1.mha"])
def test_a_pointer_file_is_no_damaged_volume(tmp_path, name, content, command):
    (tmp_path / name).write_text(content)
    with refuses(rf"{name} holds the pointer of a file whose content is not there; .*\({command} "):
        read_volume(tmp_path / name)


def test_the_voxels_of_a_header_may_be_the_ones_that_are_not_there(tmp_path, scan):
    volume = read_volume(scan)
    for name, voxels in (("a.hdr", "a.img"), ("b.mhd", "b.raw")):
        write_volume(tmp_path / name, volume.array, volume.affine)
        (tmp_path / voxels).unlink()
        (tmp_path / voxels).symlink_to(f"../{KEY}")
        with refuses(f"{voxels} is a link to"):
            read_volume(tmp_path / name)


# ---- Scans of another kind ---------------------------------------------------------------------------------


def test_a_localizer_is_not_told_to_correct_its_voxel_size(tmp_path):
    array = np.random.default_rng(0).integers(1, 900, (256, 256, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 20, 1])), tmp_path / "a.nii")
    with refuses(r"has 3 slices 20 mm apart, like a localizer .*; choose the 3-D scan"):
        read_volume(tmp_path / "a.nii")


def test_a_soft_mask_is_told_to_be_cut(tmp_path):
    soft = np.linspace(0, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    write_volume(tmp_path / "mask.nii", soft, np.eye(4))
    with refuses(r"is no mask of yes and no: 58 voxels hold values such as 0\.0169; .*threshold \(0\.5"):
        read_mask(tmp_path / "mask.nii")
    write_volume(tmp_path / "mask.nii", np.round(soft), np.eye(4))
    assert read_mask(tmp_path / "mask.nii").array.sum() == 30


def test_scaled_masks_of_whole_numbers_are_still_read(tmp_path):
    write_volume(tmp_path / "mask.nii", np.arange(60, dtype=np.uint8).reshape(3, 4, 5) % 2, np.eye(4))
    content = bytearray((tmp_path / "mask.nii").read_bytes())
    content[112:120] = struct.pack("<2f", 255, 0)  # scl_slope
    (tmp_path / "mask.nii").write_bytes(content)
    assert read_mask(tmp_path / "mask.nii").array.sum() == 30


# ---- Backgrounds and tight crops ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("background", "words"),
    [
        (lambda t1: np.where(t1 == 0, -1, t1), "for its background is -1;"),
        (
            lambda t1: (t1 - t1.mean()) / t1.std(),
            r"background is -0\.\d+ \(as where the whole volume was standardised\)",
        ),
        (lambda t1: t1 + np.abs(np.random.default_rng(0).normal(0, 2, t1.shape)), "background is noise .of about 1"),
    ],
    ids=["-1", "z-scored", "noise"],
)
def test_a_background_that_is_not_0_is_named(background, words):
    t1, _, _ = scans(*grid())
    with refuses(rf"does not look skull-stripped: .*{words}.*set its background to 0.*--mask"):
        refuse_unstripped(Volume(background(t1.array).astype(np.float32), t1.affine, "t1.nii"))


def cropped(volume):
    """Cut a volume to the box of what is not 0."""
    places = np.argwhere(volume.array)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    affine = volume.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ low
    return Volume(volume.array[tuple(map(slice, low, high))], affine, volume.path)


def test_a_stripped_brain_that_is_cropped_to_its_box_is_taken():
    t1, t2, labels = scans(*grid())
    tight = cropped(t1)
    assert all(tight.array.take(end, axis).any() for axis in range(3) for end in (0, -1))
    pair = prepare_pair(tight, t2)
    whole = prepare_pair(t1, t2)
    assert np.array_equal(pair.t1, whole.t1)
    assert np.array_equal(pair.t2, whole.t2)
    assert np.array_equal(cropped(Volume(labels, t1.affine)).array > 0, pair.labels_to_native(pair.mask) > 0)


def test_a_head_that_is_cropped_above_its_neck_is_not():
    shape = (40, 40, 40)
    x, y, z = np.indices(shape) - 20
    head = (x**2 + y**2 < 18**2) & (z < 12)  # a column: the neck fills most of the lowest face
    with refuses("does not look skull-stripped: .* of a face of the volume"):
        refuse_unstripped(Volume(np.where(head, 100 + z, 0).astype(np.float32), np.eye(4), "head.nii"))
