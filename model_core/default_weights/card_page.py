"""A model card as a page to read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from model_core.metric_table import SCORES
from model_core.tissues import TISSUES
from model_core.windows import describe_step

PUBLISHED = (
    "For comparison: Dice .953, .925 and .910 for CSF, gray and white matter on real scans of iSeg-2017, with weights "
    "trained on the other nine subjects of one site (Non-local U-Net, AAAI 2020, Table 1)."
)


def page_of_card(card: dict[str, Any]) -> str:
    """Write the card of weights made by ``make_weights.py`` as Markdown.

    Args:
        card: as ``load_weights`` gives it.
    """
    parts = [
        f"# {card['title']}",
        f"Network {card['network']} ({card['parameters']:,} parameters), windows of {card['window']}³ voxels, "
        f"{card['date'][:10]}. The same card is in the weights file.",
        f"**Intended use.** {card['intended_use']}",
        f"**Limits.** {card['limits']}",
        "## Training data",
        _training_data(card["training_data"]),
        "## Recipe",
        _recipe(card),
    ]
    if "held_out_scores" in card:
        parts += ["## Held-out scores", _scores(card["held_out_scores"])]
    if "one_scan_scores" in card:
        parts += ["### With one scan alone", _one_scan_scores(card["one_scan_scores"])]
    if "expected_dice" in card:
        parts += ["## Expected Dice of a map without a reference", _expected_dice(card["expected_dice"])]
    if "comparison" in card:
        parts += ["### Beside others", _comparison(card["comparison"])]
    if "real_scans" in card:
        parts += ["## On real scans", *card["real_scans"]]
    return "\n\n".join(parts) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def _training_data(data: dict[str, Any]) -> str:
    return (
        f"{data['description'][0].upper()}{data['description'][1:]}, from {len(data['anatomies'])} label maps "
        f"({', '.join(name.partition('.')[0] for name in data['anatomies'])}; {data['licence']}); "
        f"{data['wide_share']:.0%} of the pairs in contrasts drawn widely, {data.get('random_share', 0):.0%} in any, "
        "the others in that of six months. "
        "Never trained on: "
        f"{', '.join(data['held_out'])}. No scan of a person entered the training, and nothing of iSeg."
    )


def _recipe(card: dict[str, Any]) -> str:
    recipe = card["recipe"]
    rows = [
        (
            stage.get("member", 1),
            f"{stage['window']}³",
            stage["batch"],
            f"{stage['iterations']:,}",
            f"{stage['learning_rate']:g}, {stage['schedule']}",
            stage["output_dropout"],
            f"{stage['ema_decay']:.4g}",
            stage["seed"],
            f"{stage['training_hours']:.1f}",
        )
        for stage in recipe["stages"]
    ]
    head = (
        "member",
        "window",
        "batch",
        "iterations",
        "learning rate",
        "output dropout",
        "running average",
        "seed",
        "hours",
    )
    whole = "the whole recipe" if recipe["scale"] == 1 else f"{recipe['scale']:g} of the whole recipe's iterations"
    return "\n\n".join(
        [
            f"`python model_core/make_weights.py`, {whole}, {card['training_hours']:.1f} hours.",
            table(head, rows),
            *([recipe["note"]] if "note" in recipe else []),
            *_beginning(card["started_from"]),
        ]
    )


def _beginning(start: dict[str, Any] | str) -> list[str]:
    """Tell in paragraphs what a training began with, and with what that began, back to the first."""
    if isinstance(start, str):
        return [f"It began with {start}."]
    title, iterations = start.get("title", "earlier weights"), start.get("iterations")
    when = f", {start['date'][:10]}" if "date" in start else ""
    how_long = f" ({iterations:,} iterations{when})" if iterations else ""
    data = start.get("training_data", {}).get("description")
    parts = [f"It began with *{title}*{how_long}" + (f", trained on {data}." if data else ".")]
    recipe = start.get("recipe", [])
    stages = recipe["stages"] if isinstance(recipe, dict) else recipe
    if stages:
        parts.append(table(("window", "batch", "iterations", "learning rate", "besides"), map(_earlier_stage, stages)))
    if "earlier_choice" in start:
        lines = [f"- {what.replace('_', ' ')}: {why}" for what, why in start["earlier_choice"].items()]
        parts.append("\n".join(["Looked at before:", "", *lines]))
    return parts + (_beginning(start["started_from"]) if "started_from" in start else [])


def _earlier_stage(stage: dict[str, Any]) -> tuple[object, ...]:
    """A row of the table of an earlier recipe; what has no column of its own stands in the last."""
    own = ("window", "batch", "iterations", "learning_rate")
    besides = "; ".join(
        f"{key.replace('_', ' ')} {value}" for key, value in stage.items() if key not in (*own, "stage", "note")
    )
    note = "; ".join(part for part in (besides, stage.get("note", "")) if part)
    return f"{stage['window']}³", stage["batch"], stage["iterations"], f"{stage['learning_rate']:g}", note


def _scores(scores: dict[str, Any]) -> str:
    rows = []
    groups = {f"mean of {len(scores['scores'])}": scores["mean"], **scores["scores"]}
    for name, tissues in groups.items():
        for tissue in TISSUES:
            figures = tissues[tissue.key]
            cells = [_mean_and_deviation(figures, metric.key, metric.short_digits) for metric in SCORES]
            rows.append((name, tissue.name, *cells))
    head = ("anatomy", "tissue", *(metric.heading for metric in SCORES))
    return (
        f"{scores['data']}; {describe_step(scores['overlap_step'])}; mean ± standard deviation over the anatomies in "
        f"the first rows, over the draws of an anatomy in the others.\n\n{table(head, rows)}\n\n{PUBLISHED}"
    )


def _one_scan_scores(scores: dict[str, Any]) -> str:
    rows = [
        (
            "T1 and T2" if given == "both" else f"{given.upper()} alone",
            *(_mean_and_deviation(tissues[tissue.key], "dice", 3) for tissue in TISSUES),
        )
        for given, tissues in scores.items()
    ]
    head = ("given", *(f"Dice {tissue.name}" for tissue in TISSUES))
    return "The same anatomies, one draw of each; mean ± standard deviation over them.\n\n" + table(head, rows)


def _expected_dice(entry: dict[str, Any]) -> str:
    check, low, high = entry["check"], (1 - entry["coverage"]) / 2, (1 + entry["coverage"]) / 2
    rows = [
        (
            tissue.name,
            *(f"{figure:.2f} → {dice:.2f}" for figure, dice in _ends_of(entry["tissues"][tissue.key])),
            f"{figures['error']:.3f}",
            f"{figures['bias']:+.3f}",
            f"{figures['within']:.0%}",
        )
        for tissue in TISSUES
        for figures in [check["tissues"][tissue.key]]
    ]
    head = ("tissue", "least agreement → Dice", "most", "error", "bias", "in their range")
    found = check["errors_found"]
    return (
        f"Told from {entry['from']}, as learned on {entry['pairs']} synthetic pairs from easy to hopeless of the "
        "anatomies trained on (contrasts, noise, blur, motion, bias, misalignment, wrong masks, a missing scan, T1 and "
        f"T2 exchanged); a range reaches from the {low:.0%} to the {high:.0%} quantile. Checked on {check['pairs']} "
        f"such pairs of {', '.join(check['anatomies'])}: error is the mean absolute difference of expected and true "
        "Dice, bias the mean of expected minus true.\n\n"
        + table(head, rows)
        + f"\n\nA map is called unusable where less than {entry['unusable_below']:g} is expected of a tissue: below, "
        "agreement is no longer good (Zijdenbos et al. 1994), and a volume may be wrong by half. Of these pairs "
        f"{check['unusable']} were, {check['named']} were called so, {check['named_rightly']} of them rightly."
        + ("" if found is None else f" {_errors_found(check)}")
    )


def _errors_found(check: dict[str, Any]) -> str:
    return (
        f"The tenth of a brain's voxels that is most uncertain held {check['errors_found']:.0%} of the errors "
        f"(median); by chance it would be 10%, and {check['errors_findable']:.0%} if each of these voxels were wrong."
    )


def _ends_of(curve: dict[str, Any]) -> list[tuple[float, float]]:
    """The lowest and the highest knot that stand for maps; before them the curve begins at 0."""
    knots = list(zip(curve["agreement"], curve["dice"], strict=True))
    of_maps = knots[1:] or knots  # networks that agree on nothing at all leave the beginning alone
    return [of_maps[0], of_maps[-1]]


def _comparison(comparison: dict[str, Any]) -> str:
    rows = [(name, *(f"{dice:.3f}" for dice in scores)) for name, *scores in comparison["rows"]]
    return f"{comparison['data']}\n\n" + table(("", *(f"Dice {tissue.name}" for tissue in TISSUES)), rows)


def _mean_and_deviation(figures: dict[str, Any], key: str, digits: int) -> str:
    if figures[key] is None:
        return "–"
    spread = figures[f"{key}_sd"]
    return f"{figures[key]:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")
