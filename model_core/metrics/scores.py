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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from model_core.metric_table import METRIC, METRICS, SCORES
from model_core.metrics.column_distances import mean_nearest_distances
from model_core.metrics.surface_distances import surface_distances
from model_core.tissues import NUM_CLASSES, TISSUES

FOOTNOTE = (
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
    """Scores of one tissue, one row of the table; each value is an attribute, too, such as ``row.dice``.

    Attributes:
        tissue: key of the tissue: "csf", "gm" or "wm".
        values: by the keys of ``METRICS``; nan is undefined.
    """

    tissue: str
    values: Mapping[str, float]

    def __getattr__(self, name: str) -> float:
        try:
            return vars(self)["values"][name]
        except KeyError:
            raise AttributeError(f"a row of scores has no {name}; it has tissue, {', '.join(METRIC)}") from None

    def as_dict(self) -> dict[str, str | float | None]:
        """The row for JSON: an undefined value is None, an infinite one the word "inf"."""
        row: dict[str, str | float | None] = {"tissue": self.tissue}
        for key, value in self.values.items():
            row[key] = value if math.isfinite(value) else None if math.isnan(value) else "inf"
        return row


class _Masks:
    """One tissue in both label maps, and what several metrics want of them."""

    def __init__(self, prediction: np.ndarray, reference: np.ndarray, spacing: Sequence[float]) -> None:
        self.prediction, self.reference, self.spacing = prediction, reference, spacing

    @cached_property
    def surface_distances(self) -> tuple[np.ndarray, np.ndarray]:
        return _surface_distances(self.prediction, self.reference, self.spacing)

    def millilitres(self, mask: np.ndarray) -> float:
        return float(np.count_nonzero(mask)) * float(np.prod(_spacing(self.spacing))) / 1000


MEASURES: dict[str, Callable[[_Masks], float]] = {}


def measure(key: str) -> Callable[[Callable[[_Masks], float]], Callable[[_Masks], float]]:
    """Let a function fill the column of this key in ``METRICS``."""

    def register(function: Callable[[_Masks], float]) -> Callable[[_Masks], float]:
        MEASURES[key] = function
        return function

    return register


@measure("dice")
def _dice(masks: _Masks) -> float:
    return dice(masks.prediction, masks.reference)


@measure("mhd_3d")
def _mhd_3d(masks: _Masks) -> float:
    return mhd_3d(masks.prediction, masks.reference)


@measure("asd_mm")
def _asd_mm(masks: _Masks) -> float:
    return _average(masks.surface_distances)


@measure("hd95_mm")
def _hd95_mm(masks: _Masks) -> float:
    return _percentile_95(masks.surface_distances)


@measure("volume_ml")
def _volume_ml(masks: _Masks) -> float:
    return masks.millilitres(masks.prediction)


@measure("reference_volume_ml")
def _reference_volume_ml(masks: _Masks) -> float:
    return masks.millilitres(masks.reference)


@measure("volume_difference_percent")
def _volume_difference_percent(masks: _Masks) -> float:
    found, expected = np.count_nonzero(masks.prediction), np.count_nonzero(masks.reference)
    return 100 * (found - expected) / expected if expected else math.nan


def score_tissues(labels: np.ndarray, reference_labels: np.ndarray, spacing: Sequence[float]) -> list[TissueScore]:
    """Score CSF, GM and WM of a label map against a reference.

    Args:
        labels, reference_labels: arrays of labels 0 to 3, of one 3-D shape, on the reference's own grid.
        spacing: voxel size along each array axis, in mm.

    Returns:
        One row per tissue: CSF, GM, WM.

    Raises:
        ValueError: an argument is not 3-D or holds other values, the shapes differ, or a spacing is not positive.
    """
    labels, reference_labels = _pair(_label_map, labels=labels, reference_labels=reference_labels)
    rows = []
    for tissue in TISSUES:
        masks = _Masks(labels == tissue.label, reference_labels == tissue.label, spacing)
        rows.append(TissueScore(tissue.key, {metric.key: MEASURES[metric.key](masks) for metric in METRICS}))
    return rows


def format_scores(rows: Sequence[TissueScore]) -> str:
    """The score table for the terminal: one line per tissue, the mean over them, and the conventions.

    Args:
        rows: as :func:`score_tissues` returns them; "n/a" stands for an undefined value and "∞" for an infinite one.
    """
    names = {tissue.key: tissue.name for tissue in TISSUES}
    lines = [[names[row.tissue], *(_cell(row.values[metric.key], metric.digits) for metric in METRICS)] for row in rows]
    means = {metric: float(np.mean([row.values[metric.key] for row in rows])) for metric in SCORES}
    mean_line = ["Mean", *(_cell(means[metric], metric.digits) if metric in means else "" for metric in METRICS)]
    headings = ["Tissue", *(metric.title for metric in METRICS)], ["", *(metric.unit for metric in METRICS)]
    widths = [max(map(len, column)) for column in zip(*headings, *lines, mean_line, strict=True)]

    def aligned(line: list[str]) -> str:
        numbers = (text.rjust(width) for text, width in zip(line[1:], widths[1:], strict=True))
        return "  ".join([line[0].ljust(widths[0]), *numbers]).rstrip()

    rule = "-" * (sum(widths) + 2 * len(METRICS))
    return "\n".join([*map(aligned, headings), rule, *map(aligned, lines), rule, aligned(mean_line), FOOTNOTE])


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
