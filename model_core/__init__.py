"""Segmentation, training and metrics for infant brain MR scans; runs without 3D Slicer."""

import os

# Read when torch is imported. Without it torch's threads spin while they wait for each other: beside other busy
# programs two threads were 5 to 15 times slower than with it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
