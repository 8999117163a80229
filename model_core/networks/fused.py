"""The networks as they run fastest in inference: the same numbers but for rounding, by fewer and faster operations.

The training form stays as the papers draw it; `fused` rewrites a trained network exactly:

- a batch normalisation that alone follows a convolution is folded into it, any other one becomes one affine;
- one head's output projection goes into the values, W·Σ a·v = Σ a·(W·v); the values' bias goes past the softmax,
  whose weights sum to 1; the keys' bias adds the same to all scores of a query and is left out; the scale 1/√C goes
  into the queries;
- deconvolutions are sums of matrix products, one set for each parity of the output voxels; those that make queries and
  shortcut of an up-sampling share their input, and the queries stay in that order, of which attention knows nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_core.networks.blocks import OutputHead, ResidualBlock, SegmentationNetwork
from model_core.networks.cc_3d_fcn import CC3DFCN
from model_core.networks.dual_aggregation import DilatedPyramid, DualAggregation, DualAttention
from model_core.networks.ensemble import Ensemble, MeanOfMembers
from model_core.networks.fast_unet import FastUNet
from model_core.networks.fused_fast_unet import FusedFastUNet
from model_core.networks.fused_layers import (
    Affine,
    Deconvolution,
    FusedConvolution,
    ShiftedTokens,
    attend_scaled,
    channels_last,
    interleave,
    matrix_of,
    norm_of,
    part_of,
    relu6_,
    scale_and_shift,
    tokens_of,
    volume_of,
)
from model_core.networks.nonlocal_unet import GlobalBottom, GlobalUp, NonlocalUNet


def has_fused_form(network: nn.Module) -> TypeGuard[SegmentationNetwork]:
    """Whether `fused` knows the class of a network."""
    return isinstance(network, CC3DFCN | NonlocalUNet | DualAggregation | FastUNet | Ensemble)


@torch.no_grad()
def fused(network: SegmentationNetwork) -> nn.Module:
    """Rewrite a network for inference.

    Args:
        network: any of `NETWORKS`, as it is in evaluation mode; it is not changed, and later changes of it do not
            count.

    Returns:
        Takes (N, in_channels, D, H, W) standardised windows on the network's device and gives the logits
        (N, num_classes, D, H, W) channels-last; `.to(dtype)` and `.to(device)` work as for any module.

    Raises:
        ValueError: the network is of a class that has no inference form.
    """
    if isinstance(network, CC3DFCN):
        return _FoldedCC3DFCN(network)
    if isinstance(network, Ensemble):
        return MeanOfMembers([fused(member) for member in network.members])
    if isinstance(network, FastUNet):
        return FusedFastUNet(network)
    if isinstance(network, NonlocalUNet | DualAggregation):
        return _FoldedUNet(network)
    raise ValueError(f"{type(network).__name__} has no inference form")


class _FoldedUNet(nn.Module):
    """Non-local U-Net and dual aggregation network, which differ in their blocks alone."""

    def __init__(self, network: NonlocalUNet | DualAggregation) -> None:
        super().__init__()
        self.stem = FusedConvolution(network.stem, norm_of(network.encode_1.activate_1))
        self.encode_1 = _FoldedResidual(network.encode_1, is_activated=True)
        self.encode_2, self.encode_3 = _folded(network.encode_2), _folded(network.encode_3)
        self.bottom = _folded(network.bottom)
        self.up_1, self.up_2 = _folded(network.up_1), _folded(network.up_2)
        self.decode_1, self.decode_2 = _FoldedResidual(network.decode_1), _FoldedResidual(network.decode_2)
        self.attention_1 = _folded(getattr(network, "attention_1", nn.Identity()))
        self.head = _FoldedHead(network.head)

    def forward(self, x: Tensor) -> Tensor:
        full = self.encode_1(relu6_(self.stem(channels_last(x))))
        half = self.encode_2(full)
        y = self.bottom(self.encode_3(half))
        y = self.attention_1(self.decode_1(self.up_1(y).add_(half)))
        return self.head(self.decode_2(self.up_2(y).add_(full)))


class _FoldedCC3DFCN(nn.Module):
    def __init__(self, network: CC3DFCN) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_folded_level(level) for level in network.levels)
        self.transforms = nn.ModuleList(
            FusedConvolution(part_of(transform, 0, nn.Conv3d)) for transform in network.transforms
        )
        self.deconvs = nn.ModuleList(
            Deconvolution.of(part_of(deconv, 0, nn.ConvTranspose3d)) for deconv in network.deconvs
        )
        self.joins = nn.ModuleList(
            FusedConvolution(part_of(network.joins, i, nn.Conv3d)) for i in range(len(network.joins))
        )

    def forward(self, x: Tensor) -> Tensor:
        x, transformed = channels_last(x), []
        for level, transform in zip(self.levels, self.transforms, strict=True):
            for conv in level.children():
                x = conv(x).relu_()
            transformed.append(transform(x).relu_())
            x = F.max_pool3d(x, 2)
        for deconv, join, same_size in zip(self.deconvs, self.joins, reversed(transformed), strict=True):
            x = join(torch.cat([deconv(x).relu_(), same_size], dim=1))
        return x


def _folded_level(level: nn.Module) -> nn.ModuleList:
    """Of convolution, norm and ReLU, repeated, the convolutions."""
    starts = range(0, sum(1 for _ in level.children()), 3)
    return nn.ModuleList(
        FusedConvolution(part_of(level, i, nn.Conv3d), part_of(level, i + 1, nn.BatchNorm3d)) for i in starts
    )


def _folded(block: nn.Module) -> nn.Module:
    """The inference form of a block."""
    if isinstance(block, nn.Identity):
        return block
    if isinstance(block, nn.ConvTranspose3d):
        return Deconvolution.of(block)
    forms: dict[type[nn.Module], Callable[[Any], nn.Module]] = {
        ResidualBlock: _FoldedResidual,
        DilatedPyramid: _FoldedPyramid,
        GlobalBottom: _FoldedGlobalBottom,
        GlobalUp: _FoldedGlobalUp,
        DualAttention: _FoldedDualAttention,
        nn.Sequential: _FoldedActivatedConvolution,
    }
    return forms[type(block)](block)


class _FoldedResidual(nn.Module):
    """Residual block; `is_activated` where whoever makes its input has done its first BN-ReLU6."""

    def __init__(self, block: ResidualBlock, *, is_activated: bool = False) -> None:
        super().__init__()
        self.activate = None if is_activated else Affine(norm_of(block.activate_1))
        self.conv_1 = FusedConvolution(block.conv_1, norm_of(block.activate_2))
        self.conv_2 = FusedConvolution(block.conv_2)
        self.projection = FusedConvolution(block.projection) if block.shortcut == "projection" else None
        self.adds_input = block.shortcut == "identity"

    def forward(self, x: Tensor) -> Tensor:
        activated = x if self.activate is None else relu6_(self.activate(x))
        y = self.conv_2(relu6_(self.conv_1(activated)))
        if self.projection is not None:
            return y.add_(self.projection(activated))
        return y.add_(x) if self.adds_input else y


class _FoldedActivatedConvolution(nn.Module):
    """BN-ReLU6, then a convolution."""

    def __init__(self, block: nn.Sequential) -> None:
        super().__init__()
        self.activate, self.conv = Affine(norm_of(block[0])), FusedConvolution(part_of(block, 1, nn.Conv3d))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(relu6_(self.activate(x)))


class _FoldedHead(nn.Module):
    def __init__(self, head: OutputHead) -> None:
        super().__init__()
        self.activate, self.conv = Affine(norm_of(head.activate)), FusedConvolution(head.conv)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(relu6_(self.activate(x)))


class _FoldedPyramid(nn.Module):
    """DCP block: the second BN is folded into the four branches."""

    def __init__(self, block: DilatedPyramid) -> None:
        super().__init__()
        self.activate = Affine(norm_of(block.activate_1))
        scales, shifts = (part.chunk(len(block.branches)) for part in scale_and_shift(norm_of(block.activate_2)))
        self.branches = nn.ModuleList(
            FusedConvolution(part_of(block.branches, i, nn.Conv3d), following)
            for i, following in enumerate(zip(scales, shifts, strict=True))
        )
        self.down, self.projection = FusedConvolution(block.down), FusedConvolution(block.projection)

    def forward(self, x: Tensor) -> Tensor:
        activated = relu6_(self.activate(x))
        pyramid = torch.cat([branch(activated) for branch in self.branches], dim=1)
        return self.down(relu6_(pyramid)).add_(self.projection(activated))


class _FoldedGlobalBottom(nn.Module):
    """Global aggregation at one size with heads side by side, plus the input."""

    weight: Tensor
    bias: Tensor
    output: Tensor
    output_bias: Tensor

    def __init__(self, block: GlobalBottom) -> None:
        super().__init__()
        aggregate = block.aggregate
        self.activate, self.heads = Affine(norm_of(block.activate)), aggregate.heads
        self.channels = aggregate.output.out_channels
        scale = 1 / math.sqrt(self.channels // self.heads)
        (query, query_bias), (key, key_bias) = matrix_of(aggregate.query), matrix_of(aggregate.key)
        (value, value_bias), (output, output_bias) = matrix_of(aggregate.value), matrix_of(aggregate.output)
        nothing = torch.zeros_like(key_bias)
        self.register_buffer("weight", torch.cat([query * scale, key, value], dim=1))
        self.register_buffer("bias", torch.cat([query_bias * scale, nothing, nothing]))
        self.register_buffer("output", output)
        self.register_buffer("output_bias", output_bias + value_bias @ output)

    def forward(self, x: Tensor) -> Tensor:
        tokens = tokens_of(relu6_(self.activate(x)))
        count, positions, channels = tokens.shape
        parts = torch.addmm(self.bias, tokens.flatten(0, 1), self.weight)
        parts = parts.view(count, positions, 3, self.heads, channels // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4).contiguous()
        out = attend_scaled(query, key, value).transpose(1, 2).reshape(count * positions, channels)
        out = torch.addmm(self.output_bias, out, self.output).view(count, positions, channels)
        return volume_of(out.add_(tokens_of(x)), x.shape[2:])


class _FoldedGlobalUp(nn.Module):
    """Global aggregation of one head with 8 times as many queries as keys, plus a deconvolution."""

    key: Tensor
    value: Tensor

    def __init__(self, block: GlobalUp) -> None:
        super().__init__()
        aggregate = block.aggregate
        self.activate, self.channels = Affine(norm_of(block.activate)), aggregate.output.out_channels
        scale = 1 / math.sqrt(self.channels)
        (key, _), (value, value_bias) = matrix_of(aggregate.key), matrix_of(aggregate.value)
        output, output_bias = matrix_of(aggregate.output)
        self.register_buffer("key", key)
        self.register_buffer("value", value @ output)
        query_bias = None if aggregate.query.bias is None else aggregate.query.bias * scale
        self.queries = Deconvolution(aggregate.query.weight * scale, query_bias)
        self.shortcut = Deconvolution(block.deconv.weight, output_bias + value_bias @ output)

    def forward(self, x: Tensor) -> Tensor:
        activated = relu6_(self.activate(x))
        tokens, shifted = tokens_of(activated), ShiftedTokens(activated)
        query, out = self.queries.phases(shifted), self.shortcut.phases(shifted)
        key, value = tokens @ self.key, tokens @ self.value
        aggregated = attend_scaled(query.flatten(1, 2).unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1))
        return interleave(out.add_(aggregated.view_as(out)), x.shape[2:])


class _FoldedDualAttention(nn.Module):
    """Spatial attention with its part of the join in its values, channel attention, plus the input."""

    weight: Tensor
    bias: Tensor
    channel_join: Tensor

    def __init__(self, block: DualAttention) -> None:
        super().__init__()
        spatial = block.spatial
        self.activate, channels = Affine(norm_of(block.activate)), spatial.query.out_channels
        scale = 1 / math.sqrt(channels)
        (query, query_bias), (key, key_bias) = matrix_of(spatial.query), matrix_of(spatial.key)
        (value, value_bias), (join, join_bias) = matrix_of(spatial.value), matrix_of(block.join)
        value_bias = join_bias + value_bias @ join[:channels]
        self.register_buffer("weight", torch.cat([query * scale, key, value @ join[:channels]], dim=1))
        self.register_buffer("bias", torch.cat([query_bias * scale, torch.zeros_like(key_bias), value_bias]))
        self.register_buffer("channel_join", join[channels:].contiguous())

    def forward(self, x: Tensor) -> Tensor:
        tokens = tokens_of(relu6_(self.activate(x)))
        count, positions, channels = tokens.shape
        parts = torch.addmm(self.bias, tokens.flatten(0, 1), self.weight).view(count, positions, 3, channels)
        query, key, value = parts.permute(2, 0, 1, 3).unsqueeze(2).contiguous()
        out = attend_scaled(query, key, value).squeeze(1)
        alike = torch.softmax(tokens.transpose(1, 2) @ tokens / math.sqrt(positions), dim=-1)
        out = torch.baddbmm(out, tokens, alike.transpose(1, 2) @ self.channel_join)
        return volume_of(out.add_(tokens_of(x)), x.shape[2:])
