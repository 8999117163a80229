"""Pictures of a scan pair on its way: three slices of T1, and of T2 where it lies, with the brain's outline."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import ndimage

from model_core.volumes import Volume, resample, to_canonical

VOXEL_MM = 1.5  # of the pictures
PERCENTILES = (1.0, 99.5)
OUTLINE, FRAME, TEXT = "#ffb000", "#10151c", "#d8dee9"
PLANES = (("Sagittal", 0, 1, 2), ("Coronal", 1, 0, 2), ("Axial", 2, 0, 1))  # axis cut, to the right, up


def draw_step(t1: Volume, t2: Volume, mask: Volume | None) -> bytes:
    """Draw T1 and T2 over each other's place, as PNG: what lies apart is seen to lie apart.

    Args:
        t1: any orientation.
        t2: on a grid of its own.
        mask: the brain on T1's grid, which is outlined; None for none.
    """
    shape, affine = _picture_grid(t1)
    scans = [resample(_smoothed(scan), shape, affine, order=1).array for scan in (t1, t2)]
    brain = None if mask is None else resample(mask, shape, affine, order=0).array
    if brain is not None and brain.any():
        centre = [round(place) for place in ndimage.center_of_mass(brain)]
    else:
        centre = [side // 2 for side in shape]
    figure = Figure(figsize=(9.0, 5.6), facecolor=FRAME, layout="constrained")
    FigureCanvasAgg(figure)
    for row, (name, scan) in enumerate(zip(("T1", "T2"), scans, strict=True)):
        low, high = np.percentile(scan[scan > 0], PERCENTILES) if (scan > 0).any() else (0.0, 1.0)
        for column, (plane, axis, _, _) in enumerate(PLANES):
            axes = figure.add_subplot(2, 3, row * 3 + column + 1)
            axes.set_axis_off()
            axes.imshow(_slice(scan, axis, centre[axis]), cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
            if brain is not None:
                outlined = _slice(brain, axis, centre[axis])
                if outlined.any() and not outlined.all():
                    axes.contour(outlined, levels=[0.5], colors=[OUTLINE], linewidths=1.0)
            axes.set_title(f"{name}, {plane.lower()}", color=TEXT, fontsize=10)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100, facecolor=FRAME)
    return stream.getvalue()


def _picture_grid(t1: Volume) -> tuple[tuple[int, ...], np.ndarray]:
    """Return T1's field of view in canonical orientation, in even voxels."""
    canonical = to_canonical(t1)
    scale = VOXEL_MM / np.array(canonical.spacing)
    shape = tuple(max(1, int(side / step)) for side, step in zip(canonical.array.shape, scale, strict=True))
    return shape, canonical.affine @ np.diag([*scale, 1.0])


def _smoothed(scan: Volume) -> Volume:
    sigma = np.maximum(VOXEL_MM / np.array(scan.spacing) - 1, 0) / 2
    return Volume(ndimage.gaussian_filter(scan.array.astype(np.float32, copy=False), sigma), scan.affine, scan.path)


def _slice(image: np.ndarray, axis: int, index: int) -> np.ndarray:
    """Return a slice for imshow: superior or anterior up; right, or anterior, on the left."""
    return np.swapaxes(image.take(index, axis), 0, 1)[::-1, ::-1]
