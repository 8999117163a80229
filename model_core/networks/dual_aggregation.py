"""The dual aggregation network for 6-month brains and its two ablations (Lei et al. 2019).

Dilated convolution pyramids (DCP) down, dual attention (spatial and channel) at the bottom and after the first
up-sampling. The paper leaves gaps; a comment "our choice" marks each thing that we filled in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model_core.networks.attention import attend, from_tokens, to_tokens
from model_core.networks.blocks import (
    SMALL_GAIN,
    SOFTMAX_GAIN,
    OutputHead,
    ResidualBlock,
    SegmentationNetwork,
    convolution,
    deconvolution,
    normalised_relu6,
    pointwise,
)

DILATIONS = (1, 2, 4)


class DualAggregation(SegmentationNetwork):
    """U-Net with pyramids on the way down and dual attention on the way up.

    Args:
        name: name in ``NETWORKS``.
        in_channels: channels of the input.
        num_classes: channels of the logits.
        pyramids: down-sampling by DCP blocks, else by strided residual blocks (the paper's Model-2).
        attention: dual attention, else one convolution at the bottom and nothing after the first
            up-sampling (the paper's Model-1).
        attention_dropout: dropout rate on the spatial attention weights while training.
        output_dropout: dropout rate before the output convolution while training.
    """

    def __init__(
        self,
        name: str,
        in_channels: int = 2,
        num_classes: int = 4,
        *,
        pyramids: bool = True,
        attention: bool = True,
        attention_dropout: float = 0.5,
        output_dropout: float = 0.5,
    ) -> None:
        super().__init__(name, in_channels, num_classes)
        # Our choice: stem, first block, widths and head as in the Non-local U-Net.
        self.stem = convolution(in_channels, 32)
        self.encode_1 = ResidualBlock(32, 32, shortcut="projection")
        self.encode_2 = _down_sampling(32, pyramids)
        self.encode_3 = _down_sampling(64, pyramids)
        self.bottom = (
            DualAttention(128, dropout=attention_dropout)
            if attention
            else nn.Sequential(normalised_relu6(128), convolution(128, 128))
        )
        self.up_1 = deconvolution(128, 64)
        self.decode_1 = ResidualBlock(64, 64)
        # Our choice: the second dual attention stands behind the first up-sampling's residual block.
        self.attention_1 = DualAttention(64, dropout=attention_dropout) if attention else nn.Identity()
        self.up_2 = deconvolution(64, 32)
        self.decode_2 = ResidualBlock(32, 32)
        self.head = OutputHead(32, num_classes, dropout=output_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W), sides multiples of 4 -> logits (N, num_classes, D, H, W)."""
        self.check_input(x)
        full = self.encode_1(self.stem(x))
        half = self.encode_2(full)
        y = self.bottom(self.encode_3(half))
        # Our choice: the encoder's maps join by sum, as in the Non-local U-Net.
        y = self.attention_1(self.decode_1(self.up_1(y) + half))
        y = self.decode_2(self.up_2(y) + full)
        return self.head(y)


class DilatedPyramid(nn.Module):
    """DCP block: four parallel convolutions of growing reach, then a strided convolution; C -> 2C channels.

    BN-ReLU6; 3³ convolutions with dilation 1, 2 and 4 and a 1³ convolution, each C -> C (our choice); BN-ReLU6
    of the four together; 3³ convolution of stride 2; plus a 1³ convolution of stride 2 of the first BN-ReLU6.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.activate_1 = normalised_relu6(channels)
        self.branches = nn.ModuleList(convolution(channels, channels, dilation=dilation) for dilation in DILATIONS)
        self.branches.append(convolution(channels, channels, kernel=1))
        self.activate_2 = normalised_relu6(len(self.branches) * channels)
        self.down = convolution(len(self.branches) * channels, 2 * channels, stride=2)
        self.projection = convolution(channels, 2 * channels, kernel=1, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> (N, 2C, D/2, H/2, W/2)."""
        activated = self.activate_1(x)
        pyramid = torch.cat([branch(activated) for branch in self.branches], dim=1)
        return self.down(self.activate_2(pyramid)) + self.projection(activated)


class DualAttention(nn.Module):
    """Spatial and channel attention side by side, joined by a 1³ convolution, plus the input (our choice)."""

    def __init__(self, channels: int, *, dropout: float) -> None:
        super().__init__()
        self.activate = normalised_relu6(channels)
        self.spatial = SpatialAttention(channels, dropout=dropout)
        self.join = pointwise(2 * channels, channels, gain=SMALL_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> the same shape."""
        activated = self.activate(x)
        return self.join(torch.cat([self.spatial(activated), channel_attention(activated)], dim=1)) + x


class SpatialAttention(nn.Module):
    """softmax(q·kᵀ/√C)·v over all positions (equations 1 and 2), one head; q, k, v keep C channels (our choice)."""

    def __init__(self, channels: int, *, dropout: float) -> None:
        super().__init__()
        self.query = pointwise(channels, channels, gain=SOFTMAX_GAIN)
        self.key = pointwise(channels, channels, gain=SOFTMAX_GAIN)
        self.value = pointwise(channels, channels)
        self.attention_dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> the same shape."""
        query, key, value = (to_tokens(conv(x), heads=1) for conv in (self.query, self.key, self.value))
        out = attend(query, key, value, dropout=self.attention_dropout if self.training else 0.0)
        return from_tokens(out, x.shape[2:])


def channel_attention(x: Tensor) -> Tensor:
    """Every channel becomes a mean of all channels, weighted by how alike their maps are (equation 4).

    Args:
        x: (N, C, D, H, W).

    Returns:
        (N, C, D, H, W): softmax(x·xᵀ/√positions)·x over the flattened maps; the scale is our
        choice, without it the products grow with the window and the softmax saturates.
    """
    maps = x.flatten(2)
    weights = torch.softmax(maps @ maps.transpose(1, 2) / math.sqrt(maps.shape[2]), dim=-1)
    return (weights @ maps).view_as(x)


def _down_sampling(channels: int, pyramid: bool) -> nn.Module:
    if pyramid:
        return DilatedPyramid(channels)
    return ResidualBlock(channels, 2 * channels, stride=2, shortcut="projection")
