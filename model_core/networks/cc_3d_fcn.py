"""CC-3D-FCN (Nie et al. 2018), the baseline of the Non-local U-Net: convolution and concatenation, 3-D, fully
convolutional.

Our reading: the published widths 96, 128 and 128 with the layers below are one layout that meets the 2,534,276
parameters which Wang et al. 2020 print for it; other layouts meet them too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_core.networks.blocks import (
    BATCH_NORM_EPSILON,
    BATCH_NORM_MOMENTUM,
    HE_GAIN,
    SMALL_GAIN,
    SegmentationNetwork,
    convolution,
    initialised,
)

ENCODER_WIDTHS = (96, 128, 128)
CONVOLUTIONS_PER_LEVEL = (3, 2, 1)
DECODER_WIDTH = 32


class CC3DFCN(SegmentationNetwork):
    """Three pooled levels; each decoder level joins the transformed map of its encoder level.

    Args:
        name: name in ``NETWORKS``.
        in_channels: channels of the input.
        num_classes: channels of the logits.
    """

    window_multiple = 8

    def __init__(self, name: str, in_channels: int = 2, num_classes: int = 4) -> None:
        super().__init__(name, in_channels, num_classes)
        self.levels = nn.ModuleList()
        self.transforms = nn.ModuleList()
        channels = in_channels
        for width, repeats in zip(ENCODER_WIDTHS, CONVOLUTIONS_PER_LEVEL, strict=True):
            layers: list[nn.Module] = []
            for _ in range(repeats):
                layers += [convolution(channels, width), _fixed_norm(width), nn.ReLU(inplace=True)]
                channels = width
            self.levels.append(nn.Sequential(*layers))
            self.transforms.append(nn.Sequential(convolution(width, DECODER_WIDTH), nn.ReLU(inplace=True)))
        self.pool = nn.MaxPool3d(2)
        self.deconvs = nn.ModuleList()
        self.joins = nn.ModuleList()
        for out_channels, gain in ((DECODER_WIDTH, HE_GAIN), (DECODER_WIDTH, HE_GAIN), (num_classes, SMALL_GAIN)):
            deconv = nn.ConvTranspose3d(channels, DECODER_WIDTH, 4, stride=2, padding=1, bias=False)
            self.deconvs.append(nn.Sequential(initialised(deconv), nn.ReLU(inplace=True)))
            join = nn.Conv3d(2 * DECODER_WIDTH, out_channels, 3, padding=1)
            self.joins.append(initialised(join, gain=gain))
            channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W), sides multiples of 8 -> logits (N, num_classes, D, H, W)."""
        self.check_input(x)
        transformed = []
        for level, transform in zip(self.levels, self.transforms, strict=True):
            x = level(x)
            transformed.append(transform(x))
            x = self.pool(x)
        for deconv, join, same_size in zip(self.deconvs, self.joins, reversed(transformed), strict=True):
            x = join(torch.cat([deconv(x), same_size], dim=1))
        return x


def _fixed_norm(channels: int) -> nn.BatchNorm3d:
    """Batch normalisation without learnable scale and shift, as the parameter count asks."""
    return nn.BatchNorm3d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM, affine=False)
