"""Attention with dropout on its weights, for training on the CPU, without the matrix of weights.

Torch has no fused attention with dropout for the CPU: it writes the whole matrix of weights (512 MB for one 32³
window in the last up-sampling of the Non-local U-Net) several times over, and draws a random number for each weight.
Here queries are worked off in blocks that stay in the cache, a weight's fate takes one random bit at a rate of 0.5,
and the backward pass computes weights and bits again instead of storing them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

# Weights held at a time, in elements: 2 MB in float32. Larger blocks leave the cache, smaller ones cost calls.
BLOCK_ELEMENTS = 1 << 19
# The rate is rounded to a multiple of 1/256, so that at most eight random bits decide on a weight (one at 0.5).
RATE_BITS = 8


def dropout_attention(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    """dropout(softmax(q·kᵀ/√channels))·v on the CPU, reproducible by ``torch.manual_seed``.

    Args:
        query: (N, heads, queries, channels), float32 or float64.
        key: (N, heads, keys, channels).
        value: (N, heads, keys, value channels).
        dropout: rate, above 0 and below 1. It is rounded to a multiple of 1/256, and the weights
            that stay are scaled by the rounded rate, so that the expected output is exact.

    Returns:
        (N, heads, queries, value channels).
    """
    out = _DropoutAttention.apply(query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), dropout)
    return out.view(*query.shape[:3], value.shape[3])


class _Context(FunctionCtx):
    """What torch's context carries from the forward to the backward pass."""

    seed: int
    dropout: float
    saved_tensors: tuple[Tensor, ...]


