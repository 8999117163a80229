"""Labelled subjects found in folders, and the patches cut from them."""
