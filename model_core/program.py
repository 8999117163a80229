"""What the program is called, which version it is, and where its home is."""

from __future__ import annotations

PROGRAM_NAME = "InfantBrainSeg"
PROGRAM_VERSION = "0.1.0"  # pyproject.toml reads it here; a cohort's results of another version are made again
PROGRAM_URL = "https://example.org/SlicerInfantBrainSeg"  # the home page in CMakeLists.txt
