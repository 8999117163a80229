"""Make isointense T1/T2 pairs with exact labels from FreeSurfer-style label maps.

    python model_core/synthesize.py --anatomy aseg.nii.gz --output pairs --count 10 --seed 1
    python model_core/synthesize.py --anatomy a.nii.gz b.nii.gz --output pairs --count 100 --seed 1 --wide-share 0.3
    python model_core/synthesize.py --anatomy a.nii.gz --head Resources/heads/adult_08.nii.gz --output raw --seed 1

Writes subject-1-T1.nii.gz, subject-1-T2.nii.gz, subject-1-label.nii.gz, … (labels 0 background, 1 CSF, 2 gray
matter, 3 white matter) and synthesis.json, which says what each pair was made from. The anatomies take turns. The
same anatomies, seed and versions give the same pairs; a pair does not depend on how many are made. With --head the
brain lies in that head, T2 in a space of its own, as --raw takes them; -mask.nii.gz is the brain.
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
from model_core.synthesis.head_maps import read_heads
from model_core.synthesis.raw_subject import RawSubject, synthesize_raw
from model_core.synthesis.shares import add_shares, shares_of
from model_core.system.command_line import run_command
from model_core.system.files import replace_when_complete
from model_core.volumes import write_volume


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; see the module's docstring."""
    options = _parse(arguments)
    if options.count < 1:
        raise UserError(f"--count is {options.count}; at least 1 pair was expected; give the number of pairs to make.")
    if options.voxel_mm < 1:
        raise UserError(f"--voxel-mm is {options.voxel_mm:g}; 1 or more was expected; give the side of T1's voxels.")
    shares = shares_of(options)
    output = Path(options.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(
            f"{output} exists and is not an empty folder; name a new folder so that nothing is overwritten."
        )
    anatomies = read_anatomies(options.anatomy[: options.count])
    head = read_heads([options.head])[0] if options.head else None
    output.mkdir(parents=True, exist_ok=True)
    records = []
    for number in tqdm(range(1, options.count + 1), desc="Making pairs", unit="pair", disable=None):
        record = {"subject": number, "seed": options.seed}
        if head is None:
            pair = make_pair(anatomies, options.seed, number, shares)
            _write_pair(output, number, pair)
            records.append(record | {"anatomy": pair.anatomy, "contrast": pair.contrast})
        else:
            anatomy = anatomies[(number - 1) % len(anatomies)]
            _write_raw(output, number, synthesize_raw(anatomy, head, (options.seed, number), voxel_mm=options.voxel_mm))
            records.append(record | {"anatomy": anatomy.name, "head": head.name})
        with replace_when_complete(output / "synthesis.json") as temporary:
            temporary.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    print(f"{options.count} pairs in {output}")


def _write_pair(output: Path, number: int, pair: SyntheticPair) -> None:
    for name, image in (("T1", pair.t1), ("T2", pair.t2)):
        write_volume(output / f"subject-{number}-{name}.nii.gz", image.astype(np.int16), pair.affine)
    write_volume(output / f"subject-{number}-label.nii.gz", pair.labels, pair.affine)


def _write_raw(output: Path, number: int, subject: RawSubject) -> None:
    for name, image, affine in (
        ("T1", subject.t1.astype(np.int16), subject.affine),
        ("T2", subject.t2.astype(np.int16), subject.t2_affine),
        ("label", subject.labels, subject.affine),
        ("mask", subject.brain, subject.affine),
    ):
        write_volume(output / f"subject-{number}-{name}.nii.gz", image, affine)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Make isointense T1/T2 pairs with exact labels from FreeSurfer-style label maps.",
        allow_abbrev=False,
    )
    parser.add_argument("--anatomy", nargs="+", required=True, metavar="LABELS", help="FreeSurfer-style label maps")
    parser.add_argument("--output", required=True, metavar="DIR", help="new folder for the pairs")
    parser.add_argument("--count", type=int, default=1, help="how many pairs (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same pairs (default 0)")
    parser.add_argument("--head", metavar="MAP", help="a map of Resources/heads: make raw heads around the brains")
    parser.add_argument("--voxel-mm", type=float, default=1.0, metavar="MM", help="with --head: of T1 (default 1)")
    add_shares(parser)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(run_command(main))
