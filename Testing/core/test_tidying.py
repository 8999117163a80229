"""Specks: background that tissue encloses is filled, tissue that background encloses is dropped, the rest stays."""

from __future__ import annotations

import numpy as np

from model_core.inference.tidying import LARGEST_SPECK, tidy

SIDE = 40


def brain_with_cerebellum() -> tuple[np.ndarray, np.ndarray]:
    """A cube of gray matter with a core of white matter, and a cube of background in the mask below it."""
    labels = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    labels[5:35, 5:35, 16:36] = 2
    labels[12:28, 12:28, 20:32] = 3
    brain = labels > 0
    brain[10:30, 10:30, 4:16] = True  # the cerebellum
    return labels, brain


def sure_of(labels: np.ndarray, second: int = 1) -> np.ndarray:
    """Probabilities .7 for the labels and .3 for another class."""
    probabilities = np.eye(4, dtype=np.float32)[labels].transpose(3, 0, 1, 2) * 0.7
    probabilities[second] += 0.3
    return probabilities


def test_enclosed_background_gets_its_most_probable_tissue():
    labels, brain = brain_with_cerebellum()
    labels[20, 20, 25] = labels[20, 20, 26] = 0
    probabilities = sure_of(labels, second=3)
    tidy(labels, probabilities, brain)
    assert (labels[20, 20, 25:27] == 3).all()
    np.testing.assert_allclose(probabilities[:, 20, 20, 25], [0.3, 0, 0, 0.7], atol=1e-6)
    assert (probabilities.argmax(axis=0)[brain] == labels[brain]).all()


def test_specks_of_tissue_in_the_cerebellum_are_dropped_and_the_cerebellum_stays_background():
    labels, brain = brain_with_cerebellum()
    expected = labels.copy()
    labels[20:22, 20, 8] = 1
    probabilities = sure_of(labels, second=0)
    tidy(labels, probabilities, brain)
    np.testing.assert_array_equal(labels, expected)
    assert (probabilities.argmax(axis=0) == labels).all()


def test_what_is_large_stays_as_the_network_says():
    labels, brain = brain_with_cerebellum()
    labels[14:26, 14:26, 21:31] = 0  # 1,440 voxels of background in the white matter
    labels[12:24, 12:24, 5:13] = 1  # 1,152 voxels of CSF in the cerebellum, apart from the rest
    assert min((labels[14:26, 14:26, 21:31] == 0).sum(), (labels[..., :16] == 1).sum()) > LARGEST_SPECK
    expected = labels.copy()
    tidy(labels, sure_of(labels), brain)
    np.testing.assert_array_equal(labels, expected)


def test_background_that_opens_to_the_outside_is_no_speck():
    labels, brain = brain_with_cerebellum()
    labels[5:15, 20, 25] = 0
    expected = labels.copy()
    tidy(labels, sure_of(labels), brain)
    np.testing.assert_array_equal(labels, expected)


def test_an_empty_map_stays_empty():
    labels = np.zeros((8, 8, 8), np.uint8)
    tidy(labels, sure_of(labels), np.ones(labels.shape, bool))
    assert not labels.any()
