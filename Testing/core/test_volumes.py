"""Reading, writing, orienting and resampling volumes."""

import errno
import gzip
import os
import resource
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from scan_phantoms import AXIS_ORDERS, grid, world_points

from model_core.errors import UserError
from model_core.system.files import check_can_replace, replace_when_complete
from model_core.volumes import (
    Volume,
    check_can_write,
    have_same_grid,
    read_label_values,
    read_labels,
    read_mask,
    read_volume,
    resample,
    to_canonical,
    write_volume,
)

SUFFIXES = [".nii", ".nii.gz", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".NII.GZ"]
OBLIQUE = grid(AXIS_ORDERS[13], spacing=(0.7, 1.234567, 2.1), angles=(12.3, -7.7, 33))[1]


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(0, 200, (7, 9, 5))


# ---- Formats -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_what_is_written_is_read_again_with_type_and_oblique_affine(tmp_path, array, suffix, kind):
    write_volume(tmp_path / f"scan{suffix}", array.astype(kind), OBLIQUE)
    found = read_volume(tmp_path / f"scan{suffix}")
    assert found.array.dtype == np.float32
    assert np.array_equal(found.array, array)
    assert np.allclose(found.affine, OBLIQUE, rtol=0, atol=1e-5)  # NIfTI holds float32
    assert found.spacing == pytest.approx((0.7, 1.234567, 2.1), abs=1e-6)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".hdr"])
def test_nibabel_reads_our_nifti_files_with_equal_sform_and_qform(tmp_path, array, suffix):
    write_volume(tmp_path / f"labels{suffix}", array.astype(np.uint8), OBLIQUE)
    image = nibabel.load(tmp_path / f"labels{suffix}")
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(image.dataobj), array)
    assert np.allclose(image.get_sform(), OBLIQUE, atol=1e-5)
    assert np.allclose(image.get_qform(), OBLIQUE, atol=1e-4)
    assert image.header["sform_code"] > 0
    assert image.header["qform_code"] > 0
    assert image.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_simpleitk_sees_voxels_of_our_files_at_the_same_place_in_lps(tmp_path, array, suffix):
    write_volume(tmp_path / f"scan{suffix}", array.astype(np.float32), OBLIQUE)
    image = sitk.ReadImage(str(tmp_path / f"scan{suffix}"))
    x, y, z = (OBLIQUE @ [1, 2, 3, 1])[:3]
    assert image.TransformIndexToPhysicalPoint((1, 2, 3)) == pytest.approx((-x, -y, z), abs=1e-4)
    assert image[1, 2, 3] == array[1, 2, 3]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha", ".mhd", ".nhdr"])
