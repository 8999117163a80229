"""Whole heads: their small maps, synthetic scans of them, and the windows that the extraction network learns from."""

import numpy as np
import pytest
from scipy import ndimage

from model_core.default_weights.extraction_recipe import head_files
from model_core.errors import UserError
from model_core.synthesis import head_sampler, heads, sampler
from model_core.synthesis.head_maps import MEMBRANES, NAMES, VOXEL_MM, prepare_head, read_heads, shrink_map
from model_core.synthesis.head_sampler import HeadBox, HeadSampler, draw_head_windows
from model_core.synthesis.head_scan import Field
from model_core.synthesis.heads import GRID_MM, SIDE, standardised, synthesize_head
from model_core.synthesis.no_head import synthesize_no_head
from model_core.volumes import Volume

GRAY, WHITE, BONE, SKIN = (NAMES.index(name) for name in ("gray matter", "white matter", "compact bone", "skin"))
WHOLE = Field(cut=0.0)


@pytest.fixture(scope="module")
def head():
    """A head of somebody who was not trained on."""
    return read_heads(head_files()[1][:1])[0]


def shells(*radii_and_values, side=60, centre=(30, 30, 30)):
    """Balls within each other, the largest first."""
    distance = np.sqrt(sum((axis - middle) ** 2 for axis, middle in zip(np.indices((side,) * 3), centre, strict=True)))
    values = np.zeros((side,) * 3, np.int32)
    for radius, value in radii_and_values:
        values[distance < radius] = value
    return values


# ---- Small maps --------------------------------------------------------------------------------------------


def test_structures_are_merged_and_each_stays_where_it_was_and_as_large():
    values = shells((26, 511), (22, 515), (18, 24), (15, 42), (12, 2), (6, 41))
    small = shrink_map(Volume(values, np.diag([-1.0, 1, 1, 1]), "head"))
    for index, of_structure in ((SKIN, [511]), (BONE, [515]), (1, [24]), (GRAY, [42]), (WHITE, [2, 41])):
        millilitres = np.isin(values, of_structure).sum() / 1000
        assert (small.array == index).sum() * VOXEL_MM**3 / 1000 == pytest.approx(millilitres, rel=0.05)
        places = np.argwhere(small.array == index).mean(axis=0)
        assert small.affine[:3] @ [*places, 1] == pytest.approx([-30, 30, 30], abs=0.3)
    assert set(np.unique(small.array)) == {0, 1, GRAY, WHITE, BONE, SKIN}


def test_what_does_not_hang_together_with_the_head_is_left_out():
    values = shells((20, 515), (15, 3))
    values[:4, :4, :4] = 511
    assert not (shrink_map(Volume(values, np.eye(4), "head")).array == SKIN).any()


@pytest.mark.parametrize(("values", "lacks"), [(shells((9, 515)), "gray matter"), (shells((9, 3)), "compact bone")])
def test_a_map_that_is_no_whole_head_is_refused(values, lacks):
    with pytest.raises(UserError, match=rf"head.nii holds no {lacks}; a whole head .* was expected; give one"):
        shrink_map(Volume(values, np.eye(4), "head.nii"))


def test_the_brain_of_a_map_has_its_ventricles_and_fissures_and_the_csf_within_8_mm():
    labels = shells((28, BONE), (26, 1), (16, GRAY), (12, WHITE), (6, 2))  # 10 voxels of CSF: 17.5 mm
    labels[:, 29:31, 30:] = np.where(labels[:, 29:31, 30:] == GRAY, NAMES.index("veins"), labels[:, 29:31, 30:])
    made = prepare_head(Volume(labels.astype(np.uint8), np.diag([VOXEL_MM] * 3 + [1]), "folder/head.nii"))
    brain = made.brain.numpy()
    assert made.name == "head.nii"
    assert brain[np.isin(labels, (GRAY, WHITE, 2))].all()
    assert brain[44, 29, 31]  # the vein between two banks
    distance = ndimage.distance_transform_edt(labels != GRAY, VOXEL_MM)
    beyond = (labels == 1) & (distance > 8 + VOXEL_MM)
    assert not brain[beyond].any()
    assert not brain[labels == BONE].any()
    assert brain[30, 30, 48]  # 3.5 mm above the brain
    assert made.csf_depth[30, 30, 48] == pytest.approx(2 * VOXEL_MM + VOXEL_MM, abs=VOXEL_MM)
    away = made.outward[:, 58, 30, 30].numpy()
    assert away[0] > 0.5
    assert np.abs(away[1:]).max() < 0.1


# ---- Scans -------------------------------------------------------------------------------------------------


def test_one_seed_gives_one_head_and_another_seed_another(head):
    first, again, other = (synthesize_head(head, seed, side=40) for seed in (7, 7, 8))
    assert np.array_equal(first.t1, again.t1)
    assert np.array_equal(first.t2, again.t2)
    assert not np.array_equal(first.brain, other.brain)


def test_heads_have_the_sizes_of_infants_and_some_beyond(head):
    volumes = [synthesize_head(head, (1, n), field=WHOLE).brain.sum() * GRID_MM**3 / 1000 for n in range(3)]
    assert all(250 < volume < 1600 for volume in volumes)
    assert max(volumes) > 1.1 * min(volumes)


def test_the_brain_lies_inside_of_the_head_whatever_its_contrast(head):
    for contrast in ("infant", "random"):
        scans = synthesize_head(head, 3, contrast=contrast, field=WHOLE)
        assert scans.t1.shape == scans.t2.shape == scans.brain.shape == (SIDE,) * 3
        assert scans.field.all()
        pieces, _ = ndimage.label(scans.brain)
        assert np.bincount(pieces.ravel())[1:].max() > 0.99 * scans.brain.sum()
        assert scans.t1.min() >= 0


