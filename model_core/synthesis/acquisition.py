"""What scanner, registration and skull stripping make of a painted brain."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

from model_core.synthesis.deformation import Shape, rotation
from model_core.synthesis.draw import Draw, Range, blur
from model_core.tissues import CSF

# Voxel sizes of the scan along each axis, mm: T1 is acquired finer than T2. Resampled to 1 mm afterwards.
RESOLUTION_MM = ((0.8, 1.3), (0.8, 2.0))
FWHM_PER_SIGMA = 2.355
BIAS: Range = (0.03, 0.3)
BIAS_SPACING = 60
NOISE = ((0.02, 0.07), (0.01, 0.05))
MOTION = 0.15  # how often
LARGEST_MOTION_MM, LARGEST_MOTION_DEGREES = 2.0, 2.0
LARGEST_MISALIGNMENT_MM, LARGEST_MISALIGNMENT_DEGREES = 0.5, 0.5
# Masks: how often one is not the brain itself, how far its border then lies from the brain's in mm (below 0 it cuts the
# brain), and how often voxels inside are 0, as scanners and other tools leave them in dark CSF.
MASK_OFF = 0.5
MASK_BORDER_MM: Range = (-2.0, 4.0)
HOLES = 0.3
HOLES_SHARE: Range = (0.01, 0.2)
# Intensity of cortex in the images that are returned.
CORTEX_INTENSITY = 400.0


def acquire(painted: torch.Tensor, draw: Draw, modality: int) -> torch.Tensor:
    """Scan a painted brain: resolution, motion, bias field and Rician noise.

    Args:
        painted: (D, H, W) float32.
        draw: the pair's random numbers.
        modality: 0 for T1, 1 for T2, which is scanned coarser.

    Returns:
        (D, H, W) float32 on the same 1 mm grid.
    """
    voxel = draw.numbers.uniform(*RESOLUTION_MM[modality], size=3)
    image = blur(painted[None], tuple(voxel / FWHM_PER_SIGMA))[0]
    if draw.happens(MOTION):
        image = move(image, draw, LARGEST_MOTION_MM, LARGEST_MOTION_DEGREES)
    scanned = [int(np.ceil(n / max(size, 1.0))) for n, size in zip(image.shape, voxel, strict=True)]
    image = F.interpolate(image[None, None], size=scanned, mode="trilinear", align_corners=True)[0, 0]
    image = image * torch.exp(draw.uniform(BIAS) * draw.smooth_field(image.shape, BIAS_SPACING)[0])
    noise = draw.uniform(NOISE[modality])
    image = torch.hypot(image + noise * draw.normal(image.shape), noise * draw.normal(image.shape))
    return F.interpolate(image[None, None], size=painted.shape, mode="trilinear", align_corners=True)[0, 0]


def move(image: torch.Tensor, draw: Draw, largest: float, largest_degrees: float) -> torch.Tensor:
    """Fill a part of the scan's frequencies from a head that has moved meanwhile: ghosts and blur along one axis.

    Args:
        image: (D, H, W) float32.
        draw: the pair's random numbers.
        largest: shift along each axis in voxels, at most.
        largest_degrees: turn about each axis, at most.
    """
    moved = turn(image, draw, largest, largest_degrees)
    axis = int(draw.numbers.integers(3))
    spectra = [torch.fft.fft(head, dim=axis) for head in (image, moved)]
    lines = image.shape[axis]
    # The centre, which decides on what is seen at all, comes from one position.
    late = torch.fft.fftshift(torch.arange(lines)) >= int(lines * draw.uniform((0.55, 0.9)))
    late = late[torch.arange(lines)].reshape([-1 if other == axis else 1 for other in range(3)])
    return torch.fft.ifft(torch.where(late, spectra[1], spectra[0]), dim=axis).abs()


def turn(image: torch.Tensor, draw: Draw, largest: float, largest_degrees: float) -> torch.Tensor:
    """Shift and turn an image (D, H, W) by up to so many voxels and degrees along and about each axis."""
    angles = np.deg2rad(draw.numbers.uniform(-1, 1, 3) * largest_degrees)
    shift = draw.numbers.uniform(-1, 1, 3) * largest
    half = (np.asarray(image.shape) - 1) / 2
    matrix = np.zeros((3, 4))
    # grid_sample wants the axes in reverse order and sides from -1 to 1.
    matrix[:, :3] = (np.diag(1 / half) @ rotation(angles) @ np.diag(half))[::-1, ::-1]
    matrix[:, 3] = (shift / half)[::-1]
    grid = F.affine_grid(torch.from_numpy(matrix).float()[None], [1, 1, *image.shape], align_corners=True)
    return F.grid_sample(image[None, None], grid, padding_mode="border", align_corners=True)[0, 0]


def strip(shape: Shape, draw: Draw) -> torch.Tensor:
    """The mask that skull stripping finds: (D, H, W) bool, the brain or a border that varies beside it."""
    if not draw.happens(MASK_OFF):
        return shape.brain
    border = draw.uniform(MASK_BORDER_MM) + draw.smooth_field(shape.brain.shape, 30)[0]
    small = [slice(None, None, 2)] * 3  # distances at half the resolution: an eighth of the time
    coarse = shape.brain[tuple(small)].numpy()
    signed = ndimage.distance_transform_edt(~coarse, 2.0) - ndimage.distance_transform_edt(coarse, 2.0)
    distance = F.interpolate(torch.from_numpy(signed)[None, None].float(), size=border.shape, mode="trilinear")[0, 0]
    mask = distance < border.clamp(*MASK_BORDER_MM)
    pieces, count = ndimage.label(mask)
    if count > 1:
        mask = torch.from_numpy(pieces == 1 + np.bincount(pieces.ravel())[1:].argmax())
    return torch.from_numpy(ndimage.binary_fill_holes(mask))


def holes(shape: Shape, t1: torch.Tensor, draw: Draw) -> torch.Tensor:
    """Voxels in the darkest CSF that are set to 0: (D, H, W) bool, mostly none."""
    csf = shape.labels == CSF.label
    if not draw.happens(HOLES) or not csf.any():
        return torch.zeros_like(csf)
    values = t1[csf]
    rank = max(1, int(draw.uniform(HOLES_SHARE) * len(values)))
    return csf & (t1 < values.kthvalue(rank).values)


def as_counts(image: torch.Tensor, visible: torch.Tensor) -> np.ndarray:
    """Whole numbers, at least 1 where ``visible`` (D, H, W) bool, 0 elsewhere; float32."""
    counts = (CORTEX_INTENSITY * image).round().clamp_min(1)
    return torch.where(visible, counts, torch.zeros(())).numpy()
