"""The four classes: the one place that knows their labels, values, names, colours and codes."""

from __future__ import annotations

from dataclasses import dataclass


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
FREESURFER_CEREBELLUM_AND_BRAINSTEM = (7, 8, 16, 46, 47)
