"""Several looks at one brain, by networks of one kind or by one that also looks at it mirrored: their mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from model_core.networks.blocks import SegmentationNetwork


class MeanOfLooks(nn.Module):
    """Logits whose softmax is the mean of the probabilities of several looks."""

    def looks(self, x: Tensor, *place: Tensor) -> Iterator[Tensor]:
        """Give each look's probabilities (N, num_classes, D, H, W) float32, one after another."""
        raise NotImplementedError

    def forward(self, x: Tensor, *place: Tensor) -> Tensor:
        """As a network's ``forward``: logits (N, num_classes, D, H, W)."""
        each = self.looks(x, *place)
        total, count = next(each), 1
        for probabilities in each:
            total, count = total + probabilities, count + 1
        return (total / count).clamp_min(torch.finfo(torch.float32).tiny).log()


class MeanOfMembers(MeanOfLooks):
    """One look by each member.

    Args:
        members: modules of the same input and output, trained or rewritten for inference.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def looks(self, x: Tensor, *place: Tensor) -> Iterator[Tensor]:
        """As ``MeanOfLooks.looks``, in the members' order."""
        for member in self.members:
            yield member(x, *place).float().softmax(dim=1)


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

    def looks(self, x: Tensor, *place: Tensor) -> Iterator[Tensor]:
        """As ``MeanOfMembers.looks``."""
        return self.mean.looks(x, *place)

    def forward(self, x: Tensor, *place: Tensor) -> Tensor:
        """As the members' ``forward``: logits (N, num_classes, D, H, W)."""
        return self.mean(x, *place)


class WithMirrored(MeanOfLooks):
    """A network that looks twice, also at the brain with left and right exchanged.

    Args:
        network: a module whose input lies along right, anterior, superior.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def looks(self, x: Tensor, *place: Tensor) -> Iterator[Tensor]:
        """As ``MeanOfLooks.looks``: at the brain as it is, then mirrored and turned back."""
        yield self.network(x, *place).float().softmax(dim=1)
        # What lay from -1 to .2 lies from -.2 to 1.
        mirrored = [torch.cat([-borders[:, :1].flip(-1), borders[:, 1:]], dim=1) for borders in place]
        yield self.network(x.flip(2), *mirrored).float().softmax(dim=1).flip(2)


def looks_of(network: nn.Module, x: Tensor, *place: Tensor) -> Iterator[Tensor]:
    """Give the probabilities (N, num_classes, D, H, W) of each look of a network, or of its only one."""
    if isinstance(network, MeanOfLooks | Ensemble):
        yield from network.looks(x, *place)
    else:
        yield network(x, *place).float().softmax(dim=1)
