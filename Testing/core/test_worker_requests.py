"""What the worker does with a request, in this process: short memory, stops at bad moments, one network kept."""

import io
import json
import os
import threading
import types

import nibabel
import numpy as np
import pytest
import torch
from worker_client import segment_fields, write_cases, write_weights

from model_core.errors import UserError
from model_core.inference.accumulator import Progress, Segmentation
from model_core.inference.plan import plan_windows_of
from model_core.model_card import DEFAULT_WEIGHTS
from model_core.segmentation import pipeline
from model_core.service import requests, segmentation
from model_core.service.channel import Channel, ExchangeFolder
from model_core.service.messages import Open, Request, Score, Segment, Stopped
from model_core.service.requests import Tasks
from model_core.system.devices import Device
from model_core.weights import load_weights


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("case")
    write_weights(path / "w.safetensors")
    write_cases(path)
    (path / "token").write_text("t")
    return ExchangeFolder(Open(str(path), "t"))


class Out(io.BytesIO):
    def events(self, *names):
        events = [json.loads(line) for line in self.getvalue().splitlines()]
        return [event for event in events if event["event"] in names]


@pytest.fixture
def out():
    return Out()


@pytest.fixture(scope="module")
def network_and_card(folder):
    return load_weights(folder.path / "w.safetensors")


@pytest.fixture
def loaded(network_and_card, monkeypatch):
    """Names of the weights files that were read, which takes no time here."""
    names = []
    monkeypatch.setattr(requests, "load_weights", lambda path: names.append(path.name) or network_and_card)
    return names


@pytest.fixture
def tasks(out, loaded):
    return Tasks(Channel(out, on_lost=None))


def request(**changes):
    return Request(1, Segment(**segment_fields(weights="w.safetensors", **changes)))


class FakeSegmenter:
    """Stands in for the network: every voxel of the brain is white matter; fails as it is told to."""

    def __init__(self, network, *, window, device, batch_size):
        self.window, self.batch_size = window, batch_size or 8
        self.made.append(self)

    def plan(self, brain, step):
        return plan_windows_of(brain, self.window, step)

    def segment(self, t1, t2, *, step, mask, on_progress, should_stop, on_map, look_at):
        self.looked_at.append(look_at)
        self.used.append(self.batch_size)
        if self.failures:
            raise self.failures.pop(0)
        labels = np.where(mask, 3, 0).astype(np.uint8)
        reached = 0
        for done, stage_step in ((1, 2 * step), (2, step)):
            self.before_stage(stage_step)
            if should_stop():
                break
            reached = stage_step
            on_progress(Progress(done, 2, 0.5, stage_step, reached))
            on_map(stage_step, labels)
        return Segmentation(labels, np.eye(4, dtype=np.float32)[:, labels], reached, 2, 2)


@pytest.fixture
def fake(monkeypatch):
    """The fake segmenter: ``failures`` to raise one by one, batch sizes ``used``, what happens ``before_stage``."""

    class Fake(FakeSegmenter):
        made, used, failures, looked_at = [], [], [], []

        @staticmethod
        def before_stage(step):
            pass

    monkeypatch.setattr(segmentation, "Segmenter", Fake)
    return Fake


# ---- Memory ------------------------------------------------------------------------------------------------

SHORT = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory"),
]


@pytest.mark.parametrize("error", SHORT)
@pytest.mark.parametrize(("asked", "used"), [(None, [8, 4]), (6, [6, 3]), (1, [1, 1])])
def test_short_memory_is_tried_once_more_with_half_the_batch(tasks, folder, fake, error, asked, used):
    fake.failures.append(error)
    done = tasks.segment(request(batch_size=asked), folder)
    assert (done["step_reached"], done["stopped"]) == (8, False)
    assert fake.used == used


def test_before_the_second_try_network_and_caches_are_released(tasks, folder, fake, loaded, monkeypatch):
    held = []
    monkeypatch.setattr(requests.gc, "collect", lambda: held.append(tasks._loaded))
    tasks.segment(request(), folder)
    fake.failures.append(MemoryError())
    tasks.segment(request(), folder)
    assert loaded == ["w.safetensors"] * 2  # at first, and after the release
    assert held == [None]


