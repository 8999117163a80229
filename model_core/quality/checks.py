"""The quality gate: what is wrong with a scan pair before its segmentation, and with the label map after it.

What makes a result worthless raises a UserError; what a person should look at becomes a `Finding`. It cannot be told
from one scan alone whether left and right, or front and back, are exchanged: a brain is too symmetric for the one, too
variable for the other. T1 and T2 that contradict each other are found, and so are brains that lie upside down or on
a wrong axis.
"""

from __future__ import annotations

import numpy as np

from model_core.errors import UserError
from model_core.findings import Finding
from model_core.metrics import tissue_volumes
from model_core.preprocessing import PreparedPair
from model_core.quality.alignment_check import CHECK_VOXEL_MM, check_place, coarse_copy, is_large_enough
from model_core.quality.measures import (
    are_swapped,
    contrast_of_fluid,
    flat_end,
    has_skull,
    mirror_symmetry,
    roughness,
    share_outside_largest,
)
from model_core.tissues import TISSUES
from model_core.volumes import Volume, to_canonical

__all__ = ["Finding", "check_result", "check_scans"]

FEWEST_GRAY_LEVELS = 24
DOUBTFUL = 0.08  # skewness of T2 - T1; 0.30 to 0.45 in infants of 6 months
SAME_SCAN = 0.995  # correlation of two scans of one contrast
LARGEST_HOLE = 0.03  # of the brain in which one scan is 0 and the other is not
FLAT = 0.15  # of the widest slice; below 0.03 in whole brains
SYMMETRY_LEAD = 0.03  # of a wrong axis; left-right leads by 0.07 or more
ROUGHNESS_RATIO = 1.5  # of top to bottom; 0.25 to 0.45 in whole brains
LARGEST_LOOSE_BRAIN, LARGEST_LOOSE_WHITE_MATTER = 0.02, 0.10

# Total of CSF, gray and white matter in ml by age in months. Broad, around means that follow from the whole brain's
# 341 ml at birth and its growth by 64 % in 90 days (Holland et al., JAMA Neurology 2014), by 101 % in the first and
# 15 % in the second year (Knickmeyer et al., Journal of Neuroscience 2008), and CSF around it.
AGES = (0.0, 3.0, 6.0, 8.0, 12.0, 24.0)
SMALLEST_ML = (250.0, 400.0, 600.0, 620.0, 680.0, 780.0)
LARGEST_ML = (650.0, 900.0, 1100.0, 1150.0, 1300.0, 1500.0)
USUAL_AGES = (6.0, 8.0)
CSF_SHARES = (0.02, 0.45)


def check_scans(t1: Volume | None, t2: Volume | None, pair: PreparedPair) -> list[Finding]:
    """Look at a pair before the network does.

    Args:
        t1, t2: as they were prepared; of one scan alone less can be told.
        pair: made of them.

    Raises:
        UserError: the result would be worthless: a skull, swapped scans, one scan given twice.
    """
    if t1 is None:
        if t2 is None:
            raise ValueError("neither scan was given; expected one at least")
        return _check_one_scan("T2", t2, pair.t2, pair)
    if t2 is None:
        return _check_one_scan("T1", t1, pair.t1, pair)
    _refuse_worthless(t1, t2, pair)
    place = check_place(t1, t2, pair)
    return [
        *_check_gray_levels("T1", t1, pair.grid.brain),
        *_check_gray_levels("T2", t2, t2.array != 0),
        *(place or _check_contrast(pair)),  # fluid that lies apart in the two does not stand out either
        *_check_field(t1, pair),
        *_check_coverage(pair),
        *_check_orientation("T1", t1, pair),
    ]


def _check_one_scan(name: str, scan: Volume, values: np.ndarray, pair: PreparedPair) -> list[Finding]:
    """Look at a scan that is alone; a skull, another contrast and an exchange are not seen without the other one."""
    _refuse_one_value(name, scan, values[pair.mask])
    return [
        *_check_gray_levels(name, scan, pair.grid.brain),
        *_check_field(scan, pair),
        *_check_orientation(name, scan, pair),
    ]


def _refuse_one_value(name: str, scan: Volume, inside: np.ndarray) -> None:
    if inside.min() == inside.max():
        raise UserError(
            f"{name} ({scan.path}) has the value {inside[0]:g} all over the brain; expected a scan; check the file."
        )


def _refuse_worthless(t1: Volume, t2: Volume, pair: PreparedPair) -> None:
    if has_skull(pair.t1, pair.t2, pair.mask):
        raise UserError(
            f"What is taken as the brain in T1 ({t1.path}) has bone and scalp around it; expected the brain alone, for "
            "the network has not learned heads; give a brain mask (--mask), or treat both as raw scans (--raw)."
        )
    for name, scan, values in (("T1", t1, pair.t1), ("T2", t2, pair.t2)):
        _refuse_one_value(name, scan, values[pair.mask])
    if np.corrcoef(pair.t1[pair.mask], pair.t2[pair.mask])[0, 1] > SAME_SCAN:
        raise UserError(
            f"T1 ({t1.path}) and T2 ({t2.path}) show the same contrast; expected a T1- and a T2-weighted scan; "
            "check whether one file was given twice."
        )
    if are_swapped(pair.t1, pair.t2, pair.mask):
        raise UserError(
            f"T1 ({t1.path}) and T2 ({t2.path}) seem to be swapped: CSF is bright in the first and dark in the second; "
            "expected it dark in T1 and bright in T2; exchange the two files."
        )


