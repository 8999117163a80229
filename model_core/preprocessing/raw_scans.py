"""From T1 and T2 as converted from DICOM to a pair that the network's preparation takes: the chain of steps.

Orientation by the affine, N4, T2 onto T1, and the brain's mask. Each step can be left out; without the first, for
headers that lost or falsified it, voxel axes are taken as right, anterior, superior. T1 keeps its own voxels
throughout, so that the result lies on the T1 that was given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from scipy import ndimage

from model_core.errors import UserError
from model_core.findings import Finding
from model_core.preprocessing.alignment import align_rigidly
from model_core.preprocessing.bias_field import correct_bias
from model_core.preprocessing.brain_extraction import BuiltIn, Tool, choose_extractor
from model_core.preprocessing.step_pictures import draw_step
from model_core.segmentation_options import ALIGNMENT, BIAS, BUILT_IN, EXTRACTION, ORIENTATION, RAW_STEPS
from model_core.volumes import Volume, have_same_grid, resample, to_canonical, write_volume
from model_core.volumes.above_air import above_air

COARSEST_MM = 3.0  # of a voxel side: thicker slices do not show the cortex of an infant
SMALLEST_HEAD_SHARE = 0.01  # of the volume
LEAST_OVER_AIR = 2.0  # of the head's median to that of what is around it
SMALLEST_PIECE_SHARE = 0.05  # of the largest piece
REGION_VOXEL_MM = 2.0


@dataclass(frozen=True)
class RawOptions:
    """How raw scans are made ready.

    Attributes:
        skip: steps to leave out, of `RAW_STEPS`.
        brain_extraction: what finds the brain, of `BRAIN_EXTRACTIONS`; without effect with a mask.
        gpu: whether the tool may use the GPU.
        keep_intermediates: a folder for T1 and T2 after each step and for the mask; None keeps nothing.
        pictures: whether each step gets a picture.
        scratch: a folder for the tool's files while it runs; None takes the system's place for such.
    """

    skip: frozenset[str] = frozenset()
    brain_extraction: str = BUILT_IN
    gpu: bool = False
    keep_intermediates: Path | None = None
    pictures: bool = False
    scratch: Path | None = None


@dataclass(frozen=True)
class RawStep:
    """A step of the chain as it went.

    Attributes:
        name: of `RAW_STEPS`.
        done: False where it was left out.
        tool: what did it; None where it was left out.
        seconds: that it took.
        details: what it found, such as the similarity, for the sidecar.
        picture: PNG of the scans after it; None where none was wanted.
    """

    name: str
    done: bool
    tool: str | None
    seconds: float
    details: dict[str, Any] = field(default_factory=dict)
    picture: bytes | None = field(default=None, repr=False)

    @property
    def account(self) -> str:
        """What was done, for people."""
        if not self.done:
            return "left out"
        details = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in self.details.items())
        return f"{self.tool}, {self.seconds:.1f} s" + (f"; {details}" if details else "")

    def as_dict(self) -> dict[str, Any]:
        """What the sidecar says of it."""
        return {
            "name": self.name,
            "done": self.done,
            "tool": self.tool,
            "seconds": round(self.seconds, 1),
            **self.details,
        }


@dataclass(frozen=True)
class RawScans:
    """Raw scans after the chain; `prepare_pair` takes t1, t2 and mask.

    Attributes:
        t1: the voxels that were given; their places are the given ones, too, unless the orientation was left out.
        t2: on a grid of its own, which lies over T1.
        mask: the brain on T1's grid, bool; None where brain extraction was left out and no mask given.
        steps: as they went.
        to_given: (4, 4), from the places of t1, t2 and mask to those of the T1 that was given, RAS mm.
    """

    t1: Volume
    t2: Volume
    mask: Volume | None
    steps: tuple[RawStep, ...]
    to_given: np.ndarray

    @property
    def findings(self) -> list[Finding]:
        """What a person should look at in how the chain went."""
        if not any(step.tool == BuiltIn.title for step in self.steps):
            return []
        return [
            Finding(
                "built-in-extraction",
                "The brain was found by the built-in network, which has learned from synthetic heads alone; expected "
                "its outline to follow the brain; look at it, and where it is wrong give a brain mask (--mask) or "
                "choose another tool (--brain-extraction).",
            )
        ]

    def from_given(self, volume: Volume) -> Volume:
        """Move a volume that lies over the T1 that was given to where the chain has T1."""
        return Volume(volume.array, np.linalg.inv(self.to_given) @ volume.affine, volume.path)


def prepare_raw(
    t1: Volume,
    t2: Volume,
    mask: Volume | None,
    options: RawOptions,
    *,
    on_stage: Callable[[str], None] | None = None,
    on_wait: Callable[[], None] | None = None,
) -> RawScans:
    """Take raw scans through the chain.

    Args:
        t1, t2: as converted from DICOM, with or without skull, in any orientation, voxels of at most 3 mm.
        mask: the brain, on T1's grid or any other that covers it; None lets the options' choice find it.
        options: what to do.
        on_stage: called with a step's name when it begins; what it raises ends the work.
        on_wait: called a few times a second while a tool runs; what it raises ends the tool and the work.

    Raises:
        UserError: voxels are too large, the scans are empty, a step fails, or nothing on this machine finds the brain.
    """
    for name, scan in (("T1", t1), ("T2", t2)):
        _check_scan(name, scan)
    wants_mask = mask is None and EXTRACTION not in options.skip
    finder = choose_extractor(options.brain_extraction) if wants_mask else None  # refused now, not after minutes
    chain = _Chain(t1, t2, None if mask is None else _on_grid_of(t1, mask), options, on_stage or (lambda stage: None))
    chain.run(ORIENTATION, "affine", chain.orient)
    chain.run(BIAS, "N4", chain.correct)
    chain.run(ALIGNMENT, "mutual information", chain.align)
    chain.run(EXTRACTION, "mask given" if finder is None else finder.title, lambda: chain.extract(finder, on_wait))
    return RawScans(chain.t1, chain.t2, chain.mask, tuple(chain.steps), chain.to_given)


class _Chain:
    """The scans on their way, and the steps so far."""

    def __init__(
        self, t1: Volume, t2: Volume, mask: Volume | None, options: RawOptions, begin: Callable[[str], None]
    ) -> None:
        self.t1, self.t2, self.mask = t1, t2, mask
        self._given = {"t1": t1, "t2": t2, "mask": t1}  # on whose voxels each lies
        self.to_given = np.eye(4)
        self.steps: list[RawStep] = []
        self._options, self._begin = options, begin
        self._head, self._t2_head = find_head("T1", t1), find_head("T2", t2)
        if ORIENTATION in options.skip:
            self.t1, self.t2 = _along_its_axes(t1), _along_its_axes(t2)
            self.mask = None if mask is None else Volume(mask.array, self.t1.affine, mask.path)
            self.to_given = t1.affine @ np.linalg.inv(self.t1.affine)

    def run(self, name: str, tool: str, work: Callable[[], dict[str, Any]]) -> None:
        """Do a step, or leave it out, and note how it went."""
        given = name == EXTRACTION and self.mask is not None
        done = given or name not in self._options.skip
        began = time.monotonic()
        if done:
            self._begin(name)
        details = work() if done else {}
        seconds = time.monotonic() - began
        if self._options.keep_intermediates and done:
            self._keep(name, self._options.keep_intermediates)
        picture = draw_step(self.t1, self.t2, self.mask) if self._options.pictures else None
        self.steps.append(RawStep(name, done, tool if done else None, seconds, details, picture))

    def _keep(self, name: str, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        volumes = [self.mask] if name == EXTRACTION and self.mask else [self.t1, self.t2]
        for path, volume in zip(intermediate_paths(folder, name), volumes, strict=True):
            kept = to_canonical(volume) if name == ORIENTATION else volume
            affine, given = self.to_given @ kept.affine, self._given[path.name.rpartition("-")[2].partition(".")[0]]
            write_volume(path, kept.array, affine, like=given if np.allclose(affine, given.affine) else None)

    def orient(self) -> dict[str, Any]:
        """Read the orientations; the arrays stay as they are, for the affines hold them."""
        return {name: "".join(nibabel.aff2axcodes(scan.affine)) for name, scan in (("t1", self.t1), ("t2", self.t2))}

    def correct(self) -> dict[str, Any]:
        region = self._head if self.mask is None else self.mask.array
        corrected = correct_bias(self.t1.array, region, self.t1.spacing, outside=True)
        self.t1 = Volume(corrected, self.t1.affine, self.t1.path)
        corrected = correct_bias(self.t2.array, self._t2_head, self.t2.spacing, outside=True)
        self.t2 = Volume(corrected, self.t2.affine, self.t2.path)
        return {}

    def align(self) -> dict[str, Any]:
        found = align_rigidly(self.t2, self.t1, self._head, self._t2_head)
        self.t2 = found.t2
        return {
            "similarity": round(found.similarity, 4),
            "contrast": round(found.contrast, 2),
            "shift_mm": round(found.shift_mm, 1),
            "angle_degrees": round(found.angle_degrees, 1),
        }

    def extract(self, finder: BuiltIn | Tool | None, on_wait: Callable[[], None] | None) -> dict[str, Any]:
        if finder is not None:
            gpu, scratch = self._options.gpu, self._options.scratch
            self.mask = finder.find(self.t1, self.t2, gpu=gpu, scratch=scratch, on_wait=on_wait)
        if self.mask is None:
            raise ValueError("neither a mask nor what finds one was given; expected one")
        return {"brain_ml": round(float(self.mask.array.sum()) * float(np.prod(self.mask.spacing)) / 1000, 1)}


def _along_its_axes(scan: Volume) -> Volume:
    """Forget where a scan lies: its axes are taken as right, anterior, superior, its middle as 0."""
    affine = np.diag([*scan.spacing, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(scan.array.shape) - 1) / 2)
    return Volume(scan.array, affine, scan.path)


def intermediate_paths(folder: Path, step: str) -> list[Path]:
    """Return the files that a step leaves in the folder of intermediates: T1 and T2, or the mask."""
    kinds = ("mask",) if step == EXTRACTION else ("t1", "t2")
    return [folder / f"{RAW_STEPS.index(step) + 1}-{step}-{kind}.nii.gz" for kind in kinds]


def _check_scan(name: str, scan: Volume) -> None:
    if max(scan.spacing) > COARSEST_MM + 1e-3:
        raise UserError(
            f"{name} ({scan.path}) has {scan.description}; expected slices of at most {COARSEST_MM:g} mm, for thicker "
            "ones do not show the cortex; choose another series of this examination."
        )


def find_head(name: str, scan: Volume) -> np.ndarray:
    """Return where the head is, bool, shape of the scan; of a stripped scan, the brain.

    Raises:
        UserError: there is none.
    """
    steps = tuple(max(1, round(REGION_VOXEL_MM / side)) for side in scan.spacing)
    coarse = scan.array[:: steps[0], :: steps[1], :: steps[2]]
    pieces, count = ndimage.label(above_air(coarse))
    sizes = np.bincount(pieces.ravel())[1:]
    smooth = ndimage.gaussian_filter(coarse, 1.0)  # noise becomes even, a head does not
    stands_out = count and sizes.max() >= SMALLEST_HEAD_SHARE * coarse.size
    if stands_out:
        largest = pieces == sizes.argmax() + 1
        stands_out = np.median(smooth[largest]) >= LEAST_OVER_AIR * max(float(np.median(smooth[~largest])), 0.0)
    if not stands_out:
        raise UserError(
            f"{name} ({scan.path}) shows no head: nothing that hangs together stands out from the background; expected "
            "a scan of a head; check the series and the file."
        )
    large = np.flatnonzero(sizes >= SMALLEST_PIECE_SHARE * sizes.max()) + 1  # bone may part the brain from the scalp
    head = ndimage.binary_fill_holes(np.isin(pieces, large))
    whole = np.repeat(np.repeat(np.repeat(head, steps[0], 0), steps[1], 1), steps[2], 2)
    return whole[tuple(slice(side) for side in scan.array.shape)]


def _on_grid_of(t1: Volume, mask: Volume) -> Volume:
    """Bring a user's mask onto T1's grid, nearest neighbour."""
    array = mask.array if have_same_grid(mask, t1) else resample(mask, t1.array.shape, t1.affine, order=0).array
    if not array.any():
        raise UserError(
            f"The mask ({mask.path}) does not lie over T1 ({t1.path}, {t1.description}); expected both in the same "
            "place; make the mask from this T1, or resample it onto T1."
        )
    return Volume(array != 0, t1.affine, mask.path)
