"""Scans that show no head, for the network that finds the brain: limbs, a trunk, a phantom, noise alone.

They need not look right: they must not look like a brain in a skull, so that the network answers with nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from model_core.synthesis.draw import Draw, Range
from model_core.synthesis.head_contrast import paint
from model_core.synthesis.head_maps import AIR, BONE, NAMES, SOFT_TISSUE
from model_core.synthesis.head_scan import Field, scan
from model_core.synthesis.heads import GRID_MM, SIDE, HeadScans

SKIN, MARROW = NAMES.index("skin"), NAMES.index("marrow")
SPINAL_CORD, ARTERIES = NAMES.index("spinal cord"), NAMES.index("arteries")
SHARES = {"limbs": 0.35, "trunk": 0.25, "phantom": 0.3, "noise": 0.1}  # how often each is made
WARP_MM: Range = (2.0, 12.0)
WARP_SPACING = 20  # voxels
LIMB_MM: Range = (18.0, 55.0)  # radius
TRUNK_MM: Range = (55.0, 105.0)
PHANTOM_MM: Range = (35.0, 95.0)
ORGANS = 5  # at most, in a trunk; as many inserts in a phantom
ORGAN_SPACING = 22  # voxels
FIELD = Field(around_mm=0.0, into_brain_mm=40.0)  # without a brain the cuts lie within the image's ends


def synthesize_no_head(seed: int | tuple[int, ...], *, contrast: str = "random", side: int = SIDE) -> HeadScans:
    """Make T1 and T2 of something that is no head; ``brain`` is empty.

    Args:
        seed: the same seed gives the same scans.
        contrast: "random" or "infant", as for heads.
        side: voxels of the images along each axis.
    """
    draw = Draw(seed)
    name = str(draw.numbers.choice(list(SHARES), p=list(SHARES.values())))
    makers: dict[str, Callable[[torch.Tensor, Draw], torch.Tensor]] = {
        "limbs": _limbs,
        "trunk": _trunk,
        "phantom": _phantom,
        "noise": _nothing,
    }
    labels = makers[name](_places(draw, side), draw)
    brain = torch.zeros(labels.shape, dtype=torch.bool)
    (t1, field_1), (t2, field_2) = scan(paint(labels, draw, contrast), brain, draw, FIELD)
    return HeadScans(t1.numpy(), t2.numpy(), brain.numpy(), field_1.numpy(), field_2.numpy(), contrast, name)


def _places(draw: Draw, side: int) -> torch.Tensor:
    """Where each voxel lies, mm from a middle at random: (3, D, H, W), warped, the axes in any order."""
    axis = (torch.arange(side, dtype=torch.float32) - (side - 1) / 2) * GRID_MM
    places = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
    places += torch.from_numpy(draw.numbers.uniform(-20, 20, 3)).float()[:, None, None, None]
    places += draw.uniform(WARP_MM) * draw.smooth_field((side,) * 3, WARP_SPACING, channels=3)
    return places[torch.from_numpy(draw.numbers.permutation(3))]


def _tube(places: torch.Tensor, radii: tuple[float, float], middle: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    """Distance from the axis of a tube along the first axis, 1 at its surface: (D, H, W)."""
    return torch.hypot((places[1] - middle[0]) / radii[0], (places[2] - middle[1]) / radii[1])


def _limbs(places: torch.Tensor, draw: Draw) -> torch.Tensor:
    """One or two tubes of flesh in skin and fat, each around one or two bones."""
    labels = torch.full(places.shape[1:], AIR, dtype=torch.uint8)
    count = 1 + draw.happens(0.5)
    for number in range(count):
        radius = draw.uniform(LIMB_MM)
        middle = ((2 * number - 1) * radius * draw.uniform((1.0, 1.4)) if count == 2 else 0.0, 0.0)
        distance = _tube(places, (radius, radius * draw.uniform((0.8, 1.2))), middle)
        fat = draw.uniform((0.6, 0.95))
        for inside, structure in ((1.0, SKIN), (0.96, MARROW), (fat, SOFT_TISSUE)):
            labels[distance < inside] = structure
        for _bone in range(1 + draw.happens(0.4)):
            thickness = radius * draw.uniform((0.12, 0.4))
            aside = draw.numbers.uniform(-0.3, 0.3, 2) * radius
            bone = _tube(places, (thickness, thickness), (middle[0] + float(aside[0]), float(aside[1])))
            labels[bone < 1] = BONE
            labels[bone < draw.uniform((0.4, 0.8))] = MARROW
        vessel = draw.numbers.uniform(-0.5, 0.5, 2) * radius
        labels[_tube(places, (4.0, 4.0), (middle[0] + float(vessel[0]), float(vessel[1]))) < 1] = ARTERIES
    return labels


def _trunk(places: torch.Tensor, draw: Draw) -> torch.Tensor:
    """A wide tube with organs of any kind, and a spine."""
    radii = draw.uniform(TRUNK_MM), draw.uniform(TRUNK_MM)
    distance = _tube(places, radii)
    labels = torch.full(places.shape[1:], AIR, dtype=torch.uint8)
    inner = draw.uniform((0.7, 0.9))
    for inside, structure in ((1.0, SKIN), (0.96, MARROW), (inner, SOFT_TISSUE)):
        labels[distance < inside] = structure
    for _organ in range(int(draw.numbers.integers(2, ORGANS + 1))):
        organ = draw.smooth_field(labels.shape, ORGAN_SPACING)[0] > draw.uniform((0.5, 1.2))
        labels[organ & (distance < inner)] = int(draw.numbers.integers(len(NAMES)))
    behind = -0.6 * radii[1]
    for radius, structure in ((20.0, BONE), (15.0, MARROW), (7.0, SPINAL_CORD)):
        labels[_tube(places, (radius, radius), (0.0, behind)) < 1] = structure
    return labels


def _phantom(places: torch.Tensor, draw: Draw) -> torch.Tensor:
    """A ball, an egg or a box of one grey, with a few inserts."""
    labels = torch.full(places.shape[1:], AIR, dtype=torch.uint8)
    radii = torch.from_numpy(draw.numbers.uniform(*PHANTOM_MM, size=3)).float()[:, None, None, None]
    power = float(draw.numbers.choice([2.0, 2.0, 6.0]))
    distance = ((places / radii).abs() ** power).sum(dim=0)
    labels[distance < 1] = int(draw.numbers.integers(1, len(NAMES)))
    for _insert in range(int(draw.numbers.integers(ORGANS))):
        middle = torch.from_numpy(draw.numbers.uniform(-40, 40, 3)).float()[:, None, None, None]
        insert = (places - middle).norm(dim=0) < draw.uniform((4.0, 30.0))
        labels[insert & (distance < 1)] = int(draw.numbers.integers(len(NAMES)))
    return labels


def _nothing(places: torch.Tensor, draw: Draw) -> torch.Tensor:
    return torch.full(places.shape[1:], AIR, dtype=torch.uint8)
