"""Make isointense T1/T2 pairs with exact labels from FreeSurfer-style label maps.

    python model_core/synthesize.py --anatomy aseg.nii.gz --output pairs --count 10 --seed 1
    python model_core/synthesize.py --anatomy a.nii.gz b.nii.gz --output pairs --count 100 --seed 1 --wide-share 0.3

Writes subject-1-T1.nii.gz, subject-1-T2.nii.gz, subject-1-label.nii.gz, … (labels 0 background, 1 CSF, 2 gray
matter, 3 white matter) and synthesis.json, which says what each pair was made from. The anatomies take turns. The
same anatomies, seed and versions give the same pairs; a pair does not depend on how many are made.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import numpy as np
from tqdm import tqdm

from model_core.errors import UserError
from model_core.synthesis.anatomies import read_anatomies
from model_core.synthesis.generator import SyntheticPair, make_pair
from model_core.synthesis.shares import add_shares, shares_of
from model_core.system.command_line import run_command
from model_core.system.files import replace_when_complete
from model_core.volumes import write_volume


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; see the module's docstring."""
    options = _parse(arguments)
    if options.count < 1:
        raise UserError(f"--count is {options.count}; at least 1 pair was expected; give the number of pairs to make.")
    shares = shares_of(options)
    output = Path(options.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"{output} exists and is not an empty folder; name a new folder so that nothing is overwritten."
        )
    anatomies = read_anatomies(options.anatomy[: options.count])
    output.mkdir(parents=True, exist_ok=True)
    records = []
    for number in tqdm(range(1, options.count + 1), desc="Making pairs", unit="pair", disable=None):
        pair = make_pair(anatomies, options.seed, number, shares)
        _write_pair(output, number, pair)
        records.append({"subject": number, "anatomy": pair.anatomy, "contrast": pair.contrast, "seed": options.seed})
        with replace_when_complete(output / "synthesis.json") as temporary:
            temporary.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    print(f"{options.count} pairs in {output}")


def _write_pair(output: Path, number: int, pair: SyntheticPair) -> None:
    for name, image in (("T1", pair.t1), ("T2", pair.t2)):
        write_volume(output / f"subject-{number}-{name}.nii.gz", image.astype(np.int16), pair.affine)
    write_volume(output / f"subject-{number}-label.nii.gz", pair.labels, pair.affine)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Make isointense T1/T2 pairs with exact labels from FreeSurfer-style label maps.",
        allow_abbrev=False,
    )
    parser.add_argument("--anatomy", nargs="+", required=True, metavar="LABELS", help="FreeSurfer-style label maps")
    parser.add_argument("--output", required=True, metavar="DIR", help="new folder for the pairs")
    parser.add_argument("--count", type=int, default=1, help="how many pairs (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same pairs (default 0)")
    add_shares(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_command(main))
