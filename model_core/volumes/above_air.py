"""What of a scan is no air: the voxels of the head, or of the brain where it is stripped."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from model_core.volumes.writing import itk_image

AIR_SHARE = 0.5  # of Otsu's threshold, so that dark tissue at the surface counts as head
BRIGHTEST_PERCENTILE = 99.5  # fat and vessels above it would draw the threshold to themselves


def above_air(scan: np.ndarray) -> np.ndarray:
    """Tell the voxels brighter than air from the others, by half of Otsu's threshold.

    Args:
        scan: (I, J, K), any intensities; (D, H, W) does as well.

    Returns:
        The same shape, bool.
    """
    threshold = sitk.OtsuThresholdImageFilter()
    threshold.Execute(itk_image(np.minimum(scan, np.percentile(scan, BRIGHTEST_PERCENTILE)), np.eye(4)))
    return scan > AIR_SHARE * threshold.GetThreshold()
