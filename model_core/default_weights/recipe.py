"""The recipe of the default weights: which anatomies train and which test, and the stages of the training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from model_core.errors import UserError
from model_core.synthesis.shares import Shares
from model_core.system.devices import choose_device
from model_core.training.settings import SMALLEST_BFLOAT16_WINDOW, TrainingSettings, network_settings
from model_core.training.state import computes_in_bfloat16

ANATOMIES = Path(__file__).resolve().parents[2] / "Resources" / "anatomies"
ANATOMIES_LICENCE = "Apache-2.0"
ANATOMIES_SOURCE = (
    "github.com/BBillot/SynthSeg, data/training_label_maps; Billot et al., SynthSeg, Medical Image Analysis 2023"
)
HELD_OUT = ("adult_04", "adult_08", "adult_12", "adult_16")  # every fourth, named before anything was trained
# Half of the pairs as at six months; the others so that other scanners and ages are met, and no contrast is a surprise.
SHARES = Shares(wide=0.3, random=0.2)
SEED = 2026
AVERAGED_PART = 0.1  # of a stage's iterations, over which the running average of the weights reaches
LONGEST_AVERAGE = 1000  # iterations
MEMBERS = 3  # of an ensemble: the same pairs, other first weights and windows
MEMBER_SEEDS = 1000  # between those of two members
WARMUP = 50  # iterations in which the rate rises at the start of each stage


@dataclass(frozen=True)
class RecipeStage:
    """One stage of a recipe.

    Attributes:
        window: side in voxels.
        batch: windows per iteration.
        iterations: at scale 1.
        rate: factor on the learning rate of the network's record.
        output_dropout: before the output convolution; folded in late.
        falls: whether the rate falls to 0 over the stage (cosine).
        only_afresh: whether a training that goes on from given weights leaves it out.
    """

    window: int
    batch: int
    iterations: int
    rate: float
    output_dropout: float = 0.0
    falls: bool = False
    only_afresh: bool = False


# The attention costs the sixth power of the window's side: small windows come first, those of the inference last.
CUBIC_STAGES = (
    RecipeStage(window=16, batch=12, iterations=10_000, rate=2.0, only_afresh=True),
    RecipeStage(window=24, batch=4, iterations=40_000, rate=1.0),
    RecipeStage(window=32, batch=4, iterations=6_000, rate=0.7, output_dropout=0.1, falls=True),
)
# About three hours for each member on two cores that compute in bfloat16.
WHOLE_BRAIN_STAGES = (
    RecipeStage(window=64, batch=2, iterations=10_000, rate=1.0),
    RecipeStage(window=96, batch=1, iterations=3_000, rate=0.7, falls=True),
)
# Whole heads at 2 mm: two hours of one core that computes in bfloat16.
WHOLE_HEAD_STAGES = (
    RecipeStage(window=64, batch=2, iterations=3_500, rate=1.0),
    RecipeStage(window=96, batch=1, iterations=5_000, rate=0.7, falls=True),
)
RECIPES = {"fast_unet": WHOLE_BRAIN_STAGES, "brain_extraction": WHOLE_HEAD_STAGES}


def anatomy_files(folder: Path = ANATOMIES) -> tuple[list[Path], list[Path]]:
    """Find the label maps of the sixteen people to train on, and those held out.

    Args:
        folder: of their brains, or of their heads.

    Raises:
        UserError: they are not where the project has them.
    """
    files = sorted(folder.glob("adult_*.nii.gz"))
    held_out = [path for path in files if path.name.removesuffix(".nii.gz") in HELD_OUT]
    training = [path for path in files if path not in held_out]
    if len(held_out) != len(HELD_OUT) or not training:
        raise UserError(
            f"{folder} holds {len(files)} label maps; expected the held-out {', '.join(HELD_OUT)} and some to train "
            "on; get the complete project."
        )
    return training, held_out


def stage_settings(
    network: str, scale: float, device: str, *, continues: str = "", member: int = 0
) -> list[TrainingSettings]:
    """Give the settings of each stage.

    Args:
        network: a name of ``NETWORKS``.
        scale: factor on all iterations; 1 is for a GPU.
        device: "auto", "cpu", "cuda", …
        continues: SHA-256 of the weights that the training begins with, if any: a stage that is only for a training
            afresh is then left out, and the seed is another, so that other pairs are met than in the run before.
        member: of an ensemble, from 0; each has seeds of its own.

    Raises:
        UserError: the scale is not above 0 or leaves no iteration.
    """
    if not 0 < scale <= 100:
        raise UserError(f"--scale is {scale}; a factor above 0, up to 100, was expected; 1 is the whole recipe.")
    stages = RECIPES.get(network, CUBIC_STAGES)
    seed = len(stages) * int(continues[:6], 16) if continues else SEED
    rate = network_settings(network)["learning_rate"]
    on_cpu = choose_device(device).type == "cpu"
    settings = []
    for number, stage in enumerate(stages):
        iterations = max(1, round(stage.iterations * scale))
        if stage.only_afresh and continues:
            continue
        settings.append(
            TrainingSettings(
                network=network,
                window=stage.window,
                batch=stage.batch,
                iterations=iterations,
                learning_rate=stage.rate * rate,
                schedule="cosine" if stage.falls else "constant",
                warmup=min(WARMUP, iterations // 4),
                attention_dropout=0.0,
                output_dropout=stage.output_dropout,
                ema_decay=1 - 1 / min(max(AVERAGED_PART * iterations, 2.0), LONGEST_AVERAGE),
                seed=seed + number + member * MEMBER_SEEDS,
                checkpoint_every=100,
                device=device,
                precision="bfloat16" if on_cpu and _takes_bfloat16(network, stage.window) else "auto",
            )
        )
    return settings


def default_members(network: str) -> int:
    """Networks whose mean segments by default: several where one costs seconds."""
    return MEMBERS if network in RECIPES else 1


def _takes_bfloat16(network: str, window: int) -> bool:
    """Whether a CPU trains the network in bfloat16: the whole-brain networks, where the processor computes in it."""
    large = window >= SMALLEST_BFLOAT16_WINDOW
    return network in RECIPES and large and computes_in_bfloat16(torch.device("cpu"))