def test_files_of_simpleitk_are_read_with_their_affine(tmp_path, array, suffix):
    image = sitk.GetImageFromArray(array.T.astype(np.int16))
    image.SetSpacing((0.5, 1.5, 2.5))
    image.SetOrigin((10, 20, 30))
    image.SetDirection((0, 1, 0, 1, 0, 0, 0, 0, 1))
    sitk.WriteImage(image, str(tmp_path / f"scan{suffix}"))
    found = read_volume(tmp_path / f"scan{suffix}")
    assert np.array_equal(found.array, array)
    # LPS: i runs to posterior, j to left; in RAS both change sign, and so do x and y of the origin.
    assert np.allclose(found.affine, [[0, -1.5, 0, -10], [-0.5, 0, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


def test_analyze_runs_from_right_to_left_with_the_origin_in_the_middle_and_drops_a_fourth_side_of_one(tmp_path):
    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7, 1)
    header = nibabel.AnalyzeHeader()
    header.set_data_shape(array.shape)
    header.set_data_dtype(np.int16)
    header.set_zooms((1, 2, 3, 1))
    image = nibabel.AnalyzeImage(array, None, header)
    nibabel.save(image, tmp_path / "subject-1-T1.hdr")
    assert b"ni1" not in (tmp_path / "subject-1-T1.hdr").read_bytes()
    for name in ("subject-1-T1.hdr", "subject-1-T1.img"):
        found = read_volume(tmp_path / name)
        assert np.array_equal(found.array, array[..., 0])
        assert np.allclose(found.affine, [[-1, 0, 0, 2], [0, 2, 0, -5], [0, 0, 3, -9], [0, 0, 0, 1]])


def test_a_pair_with_the_nifti_magic_is_read_with_its_own_affine(tmp_path, array):
    nibabel.save(nibabel.Nifti1Pair(array.astype(np.int16), OBLIQUE), tmp_path / "scan.hdr")
    assert np.allclose(read_volume(tmp_path / "scan.img").affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize("packed", [("scan.img",), ("scan.hdr", "scan.img")])
def test_packed_pairs_are_read(tmp_path, array, packed):
    nibabel.save(nibabel.Nifti1Pair(array.astype(np.int16), OBLIQUE), tmp_path / "scan.hdr")
    for name in packed:
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
        (tmp_path / name).unlink()
    assert np.array_equal(read_volume(tmp_path / "scan.img.gz").array, array)


def test_slope_and_intercept_are_applied(tmp_path, array):
    image = nibabel.Nifti1Image(array.astype(np.int16), np.eye(4))
    nibabel.save(image, tmp_path / "scan.nii")
    content = bytearray((tmp_path / "scan.nii").read_bytes())
    content[112:120] = np.array([0.5, -3], "<f4").tobytes()  # scl_slope and scl_inter of the NIfTI header
    (tmp_path / "scan.nii").write_bytes(content)
    assert np.array_equal(read_volume(tmp_path / "scan.nii").array, array * 0.5 - 3)


def test_big_endian_files_are_read(tmp_path, array):
    image = nibabel.Nifti1Image(array.astype(">i2"), np.eye(4), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(image, tmp_path / "scan.nii")
    assert (tmp_path / "scan.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    assert np.array_equal(read_volume(tmp_path / "scan.nii").array, array)


def test_a_shear_is_kept_by_nifti_and_refused_by_nrrd(tmp_path, array):
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    write_volume(tmp_path / "scan.nii.gz", array.astype(np.uint8), sheared)
    assert np.allclose(read_volume(tmp_path / "scan.nii.gz").affine, sheared)
    with pytest.raises(UserError, match=r"right angles; .*write a \.nii\.gz"):
        write_volume(tmp_path / "scan.nrrd", array.astype(np.uint8), sheared)
    assert sorted(os.listdir(tmp_path)) == ["scan.nii.gz"]


# ---- Labels and masks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_labels_of_both_value_sets_become_0_to_3(tmp_path, kind):
    values = np.zeros((4, 2, 2))
    values[:, 0, 0] = 0, 10, 150, 250
    write_volume(tmp_path / "iseg.nii.gz", values.astype(kind), np.eye(4))
    values[:, 0, 0] = 0, 1, 2, 3
    write_volume(tmp_path / "ours.nii.gz", values.astype(kind), np.eye(4))
    for name in ("iseg.nii.gz", "ours.nii.gz"):
        found = read_labels(tmp_path / name)
        assert found.array.dtype == np.uint8
        assert np.array_equal(found.array, values)


def test_label_values_of_any_kind_are_read_as_whole_numbers(tmp_path):
    values = np.array([[[0.0, 41.0004], [1035, 2]], [[-1, 7], [0, 0]]], np.float32)
    write_volume(tmp_path / "aseg.mha", values, np.eye(4))
    found = read_label_values(tmp_path / "aseg.mha")
    assert found.array.dtype == np.int32
    assert np.array_equal(found.array, [[[0, 41], [1035, 2]], [[-1, 7], [0, 0]]])


def test_a_mask_is_where_the_file_is_not_0_and_may_fill_the_volume(tmp_path):
    write_volume(tmp_path / "mask.nii.gz", np.full((3, 3, 3), 255, np.uint8), np.eye(4))
    found = read_mask(tmp_path / "mask.nii.gz")
    assert found.array.dtype == bool
    assert found.array.all()


# ---- Complete or not at all --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path, error):
    def write_half():
        with replace_when_complete(tmp_path / "report.json") as temporary:
            temporary.write_text("half")
            raise error

    (tmp_path / "report.json").write_text("old")
    with pytest.raises(error):
        write_half()
    assert os.listdir(tmp_path) == ["report.json"]
    assert (tmp_path / "report.json").read_text() == "old"


def test_the_new_file_replaces_the_old_one_with_usual_permissions_also_behind_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "report.json").write_text("old")
    (tmp_path / "link.json").symlink_to(tmp_path / "folder" / "report.json")
    with replace_when_complete(tmp_path / "link.json") as temporary:
        assert temporary.name == "report.json"
        temporary.write_text("new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "folder" / "report.json").read_text() == "new"
    (tmp_path / "plain").touch()
    assert (tmp_path / "folder" / "report.json").stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert os.listdir(tmp_path / "folder") == ["report.json"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_disk_that_takes_no_more_leaves_the_old_file_untouched(tmp_path, suffix, capfd):
    path = tmp_path / f"scan{suffix}"
    noise = np.random.default_rng(1).random((30, 30, 30), dtype=np.float32)
    write_volume(path, noise[:20], np.eye(4))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # bytes a file; the next write fails half way
    try:
        with pytest.raises(UserError, match=r"cannot be written .*; check"):
            write_volume(path, noise, np.eye(4))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert capfd.readouterr() == ("", "")  # ITK keeps silent, too


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_a_full_disk_is_told_as_such(tmp_path, array, suffix, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    write_volume(tmp_path / f"scan{suffix}", array.astype(np.uint8), np.eye(4))
    before = (tmp_path / f"scan{suffix}").read_bytes()
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"disk is full while writing .*scan.*; nothing was overwritten; free"):
        write_volume(tmp_path / f"scan{suffix}", array.astype(np.uint8) + 1, np.eye(4))
    assert (tmp_path / f"scan{suffix}").read_bytes() == before
    assert os.listdir(tmp_path) == [f"scan{suffix}"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_that_cannot_be_told_to_flush_is_written_to(tmp_path, array, number, monkeypatch):
    def fail(descriptor):
        raise OSError(number, "not here")

    monkeypatch.setattr(os, "fsync", fail)
    write_volume(tmp_path / "scan.nii", array.astype(np.uint8), np.eye(4))
    assert np.array_equal(read_volume(tmp_path / "scan.nii").array, array)


def test_a_full_disk_is_noticed_although_itk_keeps_silent(tmp_path, array, monkeypatch):
    monkeypatch.setattr(sitk, "WriteImage", lambda image, name, useCompression: open(name, "wb").close())
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
    with pytest.raises(UserError, match="disk is full"):
        write_volume(tmp_path / "scan.nrrd", array.astype(np.uint8), np.eye(4))
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written_to_are_told_beforehand(tmp_path):
    for path, words in [
        (tmp_path / "missing" / "out.nii.gz", "missing does not exist"),
        (tmp_path, "no known suffix"),
        (tmp_path / "out.txt", "no known suffix; expected one of .nii, .nii.gz"),
        (tmp_path / "out.img.gz", "no known suffix"),
    ]:
        with pytest.raises(UserError, match=words):
            check_can_write(path)
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(UserError, match="is a folder; expected a file"):
        check_can_write(tmp_path / "folder.nii")
    check_can_write(tmp_path / "out.nii.gz")
    check_can_replace(tmp_path / "out.json")
    assert os.listdir(tmp_path) == ["folder.nii"]


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the administrator")
def test_protected_folders_and_files_are_told_beforehand(tmp_path):
    (tmp_path / "old.nii").touch(mode=0o444)
    with pytest.raises(UserError, match="write-protected"):
        check_can_write(tmp_path / "old.nii")
    tmp_path.chmod(0o555)
    with pytest.raises(UserError, match="No permission to write"):
        check_can_write(tmp_path / "new.nii")
    tmp_path.chmod(0o755)


# ---- Orientation and resampling ----------------------------------------------------------------------------


@pytest.mark.parametrize("angles", [(0, 0, 0), (11, -8, 20)])
def test_canonical_axes_run_to_right_anterior_superior_and_voxels_stay_at_their_place(angles):
    for axes in AXIS_ORDERS:
        shape, affine = grid(axes, spacing=(1, 2, 3), angles=angles)
        points = world_points(shape, affine)
        for world_axis in range(3):  # the image holds x, then y, then z of each voxel
            found = to_canonical(Volume(points[..., world_axis], affine))
            assert np.allclose(found.array, world_points(found.array.shape, found.affine)[..., world_axis])
            assert (np.diag(found.affine)[:3] > 0).all()
            assert np.argmax(np.abs(found.affine[:3, :3]), axis=0).tolist() == [0, 1, 2]


def test_linear_resampling_of_a_linear_function_is_exact_whatever_the_grids():
    def plane(points):
        return 3 + points @ [0.5, -0.25, 2.0]

    shape, affine = grid(AXIS_ORDERS[5], spacing=(1, 1.5, 2), angles=(5, 9, -14))
    other_shape, other = grid(AXIS_ORDERS[30], spacing=(0.8, 0.9, 1.1), angles=(-20, 3, 8), rim_mm=-4)
    found = resample(Volume(plane(world_points(shape, affine)), affine), other_shape, other, order=1)
    assert np.allclose(found.array, plane(world_points(other_shape, other)), atol=1e-4)


def test_nearest_resampling_keeps_type_and_values_and_gives_0_outside():
    volume = Volume(np.full((4, 4, 4), 3, np.uint8), np.eye(4))
    shifted = np.eye(4)
    shifted[:3, 3] = 2.4, 0, 0
    found = resample(volume, (4, 4, 4), shifted, order=0)
    assert found.array.dtype == np.uint8
    assert found.array[:, 0, 0].tolist() == [3, 3, 0, 0]  # at 2.4, 3.4, 4.4, 5.4
    assert resample(Volume(volume.array > 0, np.eye(4)), (4, 4, 4), shifted, order=0).array.dtype == bool


def test_grids_are_the_same_up_to_rounding_of_headers():
    volume = Volume(np.zeros((100, 100, 100)), np.eye(4))
    rounded, moved = np.eye(4), np.eye(4)
    rounded[:3, 3] = 1e-4
    moved[0, 0] = 1.001  # a tenth of a millimetre at the far corner
    assert have_same_grid(volume, Volume(volume.array, rounded))
    assert not have_same_grid(volume, Volume(volume.array, moved))
    assert not have_same_grid(volume, Volume(volume.array[1:], np.eye(4)))
