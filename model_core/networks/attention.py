"""Global aggregation: softmax(q·kᵀ/√C)·v over all positions, never holding the matrix of weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch.nn.functional as F
from torch import Tensor, nn

from model_core.networks.blocks import SMALL_GAIN, SOFTMAX_GAIN, deconvolution, pointwise
from model_core.networks.dropout_attention import dropout_attention


@runtime_checkable
class DropsAttention(Protocol):
    """A module with dropout on its attention weights: rate, 0 to below 1."""

    attention_dropout: float


class GlobalAggregation(nn.Module):
    """Global aggregation block (Wang et al. 2020, Fig. 3, equations 1 to 3).

    Args:
        in_channels: channels of the input.
        out_channels: channels of queries, keys, values and output (C_K = C_V = C_O).
        heads: attention heads; each has out_channels / heads channels.
        upsample: queries come from a deconvolution, so that there are 8 times as many of them as
            keys and the output has twice the size; else from a 1³ convolution.
        dropout: rate of the dropout on the attention weights while training, 0 to below 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, heads: int = 1, upsample: bool = False, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.heads = heads
        self.query = (
            deconvolution(in_channels, out_channels, bias=True, gain=SOFTMAX_GAIN)
            if upsample
            else pointwise(in_channels, out_channels, gain=SOFTMAX_GAIN)
        )
        self.key = pointwise(in_channels, out_channels, gain=SOFTMAX_GAIN)
        self.value = pointwise(in_channels, out_channels)
        self.output = pointwise(out_channels, out_channels, gain=SMALL_GAIN)
        self.attention_dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, D, H, W) -> (N, out_channels, D, H, W), or of twice the size when it up-samples."""
        query = self.query(x)
        out = attend(
            to_tokens(query, self.heads),
            to_tokens(self.key(x), self.heads),
            to_tokens(self.value(x), self.heads),
            dropout=self.attention_dropout if self.training else 0.0,
        )
        return self.output(from_tokens(out, query.shape[2:]))


def to_tokens(x: Tensor, heads: int) -> Tensor:
    """(N, C, D, H, W) -> (N, heads, D·H·W positions, C / heads), contiguous (``Unfold`` of equation 1)."""
    tokens = x.reshape(x.shape[0], heads, x.shape[1] // heads, -1)
    return tokens.transpose(2, 3).contiguous()


def from_tokens(tokens: Tensor, size: Sequence[int]) -> Tensor:
    """(N, heads, positions, channels) -> (N, heads·channels, *size) (``Fold`` of equation 3)."""
    count, heads, _, channels = tokens.shape
    return tokens.transpose(2, 3).reshape(count, heads * channels, *size)


def attend(query: Tensor, key: Tensor, value: Tensor, *, dropout: float = 0.0) -> Tensor:
    """softmax(q·kᵀ/√channels)·v per head, with dropout on the weights (equation 2).

    Args:
        query: (N, heads, queries, channels), contiguous.
        key: (N, heads, keys, channels), contiguous.
        value: (N, heads, keys, channels), contiguous.
        dropout: rate; 0 outside training.

    Returns:
        (N, heads, queries, channels).

    Raises:
        ValueError: a tensor is not contiguous. On the CPU torch would then silently take the path
            that holds the whole matrix of weights (512 MB for the last up-sampling of one 32³ window).
    """
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if not tensor.is_contiguous():
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} is not contiguous")
    if dropout > 0 and query.device.type == "cpu":
        return dropout_attention(query, key, value, dropout)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
