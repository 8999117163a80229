"""How a network wants its input; whoever trains it or segments with it asks here and knows no network by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class InputForm:
    """What a network is given.

    Attributes:
        standardised_over: intensities have mean 0 and standard deviation 1 over each "window", or over the brain in the
            whole "volume" (clipped there at the .5 and 99.5 percentiles, 0 outside), or in the same way over each
            "scan" as far as it reaches, where the brain is not known yet.
        placed: whether it is told where in the brain's box a window lies (``place`` of ``forward``).
        whole_brain: whether the brain in one window is its best window, where memory allows.
        optional_scans: whether it was made to do with one of the scans; the other one is 0 everywhere.
        mirrored: whether a single one, no ensemble, looks a second time, with left and right exchanged.
        channels_last: whether it trains faster with the channels as the last axis in memory.
        bytes_per_voxel: memory that a voxel of a window takes on a CPU while the network runs, measured.
        window: side in voxels of its windows where they are cubes.
        spacing_mm: side of the voxels of its grid.
    """

    standardised_over: Literal["window", "volume", "scan"] = "window"
    placed: bool = False
    whole_brain: bool = False
    optional_scans: bool = False
    mirrored: bool = False
    channels_last: bool = False
    bytes_per_voxel: int = 2100
    window: int = 32
    spacing_mm: float = 1.0

    @property
    def memory_format(self) -> torch.memory_format:
        """How its volumes lie in memory while it trains."""
        return torch.channels_last_3d if self.channels_last else torch.contiguous_format


def form_of(network: object) -> InputForm:
    """How a network wants its input; as the papers' do, where it does not say."""
    return getattr(network, "input_form", InputForm())
