"""Pictures of a segmentation: what is where, and in which colour."""

import os

import numpy as np
import pytest
from matplotlib.image import imread
from scan_phantoms import grid, scans

from model_core.segmentation.figure import DIFFERENCE_COLOR, draw_segmentation
from model_core.tissues import CSF, GRAY_MATTER, WHITE_MATTER


@pytest.fixture(scope="module")
def body():
    t1, t2, labels = scans(*grid())
    return t1.array, t2.array, labels


def pixels(path):
    return (imread(path)[..., :3] * 255).round().astype(int)


def share_of(picture, color):
    return (np.abs(picture - np.array(color)).max(axis=-1) <= 2).mean()


def test_a_reference_brings_tissues_and_differences_in_their_colours(tmp_path, body):
    t1, t2, labels = body
    other = np.where(labels == 2, 3, labels).astype(np.uint8)
    draw_segmentation(tmp_path / "a.png", t1, t2, labels, other, title="Title", subtitle="Subtitle")
    picture = pixels(tmp_path / "a.png")
    striking = tuple(int(DIFFERENCE_COLOR[at : at + 2], 16) for at in (1, 3, 5))
    for color in (CSF.color, GRAY_MATTER.color, WHITE_MATTER.color, striking):
        assert share_of(picture, color) > 0.005
    draw_segmentation(tmp_path / "b.png", t1, t2, labels, labels)
    assert share_of(pixels(tmp_path / "b.png"), striking) < 0.003  # the legend alone
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


def test_right_is_on_the_left_anterior_and_superior_are_up(tmp_path, body):
    """Only an octant of GM among CSF: right, anterior, superior."""
    t1, t2, labels = body
    marked = np.where(labels > 0, 1, 0).astype(np.uint8)
    i, j, k = (side // 2 for side in labels.shape)
    marked[i:, j:, k:] *= 2
    draw_segmentation(tmp_path / "a.png", t1, t2, marked)
    picture = pixels(tmp_path / "a.png")
    height, width, _ = picture.shape
    column = picture[:, width // 2 : 3 * width // 4]  # the third of four, with the segmentation
    csf = np.argwhere(np.abs(column - CSF.color).max(axis=-1) <= 2)
    gray = np.argwhere(np.abs(column - GRAY_MATTER.color).max(axis=-1) <= 2)
    middle = np.median(csf[:, 1])
    found = 0
    for top, bottom in ((0.2, 0.46), (0.46, 0.68), (0.68, 0.9)):  # axial, coronal, sagittal
        rows = [spots[(spots[:, 0] > top * height) & (spots[:, 0] < bottom * height)] for spots in (csf, gray)]
        if not len(rows[1]):  # this slice does not meet the octant
            continue
        found += 1
        assert np.median(rows[1][:, 0]) < np.median(rows[0][:, 0])
        assert np.median(rows[1][:, 1]) < middle
    assert found >= 2


def test_empty_labels_and_anisotropic_arrays_are_drawn(tmp_path, body):
    t1, t2, labels = body
    draw_segmentation(tmp_path / "a.png", t1 * 0, t2 * 0, labels * 0)
    draw_segmentation(tmp_path / "b.png", t1[::2], t2[::2], labels[::2], spacing=(2, 1, 1))
    assert np.abs(np.subtract(pixels(tmp_path / "b.png").shape, pixels(tmp_path / "a.png").shape)).max() < 200


def test_arrays_of_other_shapes_are_refused(tmp_path, body):
    t1, t2, labels = body
    with pytest.raises(ValueError, match="must have the shape of t1"):
        draw_segmentation(tmp_path / "a.png", t1, t2[1:], labels)
