"""Cohorts that are killed, stopped, or run twice at once: results are complete or not there, and nothing is lost."""

import os
import random
import signal
import time

import pytest
from cohort_folders import QuickCohort, is_running, wait_until

NAMES = ["sub-01", "sub-02", "sub-03"]
ON_LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="looks at processes in /proc")


def test_killed_at_random_moments_it_leaves_whole_results_and_goes_on(tmp_path):
    quick = QuickCohort(tmp_path, *NAMES)
    quick.slow_down(0.1)
    moments = random.Random(6)
    for _ in range(3):
        process = quick.start("participant", "--workers", 2)
        before = len(quick.audit("begun"))
        wait_until(lambda before=before, process=process: len(quick.audit("begun")) > before or process.poll() == 0)
        time.sleep(moments.uniform(0, 0.4))
        process.kill()
        process.communicate()
        done = [name for name in NAMES if quick.is_complete(name)]
    quick.slow_down(0)
    quick.forget()
    quick.run()
    assert sorted(quick.audit("begun")) == sorted(set(NAMES) - set(done))
    assert all(quick.is_complete(name) for name in NAMES)
    assert list((quick.output / ".cohort").iterdir()) == []


@ON_LINUX
def test_a_killed_command_takes_its_children_with_it(tmp_path):
    quick = QuickCohort(tmp_path, "sub-01")
    quick.hold("sub-01")
    process = quick.start("participant")
    wait_until(lambda: quick.audit("begun"))
    child, _ = quick.processes()["sub-01"]
    assert is_running(child)
    process.kill()
    process.communicate()
    wait_until(lambda: not is_running(child))


@ON_LINUX
def test_stopped_by_the_user_it_ends_its_children_and_keeps_what_is_complete(tmp_path):
    quick = QuickCohort(tmp_path, *NAMES)
    quick.run("participant", "--participant-label", "02")
    quick.forget()
    quick.slow_down(100)
    process = quick.start("--workers", 2)
    wait_until(lambda: len(quick.audit("begun")) == 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "Stopped by the user: finished outputs are complete, nothing else was changed.\n"
    assert [name for name in NAMES if quick.is_complete(name)] == ["sub-02"]
    assert not any(is_running(pid) for pid, _ in quick.processes().values())
    assert list((quick.output / ".cohort").iterdir()) == []


def test_two_commands_on_one_output_do_no_subject_twice(tmp_path):
    quick = QuickCohort(tmp_path, *NAMES)
    quick.slow_down(0.3)
    both = [quick.start("participant"), quick.start("participant")]
    said = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert [errors for _, errors in said] == ["", ""]
    assert sorted(quick.audit("begun")) == NAMES
    assert all(quick.is_complete(name) for name in NAMES)