@pytest.mark.parametrize("error", SHORT)
def test_memory_that_is_short_twice_is_one_sentence(tasks, folder, fake, error):
    fake.failures += [error, error]
    with pytest.raises(type(error)) as caught:
        tasks.segment(request(), folder)
    kind, sentence = tasks.explain(caught.value)
    assert kind == "out_of_memory"
    assert "not enough memory for this volume; expected " in sentence
    assert len(fake.used) == 2


def test_the_segmenters_own_sentence_on_memory_is_kept(tasks, folder, fake):
    said = UserError("The memory of cuda:0 does not suffice; …; crop.")
    said.__cause__ = torch.OutOfMemoryError("CUDA out of memory")
    fake.failures += [said, said]
    with pytest.raises(UserError) as caught:
        tasks.segment(request(), folder)
    assert tasks.explain(caught.value) == ("out_of_memory", str(said))
    assert len(fake.used) == 2


def test_other_errors_are_not_tried_again(tasks, folder, fake):
    fake.failures.append(RuntimeError("shapes differ"))
    with pytest.raises(RuntimeError) as caught:
        tasks.segment(request(), folder)
    kind, sentence = tasks.explain(caught.value)
    assert kind == "internal"
    assert "RuntimeError: shapes differ" in sentence
    assert len(fake.used) == 1
    assert tasks.explain(UserError("a; b; c.")) == ("input", "a; b; c.")


# ---- Stops -------------------------------------------------------------------------------------------------


def test_a_stop_during_alignment_does_not_wait_for_its_end(tasks, folder, monkeypatch, out):
    aligning, may_end, ended = threading.Event(), threading.Event(), threading.Event()
    stopped = request(align_t2=True)

    def prepare_pair(*arguments, on_stage, **switches):
        on_stage("aligning")
        aligning.set()
        stopped.stop.ask(keep=True)
        may_end.wait(60)
        try:
            on_stage("correcting")
        finally:
            ended.set()

    monkeypatch.setattr(pipeline, "prepare_pair", prepare_pair)
    with pytest.raises(Stopped):
        tasks.segment(stopped, folder)
    assert aligning.is_set()
    assert not ended.is_set()
    may_end.set()
    assert ended.wait(60)
    assert [event["stage"] for event in out.events("progress")] == ["loading", "aligning"]


@pytest.mark.parametrize(("keep", "before"), [(True, 16), (False, 16), (False, 8)])
def test_a_stop_without_a_result_gives_none(tasks, folder, fake, keep, before):
    stopped = request()
    fake.before_stage = staticmethod(lambda step: step == before and stopped.stop.ask(keep=keep))
    with pytest.raises(Stopped):
        tasks.segment(stopped, folder)


def test_a_stop_that_keeps_gives_the_map_so_far(tasks, folder, fake):
    stopped = request()
    fake.before_stage = staticmethod(lambda step: step == 8 and stopped.stop.ask(keep=True))
    done = tasks.segment(stopped, folder)
    assert (done["step_reached"], done["step"], done["stopped"]) == (16, 8, True)


def test_a_stop_that_keeps_but_comes_after_the_last_window_changes_nothing(tasks, folder, fake, monkeypatch):
    stopped = request(probabilities=True)
    real = segmentation.write_volume

    def write_volume(*arguments):
        stopped.stop.ask(keep=True)
        real(*arguments)

    monkeypatch.setattr(segmentation, "write_volume", write_volume)
    done = tasks.segment(stopped, folder)
    assert (done["step_reached"], done["stopped"]) == (8, False)


def test_a_stop_while_the_result_is_written_is_heard(tasks, folder, fake, monkeypatch):
    stopped = request()
    monkeypatch.setattr(segmentation, "write_volume", lambda *arguments: stopped.stop.ask(keep=False))
    with pytest.raises(Stopped):
        tasks.segment(stopped, folder)


