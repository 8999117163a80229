"""Arrays to scores: how a segmentation agrees with a reference."""

from __future__ import annotations

from model_core.metrics.scores import (
    TissueScore,
    average_surface_distance,
    dice,
    format_scores,
    hausdorff_95,
    mhd_3d,
    score_tissues,
    tissue_volumes,
)

__all__ = [
    "TissueScore",
    "average_surface_distance",
    "dice",
    "format_scores",
    "hausdorff_95",
    "mhd_3d",
    "score_tissues",
    "tissue_volumes",
]
