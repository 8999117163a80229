"""Where a cohort's results lie, and what BIDS wants to be said of them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from model_core.cohorts.subjects import CohortSubject
from model_core.errors import UserError
from model_core.program import PROGRAM_NAME, PROGRAM_URL, PROGRAM_VERSION
from model_core.system.text_files import read_json, write_json, write_text
from model_core.tissues import CLASSES, TISSUES, Tissue
from model_core.volumes.label_values import DESCRIPTION_FILE

BIDS_VERSION = "1.10.0"
# Abbreviations and values of the table of common image-derived labels in the BIDS specification.
BIDS_LABELS = {"background": ("BG", 0), "csf": ("CSF", 3), "gm": ("GM", 1), "wm": ("WM", 2)}
HIDDEN_FOLDER, LOGS_FOLDER = ".cohort", "logs"
BIDSIGNORE = "logs/\nfigures/\nsub-*/figures/\n*.html\ngroup.tsv\ngroup.json\nratings.tsv\nratings.json\n"


README = f"""{PROGRAM_NAME} segmentations

T1/T2 pairs of infants of about 6 to 8 months, segmented into CSF, gray and white matter by {PROGRAM_NAME}.

sub-*/[ses-*/]anat/*_space-T1w_dseg.nii.gz            labels on T1's own grid; dseg.tsv says what the values are
sub-*/[ses-*/]anat/*_space-T1w_dseg.json              sources, volumes, scores, warnings
sub-*/[ses-*/]anat/*_space-T1w_desc-brain_mask.nii.gz the brain that was segmented
sub-*/[ses-*/]anat/*_space-T1w_label-*_probseg.nii.gz probabilities of the tissues
sub-*/[ses-*/]anat/*_space-T1w_desc-uncertainty_probseg.nii.gz  how unsure each voxel is, 0 to 1, if asked for
sub-*.html, sub-*/figures/                            what to look at
index.html, group.tsv, group.json                     the group
ratings.tsv                                           what people think of each result

Research use only; not a medical device. Look at each result before you use it.
"""
CITATION = f"""cff-version: 1.2.0
message: If you use these segmentations, please cite the software and the paper of its network.
title: {PROGRAM_NAME}
type: software
version: {PROGRAM_VERSION}
url: {PROGRAM_URL}
license: Apache-2.0
authors:
  - name: The InfantBrainSeg contributors
references:
  - type: conference-paper
    title: Non-local U-Nets for Biomedical Image Segmentation
    year: 2020
    authors:
      - {{family-names: Wang, given-names: Zhengyang}}
      - {{family-names: Zou, given-names: Na}}
      - {{family-names: Shen, given-names: Dinggang}}
      - {{family-names: Ji, given-names: Shuiwang}}
    collection-title: Proceedings of the AAAI Conference on Artificial Intelligence
"""


@dataclass(frozen=True)
class ResultFiles:
    """Paths of one subject's results.

    Attributes:
        output: folder of all results.
        subject: whose they are.
    """

    output: Path
    subject: CohortSubject

    @property
    def stem(self) -> str:
        """Beginning of the names; the label map lies on T1's own grid."""
        stem = self.subject.stem
        return stem if "_space-" in stem else f"{stem}_space-T1w"

    @property
    def folder(self) -> Path:
        return self.output / self.subject.folder / "anat"

    @property
    def labels(self) -> Path:
        return self.folder / f"{self.stem}_dseg.nii.gz"

    @property
    def sidecar(self) -> Path:
        """Written last: where it stands, the result is complete."""
        return self.folder / f"{self.stem}_dseg.json"

    @property
    def mask(self) -> Path:
        """The brain that was segmented, on T1's own grid."""
        return self.folder / f"{self.stem}_desc-brain_mask.nii.gz"

    def probabilities(self, tissue: Tissue) -> Path:
        return self.folder / f"{self.stem}_label-{BIDS_LABELS[tissue.key][0]}_probseg.nii.gz"

    def all_probabilities(self) -> list[Path]:
        return [self.probabilities(tissue) for tissue in TISSUES]

    @property
    def uncertainty(self) -> Path:
        """How unsure each voxel's label is, where that is wanted."""
        return self.folder / f"{self.stem}_desc-uncertainty_probseg.nii.gz"

    @property
    def picture(self) -> Path:
        return self.output / f"sub-{self.subject.participant}" / "figures" / f"{self.stem}_dseg.png"

    @property
    def report(self) -> Path:
        """Page on the subject's session: pictures, warnings, and the steps that a raw scan went through."""
        return self.output / f"{self.subject.name}.html"

    @property
    def log(self) -> Path:
        """What the last run printed."""
        return self.output / LOGS_FOLDER / f"{self.subject.name}.log"

    @property
    def failure(self) -> Path:
        """Why the last run failed; not there if it did not."""
        return self.output / LOGS_FOLDER / f"{self.subject.name}.failed.json"

    @property
    def lock(self) -> Path:
        return self.output / HIDDEN_FOLDER / f"{self.subject.name}.lock"


