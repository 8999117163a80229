"""The brain found in a whole head, by a network of our own: scans in, mask out."""

from __future__ import annotations

from model_core.extraction.extractor import find_brain

__all__ = ["find_brain"]
