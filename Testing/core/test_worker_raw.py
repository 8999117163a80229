"""Raw scans in the worker, the ends of a brain extraction, and the warnings that go with every result."""

import itertools
import json
import threading
import time

import numpy as np
import psutil
import pytest
from head_phantoms import install_hd_bet, raw_pair, write_program
from worker_client import PATIENCE, Worker, segment_fields, write_cases, write_weights

from model_core.errors import UserError
from model_core.inference.accumulator import Segmentation
from model_core.inference.plan import plan_windows_of
from model_core.preprocessing import raw_scans
from model_core.preprocessing.alignment import Alignment
from model_core.service import segmentation
from model_core.service.channel import Channel, ExchangeFolder
from model_core.service.messages import Open, Request, Segment, Stopped
from model_core.service.requests import Tasks
from model_core.volumes import read_labels, write_volume

LASTING = 'if [ "$1" = --help ]; then exit 0; fi\nsleep 300 & echo $! > "{child}"; wait'


@pytest.fixture(scope="module")
def brain(tmp_path_factory):
    """The brain on the head's T1."""
    return raw_pair()[2]


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A folder with a raw pair (head_t1, head_t2), the small phantom, and quick weights."""
    folder = tmp_path_factory.mktemp("raw case")
    write_weights(folder / "w.safetensors")
    write_cases(folder)
    t1, t2, _, _ = raw_pair()
    write_volume(folder / "head_t1.nii", t1.array, t1.affine)
    write_volume(folder / "head_t2.nii", t2.array, t2.affine)
    (folder / "token").write_text("t")
    return folder


@pytest.fixture
def folder(case):
    return ExchangeFolder(Open(str(case), "t"))


class Sink:
    """Takes what the worker sends."""

    def __init__(self):
        self.lines = []

    def write(self, content):
        self.lines.append(json.loads(bytes(content)))
        return len(content)


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def tasks(sink):
    return Tasks(Channel(sink, on_lost=None))


def fields(case, **changes):
    return segment_fields(weights=str(case / "w.safetensors"), step=16, **changes)


def head(case, **changes):
    return fields(case, t1="head_t1.nii", t2="head_t2.nii", raw=True, **changes)


class AllWhite:
    """Stands in for the network."""

    def __init__(self, network, *, window, device, batch_size):
        self.window, self.batch_size = window, 1

    def plan(self, brain, step):
        return plan_windows_of(brain, self.window, step)

    def segment(self, t1, t2, *, step, mask, **_):
        labels = np.where(mask, 3, 0).astype(np.uint8)
        return Segmentation(labels, np.eye(4, dtype=np.float32)[:, labels], step, 1, 1)


@pytest.fixture
def without_repairs(monkeypatch):
    """Leave out N4, the search for T2's place and the network, which take seconds: all of the brain is white matter."""
    monkeypatch.setattr(segmentation, "Segmenter", AllWhite)
    monkeypatch.setattr(raw_scans, "correct_bias", lambda array, *_, **__: array)
    monkeypatch.setattr(raw_scans, "align_rigidly", lambda t2, *_: Alignment(t2, 1.0, 2.0, 0.0, 0.0))


