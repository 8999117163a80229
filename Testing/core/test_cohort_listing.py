"""cohort.py --list-subjects, for other programs; and child.py where it leads no group of processes."""

import json
import signal
import subprocess
import sys

import pytest
from cohort_folders import REPOSITORY, QuickCohort

from model_core.errors import UserError


def listed(cohort, capsys):
    capsys.readouterr()
    cohort.run("--list-subjects")
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_each_subject_is_listed_with_its_state_and_files_and_nothing_is_written(tmp_path, capsys):
    cohort = QuickCohort(tmp_path, "sub-01", "sub-02_ses-6mo", "sub-10", "sub-04")
    (cohort.data / "sub-04" / "anat" / "sub-04_T2w.nii.gz").unlink()
    (cohort.data / "sub-10" / "anat" / "sub-10_T1w.nii.gz").write_bytes(b"bad scan")
    before = listed(cohort, capsys)
    assert not cohort.output.exists()
    assert [(entry["name"], entry["state"]) for entry in before] == [
        ("sub-01", "pending"), ("sub-02_ses-6mo", "pending"), ("sub-10", "pending"), ("sub-04", "incomplete"),
    ]  # fmt: skip
    assert (before[1]["participant"], before[1]["session"]) == ("02", "6mo")
    assert before[1]["t1"] == str(cohort.data / "sub-02" / "ses-6mo" / "anat" / "sub-02_ses-6mo_T1w.nii.gz")
    anat = cohort.output / "sub-02" / "ses-6mo" / "anat"
    assert before[1]["labels"] == str(anat / "sub-02_ses-6mo_space-T1w_dseg.nii.gz")
    assert before[1]["sidecar"] == str(anat / "sub-02_ses-6mo_space-T1w_dseg.json")
    assert (before[3]["t1"], before[3]["labels"]) == ("", "")
    with pytest.raises(UserError, match="1 of 3 subjects failed"):
        cohort.run("participant")
    after = listed(cohort, capsys)
    assert [entry["state"] for entry in after] == ["complete", "complete", "failed", "incomplete"]
    assert "is no scan" in after[2]["sentence"]
    assert after[2]["failure"] == str(cohort.output / "logs" / "sub-10.failed.json")


def test_a_child_that_leads_no_group_is_asked_to_end_before_it_is_killed(tmp_path):
    script, told = tmp_path / "script.py", tmp_path / "told"
    script.write_text(
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n"
        f"    pathlib.Path({str(told)!r}).touch()\n"
        "    sys.exit(3)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    child = REPOSITORY / "model_core" / "cohorts" / "child.py"
    process = subprocess.Popen(
        [sys.executable, str(child), "-", str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"ready\n"
    process.stdin.close()
    assert process.wait(60) in (3, -signal.SIGTERM)
    process.stdout.close()
    assert told.exists()
