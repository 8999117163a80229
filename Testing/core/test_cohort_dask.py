"""Cohorts on a real Dask cluster of two worker processes on this machine."""

import logging
import os
import signal
import socket
import sys

import pytest
from cohort_folders import QuickCohort, is_running, wait_until

from model_core.errors import UserError

NAMES = [f"sub-{number:02}" for number in range(1, 7)]


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", silence_logs=logging.CRITICAL
    ) as cluster:
        yield cluster


def test_with_a_worker_killed_nothing_is_lost_and_nothing_complete_is_done_twice(tmp_path, cluster):
    quick = QuickCohort(tmp_path, *NAMES)
    held = quick.hold("sub-03")
    process = quick.start("--scheduler", cluster.scheduler_address)
    wait_until(lambda: "sub-03" in quick.audit("begun") and sum(map(quick.is_complete, NAMES)) >= 2)
    child, worker = quick.processes()["sub-03"]
    assert worker in [nanny.pid for nanny in cluster.workers.values()]
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not is_running(child))
    held.unlink()
    said, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (0, "")
    assert all(quick.is_complete(name) for name in NAMES)
    assert sorted(quick.audit("ended")) == NAMES
    assert sorted(quick.audit("begun")) == sorted([*NAMES, "sub-03"])
    assert said.count("] sub-") == len(NAMES)
    quick.forget()
    quick.run("--scheduler", cluster.scheduler_address)
    assert quick.audit("begun") == []


def test_stopped_by_the_user_the_clusters_children_end(tmp_path, cluster):
    quick = QuickCohort(tmp_path, *NAMES)
    quick.slow_down(100)
    process = quick.start("--scheduler", cluster.scheduler_address)
    wait_until(lambda: len(quick.audit("begun")) == 2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    assert process.returncode == 130
    assert quick.audit("ended") == []
    assert list((quick.output / ".cohort").iterdir()) == []


def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("model_core.cohorts.executors.CONNECT_SECONDS", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    no_scheduler_file = tmp_path / "notes.json"
    no_scheduler_file.write_text("[]")
    quick = QuickCohort(tmp_path, "sub-01")
    for where in (address, str(no_scheduler_file)):
        with pytest.raises(UserError, match=rf"No Dask scheduler answers at {where}.*expected an address"):
            quick.run("--scheduler", where)


def test_without_dask_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UserError, match=r"needs dask.distributed.*pip install .*\[cluster\]"):
        QuickCohort(tmp_path, "sub-01").run("--scheduler", "tcp://127.0.0.1:1")
