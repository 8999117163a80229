"""The networks, by name. They know tensors only: no files, no devices, no Slicer."""

from __future__ import annotations

from typing import Any

from torch import nn

from model_core.networks.attention import DropsAttention
from model_core.networks.blocks import OutputHead, SegmentationNetwork
from model_core.networks.cc_3d_fcn import CC3DFCN
from model_core.networks.dual_aggregation import DualAggregation
from model_core.networks.fast_unet import FastUNet
from model_core.networks.nonlocal_unet import NonlocalUNet
from model_core.networks.record import NetworkRecord

__all__ = [
    "BRAIN_EXTRACTION",
    "EXTRACTION_NETWORKS",
    "NETWORKS",
    "TISSUES",
    "NetworkRecord",
    "SegmentationNetwork",
    "build_network",
    "count_parameters",
    "record_of",
    "set_dropout",
    "task_of",
]

TISSUES, BRAIN_EXTRACTION = "tissues", "brain extraction"  # what a network tells apart: a task
_CLASSES = {TISSUES: 4, BRAIN_EXTRACTION: 2}

# What fast_unet was tuned with on a part of the training anatomies; what is not named is as in the papers.
_FAST = {
    "learning_rate": 3e-3,
    "window": 64,
    "batch": 2,
    "weight_decay": 1e-4,
    "optimizer": "adamw",
    "loss": "dice_and_cross_entropy",
    "gradient_clip": 5.0,
}
_DUAL = {"learning_rate": 3.3e-3}  # its paper's

# Models 1 to 5 are the ablations of Wang et al. 2020, Table 6.
NETWORKS: dict[str, NetworkRecord] = {
    "nonlocal_unet": NetworkRecord(NonlocalUNet, "Non-local U-Net"),
    "model1": NetworkRecord(
        NonlocalUNet, "Model 1", {"residual": False, "global_bottom": False, "global_up": (False, False)}
    ),
    "model2": NetworkRecord(NonlocalUNet, "Model 2", {"global_bottom": False, "global_up": (False, False)}),
    "model3": NetworkRecord(NonlocalUNet, "Model 3", {"global_bottom": False, "global_up": (True, False)}),
    "model4": NetworkRecord(NonlocalUNet, "Model 4", {"global_bottom": False, "global_up": (True, True)}),
    "model5": NetworkRecord(NonlocalUNet, "Model 5", {"global_bottom": True, "global_up": (False, False)}),
    "cc_3d_fcn": NetworkRecord(CC3DFCN, "CC-3D-FCN"),
    "dual_aggregation": NetworkRecord(DualAggregation, "Dual aggregation network", training=_DUAL),
    "dual_aggregation_without_attention": NetworkRecord(
        DualAggregation, "Dual aggregation without attention", {"attention": False}, _DUAL
    ),
    "dual_aggregation_without_dcp": NetworkRecord(
        DualAggregation, "Dual aggregation without DCP", {"pyramids": False}, _DUAL
    ),
    "fast_unet": NetworkRecord(FastUNet, "Fast U-Net", training=_FAST),
}

# Networks that find the brain in a whole head: they are no choice where tissues are segmented.
EXTRACTION_NETWORKS: dict[str, NetworkRecord] = {
    "brain_extraction": NetworkRecord(
        FastUNet,
        "Brain extraction network",
        {
            "channels": (16, 32, 64),
            "full_channels": (4, 8),
            "placed": False,
            "form": {"standardised_over": "scan", "mirrored": False, "spacing_mm": 2.0},
        },
        _FAST,
    ),
}


def record_of(name: str) -> Any:
    """The record of a network of either task.

    Raises:
        KeyError: no network has that name.
    """
    return EXTRACTION_NETWORKS[name] if name in EXTRACTION_NETWORKS else NETWORKS[name]


def task_of(name: str) -> str:
    """What a network tells apart: ``TISSUES`` or ``BRAIN_EXTRACTION``."""
    return BRAIN_EXTRACTION if name in EXTRACTION_NETWORKS else TISSUES


def build_network(name: str, in_channels: int = 2, num_classes: int | None = None) -> SegmentationNetwork:
    """Build a network with fresh weights, drawn from torch's global generator.

    Args:
        name: a key of ``NETWORKS`` or of ``EXTRACTION_NETWORKS``.
        in_channels: channels of the input; 2 for T1 and T2.
        num_classes: channels of the logits; ``None`` takes those of its task: 4 for background, CSF, GM and WM, 2 for
            background and brain.

    Returns:
        The network, in training mode, with ``name``, ``in_channels``, ``num_classes`` and
        ``window_multiple``.

    Raises:
        ValueError: no network has that name.
    """
    names = [*NETWORKS, *EXTRACTION_NETWORKS]
    if name not in names:
        raise ValueError(f"no network is named {name!r}; the names are {', '.join(names)}")
    return record_of(name)(name, in_channels, _CLASSES[task_of(name)] if num_classes is None else num_classes)


def count_parameters(network: nn.Module) -> int:
    """Trainable parameters of a network."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def set_dropout(network: nn.Module, *, attention: float | None = None, output: float | None = None) -> None:
    """Change the dropout rates of a built network, so that training can bring dropout in late.

    Args:
        network: any network of this package; one without attention has no attention rate to change.
        attention: new rate on the attention weights, 0 to below 1; ``None`` leaves it.
        output: new rate before the output convolution, 0 to below 1; ``None`` leaves it.

    Raises:
        ValueError: a rate is outside 0 to below 1.
    """
    for name, rate in (("attention", attention), ("output", output)):
        if rate is not None and not 0 <= rate < 1:
            raise ValueError(f"the {name} dropout rate is {rate}; it lies from 0 to below 1")
    for module in network.modules():
        if attention is not None and isinstance(module, DropsAttention):
            module.attention_dropout = attention
        if output is not None and isinstance(module, OutputHead):
            module.dropout.p = output
