"""A result lies on its T1 for every reader, whatever the header of T1 says of its place."""

import itertools
import os

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from model_core.errors import UserError
from model_core.volumes import read_volume, write_volume

SHAPE = (9, 11, 10)
VOXELS = [(0, 0, 0), (8, 0, 0), (0, 10, 0), (0, 0, 9), (8, 10, 9), (1, 2, 3)]
LABELS = np.random.default_rng(0).integers(0, 4, SHAPE).astype(np.uint8)
SCAN = np.random.default_rng(1).integers(1, 500, SHAPE).astype(np.int16)


def rotated(angles=(0, 0, 0), spacing=(1.0, 1.0, 1.0), origin=(12.0, -30.0, 7.0), shear=0.0, flips=(1, 1, 1)):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ np.diag(np.array(spacing) * flips)
    affine[0, 1] += shear
    affine[:3, 3] = origin
    return affine


def nifti(path, sform, sform_code, qform, qform_code, unit="mm", kind=nibabel.Nifti1Image):
    """Write a scan whose header states two places."""
    image = kind(SCAN, None)
    image.header.set_zooms(np.linalg.norm((sform if sform_code else qform)[:3, :3], axis=0))
    image.set_sform(sform, sform_code)
    image.set_qform(qform, qform_code, strip_shears=True)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, path)
    return path


def by_nibabel(path):
    """Places in RAS mm by nibabel's rule (sform, qform, else the Analyze convention), which passes over units."""
    return nibabel.affines.apply_affine(nibabel.load(path).affine, VOXELS)


def by_itk(path):
    """Places in RAS mm by ITK's rules; None where ITK refuses the file."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return None
    return np.array([image.TransformIndexToPhysicalPoint(voxel) for voxel in VOXELS]) * [-1, -1, 1]


def by_fsl(path):
    """Places in mm by FSL's rule: sform, else qform, else the voxel sizes alone, from right to left."""
    header = nibabel.load(path).header
    codes = (int(header["sform_code"]), int(header["qform_code"])) if "sform_code" in header else (0, 0)
    affine = header.get_sform() if codes[0] else header.get_qform() if codes[1] else None
    if affine is None:
        affine = np.diag([*(-1, 1, 1) * np.abs(header["pixdim"][1:4]), 1.0])
    return nibabel.affines.apply_affine(affine, VOXELS)


def check_lies_on(t1, result):
    assert np.array_equal(np.asarray(nibabel.load(result).dataobj), LABELS)
    for places in (by_nibabel, by_fsl, by_itk):
        if (expected := places(t1)) is not None:
            np.testing.assert_allclose(places(result), expected, rtol=1e-6, atol=1e-4)


def write_on(t1, *names):
    scan = read_volume(t1)
    for name in names:
        write_volume(t1.with_name(name), LABELS, scan.affine, like=scan)
    return [t1.with_name(name) for name in names]


FORMS = {
    "alike": rotated(angles=(10, -20, 30), spacing=(0.8, 1, 1.2)),
    "flipped": rotated(angles=(10, -20, 30), spacing=(0.8, 1, 1.2), flips=(-1, 1, 1)),
    "elsewhere": rotated(angles=(0, 40, 5), spacing=(0.8, 1, 1.2), origin=(90.0, 0.0, 0.0)),
    "sheared": rotated(spacing=(0.8, 1, 1.2), shear=0.3),
    "straight": rotated(spacing=(0.8, 1, 1.2)),
}


@pytest.mark.parametrize("second", FORMS)
def test_all_combinations_of_forms_and_codes(tmp_path, second):
    for codes in itertools.product(range(5), repeat=2):
        t1 = nifti(tmp_path / "t1.nii", FORMS[second], codes[0], FORMS["alike"], codes[1])
        for result in write_on(t1, "seg.nii.gz", "seg.hdr"):
            check_lies_on(t1, result)