def test_t1_and_t2_of_infants_show_fluid_dark_and_bright(head):
    # The ventricles, seen through the same deformation: dark in T1 and bright in T2, against all of the brain.
    scans = synthesize_head(head, 11, contrast="infant", field=WHOLE)
    inside = scans.brain
    darkest = inside & (scans.t1 < np.percentile(scans.t1[inside], 10))
    assert scans.t2[darkest].mean() > 1.2 * scans.t2[inside].mean()


def test_beyond_the_field_of_view_there_is_nothing(head):
    scans = synthesize_head(head, 5, field=Field(cut=1.0, into_brain_mm=5.0, around_mm=10.0, wrap=0.0))
    assert 0 < scans.field.mean() < 1
    assert not scans.t1[~scans.field].any()
    assert not scans.t2[~scans.t2_field].any()
    images = standardised(scans)
    assert images[0][scans.field].astype(float).mean() == pytest.approx(0, abs=0.01)
    assert images[0][scans.field].astype(float).std() == pytest.approx(1, abs=0.01)
    assert not images[0][~scans.field].any()


def test_what_folds_over_appears_at_the_other_end(head):
    folded, plain = (
        synthesize_head(head, 5, field=Field(cut=1.0, into_brain_mm=0.0, around_mm=0.0, wrap=wrap)) for wrap in (1, 0)
    )
    assert np.array_equal(folded.field, plain.field)
    assert folded.t1[folded.field].mean() > plain.t1[plain.field].mean()


def test_a_head_can_have_flesh_in_the_brains_place(head):
    scans = synthesize_head(head, 9, brainless=True)
    assert not scans.brain.any()
    assert scans.t1.any()


def test_what_is_no_head_has_no_brain_whatever_it_is():
    scans = [synthesize_no_head((3, number), side=48) for number in range(24)]
    assert {scan.name for scan in scans} == {"limbs", "trunk", "phantom", "noise"}
    assert not any(scan.brain.any() for scan in scans)
    assert all(scan.t1[scan.field].std() > 0 and not scan.t1[~scan.field].any() for scan in scans)
    again = synthesize_no_head((3, 5), side=48)
    assert np.array_equal(again.t1, scans[5].t1)
    assert np.array_equal(again.t2, scans[5].t2)


def test_thin_csf_is_covered_by_membranes(head):
    shallow = (head.csf_depth > 0) & (head.csf_depth < 1.8)
    assert (head.labels[shallow] != MEMBRANES).all()
    assert bool(((head.csf_depth > 4) & (head.labels == 1)).any())  # so that there is some to take away


def test_a_snug_skull_lies_on_the_membranes(head, monkeypatch):
    monkeypatch.setattr(heads, "CSF_MM", (0.5, 0.5))
    monkeypatch.setattr(heads, "MEMBRANES_MM", (0.5, 0.5))

    def brightness_beyond_the_brain(snug):
        # Bone is made dark and everything else bright, so that a close skull shows as a dark rim.
        monkeypatch.setattr(heads, "SNUG", snug)
        monkeypatch.setattr(heads, "paint", lambda labels, draw, contrast: [(labels != heads.BONE).float()] * 2)
        scans = synthesize_head(head, 4, field=WHOLE)
        rim = ndimage.binary_dilation(scans.brain, iterations=2) & ~scans.brain
        return scans.t1[rim].mean()

    assert brightness_beyond_the_brain(1.0) < 0.9 * brightness_beyond_the_brain(0.0)


# ---- Windows -----------------------------------------------------------------------------------------------


def test_windows_hold_the_brain_where_a_scan_reaches(head):
    scans = synthesize_head(head, 2, field=Field(cut=1.0))
    box = HeadBox(standardised(scans), scans.brain, np.stack([scans.field, scans.t2_field]))
    images, labels = draw_head_windows([box], 48, 24, np.random.default_rng(0))
    assert images.shape == (24, 2, 48, 48, 48)
    assert labels.max() == 1
    seen = (images != 0).any(axis=1)
    assert not labels[~seen].any()
    empty = ~(images != 0).any(axis=(2, 3, 4))
    assert 2 < empty.sum() < 20  # one of two scans is left out in two fifths of the windows


def test_the_windows_of_an_iteration_depend_on_seed_and_number_alone(head, monkeypatch):
    monkeypatch.setattr(sampler, "FIRST_STOCK", 2)
    with HeadSampler([head], window=32, seed=1) as windows:
        first, later = windows.batch(0, 2), windows.batch(1, 2)
    with HeadSampler([head], window=32, seed=1) as windows:
        again = windows.batch(1, 2)
    assert all(np.array_equal(a, b) for a, b in zip(later, again, strict=True))
    assert not np.array_equal(first[0], later[0])


def test_a_part_of_what_is_learned_from_is_no_head(head, monkeypatch):
    monkeypatch.setattr(sampler, "FIRST_STOCK", 8)
    monkeypatch.setattr(head_sampler, "NO_HEAD_SHARE", 0.5)
    monkeypatch.setattr(head_sampler, "BRAINLESS_SHARE", 0.0)
    with HeadSampler([head], window=SIDE, seed=1) as windows:
        _, labels = windows.batch(0, 24)
    with_brain = labels.any(axis=(1, 2, 3)).mean()
    assert 0 < with_brain < 1


def test_a_sampler_without_heads_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        HeadSampler([], window=32, seed=0)
