"""T2 onto T1 by a rigid transform: found from many starts by mutual information, and judged.

A registration that ran into a wrong optimum ends as quietly as a good one. So the result is compared with copies of T2
that are displaced by a known amount: over one head the mutual information falls steeply on every side of the true
place, over two that do not fit it hardly changes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.spatial.transform import Rotation

from model_core.errors import UserError
from model_core.preprocessing.similarity import judge_alignment
from model_core.volumes import Volume
from model_core.volumes.writing import has_right_angles, itk_image

REGISTRATION_SEED = 20190524
HISTOGRAM_BINS = 32
ROUGH_VOXEL_MM = 2.0  # of both scans while places are searched for: small, and smooth enough to lead there
ROUGH_SMOOTHING_MM = 1.0
RIM_MM = 4.0  # of background around the brain: its outline is the strongest landmark of a stripped scan
ROUGH_LEVELS = ((2, 2.0, 20_000), (1, 0.0, 20_000))  # shrink factor, smoothing in mm, voxels that are compared
FINE_LEVELS = ((1, 0.0, 50_000),)
START_ANGLES = (-25.0, 25.0)  # degrees about each axis, tried besides none
STARTS_FOLLOWED = 3  # best of the rotated starts that are followed, besides the best of the straight ones
FINEST_VOXEL_MM = 0.95  # of T1 while it is compared; finer scans tell the six numbers no better
MOST_UNEQUAL_SIDES = 1.5  # of a voxel: shrinking thick slices by 4 would leave a handful of them

SMALLEST_CONTRAST = 1.35  # similarity over that of the copies: 2 to 4 at the true place, 1.0 to 1.2 at a wrong optimum

_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


Registration = Callable[[sitk.Image, sitk.Image, sitk.Image], sitk.Euler3DTransform]  # of T1, its mask, T2
Levels = Sequence[tuple[int, float, int]]


@dataclass(frozen=True)
class Alignment:
    """T2 after it was moved onto T1.

    Attributes:
        t2: the scan with the transform in its affine; its voxels are untouched.
        similarity: normalised mutual information with T1, from 0 (nothing in common) to 1.
        contrast: the similarity over that of copies which are displaced by 1 cm; near 1 T2 fits nowhere in particular.
        shift_mm: how far the middle of what is compared was moved.
        angle_degrees: by how much it was turned.
    """

    t2: Volume
    similarity: float
    contrast: float
    shift_mm: float
    angle_degrees: float


def align_rigidly(t2: Volume, t1: Volume, region: np.ndarray, t2_region: np.ndarray | None = None) -> Alignment:
    """Move T2 onto T1 by rotation and translation, found by Mattes mutual information from many starts.

    Only the affine changes: the transform is put into it and nothing is interpolated. The same input gives
    the same result (fixed seed, one thread).

    Args:
        t2: the scan to be moved, on any grid.
        t1: the scan that stays.
        region: bool, shape of T1: the brain, or the head with its skull; only it and a rim around it are compared.
        t2_region: bool, shape of T2: the same in T2; without it all that is not 0.

    Raises:
        UserError: the registration fails or ends where T2 does not fit T1; a scan's axes are not at right angles.
    """
    moved, transform = _move(t2, t1, region, t2.array != 0 if t2_region is None else t2_region, _register)
    similarity, contrast = judge_alignment(moved, t1, region)
    if contrast < SMALLEST_CONTRAST:
        raise UserError(
            f"The alignment of T2 ({t2.path}) to T1 ({t1.path}) failed: where it ended their similarity is "
            f"{contrast:.2f} times that of a copy moved aside by 1 cm; expected {SMALLEST_CONTRAST} times or more; "
            "check that both are scans of one head with nothing cut off, or align them with another tool first."
        )
    return _describe(moved, transform, similarity, contrast, t1, region)


def settle(t2: Volume, t1: Volume, region: np.ndarray) -> Alignment:
    """Move T2 to the nearest place where it fits T1, from where it lies; for checks: quick, rough, not refused.

    Args:
        t2: on any grid, 0 outside the brain.
        t1: of 2 mm voxels or so.
        region: bool, shape of T1: the brain.

    Raises:
        UserError: the scans do not touch, or their axes are not at right angles.
    """
    moved, transform = _move(t2, t1, region, t2.array != 0, _register_locally)
    return _describe(moved, transform, *judge_alignment(moved, t1, region), t1, region)


def _move(
    t2: Volume, t1: Volume, region: np.ndarray, t2_region: np.ndarray, register: Registration
) -> tuple[Volume, np.ndarray]:
    """Return T2 with another affine, and the matrix (4, 4) from points of T1 to the same tissue's in T2, RAS mm."""
    for scan in (t1, t2):
        if not has_right_angles(scan.affine):
            raise UserError(
                f"{scan.path} has axes that are not at right angles; aligning T2 to T1 needs right angles; "
                "resample the scan to a plain grid first, or align it with another tool."
            )
    fixed, fixed_mask = _even_voxels(*_crop(t1, region))
    moving = _crop(t2, t2_region)[0]
    try:
        with _one_thread():
            transform = _matrix(register(fixed, fixed_mask, moving))
    except RuntimeError as error:
        raise UserError(
            f"T2 ({t2.path}, {t2.description}) could not be aligned to T1 ({t1.path}, {t1.description}); expected "
            "two scans of one head; check that they are, or align them with another tool first."
        ) from error
    return Volume(t2.array, np.linalg.inv(transform) @ t2.affine, t2.path), transform


