"""The parts that the inference forms of the networks are made of: all linear steps in a row are one.

Activations lie channels-last, so that (positions, channels), as matrix products and attention want them, is a view.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RELU6 = 6.0

Part = TypeVar("Part", bound=nn.Module)


class Affine(nn.Module):
    """What is left of a batch normalisation in evaluation: a scale and a shift per channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm3d) -> None:
        super().__init__()
        scale, shift = scale_and_shift(norm)
        self.register_buffer("scale", scale.view(1, -1, 1, 1, 1))
        self.register_buffer("shift", shift.view(1, -1, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> the same shape."""
        return torch.addcmul(self.shift, x, self.scale)


class FusedConvolution(nn.Module):
    """A convolution, and the batch normalisation that alone gets its output.

    On the CPU oneDNN is called by name: at batch 1 on one thread `F.conv3d` chooses a path several times slower.

    Args:
        conv: the convolution.
        following: scale and shift per channel, (out,) each, that its output goes through; or the norm that has them.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv3d, following: nn.BatchNorm3d | tuple[Tensor, Tensor] | None = None) -> None:
        super().__init__()
        weight, bias = conv.weight.detach(), conv.bias.detach().clone() if conv.bias is not None else None
        if following is not None:
            scale, shift = following if isinstance(following, tuple) else scale_and_shift(following)
            weight = weight * scale.view(-1, 1, 1, 1, 1)
            bias = shift if bias is None else shift + scale * bias
        self.register_buffer("weight", channels_last(weight.clone()))
        self.register_buffer("bias", bias)
        self.stride, self.dilation = list(conv.stride), list(conv.dilation)
        self.padding = [int(side) for side in conv.padding]

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, D, H, W) channels-last -> (N, out, D/stride, H/stride, W/stride) channels-last."""
        if x.device.type == "cpu" and torch.backends.mkldnn.is_available():
            return torch.mkldnn_convolution(x, self.weight, self.bias, self.padding, self.stride, self.dilation, 1)
        return F.conv3d(x, self.weight, self.bias, self.stride, self.padding, self.dilation)


class ShiftedTokens:
    """A volume's positions × channels, and those of its neighbours: (N, C, D, H, W) moved by up to 1 per axis."""

    def __init__(self, x: Tensor) -> None:
        self.count, self.channels = x.shape[:2]
        self.size = x.shape[2:]
        self._padded = F.pad(x.permute(0, 2, 3, 4, 1), (0, 0, 1, 1, 1, 1, 1, 1))
        self._moved: dict[tuple[int, ...], Tensor] = {}

    def by(self, move: tuple[int, ...]) -> Tensor:
        """(N·positions, C), 0 beyond the volume."""
        if move not in self._moved:
            places = tuple(slice(1 + step, 1 + step + side) for step, side in zip(move, self.size, strict=True))
            self._moved[move] = self._padded[:, *places].reshape(-1, self.channels)
        return self._moved[move]


