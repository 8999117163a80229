"""A small residual U-Net that sees a whole brain at once, in seconds on a CPU.

Space-to-depth halves the resolution before the first convolution, so that all but the last two work on an eighth of
the voxels or fewer. It is no network of the two papers: it is made for one unlabelled pair and no GPU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_core.networks.blocks import SMALL_GAIN, SegmentationNetwork, pointwise
from model_core.networks.input_form import InputForm

CHANNELS = (32, 64, 96)  # at a half, a quarter and an eighth of the resolution
FULL_RESOLUTION_CHANNELS = (12, 16)
BATCH_NORM_MOMENTUM = 0.05
AXES = 3
VOXELS_OF_BLOCK = 8  # 2³


class FastUNet(SegmentationNetwork):
    """Space-to-depth, residual U-Net at three resolutions, depth-to-space, and two convolutions beside the scans.

    Args:
        name: its name in ``NETWORKS``.
        in_channels: scans.
        num_classes: channels of the logits.
        channels: at a half, a quarter and an eighth of the resolution.
        placed: whether the first convolution sees where in the brain each block of voxels lies.
        full_channels: at the full resolution, before and after the scans are looked at again.
        form: what is different in its input form.
    """

    window_multiple = 8

    def __init__(
        self,
        name: str,
        in_channels: int = 2,
        num_classes: int = 4,
        *,
        channels: tuple[int, int, int] = CHANNELS,
        placed: bool = True,
        full_channels: tuple[int, int] = FULL_RESOLUTION_CHANNELS,
        form: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(name, in_channels, num_classes)
        self.input_form = InputForm(
            standardised_over="volume",
            placed=placed,
            whole_brain=True,
            optional_scans=True,
            mirrored=True,
            channels_last=True,
            bytes_per_voxel=360,
            window=64,
        )
        self.input_form = replace(self.input_form, **(form or {}))
        first, last = full_channels
        half, quarter, eighth = channels
        self.stem = ConvolutionUnit(in_channels * VOXELS_OF_BLOCK + 1 + (AXES if placed else 0), half)
        self.encode_half = ResidualUnit(half)
        self.to_quarter = ConvolutionUnit(half, quarter, stride=2)
        self.encode_quarter = ResidualUnit(quarter)
        self.to_eighth = ConvolutionUnit(quarter, eighth, stride=2)
        self.bottom = nn.Sequential(ResidualUnit(eighth), ResidualUnit(eighth))
        self.from_eighth = ConvolutionUnit(eighth, quarter, kernel=1)
        self.decode_quarter = ResidualUnit(quarter)
        self.from_quarter = ConvolutionUnit(quarter, half, kernel=1)
        self.decode_half = ResidualUnit(half)
        self.to_full = nn.Conv3d(half, first * VOXELS_OF_BLOCK, 3, padding=1)
        self.refine = ConvolutionUnit(first + in_channels, last)
        self.classify = pointwise(last, num_classes, gain=SMALL_GAIN)

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """Classify every voxel.

        Args:
            x: (N, in_channels, D, H, W), sides multiples of 8; 0 outside the brain, and everywhere for a missing scan.
            place: (N, 3, 2), the lowest and the highest coordinate of the window's border along each axis, where the
                brain's box reaches from -1 to 1; ``None`` if the window is that box.

        Returns:
            Logits (N, num_classes, D, H, W).
        """
        self.check_input(x)
        half = self.encode_half(self.stem(self.blocks(x, place)))
        quarter = self.encode_quarter(self.to_quarter(half))
        y = self.bottom(self.to_eighth(quarter))
        y = self.decode_quarter(doubled(self.from_eighth(y)) + quarter)
        y = self.decode_half(doubled(self.from_quarter(y)) + half)
        y = F.relu(depth_to_space(self.to_full(y)))
        return self.classify(self.refine(torch.cat([y, x], dim=1)))

    def blocks(self, x: Tensor, place: Tensor | None) -> Tensor:
        """Scans, brain and place by blocks of 2³ voxels: (N, C, D/2, H/2, W/2)."""
        inside = F.avg_pool3d((x != 0).any(dim=1, keepdim=True).to(x.dtype), 2)
        blocks = [space_to_depth(x), inside]
        if self.input_form.placed:
            blocks.append(coordinates(inside.shape, place).to(x))
        return torch.cat(blocks, dim=1)


class ConvolutionUnit(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False)
        self.norm = nn.BatchNorm3d(out_channels, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W) -> (N, out_channels, D/stride, H/stride, W/stride)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


class ResidualUnit(nn.Module):
    """Two convolutions with batch normalisation, added to the input; ReLU after the first and after the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvolutionUnit(channels, channels)
        self.second = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm3d(channels, momentum=BATCH_NORM_MOMENTUM)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, D, H, W) -> the same shape."""
        return F.relu(x + self.norm(self.second(self.first(x))), inplace=True)


def space_to_depth(x: Tensor) -> Tensor:
    """Put each block of 2³ voxels into the channels: (N, C, D, H, W) -> (N, 8 C, D/2, H/2, W/2)."""
    n, c, d, h, w = x.shape
    blocks = x.reshape(n, c, d // 2, 2, h // 2, 2, w // 2, 2)
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(n, c * VOXELS_OF_BLOCK, d // 2, h // 2, w // 2)


def depth_to_space(x: Tensor) -> Tensor:
    """Undo ``space_to_depth``: (N, 8 C, D, H, W) -> (N, C, 2 D, 2 H, 2 W)."""
    n, c, d, h, w = x.shape
    blocks = x.reshape(n, c // VOXELS_OF_BLOCK, 2, 2, 2, d, h, w)
    return blocks.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(n, c // VOXELS_OF_BLOCK, d * 2, h * 2, w * 2)


def doubled(x: Tensor) -> Tensor:
    """Repeat each voxel along each axis: (N, C, D, H, W) -> (N, C, 2 D, 2 H, 2 W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def coordinates(shape: torch.Size, place: Tensor | None) -> Tensor:
    """Where the centres of voxels lie in the brain's box.

    Args:
        shape: (N, C, D, H, W) of the voxels.
        place: as in ``FastUNet.forward``.

    Returns:
        (N, 3, D, H, W) float32. The first axis, left to right, counts from the middle outwards: the halves of a brain
        are alike.
    """
    count, _, *sides = shape
    if place is None:
        place = torch.tensor([[-1.0, 1.0]]).expand(count, AXES, 2)
    along = []
    for axis, side in enumerate(sides):
        low, high = place[:, axis, :1], place[:, axis, 1:]
        centres = (torch.arange(side, device=place.device) + 0.5) / side
        values = (low + (high - low) * centres).reshape(
            [count, *(side if other == axis else 1 for other in range(AXES))]
        )
        along.append((values.abs() if axis == 0 else values).expand(count, *sides))
    return torch.stack(along, dim=1)