@pytest.mark.parametrize("unit", ["unknown", "meter", "mm", "micron"])
@pytest.mark.parametrize("codes", [(0, 0), (0, 1), (1, 0), (2, 1), (1, 1)])
def test_micrometres_and_metres_are_converted_and_stay_in_the_header_of_the_result(tmp_path, codes, unit):
    factor = {"meter": 0.001, "micron": 1000.0}.get(unit, 1.0)
    scaled = np.diag([factor, factor, factor, 1]) @ FORMS["alike"]
    t1 = nifti(tmp_path / "t1.nii.gz", scaled, codes[0], scaled, codes[1], unit)
    read = read_volume(t1)
    assert read.spacing == pytest.approx((0.8, 1, 1.2), rel=1e-5)
    if codes != (0, 0):
        np.testing.assert_allclose(read.affine, FORMS["alike"], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(nibabel.affines.apply_affine(read.affine, VOXELS), by_itk(t1), atol=1e-3)
    (result,) = write_on(t1, "seg.nii.gz")
    check_lies_on(t1, result)
    assert nibabel.load(result).header.get_xyzt_units()[0] == unit


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_header_with_any_two_places(tmp_path, data):
    def draw_affine():
        numbers = st.floats(-180, 180)
        return rotated(
            [data.draw(numbers) for _ in "xyz"],
            [data.draw(st.floats(0.3, 3)) for _ in "xyz"],
            [data.draw(numbers) for _ in "xyz"],
            data.draw(st.sampled_from([0, 0, 0, 0.2])),
            [data.draw(st.sampled_from([1, -1])) for _ in "xyz"],
        )

    codes = data.draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    kind = data.draw(st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]))
    t1 = nifti(tmp_path / "t1.nii", draw_affine(), codes[0], draw_affine(), codes[1], kind=kind)
    content = bytearray(t1.read_bytes())
    if (
        kind is nibabel.Nifti1Image
    ):  # qfac of 0 or without a sign, and negative voxel sizes, as some programs write them
        sizes = np.frombuffer(content[76:92], "<f4") * data.draw(st.sampled_from([1, 1, -1]))
        sizes[0] = data.draw(st.sampled_from([sizes[0], 0, 1, -1]))
        content[76:92] = sizes.tobytes()
        t1.write_bytes(content)
    (result,) = write_on(t1, "seg.nii")
    check_lies_on(t1, result)


def test_the_digits_of_nifti_2_are_kept(tmp_path):
    turned = rotated(angles=(0.0, 0.0, 0.0625), flips=(-1, -1, 1))  # float32 would lose the angle
    t1 = nifti(tmp_path / "t1.nii", turned, 0, turned, 1, kind=nibabel.Nifti2Image)
    for result in write_on(t1, "seg.nii.gz", "seg.hdr"):
        assert nibabel.load(result).header.sizeof_hdr == 540
        np.testing.assert_allclose(by_nibabel(result), by_nibabel(t1), atol=1e-9)


def test_a_volume_with_a_fourth_dimension_of_one(tmp_path):
    image = nibabel.Nifti1Image(SCAN[..., None], None)
    image.set_qform(FORMS["alike"], 1)
    nibabel.save(image, tmp_path / "t1.nii.gz")
    (result,) = write_on(tmp_path / "t1.nii.gz", "seg.nii.gz")
    np.testing.assert_allclose(by_nibabel(result), by_nibabel(tmp_path / "t1.nii.gz"))


# ---- Analyze -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nibabel.AnalyzeImage, nibabel.Spm99AnalyzeImage, nibabel.Spm2AnalyzeImage])
@pytest.mark.parametrize("origin", ["unstated", "stated"])
def test_analyze_and_both_kinds_of_results(tmp_path, kind, origin):
    image = kind(SCAN, None)
    image.header.set_zooms((1, 2, 3))
    if origin == "stated" and "origin" in image.header:
        image.header["origin"][:3] = 3, 4, 5
    nibabel.save(image, tmp_path / "t1.hdr")
    single, pair = write_on(tmp_path / "t1.hdr", "seg.nii.gz", "seg.hdr")
    for result in (single, pair):
        assert np.array_equal(np.asarray(nibabel.load(result).dataobj), LABELS)
        np.testing.assert_allclose(by_nibabel(result), by_nibabel(tmp_path / "t1.hdr"))
        np.testing.assert_allclose(by_itk(result), by_itk(tmp_path / "t1.hdr"))
    assert b"n+1" not in pair.read_bytes()
    (finding,) = read_volume(tmp_path / "t1.hdr").findings
    assert finding.code == "place-not-stated"
    assert "right to left, from back to front" in finding.sentence


