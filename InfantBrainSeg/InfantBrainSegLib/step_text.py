"""Overlap steps as text for people."""

from __future__ import annotations

from slicer.i18n import tr as _

from .core_paths import make_core_importable

make_core_importable()
from model_core.windows import WHOLE_BRAIN  # noqa: E402


def describe_step(step: int) -> str:
    """Return "step 16", or that the whole brain was one window."""
    return _("whole brain") if step == WHOLE_BRAIN else _("step {step}").format(step=step)
