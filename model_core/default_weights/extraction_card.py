"""The card of extraction weights: what it holds, and as a page to read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from model_core.default_weights.card_page import table

TITLE = "Brain extraction network, trained on synthetic heads"
INTENDED_USE = (
    "research: to find the brain, with cerebellum, brain stem and the CSF around them, in T1, T2 or both of a head of "
    "about six months, before its tissues are segmented; every mask is to be looked at."
)
LIMITS = (
    "It has seen no scan of a person: its heads are label maps of twelve adults, made small and thin-skulled, and "
    "painted. Newborns, lesions, shunts and hydrocephalus are not among them. It is not a medical device."
)
_OF_STAGE = ("window", "iterations", "training_hours", "seed")


def make_card(trained: dict[str, Any]) -> dict[str, Any]:
    """Complete the card that a training run left.

    Args:
        trained: card of the last stage's weights.
    """
    return {
        "title": TITLE,
        "intended_use": INTENDED_USE,
        "limits": LIMITS,
        "licence": "Apache-2.0",
        "training_data": trained["training_data"],
        "stages": [
            {key: stage[key] for key in _OF_STAGE}
            | {key: stage["settings"][key] for key in ("batch", "learning_rate", "schedule")}
            for stage in stages_of(trained)
        ],
        "training_hours": round(sum(stage["training_hours"] for stage in stages_of(trained)), 2),
        "window": trained["window"],
        "seed": trained["seed"],
        "iterations": trained["iterations"],
    }


def stages_of(card: dict[str, Any]) -> list[dict[str, Any]]:
    """The cards of the stages that led to weights, the first one first."""

    def back(card: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
        while card:
            yield card
            card = card.get("continued_from")

    return list(back(card))[::-1]


def describe_extraction_card(card: dict[str, Any]) -> str:
    """Write the card as Markdown.

    Args:
        card: of ``make_card``, as ``load_weights`` gives it.
    """
    data = card["training_data"]
    parts = [
        f"# {card['title']}",
        f"Network {card['network']} ({card['parameters']:,} parameters), a whole head at {card['spacing_mm']:g} mm, "
        f"{card['date'][:10]}. The same card is in the weights file.",
        f"**Intended use.** {card['intended_use']}",
        f"**Limits.** {card['limits']}",
        "## Training data",
        f"{data['description'][0].upper()}{data['description'][1:]}, from {len(data['anatomies'])} label maps of heads "
        f"({', '.join(name.partition('.')[0] for name in data['anatomies'])}; {data['licence']}; {data['source']}); "
        f"{data['random_share']:.0%} in any contrast, T1 and T2 drawn apart, the others in contrasts of T1 and T2. "
        f"Never trained on: {', '.join(data['held_out'])}.",
        "## Recipe",
        f"`python model_core/make_extraction_weights.py`, {card['training_hours']:.1f} hours on a part of one core.",
        table(
            ("window", "batch", "iterations", "learning rate", "hours"),
            (
                (
                    f"{stage['window']}³",
                    stage["batch"],
                    f"{stage['iterations']:,}",
                    f"{stage['learning_rate']:g}, {stage['schedule']}",
                    f"{stage['training_hours']:.2f}",
                )
                for stage in card["stages"]
            ),
        ),
    ]
    if "recipe_note" in card:
        parts.append(card["recipe_note"])
    if "held_out_scores" in card:
        parts += ["## Synthetic heads of people never trained on", _scores(card["held_out_scores"])]
    if "findings" in card:
        parts += ["## What else was looked at", *card["findings"]]
    return "\n\n".join(parts) + "\n"


def _scores(scores: dict[str, dict[str, float]]) -> str:
    head = ("given", "heads", "Dice", "worst", "95 % surface distance, mm", "worst", "refused")
    keys = ("heads", "dice", "dice_worst", "hd95_mm", "hd95_worst_mm", "refused")
    return table(head, ((case, *(row[key] for key in keys)) for case, row in scores.items()))
