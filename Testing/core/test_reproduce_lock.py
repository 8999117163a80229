"""The lock of a job: one process at a time, and none that is gone."""

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from model_core.system import locks
from model_core.system.locks import STALE_SECONDS, LockedError, locked

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock.json"


def is_free(path):
    try:
        with locked(path, "The job a"):
            return True
    except LockedError:
        return False


def test_a_lock_is_held_once_says_by_whom_and_is_gone_afterwards(path):
    with locked(path, "The job a"):
        expected = rf"The job a is being run by process {os.getpid()} on {socket.gethostname()}; .*wait"
        with pytest.raises(LockedError, match=expected):
            locked(path, "The job a").__enter__()
    assert not any(path.parent.iterdir())
    assert is_free(path)


def test_an_error_inside_frees_it(path):
    with pytest.raises(ZeroDivisionError), locked(path, "The job a"):
        raise ZeroDivisionError
    assert not any(path.parent.iterdir())


def test_of_many_that_come_together_one_gets_it(path):
    got, go, enough = [], threading.Barrier(8), threading.Event()

    def take():
        go.wait()
        try:
            with locked(path, "The job a"):
                got.append(1)
                enough.wait(30)
        except LockedError:
            got.append(0)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while len(got) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    enough.set()
    for thread in threads:
        thread.join()
    assert sorted(got) == [0] * 7 + [1]


def test_the_lock_of_a_killed_process_is_taken_over(path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom model_core.system.locks import locked\n"
        "with locked(Path(sys.argv[1]), 'it'):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, path], stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    try:
        assert holder.stdout.readline() == "held\n"
        assert not is_free(path)
    finally:
        holder.kill()
    # Dead, but not waited for yet: its number is still taken.
    deadline = time.monotonic() + 30
    while not is_free(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not path.exists()
    holder.wait()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process started")
def test_another_process_of_the_same_number_does_not_hold_it(path):
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": "1", "id": "x"}))
    assert is_free(path)


def test_the_lock_of_another_machine_counts_until_it_was_not_touched_for_long(path):
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere.example", "started": "1", "id": "x"}))
    assert not is_free(path)
    long_ago = time.time() - STALE_SECONDS - 5
    os.utime(path, (long_ago, long_ago))
    assert is_free(path)


def test_a_damaged_lock_counts_until_it_is_old(path):
    path.write_text("{")
    with pytest.raises(LockedError, match=r"delete .*lock\.json"):
        locked(path, "The job a").__enter__()


# ---- File systems without hard links -----------------------------------------------------------------------


@pytest.fixture(params=["EPERM", "ENOTSUP", "ENOSYS", "EOPNOTSUPP", "EACCES", "EMLINK", "no os.link"])
def linkless(request, monkeypatch):
    """A file system, or a Python, that knows no hard links; each says so in its own way."""

    def link(source, target):
        if os.path.exists(target):
            raise FileExistsError(errno.EEXIST, "File exists")
        raise OSError(getattr(errno, request.param), "no hard links here")

    if request.param == "no os.link":
        monkeypatch.delattr(os, "link")
    else:
        monkeypatch.setattr(os, "link", link)


@pytest.mark.usefixtures("linkless")
def test_without_hard_links_a_lock_is_held_once_and_gone_afterwards(path):
    with locked(path, "The job a"):
        assert json.loads(path.read_text())["pid"] == os.getpid()
        with pytest.raises(LockedError, match=f"run by process {os.getpid()} on"):
            locked(path, "The job a").__enter__()
    assert not any(path.parent.iterdir())
    assert is_free(path)


@pytest.mark.usefixtures("linkless")
def test_without_hard_links_of_many_that_come_together_one_gets_it(path):
    test_of_many_that_come_together_one_gets_it(path)


@pytest.mark.usefixtures("linkless")
def test_without_hard_links_stale_locks_are_taken_over(path):
    path.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "started": "1", "id": "x"}))
    assert is_free(path)
    test_the_lock_of_another_machine_counts_until_it_was_not_touched_for_long(path)


def test_a_lock_stays_fresh_where_times_cannot_be_set(path, monkeypatch):
    def utime(*arguments):
        raise PermissionError(errno.EPERM, "times cannot be set here")

    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.01)
    with locked(path, "The job a"):
        os.utime(path, (0, 0))
        monkeypatch.setattr(os, "utime", utime)
        deadline = time.monotonic() + 30
        while path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert time.time() - path.stat().st_mtime < 60
        assert not is_free(path)
    assert not path.exists()
