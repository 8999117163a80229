"""The parts that the networks share: convolutions, normalisation, residual block, output head, first weights."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from model_core.networks.input_form import InputForm

# "momentum" in PyTorch's sense; TensorFlow, in which the Non-local U-Net was published, calls it 0.997.
BATCH_NORM_MOMENTUM = 0.003
BATCH_NORM_EPSILON = 1e-5


# Gains of the first weights. A convolution's input has passed batch normalisation and a ReLU, so its mean square is
# near 1/2, and a variance of 2/fan-in (He et al. 2015) keeps the output's near 1 at any depth. Queries and keys
# start a little smaller, so that the softmax over thousands of positions starts soft; what global aggregation adds,
# and the logits, start small, so that training sets out from the local path and from even probabilities. (The
# public code of the Non-local U-Net draws all weights from a truncated normal with std 1.0, whatever the fan-in.)
HE_GAIN = math.sqrt(2)
SOFTMAX_GAIN = 1.0
SMALL_GAIN = 0.1

AnyConvolution = TypeVar("AnyConvolution", nn.Conv3d, nn.ConvTranspose3d)


@torch.no_grad()
def initialised(conv: AnyConvolution, *, gain: float = HE_GAIN) -> AnyConvolution:
    """Draw the weights of a convolution from a normal with std gain/√fan-in, by torch's global generator; biases 0.

    In a transposed convolution of stride s an output voxel sees only kernel³/s³ of the kernel.
    """
    taps = math.prod(conv.kernel_size)
    if isinstance(conv, nn.ConvTranspose3d):
        taps /= math.prod(conv.stride)
    nn.init.normal_(conv.weight, std=gain / math.sqrt(conv.in_channels * taps))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


def convolution(
    in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1
) -> nn.Conv3d:
    """3-D convolution without bias that keeps the size at stride 1 and halves it at stride 2."""
    padding = dilation * (kernel // 2)
    return initialised(nn.Conv3d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False))


def pointwise(in_channels: int, out_channels: int, *, gain: float = HE_GAIN) -> nn.Conv3d:
    """1³ convolution with bias."""
    return initialised(nn.Conv3d(in_channels, out_channels, 1), gain=gain)


def deconvolution(
    in_channels: int, out_channels: int, *, bias: bool = False, gain: float = HE_GAIN
) -> nn.ConvTranspose3d:
    """Transposed 3-D convolution, kernel 3³, stride 2, that doubles the size."""
    conv = nn.ConvTranspose3d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=bias)
    return initialised(conv, gain=gain)


def normalised_relu6(channels: int) -> nn.Sequential:
    """Batch normalisation, then ReLU6: what stands before every convolution."""
    norm = nn.BatchNorm3d(channels, eps=BATCH_NORM_EPSILON, momentum=BATCH_NORM_MOMENTUM)
    return nn.Sequential(norm, nn.ReLU6(inplace=True))


class ResidualBlock(nn.Module):
    """Two pre-activated 3³ convolutions plus a shortcut (Wang et al. 2020, Fig. 2 a and b).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        stride: 1 keeps the size, 2 halves it.
        shortcut: ``"identity"`` adds the input, ``"projection"`` adds a 1³ convolution of the
            activated input, ``"none"`` adds nothing.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, shortcut: str = "identity") -> None:
        super().__init__()
        if shortcut not in ("identity", "projection", "none"):
            raise ValueError(f"shortcut is {shortcut!r}; it is 'identity', 'projection' or 'none'")
        if shortcut == "identity" and (stride != 1 or in_channels != out_channels):
            raise ValueError(f"an identity shortcut cannot go from {in_channels} to {out_channels} at stride {stride}")
        self.shortcut = shortcut
        self.activate_1 = normalised_relu6(in_channels)
        self.conv_1 = convolution(in_channels, out_channels, stride=stride)
        self.activate_2 = normalised_relu6(out_channels)
        self.conv_2 = convolution(out_channels, out_channels)
        if shortcut == "projection":
            self.projection = convolution(in_channels, out_channels, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W) -> (N, out_channels, D/stride, H/stride, W/stride)."""
        activated = self.activate_1(x)
        y = self.conv_2(self.activate_2(self.conv_1(activated)))
        if self.shortcut == "identity":
            return y + x
        if self.shortcut == "projection":
            return y + self.projection(activated)
        return y


class OutputHead(nn.Module):
    """BN-ReLU6, dropout, 1³ convolution with bias: features to one logit per class.

    Args:
        in_channels: channels of the features.
        num_classes: channels of the logits.
        dropout: rate of the dropout before the convolution while training, 0 to below 1.
    """

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float = 0.5) -> None:
        super().__init__()
        self.activate = normalised_relu6(in_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv = pointwise(in_channels, num_classes, gain=SMALL_GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W) -> (N, num_classes, D, H, W)."""
        return self.conv(self.dropout(self.activate(x)))


class SegmentationNetwork(nn.Module):
    """What every network of this package is: windows of T1 and T2 in, one logit per class and voxel out.

    Attributes:
        name: its name in ``NETWORKS``.
        in_channels: channels of the input (T1, T2).
        num_classes: channels of the output (background, CSF, GM, WM).
        window_multiple: every side of a window is a multiple of this.
        input_form: how it wants its input.
    """

    window_multiple = 4
    input_form = InputForm()

    def __init__(self, name: str, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.name = name
        self.in_channels = in_channels
        self.num_classes = num_classes

    def check_input(self, x: Tensor) -> None:
        """Raise ``ValueError`` unless x is (N, in_channels, D, H, W) with sides this network can halve."""
        shape = tuple(x.shape)
        if x.ndim != 5 or shape[1] != self.in_channels:
            raise ValueError(f"input has shape {shape}; {self.name} takes (N, {self.in_channels}, D, H, W)")
        if any(side == 0 or side % self.window_multiple for side in shape[2:]):
            raise ValueError(
                f"input has shape {shape}; {self.name} takes windows whose sides are multiples of "
                f"{self.window_multiple}"
            )
