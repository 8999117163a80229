"""Two label maps brought onto one grid to be compared: the reference's, as far as it goes, and beyond where need be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_core.errors import UserError
from model_core.metrics import TissueScore, score_tissues
from model_core.volumes import Volume, have_same_grid, resample

SAME_PLACE = 1e-3  # of a voxel: rounding where grids are extended by whole voxels


@dataclass(frozen=True)
class Comparison:
    """A prediction and a reference on one grid.

    Attributes:
        prediction, reference: uint8 0 to 3, of one shape and affine.
        sentences: on what was done to either; empty where they had one grid.
        resampled: whether the prediction was.
    """

    prediction: Volume
    reference: Volume
    sentences: tuple[str, ...]
    resampled: bool

    def scores(self) -> list[TissueScore]:
        """One row per tissue."""
        return score_tissues(self.prediction.array, self.reference.array, self.reference.spacing)


def compare(prediction: Volume, reference: Volume) -> Comparison:
    """Bring a prediction onto the grid of a reference, nearest neighbour.

    Where the prediction has tissue beyond the reference's grid, as beyond a reference that was cropped to its segments,
    that grid is first extended by whole voxels of background to all that the prediction covers: so the scores are
    those of the uncropped reference.

    Args:
        prediction, reference: uint8 0 to 3.

    Raises:
        UserError: the two do not overlap in space.
    """
    sentences = []
    resampled = not have_same_grid(prediction, reference)
    if resampled:
        check_overlap(prediction, reference)
        outside = _tissue_outside(prediction, reference)
        if outside:
            extended = _extended(reference, prediction)
            shape = "×".join(map(str, extended.array.shape))
            sentences.append(
                f"The prediction has {outside:,} voxels of tissue outside the reference ({reference.description}), "
                f"which is extended by background to {shape} voxels, so that they count."
            )
            reference = extended
    if resampled and not have_same_grid(prediction, reference):
        sentences.append(
            f"The prediction ({prediction.description}) is resampled (nearest neighbour) onto the reference: "
            f"{reference.description}."
        )
        array = resample(prediction, reference.array.shape, reference.affine, order=0).array
        prediction = Volume(array, reference.affine, prediction.path)
    else:
        resampled = False
    return Comparison(prediction, reference, tuple(sentences), resampled)


def check_overlap(first: Volume, second: Volume) -> None:
    """Refuse two label maps of which no voxel of the one lies in the other.

    Raises:
        UserError: they do not overlap in space.
    """
    there = Volume(np.ones(first.array.shape, np.uint8), first.affine)
    if not resample(there, second.array.shape, second.affine, order=0).array.any():
        raise UserError(
            f"{first.path} ({first.description}) and {second.path} ({second.description}) do not "
            "overlap in space; expected two label maps of one scan; check which files these are and their affines."
        )


def _in_voxels_of(volume: Volume, places: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Voxels (n, 3) of a grid with this affine as places among the voxels of a volume."""
    to_volume = np.linalg.inv(volume.affine) @ affine
    return places @ to_volume[:3, :3].T + to_volume[:3, 3]


def _tissue_outside(prediction: Volume, reference: Volume) -> int:
    """How many voxels of tissue have their centre beyond the outermost voxels of the reference."""
    places = _in_voxels_of(reference, np.argwhere(prediction.array), prediction.affine)
    beyond = (places < -0.5 - SAME_PLACE) | (places > np.array(reference.array.shape) - 0.5 + SAME_PLACE)
    return int(beyond.any(axis=1).sum())


def _extended(reference: Volume, prediction: Volume) -> Volume:
    """Surround a reference by as many whole voxels of background as the prediction's grid reaches beyond it."""
    corners = np.indices((2, 2, 2)).reshape(3, -1).T * (np.array(prediction.array.shape) - 1)
    places = _in_voxels_of(reference, corners, prediction.affine)
    before = np.maximum(np.ceil(-places.min(axis=0) - SAME_PLACE), 0).astype(int)
    last = np.array(reference.array.shape) - 1
    after = np.maximum(np.ceil(places.max(axis=0) - last - SAME_PLACE), 0).astype(int)
    affine = reference.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ before
    array = np.pad(reference.array, list(zip(before, after, strict=True)))
    return Volume(array, affine, reference.path)
