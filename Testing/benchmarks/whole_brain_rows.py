"""The sample's whole brain at once by the fast U-Net: beside the published network, and as a command."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from model_core.inference import Segmenter
from model_core.inference.standardisation import standardise_volume
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.networks import SegmentationNetwork
from model_core.networks.fused import fused
from model_core.weights import load_weights
from Testing.benchmarks.preview_rows import STEP, first_map_and_pace, windows_run
from Testing.benchmarks.repeats import seconds_of, tell
from Testing.benchmarks.rows import Row, Target, ratio_row
from Testing.benchmarks.sample import SUBJECT, Scans
from Testing.benchmarks.settings import Settings

ROOT = Path(__file__).parents[2]
INFERENCE_SECONDS = Target(3, at_least=False)
COMMAND_SECONDS = Target(12, at_least=False)
COMMAND_GIGABYTES = Target(2.5, at_least=False)
SAME_PROBABILITIES = Target(1e-4, at_least=False)
# A process of its own, and a small one, starts the command: a child's peak counts what its parent held at the fork.
MEASURED = """
import resource, subprocess, sys, time
began = time.perf_counter()
status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""
KILOBYTE = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS


def whole_brain_rows(published: SegmentationNetwork, scans: Scans, settings: Settings) -> list[Row]:
    """Measure the default weights.

    Args:
        published: the Non-local U-Net, whose run at step 8 is reckoned from its first windows.
        scans: the whole sample.
        settings: repeats.
    """
    section, measure = "Whole brain", "inference, the whole brain at once"
    fast, slow = Segmenter(load_weights(DEFAULT_WEIGHTS)[0], device="cpu"), Segmenter(published, device="cpu")
    ours, theirs, commands, gigabytes = [], [], [], []
    part = scans.crop(settings.preview_side or 96)
    for repeat in range(settings.repeats):
        tell(f"{measure}, {repeat + 1} of {settings.repeats}")
        ours.append(seconds_of(partial(fast.segment, scans.t1, scans.t2, mask=scans.mask, step=fast.default_step)))
        _, pace = first_map_and_pace(slow, part, settings.preview_windows)
        theirs.append(pace * windows_run(scans))
        seconds, memory = run_command()
        commands.append(seconds)
        gigabytes.append(memory)
    note = f"The Non-local U-Net's step {STEP} is reckoned from the pace of {settings.preview_windows} windows."
    return [
        Row(section, measure, tuple(ours), "s", target=INFERENCE_SECONDS),
        ratio_row(section, measure, f"Non-local U-Net, step {STEP}", ours, theirs, "s", note=note),
        Row(section, "segment.py on the sample, start to files", tuple(commands), "s", target=COMMAND_SECONDS),
        Row(section, "segment.py on the sample, peak memory", tuple(gigabytes), "GB", target=COMMAND_GIGABYTES),
        largest_difference_of_forms(scans),
    ]


def run_command() -> tuple[float, float]:
    """Seconds and peak GB of segment.py on the sample, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "model_core/segment.py", "--t1", str(SUBJECT / "T1.nii.gz")]
        command += ["--t2", str(SUBJECT / "T2.nii.gz"), "--output", str(Path(folder) / "segmentation.nii.gz")]
        finished = subprocess.run(
            [sys.executable, "-c", MEASURED, *command], cwd=ROOT, capture_output=True, text=True, check=False
        )
    if finished.returncode:
        raise RuntimeError(f"segment.py on the sample ended with status {finished.returncode}: {finished.stderr}")
    seconds, memory = map(float, finished.stdout.split())
    return seconds, memory * KILOBYTE / 1e9


def largest_difference_of_forms(scans: Scans) -> Row:
    """Whether the inference form gives the training form's probabilities, on a crop."""
    network = load_weights(DEFAULT_WEIGHTS)[0]
    crop = scans.crop(64)
    window = np.stack([standardise_volume(scan, crop.mask) for scan in (crop.t1, crop.t2)])[None]
    with torch.inference_mode():
        forms = [form(torch.from_numpy(window)).softmax(dim=1) for form in (network.eval(), fused(network))]
    difference = float((forms[0] - forms[1]).abs().max())
    return Row(
        "Same answers", "largest difference of probabilities", (difference,), "", "the training form",
        target=SAME_PROBABILITIES, is_check=True,
    )  # fmt: skip
