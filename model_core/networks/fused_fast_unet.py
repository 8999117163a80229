"""The fast U-Net as it runs fastest on a CPU: the same numbers but for rounding, normalisations folded away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model_core.networks.fast_unet import (
    ConvolutionUnit,
    FastUNet,
    ResidualUnit,
    depth_to_space,
    doubled,
)
from model_core.networks.fused_layers import FusedConvolution, part_of


class FusedFastUNet(nn.Module):
    """Every convolution with its normalisation in one, channels-last, oneDNN called by name.

    Args:
        network: in evaluation mode; it is not changed, and later changes of it do not count.
    """

    def __init__(self, network: FastUNet) -> None:
        super().__init__()
        self._blocks = network.blocks
        self.stem = _FusedUnit(network.stem)
        self.encode_half = _FusedResidual(network.encode_half)
        self.to_quarter = _FusedUnit(network.to_quarter)
        self.encode_quarter = _FusedResidual(network.encode_quarter)
        self.to_eighth = _FusedUnit(network.to_eighth)
        self.bottom = nn.Sequential(
            *(_FusedResidual(part_of(network.bottom, i, ResidualUnit)) for i in range(len(network.bottom)))
        )
        self.from_eighth = _FusedUnit(network.from_eighth)
        self.decode_quarter = _FusedResidual(network.decode_quarter)
        self.from_quarter = _FusedUnit(network.from_quarter)
        self.decode_half = _FusedResidual(network.decode_half)
        self.to_full = FusedConvolution(network.to_full)
        self.refine = _FusedUnit(network.refine)
        self.classify = FusedConvolution(network.classify)

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """As ``FastUNet.forward``; the logits come channels-last."""
        blocks = self._blocks(x, place).contiguous(memory_format=torch.channels_last_3d)
        half = self.encode_half(self.stem(blocks))
        quarter = self.encode_quarter(self.to_quarter(half))
        y = self.bottom(self.to_eighth(quarter))
        y = self.decode_quarter(doubled(self.from_eighth(y)).add_(quarter))
        y = self.decode_half(doubled(self.from_quarter(y)).add_(half))
        y = torch.cat([depth_to_space(self.to_full(y)).relu_(), x], dim=1)
        return self.classify(self.refine(y.contiguous(memory_format=torch.channels_last_3d)))


class _FusedUnit(nn.Module):
    def __init__(self, unit: ConvolutionUnit) -> None:
        super().__init__()
        self.conv = FusedConvolution(unit.conv, unit.norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu_()


class _FusedResidual(nn.Module):
    def __init__(self, unit: ResidualUnit) -> None:
        super().__init__()
        self.first = _FusedUnit(unit.first)
        self.second = FusedConvolution(unit.second, unit.norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x)).add_(x).relu_()
