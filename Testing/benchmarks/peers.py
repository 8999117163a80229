"""What this project is measured against: MONAI, and networks and distances written the way that comes to mind first."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import sliding_window_inference
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance
from torch import Tensor, nn

from model_core.inference.standardisation import standardise_windows
from model_core.networks import SegmentationNetwork
from model_core.networks.attention import GlobalAggregation, from_tokens
from Testing.benchmarks.settings import WINDOW

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def explicit_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q·kᵀ/√channels)·v by two matrix products, with the matrix of weights in between."""
    return torch.softmax(query @ key.transpose(-2, -1) / math.sqrt(query.shape[-1]), dim=-1) @ value


# The same network with its attention written in three ways; None leaves the training form.
TRANSPOSED, EXPLICIT, CONTIGUOUS = (
    "MONAI, SDPA on transposed views",
    "MONAI, matmul attention",
    "MONAI, contiguous SDPA",
)
ATTENTIONS: dict[str, Attention | None] = {
    TRANSPOSED: F.scaled_dot_product_attention,
    EXPLICIT: explicit_attention,
    CONTIGUOUS: None,
}


def with_attention(network: SegmentationNetwork, attention: Attention | None) -> SegmentationNetwork:
    """A copy in evaluation mode whose global aggregation calls ``attention`` on transposed views of its volumes."""
    network = copy.deepcopy(network).eval()
    if attention is not None:
        for module in network.modules():
            if isinstance(module, GlobalAggregation):
                module.forward = partial(_aggregate, module, attention)
    return network


def _aggregate(module: GlobalAggregation, attention: Attention, x: Tensor) -> Tensor:
    query = module.query(x)
    views = [volume.unflatten(1, (module.heads, -1)).flatten(3).transpose(2, 3) for volume in
             (query, module.key(x), module.value(x))]  # fmt: skip
    return module.output(from_tokens(attention(*views), query.shape[2:]))


def monai_probabilities(
    network: nn.Module, t1: np.ndarray, t2: np.ndarray, *, step: int, batch_size: int = 1
) -> np.ndarray:
    """Segment by MONAI's sliding windows, each standardised as in training.

    Args:
        network: standardised windows to logits.
        t1: (D, H, W) float32.
        t2: (D, H, W) float32.
        step: overlap step.
        batch_size: windows that run together.

    Returns:
        (4, D, H, W), the mean of the windows' softmax probabilities.
    """
    volume = torch.from_numpy(np.stack([t1, t2]))[None]
    with torch.inference_mode():
        return sliding_window_inference(
            volume,
            (WINDOW,) * 3,
            batch_size,
            lambda windows: network(standardise_windows(windows)).softmax(dim=1),
            overlap=1 - step / WINDOW,
            mode="constant",
        )[0].numpy()


def monai_asd(prediction: np.ndarray, reference: np.ndarray) -> float:
    """MONAI's symmetric average surface distance in voxels, which pools both directions."""
    return float(
        compute_average_surface_distance(*_batch(prediction, reference), include_background=True, symmetric=True)
    )


def monai_hd95(prediction: np.ndarray, reference: np.ndarray) -> float:
    """HD95 in voxels."""
    return float(compute_hausdorff_distance(*_batch(prediction, reference), include_background=True, percentile=95))


def monai_mean_of_directed(prediction: np.ndarray, reference: np.ndarray) -> float:
    """ASD by MONAI as this project defines it: the mean of the two directed means."""
    pair = _batch(prediction, reference)
    return sum(float(compute_average_surface_distance(*way, include_background=True)) for way in (pair, pair[::-1])) / 2


def _batch(*masks: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(mask)[None, None] for mask in masks]


def columns_along(volume: np.ndarray, axis: int) -> np.ndarray:
    """(columns, voxels) float64 of a binary volume along one axis."""
    return np.moveaxis(volume, axis, -1).reshape(-1, volume.shape[axis]).astype(np.float64)


def plain_nearest_distances(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from each row of one (n, voxels) matrix to the nearest row of the other, both ways, by all pairs."""
    squares = first @ second.T
    squares *= -2
    squares += np.square(first).sum(axis=1)[:, None]
    squares += np.square(second).sum(axis=1)
    return np.sqrt(squares.min(axis=1).clip(0)), np.sqrt(squares.min(axis=0).clip(0))
