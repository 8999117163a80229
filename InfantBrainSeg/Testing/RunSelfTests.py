"""Runs all self tests in Slicer and ends it, with status 0 when all have passed and 1 otherwise.

Slicer --testing --no-splash --additional-module-paths InfantBrainSeg \
    --python-script InfantBrainSeg/Testing/RunSelfTests.py
"""

import logging

import slicer
from InfantBrainSegLib.self_tests import run_self_tests

try:
    run_self_tests()
except Exception:
    logging.exception("Segment infant brain")
    slicer.util.exit(slicer.util.EXIT_FAILURE)
else:
    slicer.util.exit(slicer.util.EXIT_SUCCESS)
