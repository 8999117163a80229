"""The options of segment.py."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from model_core.model_card import DEFAULT_WEIGHTS
from model_core.preprocessing.brain_extraction import EXTRACTOR_NAMES
from model_core.preprocessing.raw_scans import STEPS
from model_core.quality.checks import OLDEST_MONTHS
from model_core.segmentation.memory import gigabytes
from model_core.system.command_line import overlap_step


def parse(arguments: Sequence[str] | None, documentation: str) -> argparse.Namespace:
    """Read the command line; the documentation is the command's own.

    Raises:
        SystemExit: with 2, where it is used wrongly, or 0 after the help.
    """
    description, notes = documentation.split("\n\n", maxsplit=1)
    parser = argparse.ArgumentParser(
        description=description,
        epilog=notes,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--t1", type=Path, help="T1-weighted scan")
    add("--t2", type=Path, help="T2-weighted scan of the same head; the default weights do with one of the two")
    add("--output", type=Path, required=True, metavar="SEG", help="label map to write")
    add("--weights", type=Path, default=DEFAULT_WEIGHTS, help="network weights, .safetensors (default: those shipped)")
    add(
        "--step",
        type=overlap_step,
        help="voxels between windows, smaller is slower, or whole: the whole brain at once (default: what the network "
        "is best at: whole for the fast U-Net, 8 for the published networks)",
    )
    add("--device", type=_device, default="auto", help="auto, cpu, cuda, cuda:1, … or mps (default: %(default)s)")
    add("--mask", type=Path, help="brain mask; needed where the scans are not skull-stripped")
    add("--align-t2", action="store_true", help="first move T2 onto T1, rigidly, by mutual information")
    add("--bias-correction", action="store_true", help="first correct both scans' bias fields by N4")
    add("--max-memory", type=gigabytes, metavar="GB", help="most memory that this process may take, in 10⁹ bytes")
    add("--raw", action="store_true", help="the scans are as converted from DICOM: skull on, T2 in its own space")
    add("--skip", nargs="+", choices=STEPS, default=[], metavar="STEP", help=f"with --raw: {', '.join(STEPS)}")
    add(
        "--brain-extraction",
        choices=EXTRACTOR_NAMES,
        help="with --raw and without --mask: what finds the brain (default: built-in)",
    )
    add(
        "--keep-intermediates",
        type=Path,
        metavar="DIR",
        help="with --raw: keep each step's scans, and the mask",
    )
    add("--report", type=Path, metavar="HTML", help="also write a page with pictures of each step, result and warnings")
    add("--age-months", type=_age, metavar="AGE", help="age at the scan, 0 to 24, for the check of the volumes")
    add("--iseg-values", action="store_true", help="write 0, 10, 150, 250 as iSeg does, instead of 0, 1, 2, 3")
    add("--probabilities", type=Path, metavar="DIR", help="also write each class's probabilities into this folder")
    add(
        "--save-mask",
        type=Path,
        metavar="MASK",
        help="also write the brain that was segmented, 0 and 1, on T1's own grid",
    )
    add("--picture", type=Path, metavar="PNG", help="also draw slices of the scans, the labels and the reference")
    add("--reference", type=Path, help="label map taken as true: print scores against it")
    add("--scores", type=Path, metavar="JSON", help="also write volumes, scores and times")
    options = parser.parse_args(arguments)
    if options.t1 is None and options.t2 is None:
        parser.error("no scan is given; give --t1 and --t2, or one of them")
    if (options.t1 is None or options.t2 is None) and (options.raw or options.align_t2):
        parser.error("--raw and --align-t2 need both scans; give --t1 and --t2")
    if options.raw and (options.align_t2 or options.bias_correction):
        parser.error("--raw aligns T2 and corrects the bias by itself; leave out --align-t2 and --bias-correction")
    if not options.raw and (options.skip or options.brain_extraction or options.keep_intermediates):
        parser.error("--skip, --brain-extraction and --keep-intermediates are steps of --raw; give it, too")
    return options


def _age(text: str) -> float:
    try:
        age = float(text)
    except ValueError:
        age = -1.0
    if not 0 <= age <= OLDEST_MONTHS:
        raise argparse.ArgumentTypeError(f"{text!r} is no age; expected 0 to {OLDEST_MONTHS:g} months")
    return age


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise argparse.ArgumentTypeError(f"{name!r} is no device; expected auto, cpu, cuda, cuda:1, … or mps")
    return name
