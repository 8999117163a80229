"""The scores: 3D-MHD beside the plain matrix of distances, ASD and HD95 beside MONAI's."""

from __future__ import annotations

import numpy as np

from model_core.metrics import hausdorff_95, mhd_3d
from model_core.metrics.column_distances import mean_nearest_distances
from model_core.metrics.surface_distances import surface_distances
from model_core.tissues import TISSUES
from Testing.benchmarks.peers import (
    columns_along,
    monai_asd,
    monai_hd95,
    monai_mean_of_directed,
    plain_nearest_distances,
)
from Testing.benchmarks.repeats import interleaved_seconds, seconds_of
from Testing.benchmarks.rows import Row, Target, ratio_row
from Testing.benchmarks.sample import label_pair
from Testing.benchmarks.settings import Settings

MHD_SECONDS = Target(2.4, at_least=False)
MHD_FASTER, SURFACES_FASTER = Target(80), Target(4)
SAME_DISTANCES = Target(1e-4, at_least=False)  # MONAI computes in float32
CHECK_SIDE = 56
MM = (1.0, 1.0, 1.0)

MaskPair = tuple[np.ndarray, np.ndarray]


def metric_rows(settings: Settings) -> list[Row]:
    """Time both kinds of distances of the three tissues, and compare their values."""
    labels, reference = label_pair(settings.metric_shape)
    masks = [(labels == tissue.label, reference == tissue.label) for tissue in TISSUES]
    return [*_column_rows(masks, settings), *_surface_rows(masks, settings)]


def _column_rows(masks: list[MaskPair], settings: Settings) -> list[Row]:
    plain: list[float] = []
    seconds = interleaved_seconds(
        {
            "ours": lambda: [mhd_3d(*pair) for pair in masks],
            "plain matrix": lambda: plain.append(plain_seconds(masks[1], settings.plain_columns) * len(masks)),
        },
        settings.repeats,
        "3D-MHD",
    )
    ours = seconds["ours"]
    pairs = max(int(np.prod(np.delete(settings.metric_shape, axis))) ** 2 for axis in range(3))
    measure = f"3D-MHD, 3 tissues × 3 axes, {'×'.join(map(str, settings.metric_shape))}"
    note = (
        f"Extrapolated from {settings.plain_columns:,} columns of each axis of one tissue against all others, by the "
        f"number of pairs; its largest matrix would take {pairs * 8 / 1e9:.0f} GB."
    )
    return [
        Row("Scores", measure, tuple(ours), "s", target=MHD_SECONDS),
        ratio_row("Scores", measure, "plain matrix of distances", ours, plain, "s", target=MHD_FASTER, note=note),
        Row("Scores", f"3D-MHD, largest difference on {CHECK_SIDE}³", (_column_difference(masks),), "",
            "plain matrix of distances", target=Target(1e-9, at_least=False), is_check=True),
    ]  # fmt: skip


def plain_seconds(pair: MaskPair, count: int) -> float:
    """Seconds that the plain matrices of one tissue's three axes would take, from ``count`` columns of each axis."""
    total = 0.0
    for axis in range(3):
        first, second = (columns_along(volume, axis) for volume in pair)
        part = first[:: max(1, len(first) // count)][:count]
        total += (
            seconds_of(lambda part=part, second=second: plain_nearest_distances(part, second)) * len(first) / len(part)
        )
    return total


def _column_difference(masks: list[MaskPair]) -> float:
    """Largest difference of a directed mean from the plain matrix's, in a cube from the middle."""
    differences = []
    for pair in masks:
        cubes = [volume[tuple(slice((side - CHECK_SIDE) // 2, (side + CHECK_SIDE) // 2) for side in volume.shape)]
                 for volume in pair]  # fmt: skip
        for axis, ours in enumerate(mean_nearest_distances(*cubes)):
            theirs = plain_nearest_distances(*(columns_along(cube, axis) for cube in cubes))
            differences += [abs(our - their.mean()) for our, their in zip(ours, theirs, strict=True)]
    return float(max(differences))


def _surface_rows(masks: list[MaskPair], settings: Settings) -> list[Row]:
    answers: dict[str, list[tuple[float, float]]] = {}

    def run_ours() -> None:
        answers["ours"] = [asd_and_hd95(*pair) for pair in masks]

    def run_monai() -> None:
        answers["MONAI"] = [(monai_asd(*pair), monai_hd95(*pair)) for pair in masks]

    seconds = interleaved_seconds(
        {
            "ours": run_ours,
            "MONAI": run_monai,
            "our HD95": lambda: [hausdorff_95(*pair, MM) for pair in masks],
            "MONAI's HD95": lambda: [monai_hd95(*pair) for pair in masks],
        },
        settings.repeats,
        "surface distances",
    )
    differences = [
        max(abs(our_asd - monai_mean_of_directed(*pair)), abs(our_hd95 - hd95))
        for pair, (our_asd, our_hd95), (_, hd95) in zip(masks, answers["ours"], answers["MONAI"], strict=True)
    ]
    note = (
        "Ours takes both scores of a tissue from one set of distances, as the table of scores does; MONAI has a call "
    )
    return [
        ratio_row("Scores", "ASD and HD95, 3 tissues", "MONAI", seconds["ours"], seconds["MONAI"], "s",
                  target=SURFACES_FASTER, note=f"{note}for each."),
        ratio_row("Scores", "HD95 alone, 3 tissues", "MONAI", seconds["our HD95"], seconds["MONAI's HD95"], "s"),
        Row("Scores", "ASD and HD95, largest difference", (max(differences),), "mm", "MONAI", target=SAME_DISTANCES,
            is_check=True),
    ]  # fmt: skip


def asd_and_hd95(prediction: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
    """Both scores in mm from one set of distances, as ``score_tissues`` takes them."""
    ways = surface_distances(prediction, reference, np.array(MM))
    return float(sum(way.mean() for way in ways)) / 2, float(max(np.percentile(way, 95) for way in ways))
