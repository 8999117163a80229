"""Training: the settings, the step, the history, and above all exact resumption."""

import csv
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from trained_networks import TinyNetwork

from model_core.datasets.subjects import LabelledPair
from model_core.errors import UserError
from model_core.networks import NETWORKS
from model_core.networks.blocks import SegmentationNetwork
from model_core.training.history import History, HistoryRow, read_history
from model_core.training.loop import TrainingSettings, TrainingStopped, prefetch, train, train_step
from model_core.training.settings import network_settings
from model_core.training.state import TrainingState, begin_training, reduced_precision
from model_core.weights import load_weights

REPOSITORY = Path(__file__).resolve().parents[2]


class BandSampler:
    """Windows with one class a quarter; T1 and T2 tell the class directly, up to a little noise."""

    def __init__(self, window=16, seed=0, delay=0.0):
        self.window, self.seed, self.delay = window, seed, delay

    def batch(self, iteration, size):
        time.sleep(self.delay)
        rng = np.random.default_rng([self.seed, iteration])
        pairs = [band_pair(self.window, rng) for _ in range(size)]
        images = np.stack([np.stack([pair.t1, pair.t2]) for pair in pairs])
        return images, np.stack([pair.labels for pair in pairs])


def band_pair(side, rng):
    labels = np.zeros((side, side, side), np.uint8)
    for index, label in enumerate(rng.permutation(4)):
        labels[index * side // 4 : (index + 1) * side // 4] = label
    noise = rng.normal(scale=0.1, size=(2, *labels.shape))
    t1 = np.choose(labels, [0.0, 1.0, 2.0, 3.0]) + noise[0] * (labels > 0)
    t2 = np.choose(labels, [0.0, 3.0, 1.0, 2.0]) + noise[1] * (labels > 0)
    return LabelledPair("bands", t1.astype(np.float32), t2.astype(np.float32), labels)


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", TinyNetwork)


def tiny_settings(**changes):
    settings = {"network": "tiny", "window": 16, "batch": 2, "iterations": 12, "log_every": 4, "checkpoint_every": 5}
    return TrainingSettings(**settings | {"device": "cpu"} | changes)


def rows_without_speed(path):
    with open(path, newline="") as file:
        return [
            {name: cell for name, cell in row.items() if name != "patches_per_second"} for row in csv.DictReader(file)
        ]


def assert_same_weights(first, second):
    first, second = load_file(first), load_file(second)
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name


class TestSettings:
    def test_defaults_are_those_of_the_papers(self):
        settings = TrainingSettings()
        assert (settings.network, settings.window, settings.batch) == ("nonlocal_unet", 32, 5)
        assert (settings.learning_rate, settings.weight_decay, settings.iterations) == (1e-3, 2e-6, 150_000)
        assert (settings.attention_dropout, settings.output_dropout) == (0.5, 0.5)
        assert TrainingSettings(network="dual_aggregation").learning_rate == 3.3e-3
        assert TrainingSettings(network="dual_aggregation", learning_rate=1e-4).learning_rate == 1e-4

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("network", "unet"),
            ("window", 0),
            ("batch", 0),
            ("learning_rate", 0.0),
            ("learning_rate", math.nan),
            ("weight_decay", -1e-6),
            ("iterations", 0),
            ("attention_dropout", 1.0),
            ("output_dropout", -0.1),
            ("ema_decay", 1.0),
            ("seed", -1),
            ("warmup", 150_000),
            ("schedule", "step"),
            ("validation_step", 33),
            ("precision", "float64"),
            ("optimizer", "sgd"),
            ("loss", "dice"),
            ("gradient_clip", -1.0),
            ("gradient_clip", math.inf),
        ],
    )
    def test_a_value_out_of_range_is_named_with_its_range(self, name, value):
        with pytest.raises(UserError, match=f"{value}.*expected"):
            TrainingSettings(**{name: value})

    def test_what_depends_on_the_network_is_its_record_s_and_else_the_first_paper_s(self):
        paper = {"window": 32, "batch": 5, "learning_rate": 1e-3, "weight_decay": 2e-6}
        paper |= {"optimizer": "adam", "loss": "cross_entropy", "gradient_clip": 0.0}
        fast = {"window": 64, "batch": 2, "learning_rate": 3e-3, "weight_decay": 1e-4}
        fast |= {"optimizer": "adamw", "loss": "dice_and_cross_entropy", "gradient_clip": 5.0}
        expected = {"nonlocal_unet": paper, "dual_aggregation": paper | {"learning_rate": 3.3e-3}, "fast_unet": fast}
        for network, values in expected.items():
            assert network_settings(network) == values
            settings = TrainingSettings(network=network)
            assert {name: getattr(settings, name) for name in values} == values
        given = {"window": 40, "batch": 1, "weight_decay": 0.0, "optimizer": "adam", "gradient_clip": 0.0}
        settings = TrainingSettings(network="fast_unet", **given)
        assert {name: getattr(settings, name) for name in fast} == fast | given
        assert network_settings("tiny") == paper  # which is no record

    def test_the_constant_rate_stays_and_the_rate_decay_takes_its_part_every_1000_iterations(self):
        assert TrainingSettings().learning_rate_at(149_999) == 1e-3
        settings = TrainingSettings(network="dual_aggregation", rate_decay=2e-6)
        assert settings.learning_rate_at(999) == 3.3e-3
        assert settings.learning_rate_at(1000) == pytest.approx(3.298e-3)
        assert settings.learning_rate_at(149_000) == pytest.approx(3.3e-3 - 149 * 2e-6)

    def test_the_cosine_rises_during_warm_up_and_falls_to_zero(self):
        settings = TrainingSettings(schedule="cosine", warmup=100, iterations=1100, learning_rate=0.4)
        assert settings.learning_rate_at(0) == pytest.approx(0.004)
        assert settings.learning_rate_at(99) == pytest.approx(0.4)
        assert settings.learning_rate_at(600) == pytest.approx(0.2)
        assert settings.learning_rate_at(1099) == pytest.approx(0.0, abs=1e-5)

    def test_float16_without_cuda_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="needs CUDA"):
            train(tiny_settings(precision="float16"), BandSampler(), tmp_path / "run")

    def test_bfloat16_is_for_windows_of_32_and_more(self):
        with pytest.raises(UserError, match=r"--window is 31; expected 32 or more with --precision bfloat16; change"):
            TrainingSettings(precision="bfloat16", window=31)
        assert TrainingSettings(precision="bfloat16", window=32).window == 32

    def test_bfloat16_where_the_processor_does_not_compute_in_it_is_refused_before_anything_is_written(
        self, tmp_path, monkeypatch
    ):
        monkeypatch.setattr("model_core.training.state.computes_in_bfloat16", lambda device: False)
        settings = tiny_settings(precision="bfloat16", window=32)
        with pytest.raises(UserError, match=r"bfloat16 and cpu does not compute in it; .*; leave out --precision"):
            train(settings, BandSampler(32), tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_what_is_computed_in_mixed_precision_and_where(self, monkeypatch):
        monkeypatch.setattr("model_core.training.state.computes_in_bfloat16", lambda device: True)
        cpu, cuda = torch.device("cpu"), torch.device("cuda")
        types = {
            (precision, device): reduced_precision(tiny_settings(precision=precision, window=32), device)
            for precision, device in (
                ("auto", cpu), ("float32", cpu), ("bfloat16", cpu),
                ("auto", cuda), ("float32", cuda), ("float16", cuda), ("bfloat16", cuda),
            )
        }  # fmt: skip
        assert types == {
            ("auto", cpu): None, ("float32", cpu): None, ("bfloat16", cpu): torch.bfloat16,
            ("auto", cuda): torch.float16, ("float32", cuda): None, ("float16", cuda): torch.float16,
            ("bfloat16", cuda): torch.bfloat16,
        }  # fmt: skip

    def test_a_window_that_the_network_cannot_halve_is_refused_before_anything_is_written(self, tmp_path):
        with pytest.raises(UserError, match=r"window is 18; tiny takes multiples of 4.*20"):
            train(tiny_settings(window=18), BandSampler(18), tmp_path / "run")
        assert not (tmp_path / "run").exists()


class OneParameter(nn.Module):
    """Logits (w, 0, 0, 0) in every voxel, and a buffer that counts the calls."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("calls", torch.tensor(0.0))

    def forward(self, x):
        self.calls += 1
        return self.w * torch.tensor([1.0, 0, 0, 0]).view(1, 4, 1, 1, 1).expand(x.shape[0], 4, *x.shape[2:])


def test_the_step_and_the_running_average_are_those_worked_out_by_hand():
    network = OneParameter()
    averaged = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    state = TrainingState(network, optimizer, averaged, torch.amp.GradScaler("cpu", enabled=False), torch.zeros(()))
    settings = TrainingSettings(learning_rate=0.5)
    images, labels = np.zeros((1, 2, 4, 4, 4), np.float32), np.zeros((1, 4, 4, 4), np.uint8)
    w, average, losses = 0.0, None, []
    for _ in range(3):
        probability = math.exp(w) / (math.exp(w) + 3)  # of class 0, the label everywhere
        losses.append(-math.log(probability))
        w -= 0.5 * (probability - 1)  # the gradient of the cross entropy is probability - 1
        average = w if average is None else 0.75 * average + 0.25 * w
        train_step(state, settings, images, labels)
    assert network.w.item() == pytest.approx(w, rel=1e-5)
    assert averaged.module.w.item() == pytest.approx(average, rel=1e-5)
    assert float(averaged.module.calls) == 3  # buffers are copied, not averaged
    assert state.mean_loss() == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert state.best_network is averaged.module


class TwoParameters(SegmentationNetwork):
    """Logits (a, b, 0, 0) in every voxel."""

    window_multiple = 1

    def __init__(self, name="two", in_channels=2, num_classes=4):
        super().__init__(name, in_channels, num_classes)
        self.a, self.b = (nn.Parameter(torch.tensor(value)) for value in (0.75, -1.5))

    def forward(self, x):
        logits = torch.stack([self.a, self.b, torch.zeros(()), torch.zeros(())])
        return logits.view(1, 4, 1, 1, 1).expand(len(x), 4, *x.shape[2:])


def gradients_by_hand(a, b):
    """Of the cross entropy, where the label is 0 everywhere: probability minus truth."""
    total = math.exp(a) + math.exp(b) + 2
    return np.array([math.exp(a) / total - 1, math.exp(b) / total])


ZEROS = np.zeros((1, 2, 4, 4, 4), np.float32), np.zeros((1, 4, 4, 4), np.uint8)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_adds_the_decay_to_the_gradient_and_adamw_shrinks_the_weights_themselves(optimizer, monkeypatch):
    monkeypatch.setitem(NETWORKS, "two", TwoParameters)
    rate, decay = 0.125, 0.25
    settings = TrainingSettings(
        network="two", optimizer=optimizer, learning_rate=rate, weight_decay=decay, device="cpu", precision="float32"
    )
    state, _ = begin_training(settings, None, None)
    weights, mean, square = np.array([0.75, -1.5]), np.zeros(2), np.zeros(2)
    for step in (1, 2, 3):
        gradient = gradients_by_hand(*weights)
        if optimizer == "adam":
            gradient = gradient + decay * weights
        else:
            weights = weights - rate * decay * weights
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weights = weights - rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
        train_step(state, settings, *ZEROS)
    np.testing.assert_allclose([state.network.a.item(), state.network.b.item()], weights, rtol=1e-5)


@pytest.mark.parametrize(("clip", "acts"), [(0.0, False), (0.125, True), (50.0, False)])
def test_the_gradients_are_shortened_together_to_the_norm_asked_for(clip, acts):
    network = TwoParameters()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    state = TrainingState(network, optimizer, None, torch.amp.GradScaler("cpu", enabled=False), torch.zeros(()))
    gradient = gradients_by_hand(0.75, -1.5)
    norm = math.hypot(*gradient)
    assert norm > 0.3
    train_step(state, TrainingSettings(learning_rate=0.5, gradient_clip=clip), *ZEROS)
    step = np.array([0.75, -1.5]) - [network.a.item(), network.b.item()]
    np.testing.assert_allclose(step, 0.5 * gradient * (clip / norm if acts else 1), rtol=1e-4)


def test_the_loss_asked_for_is_what_is_made_small():
    network = OneParameter()
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)
    state = TrainingState(network, optimizer, None, torch.amp.GradScaler("cpu", enabled=False), torch.zeros(()))
    train_step(state, TrainingSettings(loss="dice_and_cross_entropy"), *ZEROS)
    # A quarter for each class in 64 voxels of class 0: 16 of its 64 are found, 16 of each other class are wrong.
    dice = ((2 * 16 + 1) / (16 + 64 + 1) + 3 * 1 / (16 + 1)) / 4
    assert state.mean_loss() == pytest.approx(0.6 * (1 - dice) + 0.4 * math.log(4), rel=1e-5)


def test_the_loss_falls_and_the_volume_is_segmented_on_a_problem_that_can_be_learned(tmp_path):
    settings = tiny_settings(iterations=150, log_every=25, learning_rate=0.03, validate_every=75, validation_step=16)
    pair = band_pair(16, np.random.default_rng(1))
    weights = train(settings, BandSampler(), tmp_path, validation_pairs=[pair], card={"training_data": {"a": 1}})
    rows = read_history(tmp_path / "history.csv")
    assert [row.iteration for row in rows] == [25, 50, 75, 100, 125, 150]
    assert [row.iteration for row in rows if row.dice] == [75, 150]
    assert rows[-1].loss < 0.5 * rows[0].loss
    assert rows[-1].mean_dice > 0.85
    height, width, _ = matplotlib.image.imread(tmp_path / "training_curve.png").shape
    assert width > height > 500
    assert list((tmp_path / "tensorboard").glob("events*"))
    stored = json.loads((tmp_path / "settings.json").read_text())
    assert stored["settings"]["learning_rate"] == 0.03
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]

    network, card = load_weights(weights)
    assert network.name == "tiny"
    assert card["training_data"] == {"a": 1}
    assert (card["window"], card["seed"], card["iterations"]) == (16, 0, 150)
    assert card["validation"]["subjects"] == ["bands"]
    assert card["validation"]["dice"]["wm"] == pytest.approx(rows[-1].dice["wm"], abs=1e-4)
    assert "last iteration" in card["weights"]
    assert "Not a medical device" in card["intended_use"]


def test_the_seed_decides_the_weights(tmp_path):
    first = train(tiny_settings(), BandSampler(), tmp_path / "first")
    again = train(tiny_settings(), BandSampler(), tmp_path / "again")
    other = train(tiny_settings(seed=1), BandSampler(), tmp_path / "other")
    assert_same_weights(first, again)
    assert not torch.equal(load_file(first)["stem.weight"], load_file(other)["stem.weight"])


def test_the_best_weights_are_kept_only_where_asked_for_and_the_card_says_so(tmp_path, monkeypatch):
    scores = iter([0.2, 0.9, 0.4])
    monkeypatch.setattr(
        "model_core.training.loop.validate", lambda *_: dict.fromkeys(("csf", "gm", "wm"), next(scores))
    )
    pair = band_pair(16, np.random.default_rng(1))
    weights = train(
        tiny_settings(final_weights="best", validate_every=4), BandSampler(), tmp_path, validation_pairs=[pair]
    )
    _, card = load_weights(weights)
    assert card["iterations"] == card["validation"]["iteration"] == 8
    assert "optimistic" in card["weights"]


def test_batches_are_made_ahead_in_order_and_each_once():
    asked = []

    class Recorder(BandSampler):
        def batch(self, iteration, size):
            asked.append(iteration)
            return super().batch(iteration, size)

    settings = tiny_settings(iterations=6)
    batches = list(prefetch(Recorder(), settings, 2))
    assert asked == [2, 3, 4, 5]
    for iteration, (images, labels) in zip(asked, batches, strict=True):
        expected = BandSampler().batch(iteration, 2)
        assert np.array_equal(images, expected[0])
        assert np.array_equal(labels, expected[1])
    with pytest.raises(ValueError, match=r"\(2, 2, 8, 8, 8\)"):
        next(prefetch(BandSampler(window=8), settings, 0))


class TestResumption:
    def test_a_run_stopped_anywhere_and_resumed_ends_like_an_unbroken_one(self, tmp_path):
        settings = tiny_settings(ema_decay=0.9, schedule="cosine", warmup=3, validate_every=6, validation_step=16)
        pairs = [band_pair(20, np.random.default_rng(1))]
        unbroken = train(settings, BandSampler(), tmp_path / "unbroken", validation_pairs=pairs)
        calls = iter(range(1000))
        resumed = tmp_path / "resumed"
        for _ in range(4):  # the question is put before iterations and within validations
            stop_at = random.Random(3).randint(2, 9)
            limit = next(calls) + stop_at
            train(
                settings,
                BandSampler(),
                resumed,
                validation_pairs=pairs,
                resume=True,
                should_stop=lambda limit=limit: next(calls) >= limit,
            )
            assert (resumed / "weights.safetensors").exists()
        train(settings, BandSampler(), resumed, validation_pairs=pairs, resume=True)
        assert_same_weights(unbroken, resumed / "weights.safetensors")
        assert rows_without_speed(tmp_path / "unbroken/history.csv") == rows_without_speed(resumed / "history.csv")

    def test_a_run_killed_at_a_random_moment_ends_like_an_unbroken_one(self, tmp_path):
        script = tmp_path / "run.py"
        script.write_text(
            "import sys\n"
            f"sys.path[:0] = [{str(REPOSITORY)!r}, {str(Path(__file__).parent)!r}]\n"
            "import torch; torch.set_num_threads(1)\n"
            "from test_training import NETWORKS, BandSampler, TinyNetwork, tiny_settings, train\n"
            "NETWORKS['tiny'] = TinyNetwork\n"
            "settings = tiny_settings(iterations=60, ema_decay=0.9, checkpoint_every=4, log_every=3)\n"
            "for folder in sys.argv[2:]:\n"
            "    train(settings, BandSampler(delay=float(sys.argv[1])), folder, resume=True)\n"
        )
        broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
        process = subprocess.Popen([sys.executable, script, "0.05", broken], stderr=subprocess.DEVNULL)
        try:
            while not (broken / "checkpoint.safetensors").exists():
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(random.uniform(0, 1.5))
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not (broken / "weights.safetensors").exists()
        subprocess.run([sys.executable, script, "0", broken, unbroken], check=True, capture_output=True)
        assert_same_weights(broken / "weights.safetensors", unbroken / "weights.safetensors")
        rows = rows_without_speed(broken / "history.csv")
        assert rows == rows_without_speed(unbroken / "history.csv")
        assert [int(row["iteration"]) for row in rows] == list(range(3, 61, 3))

    def test_a_signal_saves_checkpoint_and_weights(self, tmp_path):
        asked = []

        def interrupt_at_7():
            asked.append(len(asked))
            if len(asked) == 7:
                os.kill(os.getpid(), signal.SIGTERM)
            return False

        earlier = signal.getsignal(signal.SIGTERM)
        with pytest.raises(TrainingStopped):
            train(tiny_settings(), BandSampler(), tmp_path, should_stop=interrupt_at_7)
        assert signal.getsignal(signal.SIGTERM) is earlier
        _, card = load_weights(tmp_path / "weights.safetensors")
        assert card["iterations"] == 7  # the signal came before the seventh iteration, which was then finished
        resumed = train(tiny_settings(), BandSampler(), tmp_path, resume=True)
        assert_same_weights(resumed, train(tiny_settings(), BandSampler(), tmp_path / "unbroken"))

    def test_an_existing_run_is_not_overwritten(self, tmp_path):
        weights = train(tiny_settings(iterations=2), BandSampler(), tmp_path)
        before = weights.read_bytes()
        with pytest.raises(UserError, match=r"holds a training run already.*--resume"):
            train(tiny_settings(iterations=2), BandSampler(), tmp_path)
        assert weights.read_bytes() == before

    def test_other_settings_or_data_than_the_run_began_with_are_named(self, tmp_path):
        settings, card = tiny_settings(iterations=2), {"training_data": {"subjects": ["1", "2"]}}
        train(settings, BandSampler(), tmp_path, card=card)
        with pytest.raises(UserError, match=r"--batch was 2 and is 3, --seed was 0 and is 4"):
            train(replace(settings, batch=3, seed=4), BandSampler(), tmp_path, card=card, resume=True)
        with pytest.raises(UserError, match=r"training_data was .*'1', '2'.* and is .*'3'"):
            train(settings, BandSampler(), tmp_path, card={"training_data": {"subjects": ["3"]}}, resume=True)

    def test_another_loss_or_optimiser_than_the_run_began_with_is_refused(self, tmp_path):
        settings = tiny_settings(iterations=2)
        train(settings, BandSampler(), tmp_path)
        other = replace(settings, loss="dice_and_cross_entropy", optimizer="adamw", gradient_clip=1.0)
        with pytest.raises(UserError) as refused:
            train(other, BandSampler(), tmp_path, resume=True)
        for difference in (
            "--optimizer was 'adam' and is 'adamw'",
            "--loss was 'cross_entropy' and is 'dice_and_cross_entropy'",
            "--gradient-clip was 0.0 and is 1.0",
        ):
            assert difference in str(refused.value)

    def test_a_run_from_before_there_was_a_choice_of_loss_and_optimiser_goes_on(self, tmp_path):
        train(tiny_settings(iterations=6), BandSampler(), tmp_path / "old")
        path = tmp_path / "old" / "settings.json"
        content = json.loads(path.read_text())
        for name in ("optimizer", "loss", "gradient_clip"):
            del content["settings"][name]
        path.write_text(json.dumps(content))
        with pytest.raises(UserError, match="--optimizer was 'adam' and is 'adamw'"):
            train(tiny_settings(optimizer="adamw"), BandSampler(), tmp_path / "old", resume=True)
        resumed = train(tiny_settings(), BandSampler(), tmp_path / "old", resume=True)
        assert_same_weights(resumed, train(tiny_settings(), BandSampler(), tmp_path / "unbroken"))

    def test_a_run_with_adamw_clipping_and_dice_goes_on_as_if_unbroken(self, tmp_path):
        settings = tiny_settings(optimizer="adamw", weight_decay=0.1, gradient_clip=0.5, loss="dice_and_cross_entropy")
        unbroken = train(settings, BandSampler(), tmp_path / "unbroken")
        calls = iter(range(1000))
        train(settings, BandSampler(), tmp_path / "broken", should_stop=lambda: next(calls) == 7)
        assert_same_weights(unbroken, train(settings, BandSampler(), tmp_path / "broken", resume=True))

    def test_a_finished_run_can_be_made_longer_at_a_constant_rate_only(self, tmp_path):
        train(tiny_settings(iterations=6), BandSampler(), tmp_path / "run")
        longer = train(tiny_settings(iterations=12), BandSampler(), tmp_path / "run", resume=True)
        assert_same_weights(longer, train(tiny_settings(iterations=12), BandSampler(), tmp_path / "unbroken"))
        cosine = tiny_settings(iterations=6, schedule="cosine")
        train(cosine, BandSampler(), tmp_path / "cosine")
        with pytest.raises(UserError, match="--iterations was 6 and is 12"):
            train(replace(cosine, iterations=12), BandSampler(), tmp_path / "cosine", resume=True)

    def test_a_damaged_or_foreign_checkpoint_is_told_in_a_sentence(self, tmp_path):
        settings = tiny_settings(iterations=2)
        train(settings, BandSampler(), tmp_path)
        checkpoint = tmp_path / "checkpoint.safetensors"
        for content in (checkpoint.read_bytes()[:1000], b"", (tmp_path / "weights.safetensors").read_bytes()):
            checkpoint.write_bytes(content)
            with pytest.raises(UserError, match=r"checkpoint\.safetensors cannot be continued.*expected"):
                train(settings, BandSampler(), tmp_path, resume=True)

    def test_a_checkpoint_with_an_unknown_tensor_is_told_with_its_name(self, tmp_path):
        settings = tiny_settings(iterations=2)
        train(settings, BandSampler(), tmp_path)
        checkpoint = tmp_path / "checkpoint.safetensors"
        with safe_open(checkpoint, "pt") as file:
            metadata = file.metadata()
        save_file(load_file(checkpoint) | {"network.of.another.kind": torch.zeros(1)}, checkpoint, metadata)
        with pytest.raises(UserError, match=r"cannot be continued.*of\.another\.kind.*expected the checkpoint"):
            train(settings, BandSampler(), tmp_path, resume=True)


class TestInitialWeights:
    def test_a_second_stage_starts_from_the_first_with_another_window(self, tmp_path):
        first = train(tiny_settings(), BandSampler(), tmp_path / "first")
        settings = tiny_settings(window=20, iterations=1, learning_rate=1e-12, weight_decay=0.0)
        second = train(settings, BandSampler(window=20), tmp_path / "second", initial_weights=first)
        before, after = load_file(first), load_file(second)
        assert torch.allclose(before["stem.weight"], after["stem.weight"], atol=1e-9)
        _, card = load_weights(second)
        assert card["window"] == 20
        assert card["continued_from"]["window"] == 16
        assert card["continued_from"]["iterations"] == 12

    def test_weights_of_another_network_are_refused(self, tmp_path):
        first = train(tiny_settings(iterations=1), BandSampler(), tmp_path / "first")
        with pytest.raises(UserError, match="holds weights of tiny; expected model5"):
            train(TrainingSettings(network="model5"), BandSampler(), tmp_path / "second", initial_weights=first)


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_last_good_checkpoint(tmp_path):
    class Spoilt(BandSampler):
        def batch(self, iteration, size):
            images, labels = super().batch(iteration, size)
            return (images * np.nan if iteration == 6 else images), labels

    with pytest.raises(UserError, match=r"loss became nan between iterations 4 and 8.*--learning-rate"):
        train(tiny_settings(), Spoilt(), tmp_path)
    assert all(torch.isfinite(tensor).all() for tensor in load_file(tmp_path / "checkpoint.safetensors").values())
    assert not (tmp_path / "weights.safetensors").exists()


def test_memory_that_does_not_suffice_is_told_with_the_way_out(tmp_path, monkeypatch):
    def fill_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 80 GiB")

    monkeypatch.setattr("model_core.training.loop.train_step", fill_memory)
    with pytest.raises(UserError, match=r"does not suffice for batches of 2 windows of 16³.*--batch"):
        train(tiny_settings(), BandSampler(), tmp_path)


def test_the_history_drops_what_came_after_the_checkpoint_and_a_line_cut_short(tmp_path):
    history = History(tmp_path)
    for iteration in (10, 20, 30):
        dice = {"csf": 0.5, "gm": 0.25, "wm": 0.75} if iteration == 20 else {}
        history.append(HistoryRow(iteration, 1.5, 1e-3, 12.0, dice))
    history.close()
    with open(tmp_path / "history.csv", "a") as file:
        file.write("40,1.2,0.0")
    resumed = History(tmp_path, resume_at=25)
    resumed.close()
    assert [row.iteration for row in resumed.rows] == [10, 20]
    assert resumed.rows == read_history(tmp_path / "history.csv")
    assert resumed.best_dice == pytest.approx(0.5)


def test_without_tensorboard_the_run_says_how_to_get_it_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(tiny_settings(iterations=1), BandSampler(), tmp_path)
    assert capsys.readouterr().err.count("pip install tensorboard") == 1
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor does not compute in bfloat16"
)
def test_in_bfloat16_a_run_learns_validates_and_saves_weights_in_full(tmp_path):
    settings = tiny_settings(iterations=30, window=32, precision="bfloat16", learning_rate=0.03, log_every=10)
    pair = band_pair(32, np.random.default_rng(1))
    weights = train(settings, BandSampler(32), tmp_path, validation_pairs=[pair])
    rows = read_history(tmp_path / "history.csv")
    assert rows[-1].loss < 0.7 * rows[0].loss
    assert rows[-1].mean_dice > 0
    assert all(tensor.dtype == torch.float32 for tensor in load_file(weights).values() if tensor.is_floating_point())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_mixed_precision_learns_the_same_problem(tmp_path):
    settings = tiny_settings(iterations=150, log_every=25, learning_rate=0.03, device="cuda")
    train(settings, BandSampler(), tmp_path)
    rows = read_history(tmp_path / "history.csv")
    assert rows[-1].loss < 0.5 * rows[0].loss
