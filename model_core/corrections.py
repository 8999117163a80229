"""Optional repairs of a scan pair by SimpleITK: rigid alignment of T2 to T1, and N4 bias correction."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from model_core.errors import UserError
from model_core.volume_writing import has_right_angles, itk_image
from model_core.volumes import Volume

REGISTRATION_SEED = 20190524
HISTOGRAM_BINS = 32
SHRINK_FACTORS = (4, 2, 1)
SAMPLED_SHARES = (0.8, 0.2, 0.03)  # of the voxels a level: some 10⁵ each, enough for six numbers
SMOOTHING_MM = (2.0, 1.0, 0.0)
RIM_MM = 4.0  # of background around the brain: its outline is the strongest landmark of a stripped scan

N4_SHRINK_FACTOR = 3  # the field is smooth: 3 mm voxels show it, in a thirtieth of the time
N4_ITERATIONS = (50, 50, 30, 20)

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def align_rigidly(t2: Volume, t1: Volume, brain: np.ndarray) -> Volume:
    """Move T2 onto T1 by rotation and translation, found by Mattes mutual information.

    Only the affine changes: the movement is put into it and nothing is interpolated. The same input gives
    the same result (fixed seed, one thread).

    Args:
        t2: the scan to be moved, on any grid.
        t1: the scan that stays.
        brain: bool, shape of T1; only the brain and a rim around it are compared.

    Raises:
        UserError: the registration fails, or a scan's axes are not at right angles.
    """
    for scan in (t1, t2):
        if not has_right_angles(scan.affine):
            raise UserError(
                f"{scan.path} has axes that are not at right angles; aligning T2 to T1 needs right angles; "
                "resample the scan to a plain grid first, or align it with another tool."
            )
    fixed, fixed_mask = _crop(t1, brain)
    moving, _ = _crop(t2, t2.array != 0)
    try:
        with _one_thread():
            movement = _register(fixed, fixed_mask, moving)
    except RuntimeError as error:
        raise UserError(
            f"T2 ({t2.path}, {t2.description}) could not be aligned to T1 ({t1.path}, {t1.description}); expected "
            "two scans of one head; check that they are, or align them with another tool first."
        ) from error
    t1_to_t2 = np.eye(4)  # maps points of T1 to where the same tissue lies in T2, LPS mm
    t1_to_t2[:3, :3] = np.reshape(movement.GetMatrix(), (3, 3))
    t1_to_t2[:3, 3] = movement.TransformPoint((0.0, 0.0, 0.0))
    moved = _LPS_FROM_RAS @ np.linalg.inv(t1_to_t2) @ _LPS_FROM_RAS @ t2.affine
    return Volume(t2.array, moved, t2.path)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let ITK sum in one order, so that the same input gives the same result to the last digit."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _crop(scan: Volume, foreground: np.ndarray) -> tuple[sitk.Image, sitk.Image]:
    """Return a scan and the foreground (bool) with a rim around it, both cropped to the latter."""
    rim = np.ceil(RIM_MM / np.array(scan.spacing)).astype(int)
    sides = ndimage.find_objects(foreground.astype(np.uint8))[0]
    box = tuple(slice(max(side.start - more, 0), side.stop + more) for side, more in zip(sides, rim, strict=True))
    distance = ndimage.distance_transform_edt(~foreground[box], sampling=scan.spacing)
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return itk_image(scan.array[box], affine), itk_image((distance <= RIM_MM).astype(np.uint8), affine)


def _register(fixed: sitk.Image, fixed_mask: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentagePerLevel(SAMPLED_SHARES, REGISTRATION_SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(SHRINK_FACTORS)
    method.SetSmoothingSigmasPerLevel(SMOOTHING_MM)
    method.SetInitialTransform(_best_start(fixed, fixed_mask, moving), inPlace=False)
    return sitk.Euler3DTransform(sitk.CompositeTransform(method.Execute(fixed, moving)).GetBackTransform())


def _best_start(fixed: sitk.Image, fixed_mask: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    """Return the best of three starts: as the headers say, centres of mass or centres of the volumes together."""
    as_is = sitk.Euler3DTransform()
    as_is.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(side - 1) / 2 for side in fixed.GetSize()]))
    starts = [as_is]
    for kind in (sitk.CenteredTransformInitializerFilter.MOMENTS, sitk.CenteredTransformInitializerFilter.GEOMETRY):
        start = sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), kind)
        starts.append(sitk.Euler3DTransform(start))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    coarse, coarse_mask, coarse_moving = (
        sitk.Shrink(image, [SHRINK_FACTORS[0]] * 3) for image in (fixed, fixed_mask, moving)
    )
    method.SetMetricFixedMask(coarse_mask)
    values = []
    for start in starts:
        method.SetInitialTransform(start)
        try:
            values.append(method.MetricEvaluate(coarse, coarse_moving))
        except RuntimeError:  # the images do not touch
            values.append(np.inf)
    return starts[int(np.argmin(values))]


def correct_bias(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Divide a scan by the slowly varying field that N4 (Tustison et al. 2010) finds in it.

    Args:
        image: float32 (D, H, W), 1 mm isotropic, not negative inside the brain, 0 outside.
        mask: bool (D, H, W), the brain; voxels that are not positive are left out of the fit.

    Returns:
        float32 (D, H, W), 0 outside the mask.
    """
    usable = mask & (image > 0)
    scan = sitk.GetImageFromArray(image.astype(np.float32, copy=False))
    region = sitk.GetImageFromArray(usable.astype(np.uint8))
    shrink = [max(1, min(N4_SHRINK_FACTOR, side // 8)) for side in scan.GetSize()]
    correction = sitk.N4BiasFieldCorrectionImageFilter()
    correction.SetNumberOfThreads(1)  # the same result every time
    correction.SetMaximumNumberOfIterations(N4_ITERATIONS)
    try:
        correction.Execute(sitk.Shrink(scan, shrink), sitk.Shrink(region, shrink))
        field = sitk.GetArrayFromImage(correction.GetLogBiasFieldAsImage(scan))
    except RuntimeError as error:
        raise UserError(
            "N4 found no bias field in this scan; expected a brain with positive intensities of at least a few "
            "centimetres; leave out the bias correction (--bias-correction) or check the scan and the mask."
        ) from error
    return np.where(mask, image / np.exp(field), 0).astype(np.float32)
