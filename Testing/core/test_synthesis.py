"""Synthetic pairs: exact labels, the contrast measured at six months, reproducible."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from model_core import synthesize
from model_core.anatomies import CEREBELLUM, SULCAL_CSF, Anatomy, prepare_anatomy
from model_core.command_line import run_command
from model_core.errors import UserError
from model_core.synthesis import PARENCHYMA_ML, synthesize_pair
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
def adult() -> Anatomy:
    return prepare_anatomy(read_label_values(ADULT))


def test_groups_of_an_anatomy_are_its_structures(nested_balls):
    anatomy = prepare_anatomy(nested_balls)
    gray, white = (4 / 3 * np.pi * (26**3 - 20**3)), (4 / 3 * np.pi * (20**3 - 7**3))
    assert anatomy.parenchyma_ml == pytest.approx((gray + white) / 1000, rel=0.02)
    assert anatomy.gray_to_white == pytest.approx(gray / white, rel=0.03)
    assert float(anatomy.groups.min()) >= 0
    assert float(anatomy.groups.sum(0).max()) == pytest.approx(1, abs=1e-4)


def test_sulcal_csf_is_filled_in_around_the_cortex_where_the_map_has_none(nested_balls):
    anatomy = prepare_anatomy(nested_balls)
    csf = anatomy.groups[SULCAL_CSF] > 0.5
    distance = anatomy.sulcal_distance
    beside_cortex = (distance > 1) & (distance < 4)
    # A part of this shell lies towards the cerebellum and stays empty.
    assert float(csf[beside_cortex].float().mean()) > 0.8
    assert not csf[distance > 9].any()


def test_cerebellum_is_removed_unless_it_is_asked_for(nested_balls):
    assert float(prepare_anatomy(nested_balls).groups[CEREBELLUM].max()) == 0
    kept = prepare_anatomy(nested_balls, keep_cerebellum=True)
    pair = synthesize_pair(kept, 3)
    visible_without_label = (pair.t1 > 0) & (pair.labels == 0)
    # As a share of the cortex and white matter it shrinks and grows with them.
    expected = (4 / 3 * np.pi * 10**3) / (kept.parenchyma_ml * 1000)
    parenchyma = np.isin(pair.labels, (2, 3)).sum()
    assert visible_without_label.sum() / parenchyma == pytest.approx(expected, rel=0.5)
    without = synthesize_pair(prepare_anatomy(nested_balls), 3)
    assert not ((without.t1 > 0) & (without.labels == 0)).any()


def test_a_map_without_cortex_is_refused_by_name(nested_balls):
    values = np.where(nested_balls.array == CORTEX_VALUE, 0, nested_balls.array)
    with pytest.raises(UserError, match=r"balls\.nii\.gz holds no cortex"):
        prepare_anatomy(Volume(values, np.eye(4), "balls.nii.gz"))


def test_the_same_seed_gives_the_same_pair_and_another_seed_another(adult):
    first, again, other = (synthesize_pair(adult, seed) for seed in ((5, 1), (5, 1), (5, 2)))
    for name in ("t1", "t2", "labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.labels.shape != other.labels.shape or (first.labels != other.labels).any()


def test_images_are_whole_numbers_and_zero_just_where_there_is_no_label(adult):
    pair = synthesize_pair(adult, 11)
    for image in (pair.t1, pair.t2):
        assert image.dtype == np.float32
        np.testing.assert_array_equal(image, np.rint(image))
        np.testing.assert_array_equal(image > 0, pair.labels > 0)
    assert set(np.unique(pair.labels)) == {0, 1, 2, 3}


def test_volumes_are_those_of_an_infant(adult):
    for seed in (21, 22):
        labels = synthesize_pair(adult, seed).labels
        parenchyma = np.isin(labels, (2, 3)).sum() / 1000
        # Weighting the groups and deforming them moves the volume a little from what was drawn.
        assert 0.85 * PARENCHYMA_ML[0] < parenchyma < 1.15 * PARENCHYMA_ML[1]
        assert (labels == 2).sum() > 1.2 * (labels == 3).sum()


def relative_contrast(pair) -> dict[str, float]:
    """Contrast of white matter as it was measured on the atlas: cortex = 1, and its detectability d'."""
    depth = ndimage.distance_transform_edt(pair.labels == 3)
    from_outside = ndimage.distance_transform_edt(pair.labels > 0)
    cortex, white = (pair.labels == 2) & (from_outside < 15), pair.labels == 3
    length = pair.labels.shape[1]
    back, front = white.copy(), white.copy()
    back[:, length // 3 :], front[:, : 2 * length // 3] = False, False
    measured = {}
    for name, image in (("t1", pair.t1), ("t2", pair.t2)):
        image = image / image[cortex].mean()
        pooled = np.sqrt((image[white].var() + image[cortex].var()) / 2)
        measured |= {
            f"{name} white": image[white].mean(),
            f"{name} d'": (image[white].mean() - 1) / pooled,
            f"{name} white at cortex": image[white & (depth <= 1)].mean(),
            f"{name} white at 5-8 mm": image[(depth > 5) & (depth < 8)].mean(),
            f"{name} back to front": image[back].mean() - image[front].mean(),
            f"{name} csf": image[pair.labels == 1].mean(),
        }
    return measured


@pytest.fixture(scope="module")
def six_month_contrasts(adult) -> list[dict[str, float]]:
    return [relative_contrast(synthesize_pair(adult, (31, number))) for number in range(8)]


def test_contrast_of_a_batch_of_pairs_is_that_of_the_six_month_atlas(six_month_contrasts):
    mean = {key: np.mean([pair[key] for pair in six_month_contrasts]) for key in six_month_contrasts[0]}
    # Measured on the UNC-UMN Baby Connectome Project six-month atlas, cortex = 1.
    atlas = {
        "t1 white": (1.14, 0.04),
        "t2 white": (0.95, 0.03),
        "t1 d'": (1.26, 0.35),
        "t2 d'": (-0.52, 0.25),
        "t1 white at cortex": (1.07, 0.04),
        "t1 white at 5-8 mm": (1.22, 0.06),
        "t2 white at cortex": (0.96, 0.03),
        "t2 white at 5-8 mm": (0.88, 0.04),
        "t1 back to front": (0.10, 0.06),
        "t2 back to front": (-0.06, 0.05),
        "t1 csf": (0.66, 0.12),
    }
    off = {
        key: (round(mean[key], 3), value)
        for key, (value, tolerance) in atlas.items()
        if abs(mean[key] - value) > tolerance
    }
    assert not off
    assert 1.0 < mean["t2 csf"] < 2.3


def test_wide_contrasts_vary_more_than_six_month_ones(adult, six_month_contrasts):
    wide = [relative_contrast(synthesize_pair(adult, (41, number), contrast="wide")) for number in range(5)]
    for name in ("t1 white", "t2 white"):
        assert np.std([pair[name] for pair in wide]) > 1.5 * np.std([pair[name] for pair in six_month_contrasts])


def test_an_unknown_contrast_is_a_programming_error(adult):
    with pytest.raises(ValueError, match="'six-month' or 'wide'"):
        synthesize_pair(adult, 1, contrast="narrow")


def test_command_writes_the_pairs_and_what_they_were_made_from(tmp_path, adult, monkeypatch):
    monkeypatch.setattr(synthesize, "read_anatomies", lambda paths, **_: [adult] * len(paths))
    output = tmp_path / "pairs"
    arguments = ["--anatomy", str(ADULT), "--output", str(output), "--count", "2", "--seed", "6"]
    assert run_command(synthesize.main, arguments) == 0
    assert sorted(path.name for path in output.iterdir()) == [
        *(f"subject-{number}-{name}.nii.gz" for number in (1, 2) for name in ("T1", "T2", "label")),
        "synthesis.json",
    ]
    expected = synthesize_pair(adult, (6, 2))
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
