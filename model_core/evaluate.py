"""Score a label map against a reference: Dice, 3D-MHD, ASD, HD95 and volumes of CSF, GM and WM.

Examples::

    python model_core/evaluate.py --prediction segmentation.nii.gz --reference reference.nii.gz
    python model_core/evaluate.py --prediction segmentation.nii.gz --reference subject-1-label.hdr --json scores.json

Both files hold 0, 1, 2, 3 or iSeg's 0, 10, 150, 250. Scores are computed on the reference's own grid;
a prediction on another grid is resampled onto it (nearest neighbour, by the affines).
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import nibabel
import numpy as np
import scipy

from model_core.command_line import run_command
from model_core.errors import UserError
from model_core.metrics import CONVENTIONS, TissueScore, format_scores, score_tissues
from model_core.volumes import Volume, check_can_write, have_same_grid, read_labels, replace_when_complete, resample


def main(arguments: Sequence[str] | None = None) -> None:
    """Read both label maps, print the table and write the JSON file if one is asked for."""
    options = _parse(arguments)
    if options.json:
        check_can_write(options.json, suffixes=())
    prediction, reference = read_labels(options.prediction), read_labels(options.reference)
    resampled = not have_same_grid(prediction, reference)
    if resampled:
        given, prediction = prediction, onto_grid_of(reference, prediction)
        print(
            f"The prediction ({given.description}) is resampled, nearest neighbour, "
            f"onto the grid of the reference ({reference.description})."
        )
    rows = score_tissues(prediction.array, reference.array, reference.spacing)
    print(format_scores(rows))
    if options.json:
        _write_json(options, reference, rows, resampled=resampled)
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


def onto_grid_of(reference: Volume, prediction: Volume) -> Volume:
    """Resample a label map onto the reference's grid, nearest neighbour.

    Raises:
        UserError: the two volumes do not overlap in space.
    """
    # Labels are raised by one, so that background can be told from what lies outside of the volume.
    raised = Volume(prediction.array + np.uint8(1), prediction.affine, prediction.path)
    resampled = resample(raised, reference.array.shape, reference.affine, order=0).array
    if not resampled.any():
        raise UserError(
            f"{prediction.path} ({prediction.description}) and {reference.path} ({reference.description}) do not "
            "overlap in space; expected two label maps of one scan; check which files these are and their affines."
        )
    return Volume(np.maximum(resampled, 1) - np.uint8(1), reference.affine, prediction.path)


def _write_json(
    options: argparse.Namespace, reference: Volume, rows: Sequence[TissueScore], *, resampled: bool
) -> None:
    scores = {
        "prediction": str(options.prediction),
        "reference": str(options.reference),
        "shape": list(reference.array.shape),
        "spacing_mm": list(reference.spacing),
        "prediction_resampled": resampled,
        "tissues": [row.as_dict() for row in rows],
        "conventions": CONVENTIONS,
        "versions": {
            "python": platform.python_version(),
            **{module.__name__: module.__version__ for module in (np, scipy, nibabel)},
        },
    }
    with replace_when_complete(options.json) as temporary:
        temporary.write_text(json.dumps(scores, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(run_command(main))
