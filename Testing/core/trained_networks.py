"""A network that trains in seconds, and networks as a training leaves them: not with their first values."""

import torch
from torch import nn

from model_core.networks import build_network
from model_core.networks.blocks import OutputHead, SegmentationNetwork, convolution


class TinyNetwork(SegmentationNetwork):
    """One convolution, batch norm, dropout, one convolution: all that training has to keep track of."""

    def __init__(self, name, in_channels=2, num_classes=4):
        super().__init__(name, in_channels, num_classes)
        self.stem = convolution(in_channels, 8)
        self.head = OutputHead(8, num_classes)
        self.head.activate[0].momentum = 0.1  # so that the running statistics settle in a short run

    def forward(self, x):
        return self.head(self.stem(x))


def unsettle(network):
    """Move biases and batch norms as far from their first values as a training does; in place, by torch's numbers."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.3, 2)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
        elif isinstance(module, nn.Conv3d | nn.ConvTranspose3d) and module.bias is not None:
            nn.init.normal_(module.bias)
    return network


def trained(name, seed=3):
    """A network in evaluation mode."""
    torch.manual_seed(seed)
    return unsettle(build_network(name).eval())
