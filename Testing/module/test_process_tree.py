"""A worker behind a launcher is ended with all that it started."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROCESS_TREE = Path(__file__).resolve().parents[2] / "InfantBrainSeg" / "InfantBrainSegLib" / "process_tree.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has taskkill for it")

# A process, one that it starts, and one that this starts; each says its number.
FAMILY = """
import os, subprocess, sys, time
print(os.getpid(), flush=True)
if int(sys.argv[1]) > 0:
    subprocess.Popen([sys.executable, "-c", sys.argv[2], str(int(sys.argv[1]) - 1), sys.argv[2]])
time.sleep(120)
"""


@pytest.fixture(scope="module")
def end_process_tree():
    """The function, of its file alone: the package around it belongs to the application that imports it first."""
    specification = importlib.util.spec_from_file_location("process_tree", PROCESS_TREE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module.end_process_tree


def is_running(pid: int) -> bool:
    """A killed process whose parent is gone, too, may stay as a zombie for a moment."""
    with contextlib.suppress(OSError):
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        return state != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc/self").exists()


def test_children_and_grandchildren_end_and_others_do_not(end_process_tree):
    command = [sys.executable, "-c", FAMILY]
    with (
        subprocess.Popen([*command, "0", FAMILY], stdout=subprocess.PIPE, text=True) as other,
        subprocess.Popen([*command, "2", FAMILY], stdout=subprocess.PIPE, text=True) as parent,
    ):
        try:
            family = [int(parent.stdout.readline()) for _ in range(3)]
            assert len(set(family)) == 3
            assert all(is_running(pid) for pid in family)
            end_process_tree(parent.pid)
            parent.wait(timeout=20)
            ends = time.monotonic() + 20
            while any(is_running(pid) for pid in family) and time.monotonic() < ends:
                time.sleep(0.05)
            assert [pid for pid in family if is_running(pid)] == []
            assert other.poll() is None
        finally:
            for process in (parent, other):
                process.kill()


def test_a_process_that_is_gone_is_no_error(end_process_tree):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        end_process_tree(process.pid)
