"""Synthetic T1/T2 pairs from label maps."""
