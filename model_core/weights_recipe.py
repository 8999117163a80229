"""The recipe of the default weights: which anatomies train and which test, and the stages of the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model_core.errors import UserError
from model_core.training_settings import TrainingSettings, paper_learning_rate

ANATOMIES = Path(__file__).resolve().parents[1] / "Resources" / "anatomies"
ANATOMIES_LICENCE = "Apache-2.0"
HELD_OUT = ("adult_04", "adult_08", "adult_12", "adult_16")  # every fourth, named before anything was trained
WIDE_SHARE = 0.3  # of the pairs with contrasts drawn widely, so that other scanners than six months' atlas are met
SEED = 2026
AVERAGED_PART = 0.1  # of a stage's iterations, over which the running average of the weights reaches
LONGEST_AVERAGE = 1000  # iterations
WARMUP = 50  # iterations in which the rate rises at the start of each stage


@dataclass(frozen=True)
class Stage:
    """One stage of the full recipe, for a network that costs as much as the Non-local U-Net.

    Attributes:
        window: side in voxels.
        batch: windows per iteration.
        iterations: at scale 1.
        rate: factor on the learning rate of the network's paper.
        output_dropout: before the output convolution; folded in late.
        falls: whether the rate falls to 0 over the stage (cosine).
    """

    window: int
    batch: int
    iterations: int
    rate: float
    output_dropout: float = 0.0
    falls: bool = False


# The attention costs the sixth power of the window's side: small windows come first, those of the inference last.
STAGES = (
    Stage(window=16, batch=12, iterations=10_000, rate=2.0),
    Stage(window=24, batch=4, iterations=40_000, rate=1.0),
    Stage(window=32, batch=4, iterations=6_000, rate=0.7, output_dropout=0.1, falls=True),
)


def anatomy_files() -> tuple[list[Path], list[Path]]:
    """Find the label maps to train on, and those held out.

    Raises:
        UserError: they are not where the project has them.
    """
    files = sorted(ANATOMIES.glob("adult_*.nii.gz"))
    held_out = [path for path in files if path.name.removesuffix(".nii.gz") in HELD_OUT]
    training = [path for path in files if path not in held_out]
    if len(held_out) != len(HELD_OUT) or not training:
        raise UserError(
            f"{ANATOMIES} holds {len(files)} anatomies; expected the held-out {', '.join(HELD_OUT)} and some to train "
            "on; get the complete project."
        )
    return training, held_out


def stage_settings(network: str, scale: float, device: str, *, continues: str = "") -> list[TrainingSettings]:
    """Give the settings of each stage.

    Args:
        network: a name of ``NETWORKS``.
        scale: factor on all iterations; 1 is for a GPU.
        device: "auto", "cpu", "cuda", …
        continues: SHA-256 of the weights that the training begins with, if any: the first stage, with the smallest
            windows, is then left out, and the seed is another, so that other pairs are met than in the run before.

    Raises:
        UserError: the scale is not above 0 or leaves no iteration.
    """
    if not 0 < scale <= 100:
        raise UserError(f"--scale is {scale}; a factor above 0, up to 100, was expected; 1 is the whole recipe.")
    seed = len(STAGES) * int(continues[:6], 16) if continues else SEED
    settings = []
    for number, stage in enumerate(STAGES):
        iterations = max(1, round(stage.iterations * scale))
        if number == 0 and continues:
            continue
        settings.append(
            TrainingSettings(
                network=network,
                window=stage.window,
                batch=stage.batch,
                iterations=iterations,
                learning_rate=stage.rate * paper_learning_rate(network),
                schedule="cosine" if stage.falls else "constant",
                warmup=min(WARMUP, iterations // 4),
                attention_dropout=0.0,
                output_dropout=stage.output_dropout,
                ema_decay=1 - 1 / min(max(AVERAGED_PART * iterations, 2.0), LONGEST_AVERAGE),
                seed=seed + number,
                checkpoint_every=100,
                device=device,
            )
        )
    return settings
