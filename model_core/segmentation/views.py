"""Slices for a page: small pictures of the scans, and the labels' contours as lines that lie over them."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from contourpy import contour_generator
from matplotlib.image import imsave

from model_core.reports.pages import data_uri
from model_core.segmentation.figure import PLANES, brain_box, choose_slices, gray_of, mark, slice_of
from model_core.tissues import TISSUES

T1, T2, UNCERTAINTY, DIFFERENCES = "T1", "T2", "Uncertainty", "Differences"  # rows of pictures
MOST_UNCERTAIN = 0.5  # of the entropy, where the colours end: two tissues are equally likely
UNCERTAINTY_COLORS = "inferno"
JPEG_QUALITY = 85
ONE_MM = (1.0, 1.0, 1.0)
HALVES = 2  # contours run through halves of voxels, so that twice their place is a whole number


@dataclass(frozen=True)
class PlaneView:
    """One slice of the brain in all its pictures.

    Attributes:
        plane: "Axial", "Coronal" or "Sagittal".
        letters: of the directions at left and right, such as "RL".
        width, height: in voxels of 1 mm.
        pictures: row, such as ``T1`` -> address that holds a JPEG.
        contours: tissue's key -> path for SVG, in half voxels from the upper left corner.
    """

    plane: str
    letters: str
    width: int
    height: int
    pictures: dict[str, str]
    contours: dict[str, str]


def draw_views(
    t1: np.ndarray,
    t2: np.ndarray,
    labels: np.ndarray,
    *,
    reference: np.ndarray | None = None,
    uncertainty: np.ndarray | None = None,
) -> list[PlaneView]:
    """Draw the slices near the brain's centre that show most of the ventricles, in three planes.

    Args:
        t1, t2: scans (D, H, W) along right, anterior, superior, in voxels of 1 mm; 0 outside the brain. One that is 0
            everywhere, as one that is missing, gets no picture.
        labels: uint8 (D, H, W), 0 to 3.
        reference: like ``labels``; gives a row of pictures of where they differ.
        uncertainty: float (D, H, W), entropy of the probabilities as a share of 2 bits, 0 to 1; gives a row, too.
    """
    shown = {name: scan for name, scan in ((T1, t1), (T2, t2)) if scan.any()} or {T1: t1}
    base = next(iter(shown.values()))
    box = brain_box(base, labels, ONE_MM)
    images = {name: gray_of(scan[box]) for name, scan in shown.items()}
    if uncertainty is not None:
        images[UNCERTAINTY] = np.clip(uncertainty[box] / MOST_UNCERTAIN, 0, 1)
    if reference is not None:
        images[DIFFERENCES] = mark(gray_of(base[box]), (labels != reference)[box])
    labels = labels[box]
    cuts = choose_slices(labels, ONE_MM)
    views = []
    for plane, (axis, _, _, letters) in PLANES.items():
        cut = slice_of(labels, axis, cuts[axis])
        pictures = {name: _jpeg(slice_of(image, axis, cuts[axis])) for name, image in images.items()}
        contours = {tissue.key: contour_path(cut == tissue.label) for tissue in TISSUES}
        views.append(PlaneView(plane, letters, cut.shape[1], cut.shape[0], pictures, contours))
    return views


def _jpeg(image: np.ndarray) -> str:
    """Address of a picture (H, W) of 0 to 1, which is coloured, or (H, W, 3)."""
    stream = io.BytesIO()
    imsave(stream, image, vmin=0, vmax=1, cmap=UNCERTAINTY_COLORS, format="jpg", pil_kwargs={"quality": JPEG_QUALITY})
    return data_uri(stream.getvalue(), "jpeg")


def contour_path(inside: np.ndarray) -> str:
    """Return the outline of a mask (H, W) as a path for SVG, in half voxels; empty where there is none."""
    parts = []
    for line in contour_generator(z=np.pad(inside, 1).astype(float)).lines(0.5):
        # A voxel's centre lies half a voxel inside its picture, and the rim has moved all by one.
        points = np.rint((np.asarray(line) - 0.5) * HALVES).astype(int)
        steps = np.diff(points, axis=0)
        turns = np.flatnonzero((steps[1:] != steps[:-1]).any(axis=1)) + 1  # where it goes straight on needs no point
        corners = points[[0, *turns, -1]]
        moves = " ".join(f"{right} {down}" for right, down in np.diff(corners, axis=0)[:-1])
        parts.append(f"M{corners[0][0]} {corners[0][1]}l{moves}z")
    return "".join(parts)
