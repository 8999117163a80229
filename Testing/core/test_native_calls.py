"""Long native calls: their results and errors come through, and Ctrl-C is heard while they run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from model_core.errors import UserError
from model_core.native_calls import interruptibly

LOCKED_OUT = 60  # seconds that the work takes if nothing stops it

# As model_core/corrections.py does it, on a scan and with iterations that take long; says when it has begun.
N4_THAT_TAKES_LONG = f"""
import signal, sys
from functools import partial
import numpy as np, SimpleITK as sitk
from model_core.native_calls import interruptibly

signal.signal(signal.SIGINT, signal.default_int_handler)
correction = sitk.N4BiasFieldCorrectionImageFilter()
correction.SetNumberOfThreads(1)
correction.SetConvergenceThreshold(0)
correction.SetMaximumNumberOfIterations([10_000] * 4)
scan = sitk.GetImageFromArray(np.random.default_rng(0).uniform(5, 6, (64, 64, 64)).astype(np.float32))
correction.AddCommand(sitk.sitkIterationEvent, lambda: print("began", flush=True))
signal.alarm({LOCKED_OUT})  # kills it, whatever it does
try:
    interruptibly(partial(correction.Execute, scan))
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_what_the_work_returns_comes_back():
    assert interruptibly(lambda: 42) == 42
    assert interruptibly(lambda: None) is None


def test_what_the_work_raises_comes_through():
    def fail():
        raise UserError("this, that, do")

    with pytest.raises(UserError, match="this, that, do"):
        interruptibly(fail)


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_ctrl_c_ends_a_process_in_the_middle_of_a_filter():
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", N4_THAT_TAKES_LONG], cwd=root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "began\n"
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait() == 130
    assert time.monotonic() - sent < LOCKED_OUT / 2
