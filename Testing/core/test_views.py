"""Slices for pages: small pictures, and contours that lie where the labels are."""

import base64
import io
import re

import matplotlib.image
import numpy as np
import pytest
from scan_phantoms import grid, scans

from model_core.segmentation.views import contour_path, draw_views


def corners(path):
    """Corners of each closed line of a path, in half voxels."""
    lines = []
    for x, y, moves in re.findall(r"M(-?\d+) (-?\d+)l([^z]*)z", path):
        places = np.array([int(x), int(y)]) + np.cumsum([[0, 0], *np.array(moves.split(), int).reshape(-1, 2)], axis=0)
        lines.append([tuple(place) for place in places.tolist()])
    return lines


def area(line):
    """Area inside a line by the surveyor's formula, in voxels."""
    x, y = np.array(line).T / 2
    return abs((x * np.roll(y, -1) - y * np.roll(x, -1)).sum()) / 2


def picture(view, name):
    kind, content = view.pictures[name].split(",")
    assert kind == "data:image/jpeg;base64"
    return matplotlib.image.imread(io.BytesIO(base64.b64decode(content)), format="jpg")


@pytest.fixture(scope="module")
def body():
    t1, t2, labels = scans(*grid())
    return t1.array, t2.array, labels


def test_the_contour_of_one_voxel_is_a_diamond_around_its_centre():
    inside = np.zeros((3, 4), bool)
    inside[1, 2] = True  # its centre is 2.5 to the right and 1.5 down: 5 and 3 halves
    (line,) = corners(contour_path(inside))
    assert set(line) == {(5, 2), (6, 3), (5, 4), (4, 3)}


def test_a_contour_is_closed_at_the_rim_and_has_no_point_where_it_goes_straight_on():
    (line,) = corners(contour_path(np.ones((3, 5), bool)))
    assert len(line) == 8  # a rectangle with its corners cut
    assert (min(x for x, _ in line), max(x for x, _ in line)) == (0, 10)
    assert (min(y for _, y in line), max(y for _, y in line)) == (0, 6)
    assert area(line) == 3 * 5 - 4 * 0.125


def test_a_mask_with_a_hole_has_two_contours_and_an_empty_one_none():
    ring = np.ones((5, 5), bool)
    ring[2, 2] = False
    assert sorted(area(line) for line in corners(contour_path(ring))) == [0.5, 24.5]
    assert contour_path(np.zeros((3, 3), bool)) == ""


def test_each_plane_has_the_scans_that_there_are_in_its_own_size(body):
    t1, t2, labels = body
    views = draw_views(t1, t2, labels)
    assert [view.plane for view in views] == ["Axial", "Coronal", "Sagittal"]
    for view in views:
        assert list(view.pictures) == ["T1", "T2"]
        assert picture(view, "T1").shape[:2] == (view.height, view.width)
        assert len("".join(view.pictures.values())) < 20_000  # bytes
    (alone, *_) = draw_views(np.zeros_like(t1), t2, labels)
    assert list(alone.pictures) == ["T2"]


def test_the_contours_lie_over_the_labels_that_the_picture_shows(body):
    t1, t2, labels = body
    for view in draw_views(t1, t2, labels):
        shown = picture(view, "T2").mean(axis=-1) > 128  # the body's rim is bright and all around it black
        outer = max(corners(view.contours["csf"]), key=area)
        rows, columns = np.nonzero(shown)
        assert min(x for x, _ in outer) / 2 == pytest.approx(columns.min(), abs=1)
        assert max(x for x, _ in outer) / 2 == pytest.approx(columns.max() + 1, abs=1)
        assert min(y for _, y in outer) / 2 == pytest.approx(rows.min(), abs=1)
        assert max(y for _, y in outer) / 2 == pytest.approx(rows.max() + 1, abs=1)


def test_where_nothing_is_certain_is_bright_and_where_all_is_certain_black(body):
    t1, t2, labels = body
    uncertainty = np.where(labels == 3, 0.5, 0).astype(np.float32)
    view = draw_views(t1, t2, labels, uncertainty=uncertainty)[0]
    shown = picture(view, "Uncertainty").mean(axis=-1)
    inside = max(area(line) for line in corners(view.contours["wm"]))
    assert (shown > 128).sum() == pytest.approx(inside, rel=0.25)
    assert shown.min() < 10


def test_only_voxels_that_differ_from_the_reference_are_marked(body):
    t1, t2, labels = body
    assert "Differences" not in draw_views(t1, t2, labels)[0].pictures

    def pink(reference):
        shown = picture(draw_views(t1, t2, labels, reference=reference)[0], "Differences").astype(int)
        return (shown[..., 0] - shown[..., 1] > 100).sum()

    assert pink(labels) == 0
    assert pink(np.where(labels == 3, 2, labels)) > 50
