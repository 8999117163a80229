"""Killed without warning at any moment: every output is the old one or the new one, whole, and the next run finishes.

The moments are drawn from a fixed seed over the whole of a run, from its first line to its end. A server process has
the program imported and forks a child for each run, so that the moments fall into the work and not into imports.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scan_phantoms import grid, scans
from test_train_command import write_subject
from worker_client import write_weights

from model_core.errors import UserError
from model_core.system import files
from model_core.system.files import replace_when_complete
from model_core.system.processes import start_of, this_machine
from model_core.volumes import check_can_write, write_volume

REPOSITORY = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("INFANTBRAINSEG_KILLS", 3))
SEED = 20
PATIENCE = 120

# Reads an argument list a line, runs the command in a child, tells its number, and at its end its status.
SERVER = """
import json, os, sys
import torch, torch._dynamo, torch.utils.tensorboard
from model_core import {command} as command
from model_core.system.command_line import run_command
torch.set_num_threads(1)
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os._exit(run_command(command.main, json.loads(line)))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Server:
    """Runs one of the commands again and again, and kills it when it is told to."""

    def __init__(self, command):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER.format(command=command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        os.set_blocking(self.process.stderr.fileno(), False)

    def run(self, arguments, kill_after=None):
        """Run to the end or kill it after some seconds; the exit status and the seconds that it took."""
        self.process.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        began = time.monotonic()
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        with contextlib.suppress(TypeError):  # nothing was said
            self.said = self.process.stderr.read()
        return status, time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self.process.stdout.close()
            self.process.stderr.close()


def moments(seconds):
    """When to kill: drawn over a run of that length, one of them in each of as many equal parts."""
    drawn = random.Random(SEED)
    return [seconds * (index + drawn.random()) / KILLS for index in range(KILLS)]


def test_a_segmentation_killed_anywhere_leaves_old_or_new_files(tmp_path):
    shape, affine = grid()
    t1, t2, _ = scans(shape, affine)
    noise = np.random.default_rng(0).normal(0, 5, shape)
    for name, scan in (("t1", t1), ("t2", t2)):
        write_volume(tmp_path / f"{name}.nii", np.where(scan.array > 0, scan.array + noise, 0), affine)
    weights = write_weights(tmp_path / "weights.safetensors")

    def arguments(folder):
        return [
            *("--t1", tmp_path / "t1.nii", "--t2", tmp_path / "t2.nii", "--weights", weights, "--device", "cpu"),
            *("--step", "16", "--output", folder / "labels.nii.gz", "--probabilities", folder / "p"),
            *("--picture", folder / "a.png", "--scores", folder / "a.json"),
        ]

    with Server("segment") as server:
        (tmp_path / "whole").mkdir()
        assert server.run(arguments(tmp_path / "whole"))[0] == 0, server.said
        status, seconds = server.run(arguments(tmp_path / "whole"))  # the first run warms up
        assert status == 0, server.said
        expected = {path.relative_to(tmp_path / "whole"): path for path in (tmp_path / "whole").rglob("*.nii.gz")}
        assert len(expected) == 5

        folder = tmp_path / "killed"
        (folder / "p").mkdir(parents=True)
        old = b"result of yesterday"
        outcomes = set()
        for moment in moments(seconds):
            for name in [*expected, "a.png", "a.json"]:
                (folder / name).write_bytes(old)
            status, _ = server.run(arguments(folder), kill_after=moment)
            assert status in (-signal.SIGKILL, 0), server.said
            for name, path in expected.items():
                assert (folder / name).read_bytes() in (old, path.read_bytes())
            assert (folder / "a.png").read_bytes() == old or (folder / "a.png").read_bytes().endswith(b"IEND\xaeB`\x82")
            assert (folder / "a.json").read_bytes() == old or json.loads((folder / "a.json").read_bytes())["step"] == 16
            outcomes.add((folder / "labels.nii.gz").read_bytes() == old)
            allowed = {*map(str, expected), "a.png", "a.json", "p", "labels.json"}
            found = {str(path.relative_to(folder)) for path in folder.rglob("*") if ".partial-" not in str(path)}
            assert found <= allowed
        assert True in outcomes  # some of them were killed before the result stood

        status, _ = server.run(arguments(folder))
        assert status == 0, server.said
        assert {name: (folder / name).read_bytes() for name in expected} == {
            name: path.read_bytes() for name, path in expected.items()
        }
        assert not list(folder.rglob(".partial-*"))


def test_a_training_killed_anywhere_goes_on_and_ends_like_an_unbroken_one(tmp_path):
    (tmp_path / "data").mkdir()
    for number in (1, 2):
        write_subject(tmp_path / "data", number)

    def arguments(name):
        return [
            *("--data", tmp_path / "data", "--output", tmp_path / name, "--network", "model5", "--window", "8"),
            *("--batch", "1", "--iterations", "4", "--checkpoint-every", "1", "--log-every", "1", "--device", "cpu"),
            *("--leave-out", "2", "--validation-step", "8", "--validate-every", "2", "--resume"),
        ]

    with Server("train") as server:
        assert server.run(arguments("warm-up"))[0] == 0, server.said
        status, seconds = server.run(arguments("whole"))
        assert status == 0, server.said
        for moment in moments(seconds):
            status, _ = server.run(arguments("killed"), kill_after=moment)
            assert status in (-signal.SIGKILL, 0), server.said
        status, _ = server.run(arguments("killed"))
        assert status == 0, server.said
    tensors = [_tensors(tmp_path / name / "weights.safetensors") for name in ("whole", "killed")]
    assert tensors[0] == tensors[1]
    assert not list((tmp_path / "killed").rglob(".partial-*"))


def _tensors(path):
    """The bytes behind a safetensors header, in which a date stands."""
    content = path.read_bytes()
    return content[8 + int.from_bytes(content[:8], "little") :]


# ---- What a killed process leaves behind -----------------------------------------------------------------------------


def leave_behind(folder, machine, pid, start, age_s=0.0):
    left = folder / f".partial-{machine}-{pid}-{start}-abc_12"
    left.mkdir()
    (left / "half.nii").write_bytes(b"half")
    then = time.time() - age_s
    os.utime(left, (then, then))
    return left


@pytest.fixture
def ended():
    """The number and start of a process that is gone."""
    process = subprocess.Popen(["sleep", "100"])
    start = start_of(process.pid)
    process.kill()
    process.wait()
    return process.pid, start


@pytest.mark.parametrize("write", [check_can_write, "replace"])
def test_folders_of_processes_that_are_gone_are_removed_and_no_others(tmp_path, ended, write):
    day = 86_400
    gone = [
        leave_behind(tmp_path, this_machine(), *ended),
        leave_behind(tmp_path, this_machine(), os.getpid(), "12"),  # another process had this number
        leave_behind(tmp_path, "0123abcd", 1, "12", age_s=2 * day),
    ]
    kept = [
        leave_behind(tmp_path, this_machine(), os.getpid(), start_of(os.getpid()), age_s=9 * day),
        leave_behind(tmp_path, "0123abcd", *ended, age_s=0.5 * day),
    ]
    for name in (".partial-notes", ".partial-0123abcd-1-2"):  # of somebody else
        kept.append(tmp_path / name)
        kept[-1].mkdir()
        os.utime(kept[-1], (0, 0))
    if write is check_can_write:
        check_can_write(tmp_path / "a.nii")
    else:
        with replace_when_complete(tmp_path / "a.nii") as temporary:
            temporary.write_bytes(b"new")
        assert (tmp_path / "a.nii").read_bytes() == b"new"
    assert not any(left.exists() for left in gone)
    assert all(left.exists() for left in kept)


def test_what_another_process_is_writing_now_is_left_to_it(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom model_core.system.files import replace_when_complete\n"
        "with replace_when_complete(sys.argv[1]) as path:\n"
        "    path.write_bytes(b'theirs')\n    print('writing', flush=True)\n    sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, tmp_path / "a.nii"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
    )
    try:
        assert process.stdout.readline() == b"writing\n"
        with replace_when_complete(tmp_path / "a.nii") as temporary:
            temporary.write_bytes(b"ours")
        assert (tmp_path / "a.nii").read_bytes() == b"ours"
        process.communicate(b"", timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0
    assert (tmp_path / "a.nii").read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a.nii"]


def test_a_file_that_fails_to_be_removed_is_no_reason_to_fail(tmp_path, ended, monkeypatch):
    left = leave_behind(tmp_path, this_machine(), *ended)

    def refuse(*_):
        raise OSError("it is gone already")

    monkeypatch.setattr(files, "_is_left_over", refuse)
    with contextlib.suppress(UserError), replace_when_complete(tmp_path / "a.nii") as temporary:
        temporary.write_bytes(b"new")
    assert (tmp_path / "a.nii").read_bytes() == b"new"
    assert left.exists()