def prepare_output(bids: Path, output: Path) -> None:
    """Make the output folder and the files that describe it as BIDS derivatives.

    Raises:
        UserError: the folder cannot be made or written to, or holds something else.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output} is a file; expected a folder or a new name; choose another --output.")
    description = output / DESCRIPTION_FILE
    try:
        output.mkdir(parents=True, exist_ok=True)
        # Listed before the description is read, which is written before all else: another command may just begin.
        others = [path.name for path in output.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise UserError(
            f"The folder {output} cannot be made or read ({error.strerror}); expected one for the results; choose "
            "another --output."
        ) from error
    found = read_json(description)
    if others and not _is_by_us(found):
        raise UserError(
            f"{output} holds files that {PROGRAM_NAME} did not make ({min(others)}, say); expected a folder of its own "
            "for the results; choose another --output."
        )
    wanted = _describe_output(bids, output)
    if found != wanted:
        write_json(description, wanted)
    for folder in (HIDDEN_FOLDER, LOGS_FOLDER):
        (output / folder).mkdir(exist_ok=True)
    texts = {"dseg.tsv": _label_table(), ".bidsignore": BIDSIGNORE, "README": README, "CITATION.cff": CITATION}
    for name, text in texts.items():
        if not (output / name).exists():
            write_text(output / name, text)


def _describe_output(bids: Path, output: Path) -> dict[str, Any]:
    """What BIDS wants to be said of a derivative."""
    inside = output.is_relative_to(bids)
    link = quote(Path(os.path.relpath(bids, output)).as_posix(), errors="surrogateescape") if inside else bids.as_uri()
    raw = read_json(bids / DESCRIPTION_FILE)
    source = {"URL": link} | ({"DOI": raw["DatasetDOI"]} if isinstance(raw.get("DatasetDOI"), str) else {})
    return {
        "Name": f"{PROGRAM_NAME} segmentations",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": PROGRAM_NAME, "Version": PROGRAM_VERSION, "CodeURL": PROGRAM_URL}],
        "SourceDatasets": [source],
        "DatasetLinks": {"raw": link},
        "HowToAcknowledge": "Please cite the software and the paper of its network (CITATION.cff).",
    }


def _is_by_us(description: dict[str, Any]) -> bool:
    made_by = description.get("GeneratedBy")
    return isinstance(made_by, list) and any(
        isinstance(entry, dict) and entry.get("Name") == PROGRAM_NAME for entry in made_by
    )


def _label_table() -> str:
    rows = ["index\tname\tabbreviation\tcolor\tmapping"]
    for tissue in CLASSES:
        abbreviation, mapping = BIDS_LABELS[tissue.key]
        color = "#" + "".join(f"{part:02x}" for part in tissue.color)
        rows.append(f"{tissue.label}\t{tissue.name}\t{abbreviation}\t{color}\t{mapping}")
    return "\n".join(rows) + "\n"


def describe_labels(bids: Path, subject: CohortSubject) -> dict[str, Any]:
    """The fields of BIDS for a label map's or a probability map's sidecar; paths are relative to the data set."""
    used = [subject.t1, subject.t2, *([subject.mask] if subject.mask else [])]
    uris = [f"bids:raw:{path.relative_to(bids).as_posix()}" for path in used]
    return {"Manual": False, "SpatialReference": uris[0], "Sources": uris}
