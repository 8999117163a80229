"""The worker's side of the pipe: only events go out, and files stay inside their folder."""

import base64
import io
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from model_core.errors import UserError
from model_core.service import channel as channel_module
from model_core.service.channel import Channel, ExchangeFolder, ProgressReport
from model_core.service.messages import Open, Put

REPOSITORY = Path(__file__).resolve().parents[2]


class Out(io.RawIOBase):
    """A pipe that takes a few bytes at a time, as pipes may."""

    def __init__(self):
        self.content = bytearray()

    def write(self, data):
        taken = bytes(data)[:1000]
        self.content += taken
        return len(taken)

    def events(self):
        return [json.loads(line) for line in self.content.splitlines()]


@pytest.fixture
def out():
    return Out()


@pytest.fixture
def channel(out):
    return Channel(out, on_lost=lambda: pytest.fail("the pipe was lost"))


def put(name, content, *, last=True):
    return Put(name, base64.b64encode(content).decode(), last)


@pytest.fixture
def shared(tmp_path):
    (tmp_path / "token").write_text("secret")
    return ExchangeFolder(Open(str(tmp_path), "secret"))


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder of the worker's own, whose place is below ``tmp_path``."""
    monkeypatch.setattr(channel_module.tempfile, "tempdir", str(tmp_path))
    return ExchangeFolder(Open(str(tmp_path / "elsewhere"), "secret"))


# ---- Events ------------------------------------------------------------------------------------------------