class Deconvolution(nn.Module):
    """Transposed convolution of stride 2 and padding 1 that doubles the size, phase by phase.

    Output voxel o of an axis sums weight[k]·input[i] over o = 2i - 1 + k: even ones take odd k, odd ones even k. So
    the voxels of one parity (of 8) are a sum of matrix products of the input's neighbours.

    Args:
        weight: (in, out, kernel³), kernel 3 or 4.
        bias: (out,) or None.
    """

    taps: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        kernel = weight.shape[2]
        # For each parity of an axis: which taps of the kernel meet the input, moved by how much.
        axis = [[(k, (parity + 1 - k) // 2) for k in range(kernel) if (parity + 1 - k) % 2 == 0] for parity in (0, 1)]
        self.phase_taps = [
            list(itertools.product(*(axis[parity] for parity in parities)))
            for parities in itertools.product((0, 1), repeat=3)
        ]
        # (kernel³, in, out): a tap's matrix is contiguous.
        self.register_buffer("taps", weight.detach().permute(2, 3, 4, 0, 1).contiguous())
        self.register_buffer("bias", weight.new_zeros(weight.shape[1]) if bias is None else bias.detach().clone())

    @classmethod
    def of(cls, conv: nn.ConvTranspose3d) -> Deconvolution:
        """Take over a module of torch's."""
        return cls(conv.weight, conv.bias)

    def phases(self, x: ShiftedTokens) -> Tensor:
        """(N, 8, positions of the input, out): the output's voxels, those of one parity together."""
        positions = math.prod(x.size)
        out = self.bias.new_empty(8, x.count * positions, len(self.bias))
        for phase, taps in zip(out, self.phase_taps, strict=True):
            phase.copy_(self.bias)
            for along_axes in taps:
                k, move = zip(*along_axes, strict=True)
                phase.addmm_(x.by(move), self.taps[k])
        out = out.view(8, x.count, positions, -1)
        return out.transpose(0, 1).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, D, H, W) -> (N, out, 2D, 2H, 2W) channels-last."""
        return interleave(self.phases(ShiftedTokens(x)), x.shape[2:])


def interleave(phases: Tensor, size: Sequence[int]) -> Tensor:
    """(N, 8, D·H·W, C) by parity -> (N, C, 2D, 2H, 2W), channels-last."""
    count, _, _, channels = phases.shape
    depth, height, width = size
    grid = phases.view(count, 2, 2, 2, depth, height, width, channels).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return grid.reshape(count, 2 * depth, 2 * height, 2 * width, channels).permute(0, 4, 1, 2, 3)


def attend_scaled(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q·kᵀ)·v, the scale 1/√channels being in the queries already.

    Args:
        query, key, value: (N, heads, positions, channels), contiguous.

    Raises:
        ValueError: a tensor is not contiguous; torch would then silently hold the whole matrix of weights.
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not tensor.is_contiguous():
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} is not contiguous")
    return F.scaled_dot_product_attention(query, key, value, scale=1.0)


def channels_last(x: Tensor) -> Tensor:
    """(N, C, D, H, W), the same numbers with the channels of a voxel side by side."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def tokens_of(x: Tensor) -> Tensor:
    """(N, C, D, H, W) channels-last -> (N, positions, C), a view."""
    return x.permute(0, 2, 3, 4, 1).flatten(1, 3)


def volume_of(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """(N, positions, C) -> (N, C, D, H, W) channels-last, a view."""
    return tokens.view(tokens.shape[0], *size, tokens.shape[2]).permute(0, 4, 1, 2, 3)


def relu6_(x: Tensor) -> Tensor:
    """ReLU6 in place."""
    return x.clamp_(0, RELU6)


def part_of(modules: nn.Module, index: int, kind: type[Part]) -> Part:
    """The module at an index of a container of torch's, which does not say what kinds it holds.

    Raises:
        TypeError: it is of another kind.
    """
    part = list(modules.children())[index]
    if not isinstance(part, kind):
        raise TypeError(
            f"part {index} of {type(modules).__name__} is a {type(part).__name__}; expected {kind.__name__}"
        )
    return part


def norm_of(activation: nn.Module) -> nn.BatchNorm3d:
    """The batch normalisation of a ``normalised_relu6``."""
    return part_of(activation, 0, nn.BatchNorm3d)


def matrix_of(conv: nn.Conv3d | nn.ConvTranspose3d) -> tuple[Tensor, Tensor]:
    """A 1³ convolution with bias as (in, out) matrix and (out,) bias.

    Raises:
        ValueError: it is transposed or has no bias.
    """
    if isinstance(conv, nn.ConvTranspose3d) or conv.bias is None:
        raise ValueError(f"{conv} is no 1³ convolution with bias")
    return conv.weight.detach()[:, :, 0, 0, 0].t().contiguous(), conv.bias.detach().clone()


def scale_and_shift(norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """A batch normalisation in evaluation as y = scale·x + shift, (C,) each, computed in float64.

    Raises:
        ValueError: it keeps no running statistics.
    """
    if norm.running_var is None or norm.running_mean is None:
        raise ValueError(f"{norm} keeps no running statistics")
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale, shift = scale * norm.weight.double(), shift * norm.weight.double() + norm.bias.double()
    dtype = norm.running_mean.dtype
    return scale.detach().to(dtype), shift.detach().to(dtype)
