"""How much the bench runs: the whole of it in about ten minutes on two cores, the quick one in about one."""

from __future__ import annotations

from dataclasses import dataclass

WINDOW = 32
CROP_STEP = 16  # of the crop that ours and the peers segment; its side is 32 + k·16, so that all windows coincide


@dataclass(frozen=True)
class Settings:
    """Sizes and repeats.

    Attributes:
        repeats: rounds of the interleaved measurements.
        crop_side: voxels per side of the crop that ours and the peers segment.
        batch_sizes: of which each peer takes its best.
        preview_side: voxels per side of the volume whose first map is timed; None takes the whole brain.
        preview_repeats: runs up to the first map.
        preview_windows: windows after the first map, of which the pace is taken.
        memory_windows: windows that the network runs on in each measurement of memory.
        attention_queries: queries of the attention with dropout.
        attention_keys: its keys.
        training_window: side of the windows of the timed iterations of training.
        training_batch: their number in an iteration.
        training_iterations: how many are timed.
        metric_shape: voxels of the label maps that are scored.
        plain_columns: columns of each axis that the plain matrix of distances is timed on.
    """

    repeats: int
    crop_side: int
    batch_sizes: tuple[int, ...]
    preview_side: int | None
    preview_repeats: int
    preview_windows: int
    memory_windows: int
    attention_queries: int
    attention_keys: int
    training_window: int
    training_batch: int
    training_iterations: int
    metric_shape: tuple[int, int, int]
    plain_columns: int


FULL = Settings(
    repeats=3,
    crop_side=64,
    batch_sizes=(1, 2, 4),
    preview_side=None,
    preview_repeats=2,
    preview_windows=40,
    memory_windows=6,
    attention_queries=32**3,
    attention_keys=16**3,
    training_window=32,
    training_batch=2,
    training_iterations=6,
    metric_shape=(144, 192, 256),
    plain_columns=2048,
)
QUICK = Settings(
    repeats=1,
    crop_side=48,
    batch_sizes=(1,),
    preview_side=96,
    preview_repeats=1,
    preview_windows=8,
    memory_windows=2,
    attention_queries=16**3,
    attention_keys=16**3,
    training_window=16,
    training_batch=2,
    training_iterations=3,
    metric_shape=(144, 192, 256),
    plain_columns=256,
)
