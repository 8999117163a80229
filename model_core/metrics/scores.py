"""Scores of a segmentation against a reference: Dice, 3D-MHD, surface distances and volumes.

Empty masks have defined values:

====================  ==========  =========================
Score                 both empty  one empty
====================  ==========  =========================
``dice``              1.0         0.0
``mhd_3d``            0.0         its formula's value
surface distances     nan         inf
====================  ==========  =========================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from model_core.metrics.column_distances import mean_nearest_distances
from model_core.metrics.surface_distances import surface_distances
from model_core.tissues import NUM_CLASSES, TISSUES

CONVENTIONS = {
    "dice": "2|P∩R| / (|P|+|R|); both empty: 1, one empty: 0",
    "mhd_3d": (
        "mean over the three axes of the modified Hausdorff distance between the sets of all 1-D columns of the whole "
        "binary volumes, zero and equal columns included; in square roots of voxels, spacing plays no part"
    ),
    "asd_mm": (
        "mean of the two directed mean distances between surface voxels (foreground with a 6-neighbour outside); "
        "both empty: undefined, one empty: infinite"
    ),
    "hd95_mm": (
        "larger of the two directed 95th percentiles of the distances between surface voxels; "
        "both empty: undefined, one empty: infinite"
    ),
    "volume_ml": "voxels of the tissue times the volume of one",
}

# Columns of the table: attribute of the row, heading, unit and convention, digits after the point.
_COLUMNS = (
    ("dice", "Dice", "", 4),
    ("mhd_3d", "3D-MHD", "voxel units", 4),
    ("asd_mm", "ASD mm", "mean of 2 ways", 3),
    ("hd95_mm", "HD95 mm", "max of 2 ways", 3),
    ("volume_ml", "Volume", "ml", 2),
    ("reference_volume_ml", "Reference", "ml", 2),
    ("volume_difference_percent", "Difference", "%", 1),
)
_AVERAGED = ("dice", "mhd_3d", "asd_mm", "hd95_mm")
_FOOTNOTE = (
    "ASD: mean of the two directed means; HD95: larger of the two directed 95th percentiles; "
    "both between 6-neighbour surface voxels."
)


def dice(prediction: np.ndarray, reference: np.ndarray) -> float:
    """Dice overlap 2|P∩R| / (|P|+|R|).

    Args:
        prediction, reference: bool or 0/1 arrays of one 3-D shape.

    Returns:
        0 to 1; 1.0 when both are empty (they agree that there is nothing), 0.0 when one is.

    Raises:
        ValueError: an argument is not 3-D, holds other values, or the shapes differ.
    """
    prediction, reference = _pair(_binary, prediction=prediction, reference=reference)
    total = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2.0 * np.count_nonzero(prediction & reference) / total if total else 1.0


def mhd_3d(prediction: np.ndarray, reference: np.ndarray) -> float:
    """3D modified Hausdorff distance of the Non-local U-Net paper, as its code defines it.

    For each of the three axes every 1-D column of the whole volume is one point, a 0/1 vector; columns
    of zeros and equal columns are kept. With A and B the columns of the two volumes along one axis,
    MHD = max(mean_a min_b ‖a-b‖₂, mean_b min_a ‖a-b‖₂); the result is the mean of the three MHD. Cropping
    the volumes changes it: compute it on the reference's own grid.

    Args:
        prediction, reference: bool or 0/1 arrays of one 3-D shape.

    Returns:
        0 or more, in square roots of voxels; spacing plays no part. Empty masks need no special case,
        for columns of zeros are points too: 0.0 when both are empty.

    Raises:
        ValueError: an argument is not 3-D, holds other values, or the shapes differ.
    """
    means = mean_nearest_distances(*_pair(_binary, prediction=prediction, reference=reference))
    return sum(max(forward, backward) for forward, backward in means) / 3


def average_surface_distance(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """Average surface distance (ASD): the mean of the two directed mean distances.

    A surface voxel is a foreground voxel with a 6-neighbour outside the object or outside the volume; distances
    are between voxel centres. (Pooling both directions in one mean is another convention.)

    Args:
        prediction, reference: bool or 0/1 arrays of one 3-D shape.
        spacing: voxel size along each array axis, in mm.

    Returns:
        Millimetres; nan when both are empty, inf when one is.

    Raises:
        ValueError: an argument is not 3-D, holds other values, the shapes differ, or a spacing is not positive.
    """
    return _average(_surface_distances(*_pair(_binary, prediction=prediction, reference=reference), spacing))


def hausdorff_95(prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> float:
    """95% Hausdorff distance (HD95): the larger of the two directed 95th percentiles, linearly interpolated.

    Surface voxels and distances are those of :func:`average_surface_distance`, and so are arguments,
    results for empty masks and errors.
    """
    return _percentile_95(_surface_distances(*_pair(_binary, prediction=prediction, reference=reference), spacing))


def tissue_volumes(labels: np.ndarray, spacing: Sequence[float]) -> dict[str, float]:
    """Volume of CSF, GM and WM.

    Args:
        labels: 3-D array of labels 0 to 3.
        spacing: voxel size along each array axis, in mm.

    Returns:
        Tissue key ("csf", "gm", "wm") -> millilitres.

    Raises:
        ValueError: ``labels`` is not 3-D or holds other values, or a spacing is not positive.
    """
    counts = np.bincount(_label_map("labels", labels).ravel(), minlength=NUM_CLASSES)
    voxel_ml = float(np.prod(_spacing(spacing))) / 1000
    return {tissue.key: float(counts[tissue.label]) * voxel_ml for tissue in TISSUES}


@dataclass(frozen=True)
class TissueScore:
    """Scores of one tissue, one row of the table.

    Attributes:
        tissue: key of the tissue: "csf", "gm" or "wm".
        dice, mhd_3d, asd_mm, hd95_mm: see the functions of these names.
        volume_ml, reference_volume_ml: in millilitres.
    """

    tissue: str
    dice: float
    mhd_3d: float
    asd_mm: float
    hd95_mm: float
    volume_ml: float
    reference_volume_ml: float

    @property
    def volume_difference_percent(self) -> float:
        """(volume - reference) / reference · 100; nan when the reference has none of the tissue."""
        if not self.reference_volume_ml:
            return math.nan
        return 100 * (self.volume_ml - self.reference_volume_ml) / self.reference_volume_ml

    def as_dict(self) -> dict[str, str | float | None]:
        """The row for JSON: an undefined value is None, an infinite one the word "inf"."""
        row = {**vars(self), "volume_difference_percent": self.volume_difference_percent}
        for name in row.keys() - {"tissue"}:
            if not math.isfinite(row[name]):
                row[name] = None if math.isnan(row[name]) else "inf"
        return row


def score_tissues(labels: np.ndarray, reference_labels: np.ndarray, spacing: Sequence[float]) -> list[TissueScore]:
    """Score CSF, GM and WM of a label map against a reference.

    Args:
        labels, reference_labels: arrays of labels 0 to 3, of one 3-D shape, on the reference's own grid.
        spacing: voxel size along each array axis, in mm.

    Returns:
        One row a tissue: CSF, GM, WM.

    Raises:
        ValueError: an argument is not 3-D or holds other values, the shapes differ, or a spacing is not positive.
    """
    labels, reference_labels = _pair(_label_map, labels=labels, reference_labels=reference_labels)
    volumes, reference_volumes = tissue_volumes(labels, spacing), tissue_volumes(reference_labels, spacing)
    rows = []
    for tissue in TISSUES:
        masks = labels == tissue.label, reference_labels == tissue.label
        distances = _surface_distances(*masks, spacing)
        rows.append(
            TissueScore(
                tissue=tissue.key,
                dice=dice(*masks),
                mhd_3d=mhd_3d(*masks),
                asd_mm=_average(distances),
                hd95_mm=_percentile_95(distances),
                volume_ml=volumes[tissue.key],
                reference_volume_ml=reference_volumes[tissue.key],
            )
        )
    return rows


def format_scores(rows: Sequence[TissueScore]) -> str:
    """The score table for the terminal: one line a tissue, the mean over them, and the conventions.

    Args:
        rows: as :func:`score_tissues` returns them; "n/a" stands for an undefined value and "∞" for an infinite one.
    """
    names = {tissue.key: tissue.name for tissue in TISSUES}
    lines = [
        [names[row.tissue], *(_cell(getattr(row, name), digits) for name, _, _, digits in _COLUMNS)] for row in rows
    ]
    means = {name: float(np.mean([getattr(row, name) for row in rows])) for name in _AVERAGED}
    mean_line = ["Mean", *(_cell(means[name], digits) if name in means else "" for name, _, _, digits in _COLUMNS)]
    headings = ["Tissue", *(heading for _, heading, _, _ in _COLUMNS)], ["", *(unit for _, _, unit, _ in _COLUMNS)]
    widths = [max(map(len, column)) for column in zip(*headings, *lines, mean_line, strict=True)]

    def aligned(line: list[str]) -> str:
        numbers = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
        return "  ".join([line[0].ljust(widths[0]), *numbers]).rstrip()

    rule = "-" * (sum(widths) + 2 * len(_COLUMNS))
    return "\n".join([*map(aligned, headings), rule, *map(aligned, lines), rule, aligned(mean_line), _FOOTNOTE])


def _cell(value: float, digits: int) -> str:
    if math.isnan(value):
        return "n/a"
    return "∞" if math.isinf(value) else f"{value:.{digits}f}"


def _surface_distances(
    prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances both ways between the surfaces of two masks; one nan or inf where a mask is empty."""
    size = _spacing(spacing)
    if prediction.any() and reference.any():
        return surface_distances(prediction, reference, size)
    undefined = np.array([math.inf if prediction.any() or reference.any() else math.nan])
    return undefined, undefined


