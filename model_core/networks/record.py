"""What is known of a network besides its code: one record a network, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from model_core.networks.blocks import SegmentationNetwork


@dataclass(frozen=True)
class NetworkRecord:
    """One entry of ``NETWORKS``; called with a name and channels, it builds the network.

    Attributes:
        network: the class.
        title: for people.
        parts: arguments of the class that make this variant.
        training: settings of ``TrainingSettings`` with which it trains best, where they differ from the first paper's.
    """

    network: Callable[..., SegmentationNetwork]
    title: str
    parts: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, name: str, in_channels: int = 2, num_classes: int = 4, **parts: Any) -> SegmentationNetwork:
        """Build the network with fresh weights; ``parts`` replace those of the record."""
        return self.network(name, in_channels, num_classes, **{**self.parts, **parts})
