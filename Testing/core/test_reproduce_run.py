"""The experiments run for real, as small as they can be: resumed, locked, stopped, and the whole way to the report."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from experiment_folders import plan_of
from safetensors.torch import load_file
from test_train_command import write_subject

from model_core import reproduce as command
from model_core.experiments.jobs import read_state, run_job
from model_core.system.command_line import run_command
from model_core.system.locks import locked
from model_core.training import loop
from model_core.training.loop import TrainingStopped

REPOSITORY = Path(__file__).resolve().parents[2]
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}
QUICK = ["--batch", "1", "--window", "16", "--step", "16", "--overlap-steps", "8", "16", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small data")
    for number in (1, 2, 3):
        write_subject(folder, number)
    return folder


def small_job(data, **changes):
    """The last fold of a quick network: three iterations, a checkpoint after each, no validation."""
    job = plan_of(data, iterations=3, batch=1, window=16, step=16, device="cpu").fold("model5", 3)
    settings = replace(job.settings, checkpoint_every=1, log_every=1, **changes)
    return replace(job, settings=settings, validates=False)


def run_killed_after_the_first_checkpoint(data, output):
    """What the process runs that is killed: it makes a checkpoint and then waits."""

    def wait_at_2(*arguments, step=loop.train_step):
        if arguments[0].iteration == 2:
            time.sleep(120)
        step(*arguments)

    loop.train_step = wait_at_2
    run_job(output, small_job(data), data)


def test_a_killed_job_goes_on_from_its_checkpoint_and_ends_like_an_unbroken_one(data, tmp_path):
    job, broken, unbroken = small_job(data), tmp_path / "broken", tmp_path / "unbroken"
    script = (
        "import sys; from pathlib import Path; import test_reproduce_run as t\n"
        "t.run_killed_after_the_first_checkpoint(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    paths = f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"
    process = subprocess.Popen(
        [sys.executable, "-c", script, data, broken], env=ONE_THREAD | {"PYTHONPATH": paths}, stderr=subprocess.PIPE
    )
    history = broken / "jobs" / job.name / "training" / "history.csv"
    try:
        while not (history.exists() and history.read_text().count("\n") == 3):  # header and two iterations
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.05)
        time.sleep(0.5)  # for the checkpoint after the second row
    finally:
        process.kill()
        process.communicate()
    assert (broken / "jobs" / job.name / "lock.json").exists()
    assert read_state(broken, job).iterations == 2

    begun = []
    assert run_job(broken, job, data, begun.append)
    assert begun == ["trains on 2 subjects", "segments subject-3 at step 16"]
    assert not (broken / "jobs" / job.name / "lock.json").exists()
    run_job(unbroken, job, data)
    weights = [
        load_file(output / "jobs" / job.name / "training" / "weights.safetensors") for output in (broken, unbroken)
    ]
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name])
    dice = [
        [row["dice"] for row in read_state(output, job).result["evaluations"][0]["tissues"]]
        for output in (broken, unbroken)
    ]
    assert dice[0] == dice[1]
    assert not run_job(broken, job, data)  # finished: nothing is left to do


def test_a_further_step_is_evaluated_without_training_again(data, tmp_path):
    job = small_job(data)
    run_job(tmp_path, job, data)
    weights = tmp_path / "jobs" / job.name / "training" / "checkpoint.safetensors"
    before = load_file(weights)
    finer = replace(job, steps=(16, 8))
    assert read_state(tmp_path, finer).result is None
    run_job(tmp_path, finer, data)
    after = load_file(weights)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("network"))
    assert [entry["step"] for entry in read_state(tmp_path, finer).result["evaluations"]] == [16, 8]
    # On 20 voxels of brain with a rim of 4: starts 0 and 12 at step 16, 0, 8 and 12 at step 8.
    assert [entry["windows"] for entry in read_state(tmp_path, finer).result["evaluations"]] == [2**3, 3**3]


def test_the_subject_left_out_is_segmented_and_scored_on_its_own_grid(data, tmp_path, monkeypatch):
    job = small_job(data)

    def perfect(segmenter, pair, step, should_stop):
        levels = (pair.t2 * 2 / 3000 > 0).astype(np.uint8)  # brain, all of it CSF
        one_hot = np.stack([levels == label for label in range(4)]).astype(np.float32)
        return type("R", (), {"labels": levels, "probabilities": one_hot, "windows_total": 8})(), 2.5

    monkeypatch.setattr("model_core.experiments.jobs._segment", perfect)
    run_job(tmp_path, job, data)
    (entry,) = read_state(tmp_path, job).result["evaluations"]
    # Three slabs of 6, 6 and 6 of 20 voxels: the brain is thrice the CSF, so Dice is 2·1/(3+1).
    assert [row["dice"] for row in entry["tissues"]] == pytest.approx([0.5, 0, 0])
    assert entry["tissues"][0]["volume_ml"] == pytest.approx(3 * entry["tissues"][0]["reference_volume_ml"])
    assert (entry["subject"], entry["seconds"]) == ("subject-3", 2.5)


def test_a_job_that_another_process_runs_is_refused_alone_and_left_out_among_others(data, tmp_path, capsys):
    arguments = [
        "--data",
        str(data),
        "--output",
        str(tmp_path),
        "--experiment",
        "overlap-step",
        "--iterations",
        "1",
        *QUICK,
    ]
    folder = tmp_path / "jobs" / "nonlocal_unet-fold-03"
    folder.mkdir(parents=True)
    with locked(folder / "lock.json", "it"):
        assert run_command(command.main, [*arguments, "--job", "nonlocal_unet-fold-03"]) == 1
        stderr = capsys.readouterr().err
        assert "The job nonlocal_unet-fold-03 is being run by process" in stderr
        assert stderr.count("\n") == 1
        assert run_command(command.main, arguments) == 0
    assert "nonlocal_unet-fold-03 is left to another process" in capsys.readouterr().out
    assert "nonlocal\\_unet-fold-03: not begun" in (tmp_path / "report.md").read_text()


def test_one_job_at_fault_does_not_keep_the_others_from_running(data, tmp_path, capsys, monkeypatch):
    ran = []

    def run(output, job, data, tell):
        ran.append(job.name)
        if job.name == "cc_3d_fcn-fold-03":
            raise command.UserError("The disk is full; free some.")
        return True

    monkeypatch.setattr(command, "run_job", run)
    arguments = ["--data", str(data), "--output", str(tmp_path), "--experiment", "curves", *QUICK]
    assert run_command(command.main, arguments) == 1
    assert ran == ["cc_3d_fcn-fold-03", "nonlocal_unet-fold-03"]
    assert capsys.readouterr().err == "cc_3d_fcn-fold-03: The disk is full; free some.\n"
    assert (tmp_path / "report.html").exists()

    def stop(*arguments):
        raise TrainingStopped

    monkeypatch.setattr(command, "run_job", stop)
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 130


def test_a_signal_ends_with_130_and_a_checkpoint(data, tmp_path, monkeypatch, capsys):
    def signal_at_1(*arguments, step=loop.train_step):
        if arguments[0].iteration == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        step(*arguments)

    monkeypatch.setattr(loop, "train_step", signal_at_1)
    arguments = ["--data", data, "--output", tmp_path, "--experiment", "overlap-step", "--iterations", 9, *QUICK]
    with pytest.raises(SystemExit) as ended:
        command.main([*map(str, arguments), "--job", "nonlocal_unet-fold-03"])
    assert ended.value.code == 130
    assert capsys.readouterr().err.endswith("Stopped; the checkpoint of the job is saved. The same command goes on.\n")
    folder = tmp_path / "jobs" / "nonlocal_unet-fold-03"
    assert (folder / "training" / "checkpoint.safetensors").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["training"]


def test_the_whole_way(data, tmp_path, capsys):
    output = tmp_path / "out put"
    arguments = [
        "--data",
        data,
        "--output",
        output,
        "--experiment",
        "curves",
        "overlap-step",
        "--iterations",
        2,
        *QUICK,
    ]
    arguments = [*map(str, arguments), "--note", "slabs of noise"]
    command.main([*arguments, "--list-jobs"])
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 2
    done = subprocess.run(listed[1], shell=True, capture_output=True, text=True, env=ONE_THREAD, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    command.main(arguments)
    said = capsys.readouterr().out
    assert "[1/2] cc_3d_fcn-fold-03 is finished" in said
    assert "[2/2] nonlocal_unet-fold-03 was finished before" in said
    markdown = (output / "report.md").read_text()
    assert "3 labelled subjects; slabs of noise." in markdown
    assert "batch 1 (the papers: 5); window 16 (the papers: 32)" in markdown
    assert "Finished: 2 of 2 jobs" in markdown
    result = json.loads((output / "jobs" / "nonlocal_unet-fold-03" / "result.json").read_text())
    assert [entry["step"] for entry in result["evaluations"]] == [16, 8]
    for entry in result["evaluations"]:
        assert f"{entry['tissues'][0]['dice']:.4f}" in markdown
