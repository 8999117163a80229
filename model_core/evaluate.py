"""Score a label map against a reference: Dice, 3D-MHD, ASD, HD95 and volumes of CSF, GM and WM.

Examples::

    python model_core/evaluate.py --prediction segmentation.nii.gz --reference reference.nii.gz
    python model_core/evaluate.py --prediction segmentation.nii.gz --reference subject-1-label.hdr --json scores.json

Values mean what the data set says of them (a dseg.tsv beside the file or above it, segments' names in a .seg.nrrd, the
program that made it), else they are 0, 1, 2, 3, iSeg's 0, 10, 150, 250 or FreeSurfer's. Scores are computed on the
reference's own grid; a prediction on another grid is resampled onto it (nearest neighbour, by the affines). Where it
has tissue beyond the reference's grid, that is extended by background, so that all of it counts.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

from model_core.findings import Finding
from model_core.metric_table import CONVENTIONS
from model_core.metrics import TissueScore, format_scores
from model_core.segmentation.comparison import Comparison, compare
from model_core.system.command_line import run_command
from model_core.system.files import check_can_replace
from model_core.system.provenance import versions_of
from model_core.system.text_files import write_json
from model_core.volumes import read_labels


def main(arguments: Sequence[str] | None = None) -> None:
    """Read both label maps, print the table and write the JSON file if one is asked for."""
    options = _parse(arguments)
    if options.json:
        check_can_replace(options.json)
    prediction, reference = read_labels(options.prediction), read_labels(options.reference)
    findings = [*prediction.findings, *reference.findings]
    compared = compare(prediction, reference)
    for sentence in (*(finding.sentence for finding in findings), *compared.sentences):
        print(sentence)
    rows = compared.scores()
    print(format_scores(rows))
    if options.json:
        _write_json(options, compared, rows, findings)
        print(f"Scores written to {options.json}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    description, examples = __doc__.split("\n\n", maxsplit=1)
    parser = argparse.ArgumentParser(
        description=description,
        epilog=examples,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--prediction", type=Path, required=True, help="label map to score")
    parser.add_argument("--reference", type=Path, required=True, help="label map taken as true")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the scores and their conventions here")
    return parser.parse_args(arguments)


def _write_json(
    options: argparse.Namespace, compared: Comparison, rows: Sequence[TissueScore], findings: Sequence[Finding]
) -> None:
    scores = {
        "prediction": str(options.prediction),
        "reference": str(options.reference),
        "shape": list(compared.reference.array.shape),
        "spacing_mm": list(compared.reference.spacing),
        "prediction_resampled": compared.resampled,
        "notes": [*(finding.sentence for finding in findings), *compared.sentences],
        "tissues": [row.as_dict() for row in rows],
        "conventions": CONVENTIONS,
        "versions": versions_of(("numpy", "scipy", "nibabel")),
    }
    write_json(options.json, scores)


if __name__ == "__main__":
    sys.exit(run_command(main))
