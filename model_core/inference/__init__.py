"""From scans as arrays to labels and probabilities, by sliding windows or the whole brain at once."""

from model_core.inference.accumulator import Progress, Segmentation
from model_core.inference.segmenter import Segmenter

__all__ = ["Progress", "Segmentation", "Segmenter"]