def _describe(
    moved: Volume, transform: np.ndarray, similarity: float, contrast: float, t1: Volume, region: np.ndarray
) -> Alignment:
    middle = _middle(t1, region)
    return Alignment(
        moved,
        similarity,
        contrast,
        shift_mm=float(np.linalg.norm(transform[:3, :3] @ middle + transform[:3, 3] - middle)),
        angle_degrees=float(np.rad2deg(Rotation.from_matrix(transform[:3, :3]).magnitude())),
    )


def _middle(scan: Volume, region: np.ndarray) -> np.ndarray:
    """Return the centre of the region's box, RAS mm."""
    centre = [(side.start + side.stop - 1) / 2 for side in ndimage.find_objects(region.astype(np.uint8))[0]]
    return scan.affine[:3, :3] @ centre + scan.affine[:3, 3]


def _matrix(transform: sitk.Euler3DTransform) -> np.ndarray:
    """Return the (4, 4) matrix that maps points of T1 to where the same tissue lies in T2, RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return _LPS_FROM_RAS @ matrix @ _LPS_FROM_RAS


def _crop(scan: Volume, foreground: np.ndarray) -> tuple[sitk.Image, sitk.Image]:
    """Return a scan and the foreground (bool) with a rim around it, both cropped to the latter."""
    rim = np.ceil(RIM_MM / np.array(scan.spacing)).astype(int)
    sides = ndimage.find_objects(foreground.astype(np.uint8))[0]
    box = tuple(slice(max(side.start - more, 0), side.stop + more) for side, more in zip(sides, rim, strict=True))
    with_rim = ndimage.maximum_filter(foreground[box].astype(np.uint8), 2 * rim + 1, mode="constant")
    affine = scan.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return itk_image(scan.array[box], affine), itk_image(with_rim, affine)


def _even_voxels(image: sitk.Image, mask: sitk.Image) -> tuple[sitk.Image, sitk.Image]:
    """Resample a scan of fine or thick voxels to 1 mm, linearly, and its mask by the nearest voxel."""
    spacing = np.array(image.GetSpacing())
    if spacing.min() >= FINEST_VOXEL_MM and spacing.max() / spacing.min() <= MOST_UNEQUAL_SIDES:
        return image, mask
    size = [int(side) for side in np.ceil(np.array(image.GetSize()) * spacing)]
    grid = (size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), (1.0, 1.0, 1.0), image.GetDirection())
    mask_grid = (*grid[:2], sitk.sitkNearestNeighbor, *grid[3:])
    return sitk.Resample(image, *grid), sitk.Resample(mask, *mask_grid)


@contextlib.contextmanager
def _one_thread() -> Generator[None]:
    """Let ITK sum in one order, so that the same input gives the same result to the last digit."""
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)


def _register(fixed: sitk.Image, fixed_mask: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    """Follow several starts on small copies of the scans, and the best of their ends on the scans themselves."""
    rough = _shrunk(fixed), _shrunk(fixed_mask, smooth=False), _shrunk(moving)
    straight, turned = _starts(*rough)
    ends = [_optimise(*rough, start, ROUGH_LEVELS) for start in straight[:1] + turned[:STARTS_FOLLOWED]]
    _, best = min(ends, key=lambda end: end[0])
    return _optimise(fixed, fixed_mask, moving, best, FINE_LEVELS)[1]


def _register_locally(fixed: sitk.Image, fixed_mask: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
    rough = _shrunk(fixed), _shrunk(fixed_mask, smooth=False), _shrunk(moving)
    return _optimise(*rough, _straight(fixed), ROUGH_LEVELS)[1]


def _shrunk(image: sitk.Image, *, smooth: bool = True) -> sitk.Image:
    """Return a scan with voxels of about 2 mm, or its mask, which is not smoothed."""
    factors = [max(1, round(ROUGH_VOXEL_MM / side)) for side in image.GetSpacing()]
    if smooth:
        image = sitk.DiscreteGaussian(sitk.Cast(image, sitk.sitkFloat32), [ROUGH_SMOOTHING_MM**2] * 3)
    return sitk.Shrink(image, factors)


def _straight(fixed: sitk.Image) -> sitk.Euler3DTransform:
    """Return the transform that changes nothing and turns about the middle of T1."""
    start = sitk.Euler3DTransform()
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(side - 1) / 2 for side in fixed.GetSize()]))
    return start


def _optimise(
    fixed: sitk.Image, fixed_mask: sitk.Image, moving: sitk.Image, start: sitk.Euler3DTransform, levels: Levels
) -> tuple[float, sitk.Euler3DTransform]:
    """Descend from a start; returns the metric at the end, lower is better, and the place."""
    factors, smoothing, samples = zip(*levels, strict=True)
    voxels = fixed.GetNumberOfPixels()
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    shares = [min(0.8, count * factor**3 / voxels) for factor, count in zip(factors, samples, strict=True)]
    method.SetMetricSamplingPercentagePerLevel(shares, REGISTRATION_SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=3e-3, numberOfIterations=150, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(factors)
    method.SetSmoothingSigmasPerLevel(smoothing)
    method.SetInitialTransform(start, inPlace=False)
    found = method.Execute(fixed, moving)
    return method.GetMetricValue(), sitk.Euler3DTransform(sitk.CompositeTransform(found).GetBackTransform())


def _starts(
    fixed: sitk.Image, fixed_mask: sitk.Image, moving: sitk.Image
) -> tuple[list[sitk.Euler3DTransform], list[sitk.Euler3DTransform]]:
    """Return straight starts and those that turn T2 about the middle of T1, each from the best to the worst.

    They put together what the headers say is one place, the centres of mass, or the centres of the volumes.
    """
    places = [_straight(fixed)]
    for kind in (sitk.CenteredTransformInitializerFilter.MOMENTS, sitk.CenteredTransformInitializerFilter.GEOMETRY):
        places.append(
            sitk.Euler3DTransform(sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), kind))
        )
    turns = [np.deg2rad(angle) * axis for axis in np.eye(3) for angle in START_ANGLES]
    coarse, coarse_mask, coarse_moving = (sitk.Shrink(image, [2] * 3) for image in (fixed, fixed_mask, moving))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(HISTOGRAM_BINS)
    method.SetMetricFixedMask(coarse_mask)

    def from_best(starts: Iterable[sitk.Euler3DTransform]) -> list[sitk.Euler3DTransform]:
        values = []
        for start in starts:
            method.SetInitialTransform(start)
            with contextlib.suppress(RuntimeError):  # the images do not touch
                values.append((method.MetricEvaluate(coarse, coarse_moving), start))
        return [start for _, start in sorted(values, key=lambda pair: pair[0])]

    return from_best(places), from_best(_turned(place, turn) for place in places for turn in turns)


def _turned(place: sitk.Euler3DTransform, turn: np.ndarray) -> sitk.Euler3DTransform:
    start = sitk.Euler3DTransform(place)
    start.SetRotation(*turn.tolist())
    return start
