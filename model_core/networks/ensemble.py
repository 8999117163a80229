"""Several networks of one kind as one: the mean of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from model_core.networks.blocks import SegmentationNetwork


class MeanOfMembers(nn.Module):
    """Logits whose softmax is the mean of the members' probabilities.

    Args:
        members: modules of the same input and output, trained or rewritten for inference.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor, *place: Tensor) -> Tensor:
        """As the members' ``forward``: logits (N, num_classes, D, H, W)."""
        total = sum(member(x, *place).float().softmax(dim=1) for member in self.members)
        smallest = torch.finfo(torch.float32).tiny
        return (total / len(self.members)).clamp_min(smallest).log()


class Ensemble(SegmentationNetwork):
    """Members that differ by their seeds.

    Args:
        members: two or more networks of one name and the same channels.
    """

    def __init__(self, members: Sequence[SegmentationNetwork]) -> None:
        first = members[0]
        if len({(member.name, member.in_channels, member.num_classes) for member in members}) > 1:
            raise ValueError(f"the members are {', '.join(member.name for member in members)}; expected one kind")
        super().__init__(first.name, first.in_channels, first.num_classes)
        self.window_multiple, self.input_form = first.window_multiple, first.input_form
        self.mean = MeanOfMembers(members)

    @property
    def members(self) -> list[SegmentationNetwork]:
        """The networks, in the order in which they were given."""
        return cast("list[SegmentationNetwork]", list(self.mean.members))

    def forward(self, x: Tensor, *place: Tensor) -> Tensor:
        """As the members' ``forward``: logits (N, num_classes, D, H, W)."""
        return self.mean(x, *place)


class WithMirrored(nn.Module):
    """A network that looks twice, also at the brain with left and right exchanged: logits of the mean probabilities.

    Args:
        network: a module whose input lies along right, anterior, superior.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, place: Tensor | None = None) -> Tensor:
        """As the network's ``forward``: logits (N, num_classes, D, H, W)."""
        there = () if place is None else (place,)
        # What lay from -1 to .2 lies from -.2 to 1.
        mirrored = () if place is None else (torch.cat([-place[:, :1].flip(-1), place[:, 1:]], dim=1),)
        total = self.network(x, *there).float().softmax(dim=1)
        total += self.network(x.flip(2), *mirrored).float().softmax(dim=1).flip(2)
        return (total / 2).clamp_min(torch.finfo(torch.float32).tiny).log()
