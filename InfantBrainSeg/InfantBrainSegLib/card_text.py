"""A model card as text for people."""

from __future__ import annotations

import html
import json
import statistics
from typing import Any

from slicer.i18n import tr as _

from .core_paths import make_core_importable
from .step_text import describe_step

make_core_importable()
from model_core.tissues import TISSUES  # noqa: E402

NETWORK_NAMES = {
    "fast_unet": "Fast U-Net",
    "nonlocal_unet": "Non-local U-Net",
    "dual_aggregation": "Dual aggregation network",
    "cc_3d_fcn": "CC-3D-FCN",
}
_TOLD = ("network", "parameters", "window", "training_data", "held_out_scores", "validation", "intended_use", "limits")


def describe_card(card: dict[str, Any]) -> str:
    """Return a model card as rich text: what users ask first stands first, the rest follows line by line.

    Args:
        card: as `model_core.model_card.read_card` gives it; nothing in it is trusted, all of it is escaped.
    """
    network = NETWORK_NAMES.get(card.get("network"), card.get("network"))
    size = _("{count} parameters, windows of {side}³ voxels").format(
        count=_number(card.get("parameters")), side=_text(card.get("window", "?"))
    )
    told = [
        (_("Network"), f"{_text(network or _('not stated'))}, {size}"),
        (_("Training data"), _training_data(card.get("training_data"))),
        (_("Licence of the data"), _licence(card.get("training_data"))),
        (_("Scores"), _scores(card)),
        (_("Use"), _text(card.get("intended_use", _("not stated")))),
        (_("Limits"), _text(card.get("limits", ""))),
    ]
    told += [
        (_text(name.replace("_", " ").capitalize()), _text(value))
        for name, value in card.items()
        if name not in (*_TOLD, "title")
    ]
    lines = [f"<b>{_text(card.get('title') or network or _('Unknown'))}</b>"]
    lines += [f"<b>{heading}:</b> {text}" for heading, text in told if text]
    return "<br>".join(lines)


def summarise_card(card: dict[str, Any]) -> str:
    """Return what matters most of a model card as one line of plain text: what it scored, and on how many subjects."""
    means = _held_out_dice(card)
    if not means:
        return _("No scores of held-out subjects are stated.")
    listed = ", ".join(f"{name} {mean:.2f}" for name, mean in means.items())
    held_out = card["held_out_scores"]
    is_synthetic = str(held_out.get("data", "")).lower().startswith("synthetic")
    told = _("Dice: {listed}; {count} held-out subjects")
    if is_synthetic:
        told = _("Dice: {listed}; {count} held-out synthetic brains")
    return told.format(listed=listed, count=len(held_out["scores"]))


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return html.escape(text)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else _("unknown")


def _training_data(data: Any) -> str:
    if not isinstance(data, dict):
        return _text(data or _("not stated"))
    return _text(data.get("description") or {k: v for k, v in data.items() if k != "licence"} or _("not stated"))


def _licence(data: Any) -> str:
    return _text(data.get("licence", _("not stated")) if isinstance(data, dict) else _("not stated"))


def _scores(card: dict[str, Any]) -> str:
    """Mean held-out Dice a tissue with n; else the validation's; else that there are none."""
    means = _held_out_dice(card)
    held_out = card.get("held_out_scores")
    if means and held_out:
        listed = ", ".join(f"{name} {mean:.3f}" for name, mean in means.items())
        step = describe_step(held_out.get("overlap_step"))
        return _text(
            _("Dice {listed} (mean of {count} held-out subjects, {step})").format(
                listed=listed, count=len(held_out["scores"]), step=step
            )
        )
    if isinstance(held_out, dict) and held_out.get("scores"):
        return _text(held_out)
    validation = card.get("validation")
    if isinstance(validation, dict) and isinstance(validation.get("dice"), dict):
        listed = ", ".join(f"{name} {value}" for name, value in validation["dice"].items())
        return _text(_("validation Dice {listed}").format(listed=listed))
    return _("none stated")


def _held_out_dice(card: dict[str, Any]) -> dict[str, float]:
    """Return the mean Dice of the held-out subjects by tissue name; empty where the card has none that can be read."""
    held_out = card.get("held_out_scores")
    subjects = held_out.get("scores") if isinstance(held_out, dict) else None
    if not isinstance(subjects, dict) or not subjects:
        return {}
    try:
        return {
            tissue.name: statistics.mean(float(subject[tissue.key]["dice"]) for subject in subjects.values())
            for tissue in TISSUES
        }
    except (KeyError, TypeError, ValueError):
        return {}
