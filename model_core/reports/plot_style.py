"""How the project's plots look: colours that read on white, and matplotlib's settings."""

from __future__ import annotations

from typing import Any

# The label colours are made for a dark scan; these are the same hues, readable on white.
CURVE_COLORS = {"csf": "#2f8fcb", "gm": "#7a7a96", "wm": "#c9952c"}
CONTOUR_COLORS = {"csf": "#4fc3ff", "gm": "#c38bff", "wm": "#ffd84d"}  # over gray scans, apart from each other
PLOT_STYLE: dict[Any, Any] = {  # matplotlib's types know its parameters' names as literals only
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}
