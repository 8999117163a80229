"""Train the weights that find the brain in a head, from the heads in Resources.

    python model_core/make_extraction_weights.py --output runs/extraction
    python model_core/make_extraction_weights.py --output runs/on --initial-weights WEIGHTS --scale 0.3

Synthetic heads are made while the network trains. --scale 1 is the whole recipe, two hours of one core that
computes in bfloat16. The command can be stopped or killed at any time and goes on when it is given again.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __package__ in (None, ""):
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the repository root, so that `model_core` imports

import argparse
from collections.abc import Sequence
from typing import Any

from model_core.default_weights.extraction_card import describe_extraction_card, make_card
from model_core.default_weights.extraction_recipe import NETWORK, fingerprint, head_files, train_stages
from model_core.default_weights.extraction_scores import score_heads, summarise
from model_core.default_weights.recipe import stage_settings
from model_core.networks import BRAIN_EXTRACTION
from model_core.synthesis.head_maps import Head, read_heads
from model_core.system.command_line import STOPPED_BY_USER, run_command
from model_core.system.text_files import write_json, write_text
from model_core.training.loop import TrainingStopped
from model_core.training.run_folder import WEIGHTS_FILE
from model_core.weights import load_weights, save_weights

SCORES_FILE, CARD_FILE, DEFAULT_DRAWS = "scores.json", "WEIGHTS.md", 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Train stage after stage, score, write."""
    title, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=title, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="folder of the stages and the weights")
    add("--scale", type=float, default=1.0, help="factor on all iterations (default: 1)")
    add("--initial-weights", type=Path, metavar="FILE", help="go on from these weights, with other heads")
    add("--draws", type=int, default=DEFAULT_DRAWS, help="heads of each held-out person to score (default: 3)")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    options = parser.parse_args(arguments)
    if options.draws < 1:
        parser.error("--draws is 1 or more")
    training, held_out = head_files()
    continues = options.initial_weights
    stages = stage_settings(
        NETWORK, options.scale, options.device, continues=fingerprint(continues) if continues else ""
    )
    try:
        trained = train_stages(stages, read_heads(training), options.output, continues)
    except TrainingStopped:
        print("Stopped; checkpoint and weights of the stage are saved. The same command goes on.", file=sys.stderr)
        raise SystemExit(STOPPED_BY_USER) from None
    finish(trained, options.output, read_heads(held_out), options.draws)


def finish(trained: Path, output: Path, held_out: Sequence[Head], draws: int, **more: Any) -> None:
    """Score trained weights on heads of people never trained on, and write them in half precision with their card.

    Args:
        trained: weights of the last stage.
        output: folder of weights, scores and card.
        held_out: heads to score on.
        draws: synthetic heads made from each.
        more: entries of the card besides.
    """
    network, card = load_weights(trained, BRAIN_EXTRACTION)
    weights = output / WEIGHTS_FILE
    save_weights(weights, network, make_card(card), half=True)
    network, card = load_weights(weights, BRAIN_EXTRACTION)  # what is scored is what ships
    records = score_heads(network, held_out, draws)
    write_json(output / SCORES_FILE, {"records": records})
    save_weights(weights, network, card | {"held_out_scores": summarise(records)} | more, half=True)
    write_text(output / CARD_FILE, describe_extraction_card(load_weights(weights, BRAIN_EXTRACTION)[1]))
    print(f"Weights: {weights}\nCard: {output / CARD_FILE}")


if __name__ == "__main__":
    sys.exit(run_command(main))
