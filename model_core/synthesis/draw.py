"""Random numbers and smooth fields of one synthetic pair, all from one seed."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

Range = tuple[float, float]
BLUR_REACH = 3  # standard deviations that a Gaussian blur reaches


class Draw:
    """Random numbers of one pair: the same seed gives the same numbers, in the order in which they are asked for.

    Args:
        seed: a whole number of 0 or more, or several.
    """

    def __init__(self, seed: int | tuple[int, ...]) -> None:
        self.numbers = np.random.default_rng(seed)
        self._noise = torch.Generator().manual_seed(int(self.numbers.integers(2**62)))

    def uniform(self, limits: Range) -> float:
        """A number between two limits."""
        return float(self.numbers.uniform(*limits))

    def happens(self, probability: float) -> bool:
        """Whether something of this probability, 0 to 1, happens."""
        return bool(self.numbers.random() < probability)

    def normal(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Standard normal noise, float32."""
        return torch.randn(shape, generator=self._noise)

    def smooth_field(self, shape: tuple[int, ...], spacing: float, channels: int = 1) -> torch.Tensor:
        """Smooth noise (channels, D, H, W) of standard deviation 1 that varies over about ``spacing`` voxels."""
        coarse = [max(4, int(np.ceil(2 * n / spacing)) + 2) for n in shape]
        field = blur(self.normal((channels, *coarse)), 1.0)
        field = field / field.std()
        return F.interpolate(field[None], size=shape, mode="trilinear", align_corners=True)[0]


def blur(images: torch.Tensor, sigma: float | tuple[float, float, float]) -> torch.Tensor:
    """Gaussian blur of (C, D, H, W) images, sigma in voxels for all axes or each, edges replicated."""
    # scipy's filter is sixteen times as fast on a CPU as torch's convolution with one channel.
    return torch.from_numpy(
        np.stack(
            [ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=BLUR_REACH) for image in images.numpy()]
        )
    )
