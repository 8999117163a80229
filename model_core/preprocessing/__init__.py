"""Native or raw scans to the network grid, and back."""

from __future__ import annotations

from model_core.preprocessing.pair import PreparedPair, prepare_pair

__all__ = ["PreparedPair", "prepare_pair"]
