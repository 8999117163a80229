"""The figures that the two papers print, each once, with the table or figure it stands in.

Wang, Zou, Shen, Ji, "Non-local U-Nets for Biomedical Image Segmentation", AAAI 2020 (iSeg-2017, ten subjects), and the
paper of the dual aggregation network (iSeg-2017 and iSeg-2019). Tissues are in the order CSF, GM, WM.
"""

from __future__ import annotations

from dataclasses import dataclass

NONLOCAL_PAPER = "Wang et al. 2020"
DUAL_PAPER = "the dual aggregation paper"


@dataclass(frozen=True)
class Figure:
    """One printed number.

    Attributes:
        mean: as printed; percentages as parts of 1.
        deviation: the printed standard deviation, None where none is printed.
    """

    mean: float
    deviation: float | None = None


@dataclass(frozen=True)
class Scores:
    """One printed row of a score.

    Attributes:
        source: paper and table.
        tissues: CSF, GM, WM.
        average: over the three; None where it is not printed.
        digits: after the point, as many as are printed (percentages as parts of 1).
    """

    source: str
    tissues: tuple[Figure, Figure, Figure]
    average: Figure | None = None
    digits: int = 4


def _row(source: str, *numbers: float | tuple[float, float], digits: int = 4) -> Scores:
    """CSF, GM, WM and, where there is one, the average; (mean, deviation) where a deviation is printed."""
    figures = [Figure(*number) if isinstance(number, tuple) else Figure(number) for number in numbers]
    average = figures[3] if len(figures) > 3 else None
    return Scores(source, (figures[0], figures[1], figures[2]), average, digits)


def _dual_row(source: str, *numbers: float) -> Scores:
    """As the second paper prints: Dice in percent and ASD in mm, both to a thousandth."""
    return _row(source, *numbers, digits=3)


_TABLE_1, _TABLE_2, _TABLE_6, _TABLE_7 = (f"{NONLOCAL_PAPER}, Table {number}" for number in (1, 2, 6, 7))
_DUAL_1, _DUAL_2, _DUAL_3 = (f"{DUAL_PAPER}, Table {number}" for number in (1, 2, 3))

# Leave-one-subject-out over ten subjects; score -> network. The deviation .0040 is printed so.
LEAVE_ONE_OUT = {
    "dice": {
        "cc_3d_fcn": _row(_TABLE_1, (0.9250, 0.0118), (0.9084, 0.0056), (0.8926, 0.0119), (0.9087, 0.0066)),
        "nonlocal_unet": _row(_TABLE_1, (0.9530, 0.0074), (0.9245, 0.0049), (0.9102, 0.0101), (0.9292, 0.0050)),
    },
    "mhd_3d": {
        "cc_3d_fcn": _row(_TABLE_2, (0.3417, 0.0245), (0.6537, 0.0483), (0.4817, 0.0454), (0.4924, 0.0345)),
        "nonlocal_unet": _row(_TABLE_2, (0.2554, 0.0207), (0.5950, 0.0428), (0.4454, 0.0040), (0.4319, 0.0313)),
    },
}
# The paper prints percent, in the order CSF, WM, GM; ASD in mm.
DUAL_LEAVE_ONE_OUT = {
    "dice": {"dual_aggregation": _dual_row(_DUAL_1, 0.959, 0.926, 0.908)},
    "asd_mm": {"dual_aggregation": _dual_row(_DUAL_1, 0.114, 0.307, 0.353)},
}
PARAMETERS = {"cc_3d_fcn": 2_534_276, "nonlocal_unet": 1_821_124}  # Table 4
PARAMETERS_SOURCE = f"{NONLOCAL_PAPER}, Table 4"
INFERENCE_MINUTES = {"cc_3d_fcn": Figure(3.85, 0.15), "nonlocal_unet": Figure(3.06, 0.12)}  # Table 5
INFERENCE_SOURCE = f"{NONLOCAL_PAPER}, Table 5 (Titan Xp)"

# Trained on subjects 1 to 9, evaluated on the 10th.
ABLATION = {
    "dice": {
        "model1": _row(_TABLE_6, 0.9585, 0.9099, 0.8625, 0.9103),
        "model2": _row(_TABLE_6, 0.9568, 0.9172, 0.8728, 0.9156),
        "model3": _row(_TABLE_6, 0.9576, 0.9198, 0.8749, 0.9174),
        "model4": _row(_TABLE_6, 0.9578, 0.9210, 0.8769, 0.9186),
        "model5": _row(_TABLE_6, 0.9554, 0.9225, 0.8804, 0.9194),
        "nonlocal_unet": _row(_TABLE_6, 0.9572, 0.9278, 0.8867, 0.9239),
    },
    "mhd_3d": {
        "model1": _row(_TABLE_7, 0.2363, 0.6277, 0.4705, 0.4448),
        "model2": _row(_TABLE_7, 0.2404, 0.6052, 0.4480, 0.4312),
        "model3": _row(_TABLE_7, 0.2392, 0.5993, 0.4429, 0.4271),
        "model4": _row(_TABLE_7, 0.2397, 0.5926, 0.4336, 0.4220),
        "model5": _row(_TABLE_7, 0.2444, 0.5901, 0.4288, 0.4211),
        "nonlocal_unet": _row(_TABLE_7, 0.2477, 0.5692, 0.4062, 0.4077),
    },
}
# The paper's baseline is a 3D U-Net, its figures means over ten subjects.
DUAL_ABLATION = {
    "dice": {
        "dual_aggregation_baseline": _dual_row(_DUAL_3, 0.923, 0.898, 0.846, 0.883),
        "dual_aggregation_without_attention": _dual_row(_DUAL_3, 0.953, 0.916, 0.870, 0.916),
        "dual_aggregation_without_dcp": _dual_row(_DUAL_3, 0.946, 0.908, 0.863, 0.906),
        "dual_aggregation": _dual_row(_DUAL_3, 0.953, 0.924, 0.913, 0.929),
    }
}
# iSeg-2019: trained on one site, tested on three others.
CROSS_SITE = {
    "dice": {"dual_aggregation": _dual_row(_DUAL_2, 0.834, 0.835, 0.877)},
    "asd_mm": {"dual_aggregation": _dual_row(_DUAL_2, 0.553, 0.513, 0.474)},
}
WINDOWS_BY_STEP = {4: 11880, 8: 1920, 16: 387, 32: 80}  # Figure 7; for a box of 100×116×148 step 16 gives 378
WINDOWS_SOURCE = f"{NONLOCAL_PAPER}, Figure 7"
SUBJECTS = 10  # of iSeg-2017's training data

# What the papers ran with, where a user may want less.
WINDOW, BATCH, STEP, ITERATIONS = 32, 5, 8, 150_000
OVERLAP_STEPS = (4, 8, 16, 32)  # Figures 6 and 7
WINDOW_SIDES = (16, 24, 32, 40, 48)  # Figure 8
