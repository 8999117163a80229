"""The command that trains: what it finds, what it leaves out, how it ends."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from model_core import train as command
from model_core.errors import UserError
from model_core.system.command_line import run_command
from model_core.training.history import read_history
from model_core.training.loop import TrainingSettings
from model_core.volumes import write_volume
from model_core.weights import load_weights

REPOSITORY = Path(__file__).resolve().parents[2]
SIDE = 24
ONE_THREAD = os.environ | {"OMP_NUM_THREADS": "1"}  # so that the tests stay quick beside others
QUICK = ["--network", "model5", "--window", "16", "--batch", "1", "--validation-step", "16", "--device", "cpu"]


def write_subject(folder, number, *, labels=True):
    """Write a subject in the layout of iSeg: three slabs of tissue, T1 within 100 of 1000 times the number."""
    values = np.zeros((SIDE, SIDE, SIDE), np.uint8)
    for index, value in enumerate((10, 150, 250)):
        values[2:-2, 2:-2, 2 + index * 7 : 8 + index * 7] = value
    rng = np.random.default_rng(number)
    t1 = np.where(values > 0, 1000 * number + rng.uniform(-100, 100, values.shape), 0).astype(np.float32)
    volumes = {"T1": t1, "T2": (t1 / 2).astype(np.float32)} | ({"label": values} if labels else {})
    for name, array in volumes.items():
        write_volume(folder / f"subject-{number}-{name}.hdr", array, np.eye(4))


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number in (1, 2, 3):
        write_subject(folder, number)
    return folder


@pytest.fixture
def handed_over(monkeypatch):
    """What the command hands to the training loop, which is not run."""
    calls = []

    def record(settings, sampler, output, **others):
        calls.append({"settings": settings, "sampler": sampler, "output": output} | others)
        return output / "weights.safetensors"

    monkeypatch.setattr(command, "train", record)
    return calls


def subjects_seen(sampler):
    """Numbers of the subjects whose intensities turn up in 40 batches."""
    seen = set()
    for iteration in range(40):
        t1 = sampler.batch(iteration, 2)[0][:, 0]
        seen |= set(np.rint(t1[t1 > 0] / 1000).astype(int).tolist())
    return seen


def test_without_options_the_settings_are_the_defaults(data, tmp_path, handed_over, capsys):
    command.main(["--data", str(data), "--output", str(tmp_path / "run")])
    (call,) = handed_over
    assert call["settings"] == TrainingSettings()
    assert call["resume"] is False
    assert call["initial_weights"] is None
    assert not call["validation_pairs"]
    assert subjects_seen(call["sampler"]) == {1, 2, 3}
    assert call["card"]["training_data"]["licence"] == "not stated"
    assert "subject-2" in capsys.readouterr().out


def test_every_setting_has_its_option(data, tmp_path, handed_over):
    changes = {
        "network": "dual_aggregation", "window": 16, "batch": 3, "learning_rate": 0.01, "weight_decay": 0.5,
        "rate_decay": 1e-6, "schedule": "cosine", "warmup": 7, "iterations": 99, "attention_dropout": 0.25,
        "output_dropout": 0.125, "ema_decay": 0.9, "seed": 5, "validate_every": 11, "validation_step": 4,
        "checkpoint_every": 13, "log_every": 17, "final_weights": "best", "device": "cpu", "precision": "float32",
        "optimizer": "adamw", "loss": "dice_and_cross_entropy", "gradient_clip": 2.5,
    }  # fmt: skip
    options = [part for name, value in changes.items() for part in ("--" + name.replace("_", "-"), str(value))]
    command.main(["--data", str(data), "--output", str(tmp_path / "run"), *options])
    assert handed_over[0]["settings"] == TrainingSettings(**changes)


def test_the_subject_left_out_is_never_trained_on_and_is_what_validates(data, tmp_path, handed_over):
    command.main(["--data", str(data), "--output", str(tmp_path / "run"), "--leave-out", "2"])
    (call,) = handed_over
    assert subjects_seen(call["sampler"]) == {1, 3}
    (pair,) = call["validation_pairs"]
    assert np.median(pair.t1[pair.t1 > 0]) == pytest.approx(2000, abs=20)
    assert len(call["card"]["training_data"]["subjects"]) == 2


def test_validation_data_of_its_own(data, tmp_path, handed_over):
    other = tmp_path / "other"
    other.mkdir()
    write_subject(other, 7)
    command.main(["--data", str(data), "--output", str(tmp_path / "run"), "--validation-data", str(other)])
    (call,) = handed_over
    assert subjects_seen(call["sampler"]) == {1, 2, 3}
    (pair,) = call["validation_pairs"]
    assert np.median(pair.t1[pair.t1 > 0]) == pytest.approx(7000, abs=20)


def test_a_subject_without_labels_is_skipped_and_said(data, tmp_path, handed_over, capsys):
    write_subject(data, 4, labels=False)
    command.main(["--data", str(data), "--output", str(tmp_path / "run")])
    assert subjects_seen(handed_over[0]["sampler"]) == {1, 2, 3}
    assert re.search(r"Skipped.*no label map.*subject-4", capsys.readouterr().out)


def test_data_without_any_labels_are_refused(tmp_path, handed_over):
    write_subject(tmp_path, 1, labels=False)
    with pytest.raises(UserError, match=r"No subject in .* has a label map.*add"):
        command.main(["--data", str(tmp_path), "--output", str(tmp_path / "run")])
    assert not handed_over


def test_an_existing_run_is_refused_before_anything_is_read(tmp_path, handed_over):
    (tmp_path / "history.csv").write_text("iteration\n")
    with pytest.raises(UserError, match="holds a training run already"):
        command.main(["--data", str(tmp_path / "absent"), "--output", str(tmp_path)])


def test_a_network_s_own_defaults_hold_unless_an_option_says_otherwise(data, tmp_path, handed_over):
    arguments = ["--data", str(data), "--output", str(tmp_path / "run"), "--network", "fast_unet"]
    command.main(arguments)
    command.main([*arguments, "--window", "24", "--optimizer", "adam", "--gradient-clip", "0"])
    first, second = (call["settings"] for call in handed_over)
    assert first == TrainingSettings(network="fast_unet")
    assert (first.window, first.optimizer, first.gradient_clip) == (64, "adamw", 5.0)
    assert (second.window, second.optimizer, second.gradient_clip) == (24, "adam", 0.0)
    assert second.loss == "dice_and_cross_entropy"


def test_the_fast_network_trains_on_crops_that_know_their_place(data, tmp_path, handed_over):
    command.main(["--data", str(data), "--output", str(tmp_path / "run"), "--network", "fast_unet", "--window", "16"])
    images, labels, places = handed_over[0]["sampler"].batch(0, 40)
    assert (images.shape, labels.shape, places.shape) == ((40, 2, 16, 16, 16), (40, 16, 16, 16), (40, 3, 2))
    assert abs(images).max() < 10  # standardised: the scans go to 3000
    assert set(np.unique(labels)) == {0, 1, 2, 3}
    widths = places[:, :, 1] - places[:, :, 0]
    np.testing.assert_allclose(widths, widths[:1].repeat(40, axis=0), atol=1e-5)
    np.testing.assert_allclose(widths[0], [2 * 16 / 20, 2 * 16 / 20, 2 * 16 / 20], atol=1e-5)  # 20 voxels of brain


def test_the_fast_network_trains_validates_and_resumes_on_labelled_scans(data, tmp_path):
    quick = ["--network", "fast_unet", "--window", "16", "--batch", "1", "--validation-step", "16", "--device", "cpu"]
    arguments = ["--data", str(data), "--output", str(tmp_path / "run"), "--leave-out", "3", "--log-every", "1", *quick]
    assert run_command(command.main, [*arguments, "--iterations", "2"]) == 0
    assert run_command(command.main, [*arguments, "--iterations", "3", "--resume"]) == 0
    network, card = load_weights(tmp_path / "run" / "weights.safetensors")
    assert (network.name, card["window"], card["iterations"]) == ("fast_unet", 16, 3)
    assert (card["settings"]["optimizer"], card["settings"]["loss"]) == ("adamw", "dice_and_cross_entropy")
    assert "per brain and modality" in card["normalisation"]
    assert set(card["validation"]["dice"]) == {"csf", "gm", "wm"}
    assert [row.iteration for row in read_history(tmp_path / "run" / "history.csv")] == [1, 2, 3]


def test_the_whole_way_and_the_same_command_again(data, tmp_path, capsys):
    output = tmp_path / "run"
    arguments = ["--data", data, "--output", output, "--leave-out", 3, "--iterations", 3, "--log-every", 1, *QUICK]
    program = [sys.executable, REPOSITORY / "model_core" / "train.py"]
    done = subprocess.run(
        [*program, *map(str, arguments), "--data-licence", "CC0"], capture_output=True, text=True, env=ONE_THREAD
    )
    assert done.returncode == 0, done.stderr
    _, card = load_weights(output / "weights.safetensors")
    assert card["training_data"]["licence"] == "CC0"
    assert card["network"] == "model5"
    assert set(card["validation"]["dice"]) == {"csf", "gm", "wm"}
    assert [row.iteration for row in read_history(output / "history.csv")] == [1, 2, 3]
    assert json.loads((output / "settings.json").read_text())["settings"]["iterations"] == 3

    assert run_command(command.main, [str(argument) for argument in arguments]) == 1
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert "--resume" in stderr


def test_ctrl_c_ends_with_130_and_the_command_that_goes_on(data, tmp_path):
    output = tmp_path / "run"
    options = ["--data", data, "--output", output, "--log-every", "1", *QUICK]
    process = subprocess.Popen(
        [sys.executable, REPOSITORY / "model_core" / "train.py", *options],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=ONE_THREAD,
    )  # fmt: skip
    try:
        while not ((output / "history.csv").exists() and read_history(output / "history.csv")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        stderr = process.communicate(timeout=60)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert stderr.splitlines()[-1].startswith("Stopped; checkpoint and weights are saved. Go on with: python ")
    assert stderr.rstrip().endswith("--device cpu --resume")
    assert "Traceback" not in stderr
    assert (output / "checkpoint.safetensors").exists()
    assert load_weights(output / "weights.safetensors")[1]["iterations"] >= 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["--data", "folder"],
        ["--data", "folder", "--output", "run", "--network", "unet"],
        ["--data", "folder", "--output", "run", "--leave-out", "ten"],
        ["--data", "folder", "--output", "run", "--leave-out", "1", "--validation-data", "folder"],
    ],
)
def test_wrong_usage_ends_with_2(arguments):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2


def test_a_missing_folder_ends_with_1_and_one_line(tmp_path, capsys):
    assert run_command(command.main, ["--data", str(tmp_path / "absent"), "--output", str(tmp_path / "run")]) == 1
    stderr = capsys.readouterr().err
    assert stderr.count("\n") == 1
    assert "absent" in stderr
    assert not (tmp_path / "run").exists()