@pytest.mark.parametrize("kind", [nibabel.Spm99AnalyzeImage, nibabel.Spm2AnalyzeImage])
def test_analyze_with_spms_matrix_beside_it(tmp_path, kind):
    nibabel.save(kind(SCAN, FORMS["flipped"]), tmp_path / "t1.hdr")
    assert (tmp_path / "t1.mat").exists()
    read = read_volume(tmp_path / "t1.img")
    np.testing.assert_allclose(read.affine, FORMS["flipped"], atol=1e-5)
    assert read.findings == ()
    for result in write_on(tmp_path / "t1.hdr", "seg.nii.gz", "seg.hdr"):
        assert np.array_equal(np.asarray(nibabel.load(result).dataobj), LABELS)
        np.testing.assert_allclose(by_nibabel(result), by_nibabel(tmp_path / "t1.hdr"), atol=1e-4)
        np.testing.assert_allclose(by_itk(result), by_itk(tmp_path / "t1.hdr"), atol=1e-4)


def test_a_matrix_of_another_program_beside_analyze_is_passed_over(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(SCAN, None), tmp_path / "t1.hdr")
    before = read_volume(tmp_path / "t1.hdr").affine
    (tmp_path / "t1.mat").write_text("1 0 0 5\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    assert np.array_equal(read_volume(tmp_path / "t1.hdr").affine, before)


# ---- NRRD and MetaImage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nrrd", ".nhdr", ".mha", ".mhd"])
@pytest.mark.parametrize("form", ["alike", "flipped", "sheared"])
def test_from_itks_formats_to_all(tmp_path, suffix, form):
    if form == "sheared" and suffix in (".mha", ".mhd"):
        pytest.skip("ITK does not write it")
    lps = np.diag([-1.0, -1, 1, 1]) @ FORMS[form]
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(SCAN.T))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(tmp_path / f"t1{suffix}"))
    t1 = tmp_path / f"t1{suffix}"
    for result in write_on(t1, f"seg{suffix}", "seg.nii.gz"):
        if form != "sheared" or result.suffix == suffix:  # of sheared NIfTI files ITK takes the nearest rotation
            np.testing.assert_allclose(by_itk(result), by_itk(t1), atol=1e-3)
    np.testing.assert_allclose(by_nibabel(tmp_path / "seg.nii.gz"), by_itk(t1), atol=1e-3)


@pytest.mark.parametrize("codes", [(0, 0), (2, 1), (1, 2), (0, 3), (4, 0)])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_from_nifti_to_itks_formats_for_itk(tmp_path, codes, suffix):
    t1 = nifti(tmp_path / "t1.nii.gz", FORMS["elsewhere"], codes[0], FORMS["alike"], codes[1])
    (result,) = write_on(t1, f"seg{suffix}")
    np.testing.assert_allclose(by_itk(result), by_itk(t1), atol=1e-3)


# ---- What is said ------------------------------------------------------------------------------------------


def codes_of(path):
    return [finding.code for finding in read_volume(path).findings]


def test_two_places_more_than_a_voxel_apart_are_told(tmp_path):
    moved = FORMS["straight"].copy()
    moved[0, 3] += 0.5
    near = nifti(tmp_path / "near.nii", FORMS["straight"], 1, moved, 1)
    assert codes_of(near) == []
    moved[0, 3] += 41.5
    far = nifti(tmp_path / "far.nii", FORMS["straight"], 1, moved, 1)
    (finding,) = read_volume(far).findings
    assert "far.nii states two places, sform and qform, up to 42.0 mm apart" in finding.sentence
    assert codes_of(nifti(tmp_path / "one.nii", FORMS["straight"], 0, moved, 1)) == []


def test_a_place_that_is_not_stated_is_told(tmp_path):
    assert codes_of(nifti(tmp_path / "a.nii", FORMS["straight"], 0, FORMS["straight"], 0)) == ["place-not-stated"]


def test_a_unit_that_no_head_has_is_told_and_passed_over(tmp_path):
    t1 = nifti(tmp_path / "a.nii", FORMS["straight"], 1, FORMS["straight"], 1, "meter")
    assert codes_of(t1) == ["unit"]
    assert read_volume(t1).spacing == pytest.approx((0.8, 1, 1.2), rel=1e-5)
    check_lies_on(t1, *write_on(t1, "seg.nii"))


def test_a_spacing_beyond_any_unit_is_still_refused(tmp_path):
    wide = rotated(spacing=(40, 40, 40))
    for unit in ("mm", "micron", "meter"):
        with pytest.raises(UserError, match="correct the voxel size"):
            read_volume(nifti(tmp_path / "a.nii", wide, 1, wide, 1, unit))
    assert os.listdir(tmp_path) == ["a.nii"]
