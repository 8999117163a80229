"""The options of segment.py."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from model_core.errors import UserError
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.segmentation.memory import gigabytes
from model_core.segmentation_options import SegmentationOptions, add_arguments


def parse(arguments: Sequence[str] | None, documentation: str) -> argparse.Namespace:
    """Read the command line; the documentation is the command's own. ``how`` of the result has the pipeline's options.

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
    add("--mask", type=Path, help="brain mask; needed where the scans are not skull-stripped")
    add_arguments(parser)
    add("--max-memory", type=gigabytes, metavar="GB", help="most memory that this process may take, in 10⁹ bytes")
    add(
        "--keep-intermediates",
        type=Path,
        metavar="DIR",
        help="with --raw: keep each step's scans, and the mask",
    )
    add(
        "--report",
        type=Path,
        metavar="HTML",
        help="also write a page: slices with contours, volumes, warnings, steps",
    )
    add("--iseg-values", action="store_true", help="write 0, 10, 150, 250 as iSeg does, instead of 0, 1, 2, 3")
    add("--probabilities", type=Path, metavar="DIR", help="also write each class's probabilities into this folder")
    add(
        "--save-mask",
        type=Path,
        metavar="MASK",
        help="also write the brain that was segmented, 0 and 1, on T1's own grid",
    )
    add(
        "--uncertainty",
        type=Path,
        metavar="MAP",
        help="also write how unsure each voxel's label is, 0 to 1 (entropy of its probabilities), on T1's own grid",
    )
    add("--picture", type=Path, metavar="PNG", help="also draw slices of the scans, the labels and the reference")
    add("--reference", type=Path, help="label map taken as true: print scores against it")
    add("--scores", type=Path, metavar="JSON", help="also write volumes, scores and times")
    options = parser.parse_args(arguments)
    try:
        options.how = SegmentationOptions.from_arguments(options)
        options.how.check_given(t1=options.t1 is not None, t2=options.t2 is not None)
    except UserError as error:
        parser.error(str(error))
    if options.keep_intermediates and not options.how.raw:
        parser.error("--keep-intermediates keeps the steps of --raw; give it, too")
    return options
