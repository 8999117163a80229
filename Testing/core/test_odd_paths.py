"""Spaces, accents, quotes, leading dashes, brackets, percent signs: a path is a path on every command."""

import json
import os
import shlex
import sys

import numpy as np
import pytest
from cohort_folders import QuickCohort
from fuzzing import QuickSegmenter
from scan_phantoms import grid, scans
from test_train_command import QUICK, write_subject

from model_core import cohort, evaluate, reproduce, segment, synthesize, train
from model_core.errors import UserError
from model_core.networks import build_network
from model_core.synthesis.generator import SyntheticPair
from model_core.system.command_line import run_command
from model_core.volumes import read_labels, write_volume
from model_core.weights import load_weights, save_weights

FOLDERS = ["-- odd \"näme\" 'x'", "$HOME `ls` [a-z]*? %d;& 日本", "two\nlines\ttab"]

if sys.platform == "win32":
    FOLDERS = ["-- odd näme 'x'", "$HOME `ls` [a-z] %d;& 日本"]


@pytest.fixture(params=FOLDERS, ids=["quotes", "signs", "lines"][: len(FOLDERS)])
def odd(request, tmp_path, monkeypatch):
    """The current folder, of an odd name."""
    folder = tmp_path / request.param
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def run(command, *arguments):
    assert run_command(command.main, list(map(str, arguments))) == 0


@pytest.mark.parametrize("suffix", [".nii.gz", ".mhd"])
def test_segment_and_evaluate(odd, monkeypatch, suffix, capsys):
    shape, affine = grid(spacing=(3, 3, 3), rim_mm=4)
    t1, t2, labels = scans(shape, affine)
    if suffix == ".mhd" and "%" in str(odd):
        with pytest.raises(UserError, match="has a % in its name or folder"):
            write_volume(odd / "-t1.mhd", t1.array, affine)
        assert not list(odd.iterdir())
        return
    arrays = {"t1": t1.array, "t2": t2.array, "reference": labels, "mask": (labels > 0).astype(np.uint8)}
    for name, array in arrays.items():
        write_volume(odd / f"-{name}{suffix}", array, affine)
    save_weights(odd / "-w.safetensors", build_network("model2"), {})
    monkeypatch.setattr(segment, "Segmenter", QuickSegmenter)
    # Names that begin with a dash follow an equals sign; with their folder they need none.
    run(
        segment, f"--t1=-t1{suffix}", "--t2", odd / f"-t2{suffix}", f"--mask=-mask{suffix}", "--device", "cpu",
        f"--reference=-reference{suffix}", "--weights=-w.safetensors", f"--output=-out{suffix}", "--scores=-s.json",
        "--probabilities=-p", "--picture=-a.png",
    )  # fmt: skip
    assert read_labels(odd / f"-out{suffix}").array.shape == shape
    assert len(list((odd / "-p").iterdir())) == 4
    assert (odd / "-a.png").stat().st_size > 1000
    run(evaluate, f"--prediction=-out{suffix}", "--reference", odd / f"-reference{suffix}", "--json=-e.json")
    assert json.loads((odd / "-e.json").read_text("utf-8"))["tissues"]
    assert not [name for name in os.listdir(odd) if name.startswith(".")]


def test_what_is_wrong_with_an_odd_path_is_one_line(odd, capfd):
    assert run_command(segment.main, ["--t1=-none.nii", "--t2=-none.nii", "--output", str(odd / "-o.nii.gz")]) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "-none.nii does not exist" in said


def test_train_and_reproduce(odd, capsys):
    (odd / "-data").mkdir()
    for number in (1, 2):
        write_subject(odd / "-data", number)
    run(train, "--data=-data", "--output=-run", *QUICK, "--iterations", "1")
    assert load_weights(odd / "-run" / "weights.safetensors")[0].name == "model5"
    capsys.readouterr()
    run(reproduce, "--data=-data", "--output", odd / "-papers", "--experiment", "leave-one-out", "--list-jobs")
    listed = capsys.readouterr().out
    words = shlex.split(listed)  # a shell reads the commands back as they were meant
    assert "-data" in words or str(odd / "-data") in words or "--data=-data" in words
    assert str(odd / "-papers") in words or f"--output={odd / '-papers'}" in words


def test_synthesize(odd, monkeypatch):
    labels = np.zeros((6, 6, 6), np.int16)
    labels[2:4, 2:4, 2:4] = 3
    write_volume(odd / "-anatomy.nii.gz", labels, np.eye(4))
    scan = labels.astype(np.float32) * 100
    pair = SyntheticPair(
        scan, scan, labels.astype(np.uint8), labels > 0, np.eye(4), anatomy="-anatomy", contrast="wide"
    )
    monkeypatch.setattr("model_core.synthesis.anatomies.prepare_anatomy", lambda label_map: label_map)
    monkeypatch.setattr(synthesize, "make_pair", lambda *_, **__: pair)
    run(synthesize, "--anatomy=-anatomy.nii.gz", "--output", odd / "-pairs", "--count", "1")
    assert np.array_equal(read_labels(odd / "-pairs" / "subject-1-label.nii.gz").array, labels)


@pytest.mark.skipif(sys.platform == "darwin", reason="its file system takes text only")
def test_a_cohort_whose_names_are_no_utf_8_is_segmented_and_reported(tmp_path):
    quick = QuickCohort(tmp_path)
    folder = os.fsencode(quick.data) + b"/sub-J\xe4/anat"
    os.makedirs(folder)
    shape, affine = grid()
    t1, t2, _ = scans(shape, affine)
    for name, scan in (("T1w", t1), ("T2w", t2)):
        write_volume(tmp_path / "scan.nii.gz", scan.array, affine)
        os.rename(tmp_path / "scan.nii.gz", folder + f"/sub-J\udce4_{name}.nii.gz".encode("utf-8", "surrogateescape"))
    save_weights(quick.weights, build_network("model5"), {"window": 16})
    cohort.main([*quick.arguments, "--step", "16"])
    found = os.listdir(os.fsencode(quick.output) + b"/sub-J\xe4/anat")
    assert b"sub-J\xe4_space-T1w_dseg.nii.gz" in found
    sidecar = json.loads((quick.output / "sub-J\udce4/anat/sub-J\udce4_space-T1w_dseg.json").read_text("utf-8"))
    assert sidecar["sources"]["t1"].endswith("sub-J\udce4_T1w.nii.gz")
    report = json.loads((quick.output / "group.json").read_text("utf-8"))
    assert [row["state"] for row in report["subjects"]] == ["complete"]
    assert b"sub-J%E4/figures/" in (quick.output / "index.html").read_bytes()
