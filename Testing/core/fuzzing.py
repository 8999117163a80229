"""What the fuzz tests share: how many examples they try, and fences around what they call.

``make test`` tries few examples, always the same. ``python -m Testing.fuzz`` tries new ones for as long as it is told.
"""

import contextlib
import os
import resource
import signal

import numpy as np
from hypothesis import HealthCheck, settings

from model_core.inference.accumulator import Segmentation

LONG_RUN = "INFANTBRAINSEG_FUZZ_EXAMPLES"  # environment: examples a test
SECONDS_BEFORE_IT_HANGS = 60
MOST_BYTES = 1_500_000_000  # of address space beyond what the process has; all that is read here fits a megabyte
SIGNS_OF_WILD_ALLOCATION = ("bad_alloc", "alloc", "MemoryError", "memory")


def fuzz_settings(examples):
    """Settings of a property test: ``examples`` of them, the same ones each time, or as many new ones as are wanted."""
    wanted = os.environ.get(LONG_RUN)
    return settings(
        max_examples=int(wanted) if wanted else examples,
        derandomize=not wanted,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def fenced():
    """Let what runs inside neither hang nor take gigabytes: it fails with an error instead."""

    def give_up(*_):
        raise TimeoutError(f"still busy after {SECONDS_BEFORE_IT_HANGS} seconds")

    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    earlier = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS_BEFORE_IT_HANGS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MOST_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def check_sentence(sentence):
    """A sentence for a user: one line, no error of the program, none that tells of too much memory taken."""
    assert "\n" not in sentence.strip()
    assert "Traceback" not in sentence
    assert "This should not have happened" not in sentence, sentence
    assert not any(sign in sentence for sign in SIGNS_OF_WILD_ALLOCATION), sentence


class QuickSegmenter:
    """Stands in for the network: white matter where T1 is bright, gray matter elsewhere in the brain."""

    def __init__(self, network, **settings):
        self.batch_size = self.workers = 1

    def segment(self, t1, t2, *, step, mask, **others):
        labels = np.where(mask, np.where(t1 > np.median(t1[mask]), 3, 2), 0).astype(np.uint8)
        return Segmentation(labels, np.eye(4, dtype=np.float32)[:, labels], step, 1, 1)


def contents(folder):
    """Every file below a folder with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
