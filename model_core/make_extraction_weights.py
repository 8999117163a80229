"""Train the weights that find the brain in a head, from the heads in Resources.

    python model_core/make_extraction_weights.py --output runs/extraction
    python model_core/make_extraction_weights.py --output runs/on --initial-weights WEIGHTS --scale 0.3

Synthetic heads are made while the network trains. --scale 1 is the whole recipe, an hour and a half of one core that
computes in bfloat16. The command can be stopped or killed at any time and goes on when it is given again.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import argparse
from collections.abc import Sequence

from model_core.default_weights.extraction_recipe import NETWORK, fingerprint, head_files, train_stages
from model_core.default_weights.recipe import stage_settings
from model_core.synthesis.head_maps import read_heads
from model_core.system.command_line import STOPPED_BY_USER, run_command
from model_core.training.loop import TrainingStopped


def main(arguments: Sequence[str] | None = None) -> None:
    """Train stage after stage."""
    title, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the stages and the weights")
    add("--scale", type=float, default=1.0, help="factor on all iterations (default: 1)")
    add("--initial-weights", type=Path, metavar="FILE", help="go on from these weights, with other heads")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    options = parser.parse_args(arguments)
    training, _ = head_files()
    continues = options.initial_weights
    stages = stage_settings(
        NETWORK, options.scale, options.device, continues=fingerprint(continues) if continues else ""
    )
    try:
        train_stages(stages, read_heads(training), options.output, continues)
    except TrainingStopped:
        print("Stopped; checkpoint and weights of the stage are saved. The same command goes on.", file=sys.stderr)
        raise SystemExit(STOPPED_BY_USER) from None


if __name__ == "__main__":
    sys.exit(run_command(main))