class _DropoutAttention(torch.autograd.Function):
    """Keeps q, k, v, the output and each query's log-sum-exp; all are (entries = N·heads, positions, channels)."""

    @staticmethod
    def forward(ctx: _Context, query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        seed = int(torch.randint(2**62, ()))  # from torch's global generator
        scale = _base_2_scale(query)
        random_bits = _KeepBits(seed, dropout, query.dtype)
        out = query.new_empty(*query.shape[:2], value.shape[2])
        log_sum = query.new_empty(*query.shape[:2], 1)
        (buffer,) = _buffers(query, key, count=1)
        for entries, rows in _blocks(query, key):
            weights = _view(buffer, query[entries, rows], key)
            torch.bmm(query[entries, rows] * scale, key[entries].transpose(1, 2), out=weights)
            highest = weights.amax(dim=2, keepdim=True)
            total = weights.sub_(highest).exp2_().sum(dim=2, keepdim=True)
            log_sum[entries, rows] = highest + total.log2()
            random_bits.apply(weights, out=weights)
            out[entries, rows] = torch.bmm(weights, value[entries]).div_(total * random_bits.kept)
        ctx.save_for_backward(query, key, value, out, log_sum)
        ctx.seed, ctx.dropout = seed, dropout
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: _Context, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        query, key, value, out, log_sum = ctx.saved_tensors
        scale = _base_2_scale(query)
        random_bits = _KeepBits(ctx.seed, ctx.dropout, query.dtype)
        grad_query, grad_key, grad_value = torch.empty_like(query), torch.zeros_like(key), torch.zeros_like(value)
        # With weights p, kept weights p' = p·bit/kept and w = grad·vᵀ: d(q·kᵀ) = p'∘w − p∘rowsum(p'∘w), and
        # that row sum is grad·out.
        row_sum = (grad * out).sum(dim=2, keepdim=True)
        grad = grad / random_bits.kept
        buffers = _buffers(query, key, count=3)
        for entries, rows in _blocks(query, key):
            weights, kept_weights, grad_scores = (_view(buffer, query[entries, rows], key) for buffer in buffers)
            torch.bmm(query[entries, rows] * scale, key[entries].transpose(1, 2), out=weights)
            weights.sub_(log_sum[entries, rows]).exp2_()
            random_bits.apply(weights, out=kept_weights)
            torch.bmm(grad[entries, rows], value[entries].transpose(1, 2), out=grad_scores)
            grad_scores.mul_(kept_weights).addcmul_(weights, row_sum[entries, rows], value=-1)
            grad_value[entries].baddbmm_(kept_weights.transpose(1, 2), grad[entries, rows])
            grad_key[entries].baddbmm_(grad_scores.transpose(1, 2), query[entries, rows])
            grad_query[entries, rows] = torch.bmm(grad_scores, key[entries])
        scale = 1 / math.sqrt(query.shape[2])
        return grad_query.mul_(scale), grad_key.mul_(scale), grad_value, None


class _KeepBits:
    """A seeded stream of bits that say which weights stay; the same seed and blocks give the same bits.

    Args:
        seed: of a generator of its own.
        dropout: rate.
        dtype: of the weights, float32 or float64.

    Attributes:
        kept: the share of weights that stay: 1 − dropout in 1/256, neither 0 nor 1.
    """

    def __init__(self, seed: int, dropout: float, dtype: torch.dtype) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        share = min(max(round((1 - dropout) * 2**RATE_BITS), 1), 2**RATE_BITS - 1)
        self.kept = share / 2**RATE_BITS
        # The share's binary digits, last one that is set first.
        self.digits = f"{share:0{RATE_BITS}b}".rstrip("0")[::-1]
        self.integer = {torch.float32: torch.int32, torch.float64: torch.int64}[dtype]
        self.width = torch.iinfo(self.integer).bits
        self.shifts = torch.arange(self.width, dtype=self.integer)[:, None]
        self.masks = torch.empty(0, dtype=self.integer)

    def apply(self, weights: Tensor, *, out: Tensor) -> None:
        """Write the contiguous ``weights`` to ``out``, with 0 for each one that the next bits drop."""
        words = self._words(-(-weights.numel() // 64))
        if self.masks.numel() < words.numel() * 64:
            self.masks = torch.empty(words.numel() * 64, dtype=self.integer)
        masks = self.masks[: words.numel() * 64]
        # Bit b of every word, moved to the sign and spread from there: 0 or all ones.
        spread = masks.view(self.width, -1)
        torch.bitwise_left_shift(words.view(self.integer), self.shifts, out=spread)
        spread.bitwise_right_shift_(self.width - 1)
        flat_weights, flat_out = weights.view(self.integer).view(-1), out.view(self.integer).view(-1)
        torch.bitwise_and(flat_weights, masks[: weights.numel()], out=flat_out)

    def _words(self, count: int) -> Tensor:
        """(count,) int64 whose bits are each 1 with probability ``kept``.

        From the last digit of the share 0.d₁d₂… to the first: ``or`` with a fair bit for a 1, ``and`` for a 0,
        which halves what stood there and adds the digit's half.
        """
        words = self._fair_words(count)
        for digit in self.digits[1:]:
            fair = self._fair_words(count)
            words = words.bitwise_or_(fair) if digit == "1" else words.bitwise_and_(fair)
        return words

    def _fair_words(self, count: int) -> Tensor:
        return torch.empty(count, dtype=torch.int64).random_(-(2**63), None, generator=self.generator)


def _base_2_scale(query: Tensor) -> float:
    """Turns q·kᵀ into exponents of 2: torch's exp2 takes half the time of its exp."""
    return math.log2(math.e) / math.sqrt(query.shape[2])


def _blocks(query: Tensor, key: Tensor) -> Iterator[tuple[slice, slice]]:
    """Entries and query rows of each block: several small entries together, or a large one in parts."""
    count, queries = query.shape[:2]
    entries = max(1, BLOCK_ELEMENTS // (queries * key.shape[1]))
    rows = max(1, BLOCK_ELEMENTS // key.shape[1])
    for entry in range(0, count, entries):
        for row in range(0, queries, rows):
            yield slice(entry, entry + entries), slice(row, row + rows)


def _buffers(query: Tensor, key: Tensor, count: int) -> Tensor:
    """(count, elements of the largest block), for what a block holds."""
    elements = min(query.shape[0] * query.shape[1] * key.shape[1], max(BLOCK_ELEMENTS, key.shape[1]))
    return query.new_empty(count, elements)


def _view(buffer: Tensor, rows: Tensor, key: Tensor) -> Tensor:
    shape = (*rows.shape[:2], key.shape[1])
    return buffer[: math.prod(shape)].view(shape)