def _check_gray_levels(name: str, scan: Volume, inside: np.ndarray) -> list[Finding]:
    levels = len(np.unique(scan.array[inside]))
    if levels >= FEWEST_GRAY_LEVELS:
        return []
    return [
        Finding(
            "few-gray-levels",
            f"{name} ({scan.path}) has {levels} gray levels in the brain; expected a hundred or more; check whether "
            "this is a label map, or was saved with too few bits.",
        )
    ]


def _check_contrast(pair: PreparedPair) -> list[Finding]:
    if contrast_of_fluid(pair.t1, pair.t2, pair.mask) >= DOUBTFUL:
        return []
    return [
        Finding(
            "doubtful-contrast",
            "Fluid does not stand out in the two scans; expected CSF dark in T1 and bright in T2; check that they are "
            "T1- and T2-weighted, in this order.",
        )
    ]


def _check_field(t1: Volume, pair: PreparedPair) -> list[Finding]:
    findings = []
    canonical = to_canonical(Volume(pair.grid.brain, t1.affine))
    side, share = flat_end(canonical.array, canonical.spacing)
    if share > FLAT:
        findings.append(
            Finding(
                "cut-off",
                f"The brain ends in a flat cut at the {side} ({share:.0%} of its widest slice); expected it whole; "
                "check the field of view and the mask: what is cut off is missing from the volumes.",
            )
        )
    return findings


def _check_coverage(pair: PreparedPair) -> list[Finding]:
    findings = []
    for name, here, other in (("T1", pair.t1, pair.t2), ("T2", pair.t2, pair.t1)):
        hole = float(((here == 0) & (other != 0))[pair.mask].mean())
        if hole > LARGEST_HOLE:
            findings.append(
                Finding(
                    f"{name.lower()}-covers-part",
                    f"{name} has no signal in {hole:.0%} of the brain; expected it to cover the whole; check its field "
                    "of view, or the mask.",
                )
            )
    return findings


def _check_orientation(name: str, t1: Volume, pair: PreparedPair) -> list[Finding]:
    if not is_large_enough(pair):
        return []
    brain = coarse_copy(pair)[2]
    if not brain.any():
        return []
    across, along, upward = (mirror_symmetry(brain, axis) for axis in range(3))
    extents = np.ptp(np.argwhere(brain), axis=0)
    to_do = f"check the affine, as {name} was converted from DICOM; left, right, front and back are not checked"
    if max(along, upward) > across + SYMMETRY_LEAD or extents[2] > extents[1]:
        found = f"The brain in {name} ({t1.path}) does not lie along its axes as its header says"
        expected = "expected it symmetric from left to right and longer from front to back than in height"
        return [Finding("wrong-axes", f"{found}; {expected}; {to_do}.")]
    top, bottom = roughness(brain, (CHECK_VOXEL_MM,) * 3)
    if top > ROUGHNESS_RATIO * bottom:
        found = f"The brain in {name} ({t1.path}) seems to lie upside down"
        return [Finding("upside-down", f"{found}; expected its smooth dome at the top; {to_do}.")]
    return []


def check_result(labels: Volume, age_months: float | None = None) -> list[Finding]:
    """Look at a label map after the windows.

    Args:
        labels: uint8 0 to 3.
        age_months: at the scan, 0 to 24; None stands for the usual 6 to 8.
    """
    if not labels.array.any():
        return [Finding("empty-result", "The label map is empty; expected a brain; check the scans and the mask.")]
    findings = []
    for what, voxels, most in (
        ("brain", labels.array > 0, LARGEST_LOOSE_BRAIN),
        ("white matter", labels.array == TISSUES[-1].label, LARGEST_LOOSE_WHITE_MATTER),
    ):
        loose = share_outside_largest(voxels)
        if loose > most:
            findings.append(
                Finding(
                    f"disconnected-{what.replace(' ', '-')}",
                    f"{loose:.0%} of the {what} lies in islands; expected one piece and at most {most:.0%} besides it; "
                    "look at the label map, the mask and the scans' quality.",
                )
            )
    return findings + _check_volumes(tissue_volumes(labels.array, labels.spacing), age_months)


def _check_volumes(volumes: dict[str, float], age_months: float | None) -> list[Finding]:
    ages = USUAL_AGES if age_months is None else (age_months, age_months)
    smallest, largest = np.interp(ages[0], AGES, SMALLEST_ML), np.interp(ages[1], AGES, LARGEST_ML)
    at = f"{ages[0]:g} to {ages[1]:g} months" if age_months is None else f"{age_months:g} months"
    total, findings = sum(volumes.values()), []
    to_do = "check the mask, the voxel size and the age (--age-months)"
    if not smallest <= total <= largest:
        sentence = f"CSF, gray and white matter together have {total:.0f} ml"
        expected = f"expected {smallest:.0f} to {largest:.0f} ml at {at}"
        findings.append(Finding("implausible-volume", f"{sentence}; {expected}; {to_do}."))
    if volumes["wm"] >= volumes["gm"]:
        sentence = f"There is more white matter ({volumes['wm']:.0f} ml) than gray matter ({volumes['gm']:.0f} ml)"
        findings.append(
            Finding(
                "more-white-than-gray",
                f"{sentence}; expected less in the first two years; check the scans' contrast and the label map.",
            )
        )
    share = volumes["csf"] / total if total else 0.0
    if not CSF_SHARES[0] <= share <= CSF_SHARES[1]:
        sentence = f"CSF is {share:.0%} of the brain"
        expected = f"expected {CSF_SHARES[0]:.0%} to {CSF_SHARES[1]:.0%}"
        findings.append(Finding("implausible-csf", f"{sentence}; {expected}; {to_do}."))
    return findings
