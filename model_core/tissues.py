"""The four classes: the one place that knows their labels, values, names, colours and codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tissue:
    """One class of the segmentation.

    Attributes:
        label: value in our label maps and channel of the networks' output, 0 to 3.
        iseg_value: value in the label maps of iSeg-2017 and iSeg-2019.
        key: short name for columns and file names.
        name: name for people.
        color: red, green, blue, 0 to 255.
        snomed_code: SNOMED CT code of the tissue type, empty for the background.
        snomed_meaning: the code's meaning.
        freesurfer_values: values of FreeSurfer-style label maps (``aseg``) that count as this tissue.
    """

    label: int
    iseg_value: int
    key: str
    name: str
    color: tuple[int, int, int]
    snomed_code: str
    snomed_meaning: str
    freesurfer_values: tuple[int, ...]


BACKGROUND = Tissue(0, 0, "background", "Background", (0, 0, 0), "", "", (0,))
CSF = Tissue(
    1, 10, "csf", "CSF", (85, 188, 255), "280371009", "Brain cerebrospinal fluid pathway",
    (4, 5, 14, 15, 24, 30, 31, 43, 44, 62, 63),
)  # fmt: skip
GRAY_MATTER = Tissue(
    2, 150, "gm", "Gray matter", (200, 200, 235), "389081007", "Gray Matter",
    (3, 10, 11, 12, 13, 17, 18, 26, 28, 42, 49, 50, 51, 52, 53, 54, 58, 60),
)  # fmt: skip
WHITE_MATTER = Tissue(
    3, 250, "wm", "White matter", (250, 250, 210), "389080008", "White Matter",
    (2, 41, 77, 85),
)  # fmt: skip

CLASSES = (BACKGROUND, CSF, GRAY_MATTER, WHITE_MATTER)
TISSUES = (CSF, GRAY_MATTER, WHITE_MATTER)
NUM_CLASSES = len(CLASSES)

# Cerebellum and brain stem: iSeg label maps leave them out, so they are no tissue here.
FREESURFER_CEREBELLUM_AND_BRAINSTEM = (7, 8, 16, 46, 47, 172)
# Rarer values of FreeSurfer's maps: fifth ventricle and CSF outside the brain; older values of the thalamus; lesions
# and hypointensities by the tissue they lie in; corpus callosum; white matter away from any parcel; substantia nigra,
# parts of the brain stem and rim of the cerebellum.
FREESURFER_RARER_VALUES = {
    CSF: (72, 257),
    GRAY_MATTER: (9, 48, 80, 81, 82),
    WHITE_MATTER: (25, 57, 78, 79, *range(251, 256), 5001, 5002),
    BACKGROUND: (6, 27, 45, 59, 170, 171, 173, 174, 175),
}
FREESURFER_CORTEX_PARCELS = slice(1000, 3000)  # aparc: 1xxx and 2xxx, of either hemisphere
FREESURFER_WHITE_PARCELS = slice(3000, 5000)  # wmparc: 3xxx and 4xxx
_UNKNOWN = 255


def _freesurfer_table() -> np.ndarray:
    """Label of each FreeSurfer value from 0 on."""
    table = np.full(5003, _UNKNOWN, np.uint8)
    for tissue in CLASSES:
        table[[*tissue.freesurfer_values, *FREESURFER_RARER_VALUES[tissue]]] = tissue.label
    table[list(FREESURFER_CEREBELLUM_AND_BRAINSTEM)] = BACKGROUND.label
    table[FREESURFER_CORTEX_PARCELS] = GRAY_MATTER.label
    table[FREESURFER_WHITE_PARCELS] = WHITE_MATTER.label
    return table


def labels_from_values(values: np.ndarray) -> np.ndarray:
    """Map a label map to the labels 0 to 3, whichever of the known sets of values it holds.

    A map whose values are all among 0 to 3 is taken as ours, one with only 0, 10, 150 and 250 as iSeg's, any other
    as FreeSurfer's (aseg, aparc+aseg, wmparc), whose cerebellum and brain stem become background.

    Args:
        values: integers of any shape.

    Returns:
        uint8 labels of the same shape.

    Raises:
        ValueError: some values are in none of the sets; the message lists them.
    """
    found = np.unique(values)
    for known in ([tissue.label for tissue in CLASSES], [tissue.iseg_value for tissue in CLASSES]):
        if np.isin(found, known).all():
            return np.searchsorted(known, values).astype(np.uint8)
    table = _freesurfer_table()
    inside = (found >= 0) & (found < len(table))
    unknown = [*found[~inside], *found[inside][table[found[inside]] == _UNKNOWN]]
    if unknown:
        raise ValueError(", ".join(str(value) for value in unknown[:8]) + (", …" if len(unknown) > 8 else ""))
    return table[values]
