"""Synthetic pairs: exact labels, the contrast measured at six months, reproducible."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage

from model_core import synthesize
from model_core.errors import UserError
from model_core.synthesis import generator
from model_core.synthesis.acquisition import MASK_BORDER_MM, acquire, as_counts, holes, strip, turn
from model_core.synthesis.anatomies import (
    CEREBELLAR_GRAY,
    CEREBRAL_GROUPS,
    GROUPS,
    SULCAL_CSF,
    VENTRICLES,
    Anatomy,
    prepare_anatomy,
)
from model_core.synthesis.contrast import paint
from model_core.synthesis.deformation import PARENCHYMA_ML, Shape, deform
from model_core.synthesis.draw import Draw, blur
from model_core.synthesis.generator import SyntheticPair, synthesize_pair
from model_core.synthesis.shares import Shares
from model_core.system.command_line import run_command
from model_core.volumes import Volume, read_label_values

ADULT = Path(__file__).parents[2] / "Resources" / "anatomies" / "adult_04.nii.gz"
CORTEX_VALUE, WHITE_VALUE, VENTRICLE_VALUE, CEREBELLUM_VALUE = 3, 2, 4, 8


def ball(centre: tuple[float, float, float], radius: float, side: int = 72) -> np.ndarray:
    grid = np.indices((side, side, side)) - np.reshape(centre, (3, 1, 1, 1))
    return (grid**2).sum(0) <= radius**2


@pytest.fixture(scope="module")
def nested_balls() -> Volume:
    """A ventricle in white matter in cortex, without sulcal CSF, with a cerebellum below it."""
    values = np.zeros((72, 72, 72), dtype=np.int32)
    values[ball((36, 28, 12), 10)] = CEREBELLUM_VALUE
    values[ball((36, 36, 40), 26)] = CORTEX_VALUE
    values[ball((36, 36, 40), 20)] = WHITE_VALUE
    values[ball((36, 36, 40), 7)] = VENTRICLE_VALUE
    return Volume(values, np.eye(4), "balls.nii.gz")


@pytest.fixture(scope="module")
def balls(nested_balls) -> Anatomy:
    return prepare_anatomy(nested_balls)


@pytest.fixture
def small_brains(monkeypatch):
    """Brains of an eighth of the volume, and so of the time."""
    monkeypatch.setattr("model_core.synthesis.deformation.PARENCHYMA_ML", (60.0, 75.0))


@pytest.fixture(scope="module")
def adult_pairs() -> list[SyntheticPair]:
    """Six-month pairs as they are trained on."""
    adult = prepare_anatomy(read_label_values(ADULT))
    return [synthesize_pair(adult, (31, number)) for number in range(3)]


def test_a_blur_is_the_convolution_with_a_gaussian():
    spike = torch.zeros(1, 15, 15, 15)
    spike[0, 7, 7, 7] = 1
    along = np.exp(-0.5 * (np.arange(-3, 4) / 1.0) ** 2)
    along /= along.sum()
    expected = np.einsum("i,j,k->ijk", along, along, along)
    np.testing.assert_allclose(blur(spike, 1.0)[0, 4:11, 4:11, 4:11].numpy(), expected, atol=1e-6)


def test_a_draw_is_its_seed_and_the_order_of_the_questions():
    def answers(seed):
        draw = Draw(seed)
        return [draw.uniform((2, 3)), draw.happens(0.5), *draw.normal((4,)).tolist(), draw.uniform((0, 1))]

    assert answers((5, 1)) == answers((5, 1)) != answers((5, 2))
    draw = Draw(1)
    numbers = [draw.uniform((2, 3)) for _ in range(300)]
    assert 2 <= min(numbers) < 2.05
    assert 2.95 < max(numbers) < 3
    assert sum(draw.happens(0.2) for _ in range(1000)) == pytest.approx(200, abs=50)
    assert not any(draw.happens(0.0) for _ in range(20))
    assert all(draw.happens(1.0) for _ in range(20))


def test_a_smooth_field_varies_over_the_distance_asked_for():
    correlations = []
    for spacing in (4, 16):
        field = Draw(2).smooth_field((64, 48, 40), spacing, channels=2)
        assert field.shape == (2, 64, 48, 40)
        assert float(field.std()) == pytest.approx(1, abs=0.35)  # of the coarse field it is 1
        near, far = field[:, :-4].flatten().numpy(), field[:, 4:].flatten().numpy()
        correlations.append(np.corrcoef(near, far)[0, 1])
    assert correlations[0] < 0.6 < 0.9 < correlations[1]


def test_groups_of_an_anatomy_are_its_structures(balls):
    anatomy = balls
    gray, white = (4 / 3 * np.pi * (26**3 - 20**3)), (4 / 3 * np.pi * (20**3 - 7**3))
    assert anatomy.parenchyma_ml == pytest.approx((gray + white) / 1000, rel=0.02)
    assert anatomy.gray_to_white == pytest.approx(gray / white, rel=0.03)
    groups = anatomy.groups(len(GROUPS), ventricles_ml=100)
    assert float(groups.min()) >= 0
    assert float(groups.sum(0).max()) == pytest.approx(1, abs=1e-4)
    assert float(groups[VENTRICLES].sum()) == pytest.approx(4 / 3 * np.pi * 7**3, rel=0.03)


def test_wide_ventricles_are_narrowed_to_the_volume_asked_for_and_give_it_to_the_nearest_tissue(balls):
    anatomy = balls
    whole, narrowed = (anatomy.groups(CEREBRAL_GROUPS, ml).flatten(1).sum(1) / 1000 for ml in (100, 0.5))
    assert float(narrowed[VENTRICLES]) == pytest.approx(0.5, rel=0.2)
    white = GROUPS.index("white matter")
    assert float(narrowed[white] - whole[white]) == pytest.approx(
        float(whole[VENTRICLES] - narrowed[VENTRICLES]), rel=0.02
    )


def test_sulcal_csf_is_filled_in_around_the_cortex_where_the_map_has_none(balls):
    anatomy = balls
    csf = anatomy.groups(len(GROUPS), 100)[SULCAL_CSF] > 0.5
    distance = anatomy.outer_distance
    beside_the_brain = (distance > 1) & (distance < 4)
    # A part of this shell lies around the cerebellum and is CSF below the tentorium.
    assert 0.6 < float(csf[beside_the_brain].float().mean()) < 0.95
    assert not csf[distance > 9].any()


def test_cerebellum_is_seen_in_half_of_the_pairs_and_is_never_labelled(balls, small_brains, monkeypatch):
    monkeypatch.setattr(generator, "strip", lambda shape, draw: shape.brain)  # else a mask may be wider than the brain
    shown = synthesize_pair(balls, 3, cerebellum_share=1.0)
    hidden = synthesize_pair(balls, 3, cerebellum_share=0.0)
    # As a share of the cortex and white matter it shrinks and grows with them; CSF lies around it.
    expected = (4 / 3 * np.pi * 10**3) / (balls.parenchyma_ml * 1000)
    parenchyma = np.isin(shown.labels, (2, 3)).sum()
    assert ((shown.labels == 0) & shown.mask).sum() / parenchyma > 0.7 * expected
    assert not ((hidden.labels == 0) & hidden.mask).any()
    shapes = [deform(balls, Draw(seed), with_cerebellum=True) for seed in (1, 2)]
    for shape in shapes:
        assert not (shape.labels[shape.fractions[CEREBELLAR_GRAY] > 0.6] > 0).any()
    seen = [Draw((4, number)).happens(0.5) for number in range(200)]
    assert 70 < sum(seen) < 130


def test_a_map_without_cortex_is_refused_by_name(nested_balls):
    values = np.where(nested_balls.array == CORTEX_VALUE, 0, nested_balls.array)
    with pytest.raises(UserError, match=r"balls\.nii\.gz holds no cortex"):
        prepare_anatomy(Volume(values, np.eye(4), "balls.nii.gz"))


def test_the_same_seed_gives_the_same_pair_and_another_seed_another(balls, small_brains):
    first, again, other = (synthesize_pair(balls, seed) for seed in ((5, 1), (5, 1), (5, 2)))
    for name in ("t1", "t2", "labels", "mask"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.labels.shape != other.labels.shape or (first.labels != other.labels).any()


def test_images_are_whole_numbers_and_labels_lie_in_the_mask(adult_pairs):
    for pair in adult_pairs:
        for image in (pair.t1, pair.t2):
            assert image.dtype == np.float32
            np.testing.assert_array_equal(image, np.rint(image))
            assert not image[~pair.mask].any()
        np.testing.assert_array_equal(pair.t1 > 0, pair.t2 > 0)
        assert not pair.labels[~pair.mask].any()
        assert set(np.unique(pair.labels)) == {0, 1, 2, 3}
        zeros = pair.mask & (pair.t1 == 0)
        assert set(np.unique(pair.labels[zeros])) <= {1}  # holes of the scans are dark CSF


def test_volumes_are_those_of_an_infant(adult_pairs):
    for pair in adult_pairs:
        labels = pair.labels
        parenchyma = np.isin(labels, (2, 3)).sum() / 1000
        # Weighting the groups, deforming and stripping move the volume a little from what was drawn.
        assert 0.8 * PARENCHYMA_ML[0] < parenchyma < 1.2 * PARENCHYMA_ML[1]
        assert (labels == 2).sum() > (labels == 3).sum()


def ball_shape(radius: int) -> Shape:
    """A ball of CSF, all brain."""
    brain = torch.from_numpy(ball((24, 24, 24), radius, side=48))
    return Shape(brain[None].float(), brain.to(torch.uint8), brain)


def test_masks_lie_on_the_brains_border_or_within_the_stated_millimetres_of_it():
    shape = ball_shape(14)
    signed = ndimage.distance_transform_edt(~shape.brain.numpy()) - ndimage.distance_transform_edt(shape.brain.numpy())
    borders = []
    for seed in range(30):
        mask = strip(shape, Draw(seed)).numpy()
        assert mask[signed < MASK_BORDER_MM[0] - 2].all()
        assert not mask[signed > MASK_BORDER_MM[1] + 2].any()
        borders.append(np.cbrt(mask.sum() / (4 / 3 * np.pi)) - 14)
    exact = sum(abs(border) < 0.1 for border in borders)
    assert 8 <= exact <= 22  # half of them are the brain itself
    assert min(borders) < -0.7
    assert max(borders) > 1.5


def test_holes_are_the_darkest_csf():
    shape = ball_shape(10)
    t1 = torch.rand(shape.labels.shape, generator=torch.Generator().manual_seed(0))
    found = [holes(shape, t1, Draw(seed)) for seed in range(40)]
    some = [hole for hole in found if hole.any()]
    assert 4 <= len(some) <= 22
    for hole in some:
        kept = shape.brain & ~hole
        assert t1[hole].max() < t1[kept].min()
        assert not (hole & ~shape.brain).any()
        assert hole.sum() <= 0.21 * shape.brain.sum()


def test_a_turned_image_moves_by_no_more_than_the_millimetres_and_degrees_asked_for():
    image = torch.from_numpy(ndimage.gaussian_filter(ball((30, 24, 20), 8, side=48).astype(np.float32), 1))
    np.testing.assert_allclose(turn(image, Draw(1), 0.0, 0.0).numpy(), image.numpy(), atol=1e-4)
    before = np.array(ndimage.center_of_mass(image.numpy()))
    moves = []
    for seed in range(12):
        moved = turn(image, Draw(seed), 3.0, 0.0).numpy()
        moves.append(ndimage.center_of_mass(moved) - before)
        # Moved back by scipy it is the image again.
        np.testing.assert_allclose(ndimage.shift(moved, -moves[-1], order=1), image.numpy(), atol=0.15)
    assert abs(np.array(moves)).max() <= 3.01
    assert abs(np.array(moves)).max() > 2
    turned = [ndimage.center_of_mass(turn(image, Draw(seed), 0.0, 10.0).numpy()) for seed in range(6)]
    arm = np.linalg.norm(before - 23.5)
    distances = [np.linalg.norm(np.array(centre) - 23.5) for centre in turned]
    np.testing.assert_allclose(distances, arm, atol=0.1)  # about the middle of the image
    assert 0.2 < max(np.linalg.norm(centre - before) for centre in turned) < arm * np.deg2rad(10) * np.sqrt(3)


def test_a_scanned_image_keeps_its_grid_and_its_intensities_within_bias_and_noise():
    painted = torch.full((40, 44, 36), 1.0)
    for modality in (0, 1):
        for seed in range(4):
            scanned = acquire(painted, Draw(seed), modality)
            assert scanned.shape == painted.shape
            assert float(scanned.min()) > 0
            assert float(scanned.mean()) == pytest.approx(1, abs=0.35)
            assert 0.002 < float(scanned.std()) < 0.5


def test_counts_are_whole_and_at_least_1_where_there_is_something_to_see():
    image = torch.tensor([[[0.0, 0.001, 0.5], [1.0, 2.0, 0.99912]]])
    visible = torch.tensor([[[True, True, True], [True, False, True]]])
    np.testing.assert_array_equal(as_counts(image, visible), [[[1, 1, 200], [400, 0, 400]]])
    assert as_counts(image, visible).dtype == np.float32


@pytest.mark.parametrize(
    ("shares", "sentence"),
    [
        ({"wide": -0.1}, "--wide-share is -0.1; a share from 0 to 1 was expected"),
        ({"random": 1.1}, "--random-share is 1.1; a share from 0 to 1"),
        ({"cerebellum": 2}, "--cerebellum-share is 2; a share from 0 to 1"),
        ({"wide": 0.6, "random": 0.5}, "--wide-share 0.6 and --random-share 0.5 are more than all pairs"),
    ],
)
def test_shares_that_cannot_be_are_refused(shares, sentence):
    with pytest.raises(UserError, match=sentence):
        Shares(**shares)
    assert Shares(wide=0.5, random=0.5) == Shares(0.5, 0.5, 0.5)


def relative_contrast(t1, t2, labels) -> dict[str, float]:
    """Contrast of white matter and CSF, cortex = 1."""
    inside = t1 > 0
    depth = ndimage.distance_transform_edt(labels == 3)
    cortex, white = inside & (labels == 2), inside & (labels == 3)
    measured = {}
    for name, image in (("t1", t1), ("t2", t2)):
        image = image / image[cortex].mean()
        measured |= {
            f"{name} white": image[white].mean(),
            f"{name} depth": image[white & (depth > 5)].mean() - image[white & (depth <= 1)].mean(),
            f"{name} csf": image[inside & (labels == 1)].mean(),
        }
    return measured


def test_six_months_contrast_is_the_one_measured(adult_pairs):
    found = [relative_contrast(pair.t1, pair.t2, pair.labels) for pair in adult_pairs]
    of = {key: np.array([pair[key] for pair in found]) for key in found[0]}
    # As on single heads and on the six-month atlas: T1 white matter a little brighter, more so in its depth, T2 alike.
    assert 1.04 < np.median(of["t1 white"]) < 1.14
    assert 0.95 < np.median(of["t2 white"]) < 1.05
    assert np.median(of["t1 depth"]) > 0.03
    assert np.median(of["t2 depth"]) < 0
    assert np.median(of["t1 csf"]) < 0.9
    assert np.median(of["t2 csf"]) > 1.1
    assert {pair.contrast for pair in adult_pairs} == {"six-month"}


def test_contrasts_spread_as_wide_as_is_asked_for(balls, small_brains):
    shape = deform(balls, Draw(1), with_cerebellum=False)
    of = {}
    for kind in ("six-month", "wide", "random"):
        painted = [paint(shape, Draw((31, number)), kind) for number in range(12)]
        found = [relative_contrast(t1.numpy(), t2.numpy(), shape.labels.numpy()) for t1, t2 in painted]
        of[kind] = {key: np.array([pair[key] for pair in found]) for key in found[0]}
    for name in ("t1 white", "t2 white"):
        assert of["wide"][name].std() > 1.5 * of["six-month"][name].std()
        assert of["random"][name].std() > 1.5 * of["wide"][name].std()
    assert of["random"]["t1 white"].min() < 1 < of["random"]["t1 white"].max()


def test_a_pair_gets_the_contrast_that_is_asked_for(balls, small_brains):
    pairs = [synthesize_pair(balls, 8, contrast=kind) for kind in ("six-month", "wide", "random")]
    assert [pair.contrast for pair in pairs] == ["six-month", "wide", "random"]
    contrasts = [relative_contrast(pair.t1, pair.t2, pair.labels)["t1 csf"] for pair in pairs]
    assert len({round(contrast, 3) for contrast in contrasts}) == 3


def test_an_unknown_contrast_is_a_programming_error(balls, small_brains):
    with pytest.raises(ValueError, match="one of six-month, wide, random"):
        synthesize_pair(balls, 1, contrast="narrow")


def test_command_writes_the_pairs_and_what_they_were_made_from(tmp_path, balls, small_brains, monkeypatch):
    monkeypatch.setattr(synthesize, "read_anatomies", lambda paths: [balls] * len(paths))
    output = tmp_path / "pairs"
    arguments = ["--anatomy", str(ADULT), "--output", str(output), "--count", "2", "--seed", "6"]
    assert run_command(synthesize.main, arguments) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        *(f"subject-{number}-{name}.nii.gz" for number in (1, 2) for name in ("T1", "T2", "label")),
        "synthesis.json",
    ]
    expected = synthesize_pair(balls, (6, 2))
    written = nibabel.load(output / "subject-2-label.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), expected.labels)
    np.testing.assert_array_equal(written.affine, expected.affine)
    np.testing.assert_array_equal(np.asarray(nibabel.load(output / "subject-2-T1.nii.gz").dataobj), expected.t1)
    records = json.loads((output / "synthesis.json").read_text())
    assert [record["subject"] for record in records] == [1, 2]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--anatomy", "absent.nii.gz"], "absent.nii.gz"),
        (["--anatomy", str(ADULT), "--count", "0"], "--count is 0"),
        (["--anatomy", str(ADULT), "--wide-share", "1.5"], "--wide-share is 1.5"),
        (["--anatomy", str(ADULT), "--cerebellum-share", "-1"], "--cerebellum-share is -1"),
        (["--anatomy", str(ADULT), "--wide-share", ".7", "--random-share", ".5"], "more than all pairs"),
        (["--anatomy", str(ADULT), "--output", str(ADULT.parent)], "not an empty folder"),
    ],
)
def test_wrong_input_ends_with_status_1_and_one_sentence(arguments, words, tmp_path, capsys):
    if "--output" not in arguments:
        arguments = [*arguments, "--output", str(tmp_path / "pairs")]
    assert run_command(synthesize.main, arguments) == 1
    (message,) = capsys.readouterr().err.strip().splitlines()
    assert words in message
    assert not (tmp_path / "pairs").exists()


def test_a_series_has_the_shares_asked_for(balls, monkeypatch):
    asked = []
    monkeypatch.setattr(generator, "synthesize_pair", lambda anatomy, seed, **kind: asked.append((seed, kind)))
    for number in range(1, 401):
        generator.make_pair([balls], 5, number, Shares(wide=0.3, random=0.2, cerebellum=0.4))
    counts = Counter(kind["contrast"] for _, kind in asked)
    assert counts["wide"] == pytest.approx(120, abs=30)
    assert counts["random"] == pytest.approx(80, abs=30)
    assert {kind["cerebellum_share"] for _, kind in asked} == {0.4}
    assert [seed for seed, _ in asked] == [(5, number) for number in range(1, 401)]
