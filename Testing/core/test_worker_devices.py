"""Devices are tried out before they are offered, and a GPU that lies idle is explained."""

import os
import re
import shutil
import subprocess
import types

import pytest
import torch

from model_core.system import devices
from model_core.system.devices import Device, best_device, explain_unused_gpu, list_devices

CARD = types.SimpleNamespace(name="NVIDIA GeForce RTX 3060", total_memory=12_622_168_064)


@pytest.fixture
def cards(monkeypatch):
    """Pretend that there are CUDA cards; gives a function that says how many, and what they do at work."""

    def pretend(count, convolve=None):
        monkeypatch.setattr(torch.version, "cuda", "12.8")
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda name: CARD)
        real_conv3d, real_to = torch.nn.functional.conv3d, torch.Tensor.to
        visits = []

        def to(tensor, device):
            visits.append(device)
            return real_to(tensor, "cpu")

        def conv3d(*arguments, **options):
            on_card = visits[-1].startswith("cuda")
            return convolve(real_conv3d, *arguments, **options) if on_card else real_conv3d(*arguments, **options)

        monkeypatch.setattr(torch.Tensor, "to", to)
        if convolve:
            monkeypatch.setattr(torch.nn.functional, "conv3d", conv3d)

    return pretend


def failing(error):
    def convolve(real, *arguments, **options):
        raise error

    return convolve


@pytest.fixture
def a_gpu(monkeypatch):
    """A machine with a GPU, whatever PyTorch says."""
    monkeypatch.setattr(devices, "_has_nvidia_gpu", lambda: True)


def test_the_cpu_is_named_with_the_cores_that_this_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 5}, raising=False)
    assert list_devices()[-1] == Device("cpu", "CPU, 3 cores", usable=True, reason=None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {7}, raising=False)
    assert list_devices()[-1].title == "CPU, 1 core"


def test_cards_that_work_come_first_under_their_names(cards):
    cards(2)
    assert list_devices()[:2] == [
        Device("cuda:0", "NVIDIA GeForce RTX 3060, 12 GB"),
        Device("cuda:1", "NVIDIA GeForce RTX 3060, 12 GB"),
    ]
    assert best_device(list_devices()).name == "cuda:0"
    assert explain_unused_gpu(list_devices()) is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device"),
            r"NVIDIA GeForce RTX 3060, 12 GB is too old or too new for PyTorch .*; install a PyTorch build that ",
        ),
        (
            RuntimeError("The NVIDIA driver on your system is too old (found version 11040)."),
            r"driver is too old for PyTorch .* \(CUDA 12.8\); update the driver",
        ),
        (torch.OutOfMemoryError("CUDA out of memory."), "has no free memory .*; close the programs that use it"),
        (OSError("libcudnn.so: cannot open"), r"failed a small test .*\(libcudnn.so: cannot open\); update its driver"),
    ],
)
def test_a_card_that_fails_is_listed_with_the_reason_and_never_the_default(cards, error, words):
    cards(1, failing(error))
    found = list_devices()
    assert not found[0].usable
    assert re.search(words, found[0].reason), found[0].reason
    assert best_device(found).name == "cpu"
    assert explain_unused_gpu(found) == found[0].reason


def test_a_card_that_gives_wrong_numbers_is_not_usable(cards):
    cards(1, lambda real, *arguments, **options: real(*arguments, **options).flip(2))
    assert "gave wrong numbers in a small test" in list_devices()[0].reason


def test_the_second_card_takes_over_when_the_first_one_fails(cards):
    tries = []

    def first_fails(real, *arguments, **options):
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("CUDA error: no kernel image is available")
        return real(*arguments, **options)

    cards(2, first_fails)
    found = list_devices()
    assert [device.usable for device in found] == [False, True, True]
    assert best_device(found).name == "cuda:1"
    assert explain_unused_gpu(found) is None


@pytest.mark.parametrize(
    ("cuda", "hidden", "words"),
    [
        (None, None, ("is a build without CUDA", "install a CUDA build of PyTorch")),
        ("12.8", None, ("(for CUDA 12.8) finds no driver", "install or update the NVIDIA driver")),
        ("12.8", "", ("CUDA_VISIBLE_DEVICES is ''", "unset that variable")),
    ],
)
def test_a_gpu_that_pytorch_does_not_see_is_explained(cards, a_gpu, monkeypatch, cuda, hidden, words):
    cards(0)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    said = explain_unused_gpu(list_devices())
    assert said.startswith("This machine has an NVIDIA GPU, but PyTorch ")
    assert all(word in said for word in words)


@pytest.mark.parametrize(
    ("listed", "is_there"),
    [(b"GPU 0: NVIDIA H200 (UUID: GPU-1)\n", True), (b"No devices were found\n", False), (OSError(8, "format"), False)],
)
def test_nvidia_smi_tells_of_a_gpu_where_the_driver_has_no_file(monkeypatch, listed, is_there):
    def run(command, **options):
        assert command == ["/bin/nvidia-smi", "-L"]
        if isinstance(listed, OSError):
            raise listed
        return subprocess.CompletedProcess(command, 0, listed, b"")

    monkeypatch.setattr(devices.Path, "exists", lambda path: False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert (explain_unused_gpu([Device("cpu", "CPU")]) is not None) == is_there


def test_a_machine_without_a_gpu_has_nothing_to_explain(monkeypatch):
    monkeypatch.setattr(devices.Path, "exists", lambda path: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert explain_unused_gpu([Device("cpu", "CPU")]) is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_real_card_works():
    assert list_devices()[0].usable