def _average(distances: tuple[np.ndarray, np.ndarray]) -> float:
    return float(distances[0].mean() + distances[1].mean()) / 2


def _percentile_95(distances: tuple[np.ndarray, np.ndarray]) -> float:
    if not np.isfinite(distances[0][0]):
        return float(distances[0][0])
    return float(max(np.percentile(directed, 95) for directed in distances))


def _pair(check: Callable[[str, np.ndarray], np.ndarray], **arrays: np.ndarray) -> list[np.ndarray]:
    """Check two arrays by name, and that they have one shape."""
    checked = [check(name, array) for name, array in arrays.items()]
    if checked[0].shape != checked[1].shape:
        described = " and ".join(f"{name} {array.shape}" for name, array in zip(arrays, checked, strict=True))
        raise ValueError(f"the shapes of {described} differ; one shape is expected")
    return checked


def _binary(name: str, array: np.ndarray) -> np.ndarray:
    array = _three_dimensional(name, array)
    if array.dtype == bool:
        return array
    if not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} of shape {array.shape} holds values other than 0 and 1; a binary mask is expected")
    return array.astype(bool)


def _label_map(name: str, array: np.ndarray) -> np.ndarray:
    array = _three_dimensional(name, array)
    if not np.isin(array, range(NUM_CLASSES)).all():
        raise ValueError(f"{name} of shape {array.shape} holds values other than the labels 0 to {NUM_CLASSES - 1}")
    return array.astype(np.uint8, copy=False)


def _three_dimensional(name: str, array: np.ndarray) -> np.ndarray:
    array = np.asarray(array)
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}; a 3-D array with at least one voxel is expected")
    return array


def _spacing(spacing: Sequence[float]) -> np.ndarray:
    size = np.asarray(spacing, dtype=np.float64)
    if size.shape != (3,) or not (np.isfinite(size).all() and (size > 0).all()):
        raise ValueError(f"spacing is {spacing}; three positive numbers in mm are expected")
    return size
