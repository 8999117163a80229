"""Pictures of a segmentation, drawn by matplotlib without a display."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from scipy import ndimage

from model_core.system.files import replace_when_complete
from model_core.tissues import CLASSES, TISSUES

# Plane -> (axis cut through, axis to the right, axis upwards, letters at left and right). Radiological, as in
# Slicer: the patient's right is on the left of the picture, and sagittal slices look to the left.
PLANES = {
    "Axial": (2, 0, 1, "RL"),
    "Coronal": (1, 0, 2, "RL"),
    "Sagittal": (0, 1, 2, "AP"),
}

BACKGROUND_COLOR, TEXT_COLOR, FAINT_COLOR = "#0d1117", "#e6edf3", "#8b949e"
DIFFERENCE_COLOR = "#ff2e63"
DIMMED = 0.45  # brightness of T1 under the differences
WINDOW_PERCENTILES = (1.0, 99.7)  # of the brain's intensities, from black to white

SEARCH_MM = 20.0  # from the centre of mass, for the slice that shows most of the ventricles
DEEP_MM = 15.0  # CSF this far inside the brain is ventricle

RIM_MM = 5.0  # of background around the brain in a panel
MIDLINE_MM = 6.0  # the sagittal slice keeps off the middle: the fissure between the hemispheres is no ventricle
LEFT_MM, GAP_MM, HEADER_MM, COLUMN_TITLE_MM, FOOTER_MM = 14.0, 2.5, 31.0, 14.0, 17.0
INCHES_A_MM, PIXELS_AN_INCH = 1 / 50, 150  # three pixels a millimetre


def draw_segmentation(
    path: str | Path,
    t1: np.ndarray,
    t2: np.ndarray,
    labels: np.ndarray,
    reference: np.ndarray | None = None,
    *,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    title: str = "",
    subtitle: str = "",
) -> None:
    """Draw T1, T2, the labels, the reference and where they differ, in three orthogonal slices, as one PNG.

    Without a reference the last column shows the outlines of the labels over a scan. A scan that is 0 everywhere, as
    one that is missing, has no column. The slices are those near the
    brain's centre that show most of the ventricles.

    Args:
        path: the PNG; appears complete or not at all.
        t1, t2: scans (D, H, W) along right, anterior, superior; 0 outside the brain.
        labels: uint8 (D, H, W), 0 to 3.
        reference: like ``labels``, or None.
        spacing: of the arrays, in mm.
        title, subtitle: lines above the panels.

    Raises:
        ValueError: the shapes differ.
        UserError: the PNG cannot be written.
    """
    maps = [t2, labels] if reference is None else [t2, labels, reference]
    if any(array.shape != t1.shape for array in maps):
        raise ValueError(f"all arrays must have the shape of t1, {t1.shape}, not {[array.shape for array in maps]}")
    shown = {name: scan for name, scan in (("T1", t1), ("T2", t2)) if scan.any()} or {"T1": t1}
    base, below = next(iter(shown.items()))
    box = brain_box(below, labels, spacing)
    columns = {name: gray_of(scan[box]) for name, scan in shown.items()}
    below, labels = columns[base], labels[box]
    columns["Segmentation"] = _tissue_colors(labels)
    outlines = f"Outlines over {base}"
    if reference is None:
        columns[outlines] = below
    else:
        reference = reference[box]
        columns |= {"Reference": _tissue_colors(reference), "Differences": mark(below, labels != reference)}
    size_mm = np.array(labels.shape) * spacing
    cuts = choose_slices(labels if reference is None else reference, spacing)

    figure, panels = _lay_out(size_mm, list(columns))
    for row, (plane, (axis, right, up, letters)) in enumerate(PLANES.items()):
        extent = (-size_mm[right] / 2, size_mm[right] / 2, 0, size_mm[up])
        for column, (name, image) in enumerate(columns.items()):
            axes = panels[row][column]
            limits = axes.get_xlim()
            axes.imshow(slice_of(image, axis, cuts[axis]), extent=extent, interpolation=_smoothing(name))
            if name == outlines:
                _outline(axes, slice_of(labels, axis, cuts[axis]), extent)
            axes.set_xlim(limits)
            if column == 0:
                _name_plane(axes, plane, letters)
    _label(figure, title, subtitle, with_differences=reference is not None)
    with replace_when_complete(path) as temporary:
        figure.savefig(temporary, dpi=PIXELS_AN_INCH, facecolor=BACKGROUND_COLOR, format="png")


def brain_box(t1: np.ndarray, labels: np.ndarray, spacing: Sequence[float]) -> tuple[slice, ...]:
    """Return the box of the brain with a margin, so that all panels show little else."""
    found = ndimage.find_objects(((t1 != 0) | (labels != 0)).astype(np.uint8))
    sides = found[0] if found else tuple(slice(0, length) for length in t1.shape)
    rims = np.rint(RIM_MM / np.array(spacing)).astype(int)
    return tuple(slice(max(side.start - rim, 0), side.stop + rim) for side, rim in zip(sides, rims, strict=True))


def gray_of(scan: np.ndarray) -> np.ndarray:
    """Return the scan as RGB (D, H, W, 3), 0 to 1."""
    low, high = np.percentile(scan[scan != 0], WINDOW_PERCENTILES) if scan.any() else (0.0, 1.0)
    gray = np.where(scan == 0, 0, np.clip((scan - low) / max(high - low, 1e-6), 0, 1))
    return np.repeat(gray[..., None], 3, axis=-1)


def _tissue_colors(labels: np.ndarray) -> np.ndarray:
    return np.array([tissue.color for tissue in CLASSES])[labels] / 255


def mark(gray: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Return the dimmed scan with the voxels of ``where`` in a colour that occurs nowhere else."""
    color = np.array([int(DIFFERENCE_COLOR[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(where[..., None], color, gray * DIMMED)


def choose_slices(labels: np.ndarray, spacing: Sequence[float]) -> tuple[int, ...]:
    """Return for each axis the slice near the brain's centre of mass with most CSF deep inside the brain."""
    brain = labels != 0
    if not brain.any():
        return tuple(length // 2 for length in labels.shape)
    depth = ndimage.distance_transform_edt(np.pad(brain, 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    ventricles = (labels == TISSUES[0].label) & (depth >= DEEP_MM)
    cuts = []
    for axis, centre in enumerate(ndimage.center_of_mass(brain)):
        across = tuple(other for other in range(3) if other != axis)
        distance = np.abs(np.arange(labels.shape[axis]) - centre) * spacing[axis]
        near = (distance <= SEARCH_MM) & (distance >= (MIDLINE_MM if axis == 0 else 0))
        shown = np.where(near, ventricles.sum(axis=across), 0)
        cuts.append(int(shown.argmax()) if shown.any() else round(centre))
    return tuple(cuts)


def slice_of(image: np.ndarray, axis: int, index: int) -> np.ndarray:
    """Return a slice for imshow: superior or anterior up; right, or anterior, on the left."""
    return np.swapaxes(image.take(index, axis), 0, 1)[::-1, ::-1]


def _smoothing(column: str) -> str:
    return "bilinear" if column in ("T1", "T2", "Outlines over T1") else "nearest"


def _outline(axes: Axes, labels: np.ndarray, extent: tuple[float, ...]) -> None:
    for tissue in TISSUES:
        inside = (labels == tissue.label).astype(float)
        if inside.any() and not inside.all():
            color = np.array(tissue.color) / 255
            axes.contour(inside, levels=[0.5], colors=[color], linewidths=0.8, extent=extent, origin="upper")


def _lay_out(size_mm: np.ndarray, columns: list[str]) -> tuple[Figure, list[list[Axes]]]:
    """Make the figure: all panels at one scale and, with black around narrower slices, of one width."""
    panel_width = max(size_mm[right] for _, right, _, _ in PLANES.values())
    heights = [size_mm[up] for _, _, up, _ in PLANES.values()]
    width = LEFT_MM + (panel_width + GAP_MM) * len(columns) + GAP_MM
    height = HEADER_MM + COLUMN_TITLE_MM + sum(heights) + GAP_MM * (len(heights) - 1) + FOOTER_MM
    figure = Figure(figsize=(width * INCHES_A_MM, height * INCHES_A_MM), facecolor=BACKGROUND_COLOR)
    FigureCanvasAgg(figure)
    panels: list[list[Axes]] = []
    bottom = height - HEADER_MM - COLUMN_TITLE_MM
    for panel_height in heights:
        bottom -= panel_height
        panels.append([])
        for column, name in enumerate(columns):
            left = LEFT_MM + column * (panel_width + GAP_MM)
            place = (left / width, bottom / height, panel_width / width, panel_height / height)
            axes = figure.add_axes(
                place, facecolor="black", xticks=[], yticks=[], xlim=np.array([-0.5, 0.5]) * panel_width
            )
            axes.spines[:].set_visible(False)
            if len(panels) == 1:
                axes.set_title(name, color=TEXT_COLOR, fontsize=12, pad=6)
            panels[-1].append(axes)
        bottom -= GAP_MM
    return figure, panels


def _name_plane(axes: Axes, plane: str, letters: str) -> None:
    """Write the plane's name beside a panel and the letters of its directions into it."""
    axes.text(
        -0.03, 0.5, plane, color=TEXT_COLOR, fontsize=12, rotation=90, transform=axes.transAxes, ha="right", va="center"
    )
    for letter, x, side in zip(letters, (0.02, 0.98), ("left", "right"), strict=True):
        axes.text(x, 0.97, letter, color=FAINT_COLOR, fontsize=12, transform=axes.transAxes, ha=side, va="top")


def _label(figure: Figure, title: str, subtitle: str, *, with_differences: bool) -> None:
    """Write the lines above the panels, and the legend and the convention below."""
    width, height = figure.get_size_inches() / INCHES_A_MM
    figure.text(LEFT_MM / width, 1 - 17 / height, title, color=TEXT_COLOR, fontsize=18, weight="bold")
    figure.text(LEFT_MM / width, 1 - 28 / height, subtitle, color=FAINT_COLOR, fontsize=12)
    patches = [Patch(color=np.array(tissue.color) / 255, label=tissue.name) for tissue in TISSUES]
    if with_differences:
        patches.append(Patch(color=DIFFERENCE_COLOR, label="Segmentation and reference differ"))
    middle = FOOTER_MM / 2 / height
    figure.legend(
        handles=patches, loc="center left", bbox_to_anchor=(LEFT_MM / width, middle), ncols=len(patches), frameon=False,
        labelcolor=TEXT_COLOR, fontsize=12, handlelength=1.2, handleheight=1.2, borderpad=0, borderaxespad=0,
    )  # fmt: skip
    figure.text(
        1 - 2 * GAP_MM / width, middle, "Radiological convention: the patient's right is on the left",
        color=FAINT_COLOR, fontsize=11, ha="right", va="center",
    )  # fmt: skip