def wait_for(condition):
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def is_running(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


# ---- From head to label map --------------------------------------------------------------------------------


def test_a_head_is_corrected_aligned_extracted_and_segmented(
    tasks, case, folder, brain, tmp_path, monkeypatch, sink, without_repairs
):
    log, _ = install_hd_bet(tmp_path, monkeypatch, brain)
    fields_of_head = head(case, age_months=7.0, brain_extraction="hd-bet")
    done = tasks.segment(Request(1, Segment(**fields_of_head)), folder)
    stages = [stage for stage, _ in itertools.groupby(e["stage"] for e in sink.lines if e["event"] == "progress")]
    raw = ["loading", "preparing", "correcting", "aligning", "extracting", "preparing", "checking"]
    assert stages == [*raw, "segmenting", "writing"]
    assert "--disable_tta" in log.read_text()  # no GPU
    labels = read_labels(case / "labels.nii")
    assert labels.array.shape == brain.array.shape
    assert not labels.array[~brain.array].any()
    assert all(set(warning) == {"code", "sentence"} for warning in done["warnings"])
    assert all(warning["sentence"].count(";") == 2 for warning in done["warnings"])
    assert not list(case.glob("infantbrainseg-*"))  # the tool's folder


def test_a_mask_that_was_given_needs_no_tool(tasks, case, folder, brain, monkeypatch, without_repairs):
    monkeypatch.setenv("PATH", "/nowhere")
    write_volume(case / "head_mask.nii", brain.array.astype(np.uint8), brain.affine)
    done = tasks.segment(Request(1, Segment(**head(case, mask="head_mask.nii"))), folder)
    assert sum(done["volumes_ml"].values()) > 0


# ---- Refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("synthstrip", "SynthStrip .* was not found"),
        ("bet", "no brain extraction;"),
    ],
)
def test_without_a_tool_it_is_refused_before_any_work(tasks, case, folder, monkeypatch, tool, words):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(raw_scans, "correct_bias", None)  # not called
    with pytest.raises(UserError, match=words) as caught:
        tasks.segment(Request(1, Segment(**head(case, brain_extraction=tool))), folder)
    assert tasks.explain(caught.value)[0] == "input"


def test_prepared_scans_that_make_the_result_worthless_are_refused_too(tasks, case, folder):
    with pytest.raises(UserError, match="show the same contrast"):
        tasks.segment(Request(1, Segment(**fields(case, t2="t1.nii"))), folder)


# ---- Warnings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "words"), [(None, "at 6 to 8 months"), (0.0, "at 0 months"), (7.0, "at 7 months")])
def test_a_small_brain_is_a_warning_that_names_the_age(tasks, case, folder, age, words):
    done = tasks.segment(Request(1, Segment(**fields(case, age_months=age))), folder)
    (small,) = [warning for warning in done["warnings"] if warning["code"] == "implausible-volume"]
    assert f"{sum(done['volumes_ml'].values()):.0f} ml" in small["sentence"]
    assert words in small["sentence"]


# ---- Ends --------------------------------------------------------------------------------------------------


def test_a_stop_ends_the_extraction_with_its_children_at_once(
    tasks, case, folder, tmp_path, monkeypatch, without_repairs
):
    child = tmp_path / "child"
    write_program(tmp_path / "bin", "hd-bet", LASTING.format(child=child))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    request = Request(1, Segment(**head(case, brain_extraction="hd-bet")))

    def stop():
        wait_for(lambda: child.exists() and child.read_text().strip())
        request.stop.ask(keep=True)

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(Stopped):
        tasks.segment(request, folder)
    pid = int(child.read_text())
    wait_for(lambda: not is_running(pid) and not list(case.glob("infantbrainseg-*")))


def test_a_worker_whose_panel_is_gone_takes_even_a_deaf_tool_with_it(case, tmp_path):
    child = tmp_path / "child"
    script = LASTING.format(child=child).replace("wait", "while :; do sleep 1; done")
    write_program(tmp_path / "bin", "hd-bet", f"trap '' TERM\n{script}")
    exchange = tmp_path / "exchange"
    exchange.mkdir()
    with Worker(PATH=f"{tmp_path / 'bin'}:/usr/bin:/bin") as worker:
        worker.until("ready")
        worker.open(exchange)
        paths = {name: str(case / f"head_{name}.nii") for name in ("t1", "t2")}
        worker.send("segment", 1, **head(case, brain_extraction="hd-bet") | paths)
        wait_for(lambda: child.exists() and child.read_text().strip())
        tool = psutil.Process(worker.process.pid).children()[0].pid
        assert worker.status() == 0
    wait_for(lambda: not is_running(int(child.read_text())) and not is_running(tool))
    wait_for(lambda: not exchange.exists())
