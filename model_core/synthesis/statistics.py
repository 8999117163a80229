"""Published summary statistics of labelled six-month scans, and the same of synthetic pairs, to hold one to other."""

from __future__ import annotations

import numpy as np

from model_core.synthesis.generator import SyntheticPair
from model_core.tissues import CSF, GRAY_MATTER, TISSUES, WHITE_MATTER, Tissue

BINS = 256
PAIRS_OF_TISSUES = ((GRAY_MATTER, WHITE_MATTER), (CSF, GRAY_MATTER), (CSF, WHITE_MATTER))
# Means over the ten labelled subjects of iSeg-2017, as published by two groups; no data.
ISEG_2017 = {
    "gm/wm overlap t1": 0.70,
    "gm/wm overlap t2": 0.87,
    "csf/gm overlap t1": 0.36,
    "csf/gm overlap t2": 0.36,
    "csf/wm overlap t1": 0.27,
    "csf/wm overlap t2": 0.35,
    "gm/wm fisher t1": 0.27,
    "gm/wm fisher t2": 0.00,
    "csf share": 0.22,
    "gm share": 0.47,
    "wm share": 0.31,
    "gm/wm volume": 1.52,
}


def histogram_overlap(one: np.ndarray, other: np.ndarray, limits: tuple[float, float]) -> float:
    """Sum of the smaller of two normalised histograms of ``BINS`` bins: 1 where they are the same, 0 where apart.

    Args:
        one: intensities of one tissue, any shape.
        other: intensities of another tissue.
        limits: range of the bins, that of all intensities inside the mask.
    """
    counts = [np.histogram(values, BINS, limits)[0] / values.size for values in (one, other)]
    return float(np.minimum(*counts).sum())


def fisher_ratio(one: np.ndarray, other: np.ndarray) -> float:
    """Squared distance of the means over the sum of the variances."""
    return float((one.mean() - other.mean()) ** 2 / (one.var() + other.var()))


def pair_statistics(pair: SyntheticPair) -> dict[str, float]:
    """Measure a pair as iSeg-2017's subjects were measured; the keys are those of ``ISEG_2017``."""
    measured = {}
    inside = pair.mask & (pair.t1 > 0) & (pair.labels > 0)
    for name, image in (("t1", pair.t1), ("t2", pair.t2)):
        limits = (float(image[inside].min()), float(image[inside].max()))
        values = {tissue: image[inside & (pair.labels == tissue.label)] for tissue in TISSUES}
        for one, other in PAIRS_OF_TISSUES:
            key = f"{one.key}/{other.key}"
            measured[f"{key} overlap {name}"] = histogram_overlap(values[one], values[other], limits)
            measured[f"{key} fisher {name}"] = fisher_ratio(values[one], values[other])
    voxels = {tissue: int(np.count_nonzero(pair.labels == tissue.label)) for tissue in TISSUES}
    measured |= {f"{tissue.key} share": _share(voxels, tissue) for tissue in TISSUES}
    measured["gm/wm volume"] = voxels[GRAY_MATTER] / voxels[WHITE_MATTER]
    return measured


def _share(voxels: dict[Tissue, int], tissue: Tissue) -> float:
    return voxels[tissue] / sum(voxels.values())
