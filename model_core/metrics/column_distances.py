"""Nearest-neighbour distances between the columns of two binary volumes, exact and fast.

One binary volume of brain size has tens of thousands of columns along each axis, and the plain matrix
of distances between two such sets takes many gigabytes. Three exact steps make it seconds: columns are
packed into 64-bit words and equal ones are counted once; the columns at the same and at the eight
neighbouring positions of the other volume give an upper bound; and blocks of similar columns whose
numbers of voxels per 16-voxel segment differ by more than that bound are passed over. (Two volumes of
noise, of which nothing can be passed over, still take minutes.)
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np

# Columns searched together: smaller blocks are passed over more often, larger ones cost fewer bounds.
BLOCK_COLUMNS = 64


@dataclass(frozen=True)
class _Columns:
    """The columns of one binary volume along one axis.

    Attributes:
        packed: (rows, columns, words) uint64, one bit per voxel.
        first: flat position of the first of each set of equal columns, (n,).
        counts: how many columns are equal to it, (n,).
        words: (n, words) uint64, the distinct columns.
    """

    packed: np.ndarray
    first: np.ndarray
    counts: np.ndarray
    words: np.ndarray


def mean_nearest_distances(first: np.ndarray, second: np.ndarray) -> list[tuple[float, float]]:
    """Mean Euclidean distance from each column of one volume to the nearest column of the other.

    A column is the 0/1 vector of the voxels along one axis; columns of zeros and equal columns count
    like any other.

    Args:
        first, second: bool arrays of one shape (I, J, K), not empty.

    Returns:
        For each of the three axes the mean over the columns of ``first`` and the mean over the columns
        of ``second``, in the vectors' own units (square root of the number of differing voxels).
    """
    searches = []
    for axis in range(3):
        # Positions that are zero in both volumes add nothing to any distance.
        occupied = np.flatnonzero((first | second).any(axis=tuple({0, 1, 2} - {axis})))
        if occupied.size == 0:
            return [(0.0, 0.0)] * 3
        part = (slice(None),) * axis + (slice(occupied[0], occupied[-1] + 1),)
        count_type = np.uint8 if occupied[-1] - occupied[0] + 1 <= np.iinfo(np.uint8).max else np.uint16
        pair = _pack(first[part], axis), _pack(second[part], axis)
        searches += [(*pair, count_type), (*pair[::-1], count_type)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy releases the interpreter lock in the long loops
        means = list(pool.map(lambda search: _mean_nearest_distance(*search), searches))
    return list(zip(means[::2], means[1::2], strict=True))


def _pack(volume: np.ndarray, axis: int) -> _Columns:
    """Pack the columns of a bool volume along ``axis`` into 64-bit words and find the distinct ones."""
    octets = np.moveaxis(np.packbits(volume, axis=axis), axis, -1)
    padded = np.zeros((*octets.shape[:2], -(-octets.shape[2] // 8) * 8), np.uint8)
    padded[..., : octets.shape[2]] = octets
    packed = padded.view(np.uint64)
    words = packed.reshape(-1, packed.shape[2])
    order = np.lexsort(words.T)
    words = words[order]
    starts = np.flatnonzero(np.concatenate([[True], (words[1:] != words[:-1]).any(axis=1)]))
    return _Columns(packed, order[starts], np.diff(starts, append=len(order)), words[starts])


def _mean_nearest_distance(columns: _Columns, others: _Columns, count_type: type[np.unsignedinteger]) -> float:
    differing = _nearest_differing_voxels(columns, others, count_type)
    return float(np.average(np.sqrt(differing, dtype=np.float64), weights=columns.counts))


def _nearest_differing_voxels(columns: _Columns, others: _Columns, count_type: type[np.unsignedinteger]) -> np.ndarray:
    """Number of voxels in which each distinct column differs from the nearest of the others, (n,)."""
    nearest = _differing_from_neighbours(columns, others, count_type)
    open_ = np.flatnonzero(nearest)
    if open_.size == 0:
        return nearest
    best = nearest[open_]
    words = np.ascontiguousarray(columns.words[open_].T)  # (words, open columns)
    segments = np.ascontiguousarray(_segment_counts(columns.words[open_]).T)  # (segments, open columns)
    other_segments = _segment_counts(others.words)
    used = segments.any(axis=1) | other_segments.any(axis=0)
    segments, other_segments = segments[used], other_segments[:, used]
    for block in _similar_blocks(other_segments):
        bound = _least_difference(segments, other_segments[block], count_type)
        near = np.flatnonzero(bound < best)
        if near.size:
            differing = _differing_voxels(others.words[block], words[:, near], count_type)
            best[near] = np.minimum(best[near], differing.min(axis=0))
    nearest[open_] = best
    return nearest


def _differing_from_neighbours(columns: _Columns, others: _Columns, count_type: type[np.unsignedinteger]) -> np.ndarray:
    """Upper bound: the least difference from the other volume's columns at the 3×3 nearest positions."""
    rows, positions = others.packed.shape[:2]
    row, position = np.divmod(columns.first, positions)
    best = np.full(len(row), np.iinfo(count_type).max, count_type)
    for row_shift, position_shift in product((-1, 0, 1), repeat=2):
        beside = others.packed[
            np.clip(row + row_shift, 0, rows - 1), np.clip(position + position_shift, 0, positions - 1)
        ]
        differing = np.bitwise_count(columns.words ^ beside).sum(axis=1, dtype=count_type)
        np.minimum(best, differing, out=best)
    return best


def _segment_counts(words: np.ndarray) -> np.ndarray:
    """Voxels in each 16-voxel segment of each column: (n, words) uint64 -> (n, 4·words) uint8."""
    return np.bitwise_count(np.ascontiguousarray(words).view(np.uint16))


def _similar_blocks(segments: np.ndarray) -> list[np.ndarray]:
    """Split columns into blocks of similar segment counts: halves along the most varied segment, again and again."""
    blocks, waiting = [], [np.arange(len(segments))]
    while waiting:
        members = waiting.pop()
        if len(members) <= BLOCK_COLUMNS:
            blocks.append(members)
            continue
        counts = segments[members]
        widest = np.argmax(counts.var(axis=0, dtype=np.float32))
        half = len(members) // 2
        order = np.argpartition(counts[:, widest], half)
        waiting += [members[order[:half]], members[order[half:]]]
    return blocks


def _least_difference(segments: np.ndarray, block: np.ndarray, count_type: type[np.unsignedinteger]) -> np.ndarray:
    """Lower bound of the difference between each column and every column of a block.

    Args:
        segments: (segments, n) voxels in each segment of each column.
        block: (m, segments) the same of the block's columns.

    Returns:
        (n,) how far the column's counts lie outside the block's ranges, summed over segments.
    """
    low, high = block.min(axis=0)[:, None], block.max(axis=0)[:, None]
    above = np.maximum(segments, high)
    above -= high
    below = np.minimum(segments, low)
    np.subtract(low, below, out=below)
    above += below
    return np.add.reduce(above, axis=0, dtype=count_type)


def _differing_voxels(block: np.ndarray, words: np.ndarray, count_type: type[np.unsignedinteger]) -> np.ndarray:
    """Differing voxels between each column of a block (m, words) and each of ``words`` (words, n): (m, n)."""
    differing = np.bitwise_count(block[:, :1] ^ words[0]).astype(count_type, copy=False)
    for word in range(1, len(words)):
        differing += np.bitwise_count(block[:, word, None] ^ words[word])
    return differing
