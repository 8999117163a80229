"""Networks as a training leaves them, for tests that must not pass by first values alone."""

import torch
from torch import nn

from model_core.networks import build_network


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
