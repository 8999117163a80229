"""The correction of a scan's bias field: N4, by SimpleITK."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from model_core.errors import UserError

N4_VOXEL_MM = 3.0  # the field is smooth: 3 mm voxels show it, in a thirtieth of the time
N4_ITERATIONS = (50, 50, 30, 20)


def correct_bias(
    image: np.ndarray, mask: np.ndarray, spacing: Sequence[float] = (1.0, 1.0, 1.0), *, outside: bool = False
) -> np.ndarray:
    """Divide a scan by the slowly varying field that N4 (Tustison et al. 2010) finds in it.

    Args:
        image: float32 (D, H, W), not negative inside the mask.
        mask: bool (D, H, W), the brain or the head; voxels that are not positive are left out of the fit.
        spacing: (3,), of its voxels in mm.
        outside: keep what lies outside the mask, divided by the same field; else it becomes 0.

    Returns:
        float32 (D, H, W).

    Raises:
        UserError: N4 finds no field.
    """
    usable = mask & (image > 0)
    scan = sitk.GetImageFromArray(image.astype(np.float32, copy=False))
    region = sitk.GetImageFromArray(usable.astype(np.uint8))
    scan.SetSpacing([float(side) for side in spacing[::-1]])
    region.CopyInformation(scan)
    wanted = np.maximum(np.rint(N4_VOXEL_MM / np.array(scan.GetSpacing())), 1).astype(int).tolist()
    shrink = [max(1, min(factor, side // 8)) for factor, side in zip(wanted, scan.GetSize(), strict=True)]
    correction = sitk.N4BiasFieldCorrectionImageFilter()
    correction.SetNumberOfThreads(1)  # the same result every time
    correction.SetMaximumNumberOfIterations(N4_ITERATIONS)
    try:
        correction.Execute(sitk.Shrink(scan, shrink), sitk.Shrink(region, shrink))
        field = sitk.GetArrayFromImage(correction.GetLogBiasFieldAsImage(scan))
    except RuntimeError as error:
        raise UserError(
            "N4 found no bias field in this scan; expected a brain with positive intensities of at least a few "
            "centimetres; leave out the bias correction, or check the scan and the mask."
        ) from error
    corrected = image / np.exp(field)
    return (corrected if outside else np.where(mask, corrected, 0)).astype(np.float32)
