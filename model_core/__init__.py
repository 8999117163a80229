"""Segmentation, training and metrics for infant brain MR scans; runs without 3D Slicer."""
