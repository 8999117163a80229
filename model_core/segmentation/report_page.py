"""One HTML page on a segmentation: a picture of each step and of the result, and the warnings; no file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_core.preprocessing.raw_scans import RawStep
from model_core.quality.checks import Finding
from model_core.reports.document import Heading, Items, Paragraph, Part, Picture, Table, page_of
from model_core.system.text_files import write_text
from model_core.tissues import TISSUES

STEP_TITLES = {
    "orientation": "Orientation, by the affine",
    "bias-correction": "Bias correction",
    "alignment": "T2 onto T1",
    "brain-extraction": "Brain extraction",
}


def write_report(
    path: Path, content: dict[str, Any], steps: Sequence[RawStep], result: bytes, warnings: Sequence[Finding]
) -> None:
    """Write the page; it appears complete or not at all.

    Args:
        path: of the HTML file.
        content: of the label map's sidecar.
        steps: of the raw scans' chain, with pictures; none for prepared scans.
        result: PNG of the scans and the labels.
        warnings: of the quality gate.
    """
    title = f"Segmentation of {Path(content['sources']['t1']).name}"
    parts: list[Part] = [Heading(1, title), *_warnings(warnings), *_run(content), Picture("result", result, "Result")]
    for step in steps:
        parts += [Heading(2, STEP_TITLES[step.name]), Paragraph(step.account)]
        if step.picture is not None:
            parts.append(Picture(step.name, step.picture, f"T1 and T2 after this step: {STEP_TITLES[step.name]}"))
    parts.append(Paragraph("Research software, not a medical device."))
    write_text(path, page_of(title, parts))


def _warnings(warnings: Sequence[Finding]) -> list[Part]:
    if not warnings:
        return [Paragraph("The checks before and after the segmentation found nothing.")]
    return [Paragraph(finding.sentence, is_warning=True) for finding in warnings]


def _run(content: dict[str, Any]) -> list[Part]:
    sources = [f"{name.upper()}: {path}" for name, path in content["sources"].items() if path]
    weights = content["weights"]
    how = f"{weights['network']} ({weights['file']}), step {content['step']}, {content['device']}"
    rows = [[tissue.name, f"{content['volumes_ml'][tissue.key]:.1f}"] for tissue in TISSUES]
    return [Items([*sources, how, f"{content['windows']:,} windows"]), Table("Volumes", ["Tissue", "ml"], rows)]
