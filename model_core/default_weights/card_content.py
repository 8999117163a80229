"""What the card of the default weights says: data, recipe, what the training began with, scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeGuard

from model_core.default_weights.held_out import SEED, summarise
from model_core.default_weights.recipe import ANATOMIES_LICENCE, ANATOMIES_SOURCE, HELD_OUT, SHARES
from model_core.networks import build_network
from model_core.training.settings import TrainingSettings

LIMITS = (
    "Trained on synthetic pairs alone. No score on real labelled scans exists: on real six-month scans only pictures "
    "and volumes were looked at. Not a medical device."
)


class Trained(Protocol):
    """A member of an ensemble, as far as the card tells of it."""

    @property
    def stages(self) -> list[TrainingSettings]:
        """The settings of its stages, the first first."""


def training_data(anatomies: Sequence[str]) -> dict[str, Any]:
    """What the pairs are made from."""
    return {
        "description": "synthetic T1/T2 pairs, made while training",
        "anatomies": list(anatomies),
        "wide_share": SHARES.wide,
        "random_share": SHARES.random,
        "cerebellum_share": SHARES.cerebellum,
        "held_out": list(HELD_OUT),
        "licence": ANATOMIES_LICENCE,
        "source": ANATOMIES_SOURCE,
        "calibration": "published summary statistics of the ten labelled subjects of iSeg-2017; none of its images",
    }


def make_card(
    cards: Sequence[dict[str, Any]], scale: float, anatomies: Sequence[str], members: Sequence[Trained]
) -> dict[str, Any]:
    """Put the card of the whole recipe together.

    Args:
        cards: of each member's last stage.
        scale: factor on the recipe's iterations.
        anatomies: names of the label maps trained on.
        members: as many, with their settings.
    """
    last = cards[0]
    history = [
        {"member": number} | stage for number, card in enumerate(cards, start=1) for stage in stages_behind(card)
    ]
    network = members[0].stages[-1].network
    form = build_network(network).input_form
    return {
        "title": f"Weights of {network}, trained on synthetic six-month pairs",
        "window": form.window if form.whole_brain else members[0].stages[-1].window,
        "training_data": training_data(anatomies),
        "recipe": {"scale": scale, "stages": history},
        "seed": members[0].stages[0].seed,
        "iterations": sum(stage["iterations"] for stage in history),
        "training_hours": round(sum(stage["training_hours"] for stage in history), 2),
        "started_from": beginning(last),
        "weights": last["weights"],
        "intended_use": last["intended_use"],
        "limits": LIMITS,
    }


def stages_behind(card: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The stages of this recipe that led to a card, the first first."""
    stages = []
    while _is_of_synthetic_pairs(card):
        settings = card["settings"]
        kept = ("window", "batch", "learning_rate", "schedule", "output_dropout", "ema_decay", "seed")
        stages.append(
            {"iterations": card["iterations"], "training_hours": card["training_hours"]}
            | {name: settings[name] for name in kept}
        )
        card = card.get("continued_from")
    return stages[::-1]


def beginning(card: dict[str, Any] | None) -> dict[str, Any] | str:
    """What the first stage began with: the essentials of an earlier card, or random numbers."""
    while _is_of_synthetic_pairs(card):
        card = card.get("continued_from")
    if not card:
        return "random weights"
    kept = (
        "title",
        "date",
        "iterations",
        "training_hours",
        "training_data",
        "recipe",
        "earlier_choice",
        "started_from",
    )
    return {name: card[name] for name in kept if name in card}


def describe_scores(records: Sequence[dict[str, Any]], step: int, draws: int) -> dict[str, Any]:
    """Sum up the scores of held-out pairs for the card."""
    summary = summarise(records)
    return {
        "data": f"Synthetic pairs in six-month contrast of anatomies never trained on, {draws} of each (seed {SEED})",
        "overlap_step": step,
        "draws": draws,
        "mean": summary.pop("all"),
        "scores": summary,
    }


def _is_of_synthetic_pairs(card: dict[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    """Whether a training run on pairs that were made meanwhile wrote the card."""
    return bool(card) and "wide_share" in card.get("training_data", {}) and "settings" in card