def test_what_libraries_print_lands_on_standard_error():
    program = """
import ctypes, os, sys
from model_core.service.channel import Channel, claim_standard_streams
requests, events = claim_standard_streams()
print("of Python", flush=True)
os.write(1, b"of a descriptor\\n")
os.system("echo of a child; cat")
libc = ctypes.CDLL(None)
libc.puts(b"of a C library"); libc.fflush(None)
Channel(events, on_lost=None).send("ready", told=requests.readline().decode())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, input=b"a request\n", capture_output=True, check=False
    )
    assert json.loads(done.stdout) == {"event": "ready", "id": None, "told": "a request\n"}
    assert sorted(done.stderr.decode().splitlines()) == ["of Python", "of a C library", "of a child", "of a descriptor"]


def test_events_are_lines_of_json_whatever_they_hold(channel, out):
    channel.send("error", "α", sentence="×\n\ud800")
    assert out.events() == [{"event": "error", "id": "α", "sentence": "×\n\ud800"}]
    with pytest.raises(ValueError, match="JSON"):
        channel.send("done", 1, value=float("nan"))


def test_events_of_many_threads_do_not_mix(channel, out):
    threads = [threading.Thread(target=channel.send, args=("file", number), kwargs={"data": "x" * 5000})
               for number in range(20)]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(event["id"] for event in out.events()) == list(range(20))


def test_when_nobody_listens_this_is_told_once_and_nothing_is_raised():
    class Broken(io.RawIOBase):
        def write(self, data):
            raise BrokenPipeError

    lost = []
    channel = Channel(Broken(), on_lost=lambda: lost.append(True))
    channel.send("progress")
    channel.send("progress")
    assert lost == [True]


def test_progress_is_held_back_unless_it_must_go_out(channel, out, monkeypatch):
    clock = iter([10.0, 10.05, 10.09, 10.09, 10.12, 10.2, 10.2])
    monkeypatch.setattr(channel_module.time, "monotonic", lambda: next(clock))
    report = ProgressReport(channel, 5)
    report.begin("segmenting", windows_total=9, stage_step=8)  # sent at 10.0
    report.update({"windows_done": 1}, must_go_out=False)  # 10.05: too early
    report.update({"windows_done": 2}, must_go_out=True)  # sent at 10.09
    report.update({"windows_done": 3}, must_go_out=False)  # 10.09: too early
    report.update({"windows_done": 4}, must_go_out=False)  # 10.12: too early
    report.update({"windows_done": 5}, must_go_out=False)  # 10.2: sent
    assert [(event["stage"], event["windows_done"]) for event in out.events()] == [
        ("segmenting", 0),
        ("segmenting", 2),
        ("segmenting", 5),
    ]
    assert out.events()[0] == {
        "event": "progress", "id": 5, "stage": "segmenting", "windows_done": 0, "windows_total": 9,
        "seconds_left": None, "stage_step": 8, "step_reached": 0,
    }  # fmt: skip


# ---- The folder --------------------------------------------------------------------------------------------


def test_a_folder_with_the_token_is_shared(shared, tmp_path):
    assert shared.is_shared
    assert shared.path == tmp_path


@pytest.mark.parametrize("token", ["secret ", "other", ""])
def test_a_folder_with_another_token_is_not_shared(tmp_path, monkeypatch, token):
    (tmp_path / "token").write_text("" if token == "" else "secret")
    monkeypatch.setattr(channel_module.tempfile, "tempdir", str(tmp_path))
    folder = ExchangeFolder(Open(str(tmp_path), token))
    assert not folder.is_shared
    assert folder.path.parent == tmp_path
    assert os.listdir(folder.path) == []


def test_a_folder_that_cannot_be_one_is_not_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(channel_module.tempfile, "tempdir", str(tmp_path))
    assert not ExchangeFolder(Open("a\0b", "t")).is_shared


def test_without_room_for_a_folder_this_is_said(monkeypatch):
    monkeypatch.setattr(channel_module.tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(UserError, match=r"No temporary folder can be made .*; expected .*; .* TMPDIR"):
        ExchangeFolder(Open("/nowhere", "t"))


def test_a_file_in_parts_appears_when_it_is_complete(own):
    content = os.urandom(3000)
    own.put(put("t1.nrrd", content[:1000], last=False))
    own.put(put("t2.nrrd", b"other", last=False))
    own.put(put("t1.nrrd", content[1000:], last=False))
    assert not (own.path / "t1.nrrd").exists()
    own.put(put("t1.nrrd", b""))
    assert (own.path / "t1.nrrd").read_bytes() == content
    own.put(put("t1.nrrd", b"again"))
    assert (own.path / "t1.nrrd").read_bytes() == b"again"


BAD_NAMES = ["../t1.nii", "/tmp/t1.nii", "a/b.nii", "a\\b.nii", "..", ".", "", ".hidden", "c:t1.nii", "a\0b", "a\nb",
             "x" * 201, "\ud800.nii"]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_no_file_is_put_or_read_outside_a_folder_that_is_not_shared(own, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=r"The field file is .*; expected the plain name"):
        own.put(put(name, b"x"))
    with pytest.raises(UserError, match=r"The field t1 is .*; expected the plain name"):
        own.find("t1", name)
    assert sorted(tmp_path.rglob("*")) == before


def test_names_are_found_where_they_may_be(own, shared):
    assert own.find("t1", "t1 é.nii") == own.path / "t1 é.nii"
    assert own.find("weights", "/w/a.safetensors", anywhere=True) == Path("/w/a.safetensors")
    assert shared.find("t1", "t1.nii") == shared.path / "t1.nii"
    assert shared.find("t1", "/data/t1.nii") == Path("/data/t1.nii")
    for name in ("data/t1.nii", "../t1.nii", "/data/a\0b", "/data/\ud800"):
        with pytest.raises(UserError, match="The field t1"):
            shared.find("t1", name)


def test_after_a_broken_part_the_rest_of_the_file_is_dropped(own):
    own.put(put("t1.nii", b"begin", last=False))
    with pytest.raises(UserError, match=r"The field data for t1\.nii is no base64"):
        own.put(Put("t1.nii", "no base64!", False))
    own.put(put("t1.nii", b"middle", last=False))
    own.put(put("t1.nii", b"end"))
    assert os.listdir(own.path) == []
    own.put(put("t1.nii", b"once more"))
    assert (own.path / "t1.nii").read_bytes() == b"once more"


def test_the_folder_holds_no_more_than_its_ceiling(own, monkeypatch):
    monkeypatch.setattr(channel_module, "LARGEST_FOLDER_BYTES", 100)
    own.put(put("t1.nii", bytes(60)))
    own.put(put("t2.nii", bytes(40), last=False))
    with pytest.raises(UserError, match="holds more than"):
        own.put(put("t2.nii", b"x"))
    assert os.listdir(own.path) == ["t1.nii"]


def test_a_disk_that_takes_no_more_is_one_sentence(own, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(channel_module.os, "replace", full)
    with pytest.raises(UserError, match=r"t1\.nii cannot be stored .*No space left on device.*; free some space"):
        own.put(put("t1.nii", b"x"))
    assert os.listdir(own.path) == []


def test_nothing_is_put_into_a_shared_folder(shared):
    with pytest.raises(UserError, match="shared"):
        shared.put(put("t1.nii", b"x"))


@pytest.mark.parametrize("size", [0, 5, 10, 23])
def test_files_go_out_in_chunks_unless_the_folder_is_shared(own, shared, channel, out, monkeypatch, size):
    monkeypatch.setattr(channel_module, "CHUNK_BYTES", 10)
    content = os.urandom(size)
    for folder in (own, shared):
        (folder.path / "labels.nii").write_bytes(content)
    shared.give(channel, 3, "labels.nii")
    assert out.events() == []
    own.give(channel, 3, "labels.nii")
    assert b"".join(base64.b64decode(event["data"]) for event in out.events()) == content
    assert [event["last"] for event in out.events()] == [False] * max(0, (size - 1) // 10) + [True]
    assert {(event["event"], event["id"], event["file"]) for event in out.events()} == {("file", 3, "labels.nii")}


def test_the_workers_own_folder_is_always_removed(own):
    own.put(put("t1.nii", b"x"))
    own.remove(panel_is_gone=False)
    assert not own.path.exists()


def test_a_shared_folder_is_removed_only_when_the_panel_is_gone(shared):
    shared.remove(panel_is_gone=False)
    assert shared.path.exists()
    shared.remove(panel_is_gone=True)
    assert not shared.path.exists()


def test_a_folder_that_is_not_the_panels_any_more_stays(shared):
    (shared.path / "token").write_text("of another panel")
    shared.remove(panel_is_gone=True)
    assert shared.path.exists()
