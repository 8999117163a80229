"""The Non-local U-Net and its five ablations (Wang et al. 2020, "Non-local U-Nets for Biomedical Image Segmentation").

Stem, three residual encoder blocks (32, 64, 128 channels), a bottom block, two up-samplings whose outputs are
added to the encoder's maps of the same size, and an output head.
"""

from __future__ import annotations

from torch import Tensor, nn

from model_core.networks.attention import GlobalAggregation
from model_core.networks.blocks import (
    OutputHead,
    ResidualBlock,
    SegmentationNetwork,
    convolution,
    deconvolution,
    normalised_relu6,
)


class NonlocalUNet(SegmentationNetwork):
    """Family of the Non-local U-Net.

    Args:
        name: name in ``NETWORKS``.
        in_channels: channels of the input.
        num_classes: channels of the logits.
        residual: whether the blocks have their short-range shortcuts (model1 has none; the sums
            with the encoder's maps, the U-Net's long-range connections, stay in every network).
        global_bottom: the bottom block is global aggregation plus its input, else one convolution.
        global_up: whether each of the two up-samplings (deepest first) is global aggregation
            plus a deconvolution, else a deconvolution alone.
        attention_dropout: dropout rate on the attention weights while training.
        output_dropout: dropout rate before the output convolution while training.
    """

    def __init__(
        self,
        name: str,
        in_channels: int = 2,
        num_classes: int = 4,
        *,
        residual: bool = True,
        global_bottom: bool = True,
        global_up: tuple[bool, bool] = (True, True),
        attention_dropout: float = 0.5,
        output_dropout: float = 0.5,
    ) -> None:
        super().__init__(name, in_channels, num_classes)
        changing = "projection" if residual else "none"
        keeping = "identity" if residual else "none"
        self.stem = convolution(in_channels, 32)
        self.encode_1 = ResidualBlock(32, 32, shortcut=changing)
        self.encode_2 = ResidualBlock(32, 64, stride=2, shortcut=changing)
        self.encode_3 = ResidualBlock(64, 128, stride=2, shortcut=changing)
        self.bottom = (
            GlobalBottom(128, dropout=attention_dropout)
            if global_bottom
            else nn.Sequential(normalised_relu6(128), convolution(128, 128))
        )
        self.up_1 = _up_sampling(128, 64, global_up[0], attention_dropout)
        self.decode_1 = ResidualBlock(64, 64, shortcut=keeping)
        self.up_2 = _up_sampling(64, 32, global_up[1], attention_dropout)
        self.decode_2 = ResidualBlock(32, 32, shortcut=keeping)
        self.head = OutputHead(32, num_classes, dropout=output_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W), sides multiples of 4 -> logits (N, num_classes, D, H, W)."""
        self.check_input(x)
        full = self.encode_1(self.stem(x))
        half = self.encode_2(full)
        y = self.bottom(self.encode_3(half))
        y = self.decode_1(self.up_1(y) + half)
        y = self.decode_2(self.up_2(y) + full)
        return self.head(y)


class GlobalBottom(nn.Module):
    """Bottom block (Fig. 2 c): BN-ReLU6, global aggregation with 2 heads, plus the input."""

    def __init__(self, channels: int, *, dropout: float) -> None:
        super().__init__()
        self.activate = normalised_relu6(channels)
        self.aggregate = GlobalAggregation(channels, channels, heads=2, dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, D, H, W) -> the same shape."""
        return self.aggregate(self.activate(x)) + x


class GlobalUp(nn.Module):
    """Up-sampling block (Fig. 2 d): BN-ReLU6, then global aggregation plus a deconvolution of the same."""

    def __init__(self, in_channels: int, out_channels: int, *, dropout: float) -> None:
        super().__init__()
        self.activate = normalised_relu6(in_channels)
        self.aggregate = GlobalAggregation(in_channels, out_channels, upsample=True, dropout=dropout)
        self.deconv = deconvolution(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W) -> (N, out_channels, 2D, 2H, 2W)."""
        activated = self.activate(x)
        return self.aggregate(activated) + self.deconv(activated)


def _up_sampling(in_channels: int, out_channels: int, aggregates: bool, dropout: float) -> nn.Module:
    return (
        GlobalUp(in_channels, out_channels, dropout=dropout) if aggregates else deconvolution(in_channels, out_channels)
    )
