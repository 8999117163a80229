"""One HTML page on a segmentation: slices with contours, volumes, warnings, steps of raw scans; no file beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from model_core.findings import Finding
from model_core.metric_table import SCORES
from model_core.preprocessing.raw_scans import RawStep
from model_core.reports.pages import data_uri, empty_place, render
from model_core.reports.plot_style import CONTOUR_COLORS
from model_core.segmentation.views import DIFFERENCES, UNCERTAINTY, PlaneView
from model_core.system.text_files import write_text
from model_core.tissues import TISSUES
from model_core.windows import describe_step

STEP_TITLES = {
    "orientation": "Orientation, by the affine",
    "bias-correction": "Bias correction",
    "alignment": "T2 onto T1",
    "brain-extraction": "Brain extraction",
}
SENTENCES = {
    UNCERTAINTY: "Uncertainty: from none to two tissues that are equally likely",
    DIFFERENCES: "Pink: the reference has another tissue",
}


def write_report(
    path: Path,
    content: dict[str, Any],
    steps: Sequence[RawStep],
    views: Sequence[PlaneView],
    warnings: Sequence[Finding],
) -> None:
    """Write the page; it appears complete or not at all.

    Args:
        path: of the HTML file.
        content: of the label map's sidecar.
        steps: of the raw scans' chain, with pictures; none for prepared scans.
        views: slices of the scans with the labels.
        warnings: of the quality gate.
    """
    sources = {name: source for name, source in content["sources"].items() if source}
    weights = content["weights"]
    how = [f"{weights['network']} ({weights['file']})", describe_step(content["step"])]
    how += [f"{content['windows']:,} windows"] if content["windows"] > 1 else []
    page = render(
        "subject.html",
        title=f"Segmentation of {Path(sources.get('t1') or sources['t2']).name}",
        how=", ".join([*how, content["device"]]),
        warnings=warnings,
        views=views,
        tissues=TISSUES,
        contour_colors=CONTOUR_COLORS,
        sentences=SENTENCES,
        table=_table(content),
        has_expected_dice=bool(content.get("expected_dice")),
        place=empty_place(),
        steps=[_step(step) for step in steps],
        sources=[f"{name.upper()}: {source}" for name, source in sources.items()],
    )
    write_text(path, page)


def _step(step: RawStep) -> dict[str, str | None]:
    picture = None if step.picture is None else data_uri(step.picture, "png")
    return {"title": STEP_TITLES[step.name], "account": step.account, "picture": picture}


def _table(content: dict[str, Any]) -> dict[str, list[Any]]:
    """Volumes, and beside them what is known of their quality."""
    expected, scores = content.get("expected_dice"), {row["tissue"]: row for row in content["tissues"]}
    headings = ["Tissue", "Volume (ml)"]
    headings += ["Expected Dice"] if expected else []
    headings += [metric.heading for metric in SCORES] if scores else []
    rows = []
    for tissue in TISSUES:
        row = [tissue.name, f"{content['volumes_ml'][tissue.key]:.1f}"]
        if expected:
            row.append("–".join(f"{expected[tissue.key][end]:.2f}" for end in ("low", "high")))
        row += [_number(scores[tissue.key][metric.key], metric.short_digits) for metric in SCORES] if scores else []
        rows.append(row)
    return {"headings": headings, "rows": rows}


def _number(value: float | str | None, digits: int) -> str:
    """A score as its row has it: "inf" where one of the maps has none of the tissue, None where both."""
    return "n/a" if value is None else "∞" if value == "inf" else f"{value:.{digits}f}"
