"""Whether a scan is stripped of its skull, and what its brain encloses; voxels alone, wherever they lie."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from model_core.errors import UserError
from model_core.preprocessing.network_grid import bounding_box
from model_core.volumes import Volume

LARGEST_NONZERO_SHARE = 0.6  # of the volume; a stripped brain fills 10 to 40 %, cropped to its box about half
LARGEST_FACE_SHARE = 0.5  # of a face of the volume; a head fills most of one, a brain cropped tightly touches it
ONE_VALUE_SHARE = 0.9  # of the border; it is then a background that somebody set
FAINT_BORDER = 0.1  # of what is bright in the scan; a border below is noise, not tissue
BRIGHT_PERCENTILE = 98.0
NARROW = 1  # voxels on either side that close an opening of a cavity


def refuse_unstripped(scan: Volume, name: str = "T1") -> None:
    """Refuse a scan, of that name for people, whose zeros do not tell where the brain is.

    Raises:
        UserError: too much of it, or most of one of its faces, is not 0.
    """
    nonzero = scan.array != 0
    share = float(nonzero.mean())
    face = max(float(nonzero.take(end, axis).mean()) for axis in range(3) for end in (0, -1))
    if share <= LARGEST_NONZERO_SHARE and face <= LARGEST_FACE_SHARE:
        return
    found = f"{share:.0%} of its voxels are not 0" + (
        f", and {face:.0%} of a face of the volume" if face > LARGEST_FACE_SHARE else ""
    )
    raise UserError(
        f"{name} ({scan.path}) does not look skull-stripped: {found}{_describe_background(scan.array)}; expected a "
        "brain surrounded by zeros; run a skull-stripping tool such as SynthStrip on it (or, where it is stripped, set "
        "its background to 0), or give a brain mask (--mask)."
    )


def _describe_background(array: np.ndarray) -> str:
    """What lies at the border instead of zeros, as a phrase; empty where it is tissue."""
    border = np.concatenate([array.take(end, axis).ravel() for axis in range(3) for end in (0, -1)])
    values, counts = np.unique(border, return_counts=True)
    usual = float(values[counts.argmax()])
    if usual != 0 and counts.max() >= ONE_VALUE_SHARE * border.size:
        standardised = " (as where the whole volume was standardised)" if array.min() < 0 and usual % 1 else ""
        return f", for its background is {usual:g}{standardised}"
    bright = np.percentile(np.abs(array), BRIGHT_PERCENTILE)
    if usual == 0 and counts.max() >= ONE_VALUE_SHARE * border.size:
        return ""
    if np.median(np.abs(border)) <= FAINT_BORDER * bright:
        return f", for its background is noise (of about {np.median(np.abs(border)):.3g})"
    return ""


def fill_cavities(foreground: np.ndarray) -> np.ndarray:
    """Return the foreground with the cavities that it encloses, also those that open outwards by a narrow gap.

    Args:
        foreground: bool (I, J, K).

    Returns:
        bool (I, J, K). Only what joins the outside through more than two voxels stays background.
    """
    if not foreground.any():
        return foreground
    box = bounding_box(foreground)
    inside = np.pad(foreground[box], 1 + NARROW)
    joined = ndimage.generate_binary_structure(3, 2)
    sealed = ndimage.binary_closing(inside, joined, iterations=NARROW)
    cavities = _enclosed(inside)
    core = _enclosed(sealed)
    if core.any():  # what the sealing took of a cavity comes back with it
        cavities |= ndimage.binary_dilation(core, joined, iterations=2 * NARROW) & ~inside
    filled = foreground.copy()
    filled[box] |= cavities[(slice(1 + NARROW, -1 - NARROW),) * 3]
    return filled


def _enclosed(foreground: np.ndarray) -> np.ndarray:
    """Where background does not join that of the corner, bool."""
    background, _ = ndimage.label(~foreground)
    return (background != 0) & (background != background[0, 0, 0])
