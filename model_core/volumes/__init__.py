"""Image arrays with their affines, files in and out: all other packages read and write volumes through this door."""

from __future__ import annotations

from model_core.volumes.volume import (
    Volume,
    as_labels,
    have_same_grid,
    read_label_values,
    read_labels,
    read_mask,
    read_volume,
    resample,
    to_canonical,
)
from model_core.volumes.writing import check_can_write, write_volume

__all__ = [
    "Volume",
    "as_labels",
    "check_can_write",
    "have_same_grid",
    "read_label_values",
    "read_labels",
    "read_mask",
    "read_volume",
    "resample",
    "to_canonical",
    "write_volume",
]
