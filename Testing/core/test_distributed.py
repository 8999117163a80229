"""Several processes that train together: two of them on the CPU take the steps of one with the doubled batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from model_core.errors import UserError
from model_core.inference.standardisation import standardise_windows
from model_core.networks import NETWORKS
from model_core.networks.blocks import OutputHead, SegmentationNetwork, convolution
from model_core.training.distributed import ALONE, Processes, device_of_process
from model_core.training.loop import TrainingSettings, train

REPOSITORY = Path(__file__).resolve().parents[2]


class WithoutNorm(SegmentationNetwork):
    """Two convolutions: without batch norm, two batches and one of their size together give the same gradients."""

    def __init__(self, name, in_channels=2, num_classes=4):
        super().__init__(name, in_channels, num_classes)
        self.layers = nn.Sequential(convolution(in_channels, 6), nn.Tanh(), convolution(6, num_classes))

    def forward(self, x):
        return self.layers(x)


class WithNorm(SegmentationNetwork):
    """Batch norm and dropout: what each process does for itself."""

    def __init__(self, name, in_channels=2, num_classes=4):
        super().__init__(name, in_channels, num_classes)
        self.stem, self.head = convolution(in_channels, 6), OutputHead(6, num_classes)

    def forward(self, x):
        return self.head(self.stem(x))


class Windows:
    """Random windows, another batch for each number."""

    def batch(self, iteration, size):
        rng = np.random.default_rng(iteration)
        return rng.normal(size=(size, 2, 8, 8, 8)).astype(np.float32), rng.integers(
            4, size=(size, 8, 8, 8), dtype=np.uint8
        )


class TwoBatchesInOne:
    """The batches that two processes of half the size take in one iteration."""

    def batch(self, iteration, size):
        parts = [Windows().batch(2 * iteration + rank, size // 2) for rank in (0, 1)]
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))


def settings(network, iterations, batch):
    NETWORKS.update(without_norm=WithoutNorm, with_norm=WithNorm)
    return TrainingSettings(
        network=network, iterations=iterations, batch=batch, window=8, validation_step=8, log_every=1,
        checkpoint_every=2, device="cpu",
    )  # fmt: skip


def train_in_each_process(folder):
    """What each of two processes runs; every training joins the other process anew."""
    torch.set_num_threads(1)
    runs = [
        ("plain", "without_norm", 3),
        ("first", "with_norm", 1),
        ("whole", "with_norm", 4),
        ("broken", "with_norm", 2),
    ]
    for place, (name, network, iterations) in enumerate([*runs, ("broken", "with_norm", 4)]):
        os.environ["MASTER_PORT"] = os.environ[f"PORT_{place}"]
        train(settings(network, iterations, 2), Windows(), folder / name, resume=name == "broken")


@pytest.fixture(autouse=True)
def _no_networks_left_behind():
    before = dict(NETWORKS)
    yield
    NETWORKS.clear()
    NETWORKS.update(before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder in which two processes have trained."""
    folder = tmp_path_factory.mktemp("two")
    free = [socket.create_server(("127.0.0.1", 0)) for _ in range(5)]
    ports = {f"PORT_{place}": str(server.getsockname()[1]) for place, server in enumerate(free)}
    for server in free:
        server.close()
    environment = os.environ | ports | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"
    script = (
        "import sys; from pathlib import Path; import test_distributed as t; t.train_in_each_process(Path(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, folder], env=environment | {"RANK": str(rank)}, cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    try:
        outputs = [process.communicate(timeout=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    return folder


def test_two_processes_step_like_one_with_the_doubled_batch(trained, tmp_path):
    alone = load_file(train(settings("without_norm", 3, 4), TwoBatchesInOne(), tmp_path))
    together = load_file(trained / "plain" / "weights.safetensors")
    torch.manual_seed(0)
    begun = WithoutNorm("without_norm").state_dict()
    for name, tensor in alone.items():
        assert (tensor - together[name]).abs().max() < 1e-5
        assert (tensor - begun[name]).abs().max() > 1e-3


def test_losses_of_all_processes_are_in_the_history(trained, tmp_path):
    train(settings("without_norm", 3, 4), TwoBatchesInOne(), tmp_path)
    losses = [
        [float(line.split(",")[1]) for line in (folder / "history.csv").read_text().splitlines()[1:]]
        for folder in (trained / "plain", tmp_path)
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_running_statistics_are_the_means_of_the_processes(trained):
    torch.manual_seed(0)
    NETWORKS["with_norm"] = WithNorm
    begun, statistics = WithNorm("with_norm").state_dict(), []
    for batch in (0, 1):
        network = WithNorm("with_norm")
        network.load_state_dict(begun)
        network(standardise_windows(torch.from_numpy(Windows().batch(batch, 2)[0])))
        statistics.append(network.state_dict())
    found = load_file(trained / "first" / "weights.safetensors")
    names = [name for name in found if "running" in name]
    assert len(names) == 2
    for name in names:
        expected = (statistics[0][name] + statistics[1][name]) / 2
        assert not torch.allclose(expected, statistics[0][name], atol=1e-6)
        assert torch.allclose(found[name], expected, atol=1e-6)


def test_a_resumed_run_of_two_processes_ends_like_an_unbroken_one(trained):
    whole, broken = (load_file(trained / name / "weights.safetensors") for name in ("whole", "broken"))
    for name, tensor in whole.items():
        assert torch.equal(tensor, broken[name]), name


def test_a_run_of_two_processes_is_not_resumed_by_one(trained):
    with pytest.raises(UserError, match="processes was 2 and is None"):
        train(settings("with_norm", 4, 2), Windows(), trained / "whole", resume=True)


def test_batches_are_dealt_out_in_turn_without_one_twice():
    turns = [Processes(rank, 3).turn(iteration) for iteration in range(4) for rank in range(3)]
    assert turns == list(range(12))
    assert [ALONE.turn(iteration) for iteration in range(3)] == [0, 1, 2]


def test_alone_nothing_is_drawn_averaged_or_waited_for():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    ALONE.seed_dropout(0, 5)
    assert torch.equal(torch.get_rng_state(), state)
    loss = torch.tensor(0.3, requires_grad=True)
    assert ALONE.average(nn.Linear(2, 2), loss).item() == pytest.approx(0.3)
    assert ALONE.highest(2) == 2


def test_processes_draw_dropout_of_their_own_that_depends_on_the_iteration_alone():
    def draw(rank, iteration):
        Processes(rank, 3).seed_dropout(0, iteration)
        return torch.rand(4).tolist()

    assert draw(1, 5) == draw(1, 5)
    assert len({tuple(draw(rank, iteration)) for rank in (1, 2) for iteration in (5, 6)}) == 4


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(UserError, match=r"3 or more processes.*has 2 CUDA GPUs.*--nproc_per_node"):
        device_of_process(torch.device("cuda"), Processes(2, 4))
    assert device_of_process(torch.device("cpu"), Processes(2, 4)) == torch.device("cpu")
