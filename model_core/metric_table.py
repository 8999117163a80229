"""The scores and volumes that tables, pages and the panel show: their titles, units, digits and conventions.

Standard library only: Slicer's process reads it, too. Each is computed by the function of the same key in ``metrics``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A column of a table of scores.

    Attributes:
        key: of the rows.
        title: for headings.
        unit: empty where it has none.
        digits: after the point in reports.
        short_digits: the same where there is little room.
        better: "higher" or "lower" for scores, empty for volumes.
        explanation: what it is, in a phrase.
        convention: what exactly is computed, and what empty maps give.
    """

    key: str
    title: str
    unit: str
    digits: int
    short_digits: int
    better: str
    explanation: str
    convention: str

    @property
    def heading(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


METRICS = (
    Metric(
        "dice", "Dice", "", 4, 3, "higher",
        "Dice coefficient: 2|P∩L| / (|P|+|L|); 1 is a perfect overlap",
        "2|P∩R| / (|P|+|R|); both empty: 1, one empty: 0",
    ),
    Metric(
        "mhd_3d", "3D-MHD", "√voxel", 4, 2, "lower",
        "Modified Hausdorff distance of the columns of voxels, mean of the three axes",
        "mean over the three axes of the modified Hausdorff distance between the sets of all 1-D columns of the whole "
        "binary volumes, zero and equal columns included; in square roots of voxels, spacing plays no part",
    ),
    Metric(
        "asd_mm", "ASD", "mm", 3, 2, "lower",
        "Average symmetric surface distance",
        "mean of the two directed mean distances between surface voxels (foreground with a 6-neighbour outside); "
        "both empty: undefined, one empty: infinite",
    ),
    Metric(
        "hd95_mm", "HD95", "mm", 3, 2, "lower",
        "Larger of the two directed 95th percentiles of the surface distances",
        "larger of the two directed 95th percentiles of the distances between surface voxels; "
        "both empty: undefined, one empty: infinite",
    ),
    Metric(
        "volume_ml", "Volume", "ml", 2, 1, "",
        "Volume in the result",
        "voxels of the tissue times the volume of one",
    ),
    Metric(
        "reference_volume_ml", "Reference volume", "ml", 2, 1, "",
        "Volume in the reference",
        "as the volume, of the reference",
    ),
    Metric(
        "volume_difference_percent", "Volume difference", "%", 1, 1, "",
        "Result minus reference, in percent of the reference",
        "(volume - reference) / reference · 100; reference empty: undefined",
    ),
)  # fmt: skip
METRIC = {metric.key: metric for metric in METRICS}
SCORES = tuple(metric for metric in METRICS if metric.better)
CONVENTIONS = {metric.key: metric.convention for metric in METRICS}