@pytest.mark.parametrize("keep", [True, False])
def test_a_stop_is_heard_between_the_tissues_of_a_score(tasks, folder, monkeypatch, keep):
    wanted = Request(1, Score("reference.nii", "reference.nii"))
    scored = []
    real = requests.score_tissues

    def score_tissues(*arguments):
        scored.append(1)
        wanted.stop.ask(keep=keep)
        return real(*arguments)

    monkeypatch.setattr(requests, "score_tissues", score_tissues)
    with pytest.raises(Stopped):
        tasks.score(wanted, folder)
    assert scored == [1]


# ---- The network and the device ----------------------------------------------------------------------------


def test_one_network_stays_loaded_until_another_file_is_asked_for(tasks, folder, fake, loaded):
    for _ in range(2):
        tasks.segment(request(), folder)
    assert loaded == ["w.safetensors"]
    (folder.path / "other.safetensors").touch()
    other = str(folder.path / "other.safetensors")
    tasks.segment(Request(1, Segment(**segment_fields(weights=other))), folder)
    assert loaded == ["w.safetensors", "other.safetensors"]
    (folder.path / "other.safetensors").write_bytes(b"of another size")
    tasks.segment(Request(1, Segment(**segment_fields(weights=other))), folder)
    os.utime(other, ns=(1, 1))  # another time
    tasks.segment(Request(1, Segment(**segment_fields(weights=other))), folder)
    assert loaded == ["w.safetensors", *["other.safetensors"] * 3]


def test_without_weights_the_default_ones_are_taken(tasks, folder, fake, loaded):
    tasks.segment(Request(1, Segment(**segment_fields(weights=None))), folder)
    assert loaded == [DEFAULT_WEIGHTS.name]


def test_auto_is_the_device_that_works(tasks, folder, fake):
    tasks.devices = [Device("cuda:0", "Old card", usable=False, reason="Too old; …; choose the CPU."), *tasks.devices]
    assert tasks.describe()["default_device"] == "cpu"
    done = tasks.segment(request(device="auto"), folder)
    assert (done["device"], done["device_title"]) == ("cpu", tasks.devices[-1].title)


def test_a_device_that_failed_its_test_is_refused_with_the_reason(tasks, folder, fake, monkeypatch):
    tasks.devices = [Device("cuda:0", "Old card", usable=False, reason="Too old; …; choose the CPU."), *tasks.devices]
    monkeypatch.setattr(requests, "choose_device", lambda name: types.SimpleNamespace(type="cuda"))
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match="Too old"):
            tasks.segment(request(device=name), folder)


@pytest.mark.parametrize("name", ["tpu", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(tasks, folder, fake, name):
    with pytest.raises(UserError, match="auto"):
        tasks.segment(request(device=name), folder)


# ---- Maps --------------------------------------------------------------------------------------------------


def test_maps_come_for_every_grid_but_the_last_and_only_if_wanted(tasks, folder, fake, out):
    tasks.segment(request(maps=False), folder)
    assert out.events("map") == []
    tasks.segment(request(maps=True), folder)
    assert out.events("map") == [
        {"event": "map", "id": 1, "step": 16, "file": "map-16.nii", "windows_done": 1, "windows_total": 12}
    ]


def test_the_place_looked_at_reaches_the_segmenter_as_a_voxel_of_the_network_grid(tasks, folder, fake):
    scan = nibabel.load(folder.path / "t1.nii")
    brain = np.argwhere(np.asarray(scan.dataobj) != 0)
    centre = scan.affine @ [*(brain.min(axis=0) + brain.max(axis=0)) / 2, 1]
    done = tasks.segment(request(look_at=list(centre[:3])), folder)
    np.testing.assert_allclose(fake.looked_at[0], (np.array(done["grid_shape"]) - 1) / 2, atol=1e-4)
    tasks.segment(request(look_at=list(centre[:3] + np.array([0, 2, 0]))), folder)
    np.testing.assert_allclose(np.subtract(fake.looked_at[1], fake.looked_at[0]), (0, 2, 0), atol=1e-4)
    tasks.segment(request(), folder)
    assert fake.looked_at[2] is None
