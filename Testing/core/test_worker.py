"""The worker as a process: what a panel sends, what it gets, and how it all ends."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scan_phantoms import AXIS_ORDERS, grid, labels_at, world_points
from worker_client import PATIENCE, WORKER, Worker, segment_fields, write_cases, write_weights

from model_core import evaluate, segment
from model_core.volumes import write_volume
from model_core.windows import plan_windows

CLASSES = ("background", "csf", "gm", "wm")
GRID_SHAPE = (21, 25, 19)  # of the 1 mm pair: 13, 17, 11 voxels of brain, and margins
LONG = {"t1": "long_t1.nii", "t2": "long_t2.nii", "step": 1}  # 20 · 26 · 16 = 8320 windows
LONG_SHAPE = (35, 41, 31)
FINER = {"t1": "finer_t1.nii", "t2": "finer_t2.nii", "mask": "mask.nii"}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    write_weights(folder / "w.safetensors")
    return write_cases(folder)


@pytest.fixture(scope="module")
def worker():
    """One worker for all tests that leave it alive."""
    with Worker() as client:
        client.ready = client.until("ready", "error")[-1]
        yield client


@pytest.fixture
def opened(worker, case):
    """The worker, sharing the folder of the case."""
    assert worker.open(case) == {"event": "opened", "id": None, "shared": True, "folder": str(case)}
    return worker


def fields(case, **changes):
    return segment_fields(weights=str(case / "w.safetensors"), **changes)


def array_of(path):
    return np.asarray(nibabel.load(path).dataobj)


def of_the_command(case, output, **names):
    """Labels and probabilities that segment.py writes for the same files."""
    options = [item for name, value in names.items() for item in (f"--{name}", str(case / value))]
    segment.main([*options, "--weights", str(case / "w.safetensors"), "--device", "cpu", "--step", "4",
                  "--output", str(output / "labels.nii.gz"), "--probabilities", str(output / "p")])  # fmt: skip
    return [array_of(output / "labels.nii.gz"), *(array_of(output / "p" / f"{name}.nii.gz") for name in CLASSES)]


# ---- Start -------------------------------------------------------------------------------------------------


def test_ready_tells_of_the_machine(worker):
    ready = worker.ready
    assert (ready["event"], ready["id"], ready["protocol"], ready["pid"]) == ("ready", None, 1, worker.process.pid)
    assert {"python", "torch", "numpy", "scipy", "nibabel", "SimpleITK", "safetensors"} == ready["versions"].keys()
    assert ready["versions"]["numpy"] == np.__version__
    assert ready["host"]
    cpu = ready["devices"][-1]
    assert (cpu["name"], cpu["usable"], cpu["reason"]) == ("cpu", True, None)
    assert ready["default_device"] in [device["name"] for device in ready["devices"] if device["usable"]]


def test_who_quits_while_it_starts_gets_no_more_answers():
    with Worker() as client:
        client.send("segment", 1, **segment_fields())
        client.send("quit")
        assert client.end_of_events() == []
        assert client.status() == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "raise ImportError('libtorch_cpu.so: cannot open shared object file')",
            "cannot be imported (ImportError: libt",
        ),
        ("raise ModuleNotFoundError('No module named torch', name='torch')", "The package torch is missing"),
        ("raise OSError('[WinError 126]')", "cannot be imported (OSError"),
    ],
)
def test_a_missing_or_broken_torch_is_told_before_the_end(tmp_path, content, words):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(content)
    with Worker(PYTHONPATH=str(tmp_path)) as client:
        (error,) = client.end_of_events()
        assert client.status() == 1
    assert (error["event"], error["id"], error["kind"], error["package"]) == ("error", None, "missing_package", "torch")
    assert words in error["sentence"]
    assert "Traceback" in error["detail"]


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["now"], 2), (["--device", "cpu"], 2)])
def test_it_takes_no_arguments(arguments, status):
    done = subprocess.run([sys.executable, WORKER, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "usage:" in (done.stderr if status else done.stdout)


# ---- Segment -----------------------------------------------------------------------------------------------


def test_progress_comes_in_order_and_ends_with_all_windows(opened, case):
    opened.send("segment", "a", **fields(case, step=4, maps=True, align_t2=True, bias_correction=True))
    events = opened.until("done", "error")
    done = events.pop()
    assert {event["id"] for event in events} == {"a"}
    progress = [event for event in events if event["event"] == "progress"]
    stages = [stage for stage, _ in itertools.groupby(event["stage"] for event in progress)]
    assert stages == [
        "loading",
        "preparing",
        "aligning",
        "preparing",
        "correcting",
        "checking",
        "segmenting",
        "writing",
    ]
    counts = [event["windows_done"] for event in progress]
    assert counts == sorted(counts)
    total = len(plan_windows(GRID_SHAPE, 16, 4))
    windows = [event for event in progress if event["stage"] == "segmenting"]
    assert {event["windows_total"] for event in windows} == {total}
    assert (windows[0]["windows_done"], windows[0]["seconds_left"], windows[0]["stage_step"]) == (0, None, 16)
    assert (windows[-1]["windows_done"], windows[-1]["seconds_left"], windows[-1]["step_reached"]) == (total, 0, 4)
    reached = {}
    for event in windows:
        reached.setdefault(event["step_reached"], event["windows_done"])
    assert reached.pop(0) == 0
    assert reached == {step: len(plan_windows(GRID_SHAPE, 16, step)) for step in (16, 8, 4)}
    maps = [event for event in events if event["event"] == "map"]
    assert [(event["step"], event["file"]) for event in maps] == [(16, "map-16.nii"), (8, "map-8.nii")]
    assert [event["windows_done"] for event in maps] == [reached[16], reached[8]]
    assert (done["windows_done"], done["windows_total"]) == (total, total)


@pytest.mark.parametrize("names", [{}, FINER], ids=["1 mm", "interpolated"])
def test_the_result_is_that_of_the_command_voxel_by_voxel(opened, case, tmp_path, names):
    done = opened.answer("segment", 3, **fields(case, **names, step=4, probabilities=True))
    expected = of_the_command(case, tmp_path, **({"t1": "t1.nii", "t2": "t2.nii"} | names))
    t1 = nibabel.load(case / names.get("t1", "t1.nii"))
    files = [case / done["file"], *(case / done["probabilities"][name] for name in CLASSES)]
    for path, array in zip(files, expected, strict=True):
        image = nibabel.load(path)
        assert path.suffix == ".nii"
        assert np.array_equal(np.asarray(image.dataobj), array)
        assert image.get_data_dtype() == array.dtype
        assert np.array_equal(image.affine, t1.affine)
    labels = expected[0]
    assert len(np.unique(labels)) == 4  # else equality would say little
    voxel_ml = abs(np.linalg.det(t1.affine[:3, :3])) / 1000
    assert done["volumes_ml"] == {
        name: pytest.approx((labels == label).sum() * voxel_ml) for label, name in enumerate(CLASSES) if label
    }
    assert (done["event"], done["id"], done["file"]) == ("done", 3, "labels.nii")
    assert (done["uncertainty"], done["expected_dice"], done["uncertain_places_mm"]) == (None, {}, {})
    assert (done["step"], done["step_reached"], done["stopped"]) == (4, 4, False)
    assert (done["device"], done["network"], done["window"]) == ("cpu", "model2", 16)
    assert done["device_title"] == opened.ready["devices"][-1]["title"]
    assert names or tuple(done["grid_shape"]) == GRID_SHAPE
    assert done["seconds"] > 0


def test_the_uncertainty_of_each_voxel_is_that_of_its_probabilities(opened, case):
    done = opened.answer("segment", **fields(case, step=8, probabilities=True, uncertainty=True))
    uncertainty = array_of(case / done["uncertainty"])
    probabilities = np.stack([array_of(case / done["probabilities"][name]) for name in CLASSES]).astype(float)
    brain = probabilities[0] < 1
    bits = -(probabilities * np.log2(np.maximum(probabilities, 1e-30))).sum(axis=0)
    np.testing.assert_allclose(uncertainty[brain], bits[brain] / 2, atol=1e-5)
    assert not uncertainty[array_of(case / "t1.nii") == 0].any()
    assert done["mean_uncertainty"] == pytest.approx(uncertainty[array_of(case / "t1.nii") != 0].mean(), abs=0.01)
    affine = nibabel.load(case / "t1.nii").affine
    for place in done["uncertain_places_mm"].values():
        voxel = np.linalg.inv(affine) @ [*place, 1]
        np.testing.assert_allclose(voxel, voxel.round(), atol=1e-3)
        assert uncertainty[tuple(voxel[:3].round().astype(int))] > 0


def test_maps_are_the_results_of_their_own_step(opened, case):
    done = opened.answer("segment", **fields(case, step=16))
    coarse = array_of(case / done["file"])
    opened.answer("segment", **fields(case, step=8, maps=True))
    image = nibabel.load(case / "map-16.nii")
    assert np.array_equal(np.asarray(image.dataobj), coarse)
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(image.affine, nibabel.load(case / "t1.nii").affine)
    assert done["probabilities"] == {}


@pytest.mark.parametrize("names", [{}, FINER], ids=["1 mm", "interpolated"])
def test_through_the_pipe_the_results_are_the_same(worker, case, tmp_path, names):
    worker.open(case)
    wanted = fields(case, **names, step=8, maps=True, probabilities=True)
    done = worker.answer("segment", **wanted)
    outputs = ["map-16.nii", done["file"], *done["probabilities"].values()]
    shared = {name: (case / name).read_bytes() for name in outputs}

    opened = worker.answer("open", 1, folder=str(tmp_path), token="not there")
    assert (opened["id"], opened["shared"]) == (1, False)
    assert Path(opened["folder"]).is_dir()
    for name in [*(names or {"t1": "t1.nii", "t2": "t2.nii"}).values(), "w.safetensors"]:
        worker.put(name, (case / name).read_bytes(), chunk=40_000)
    worker.files.clear()
    again = worker.answer("segment", **(wanted | {"weights": "w.safetensors"}))
    assert again["event"] == "done"
    assert worker.files.keys() == set(outputs)
    for name in outputs:
        assert worker.files[name] == shared[name]
    assert os.listdir(tmp_path) == []

    worker.put("reference.nii", (case / "reference.nii").read_bytes(), chunk=40_000)
    scored = worker.answer("score", prediction="labels.nii", reference="reference.nii")
    assert worker.files["disagreement.nii"][:4] == (348).to_bytes(4, "little")  # a NIfTI header
    worker.open(case)
    assert not Path(opened["folder"]).exists()
    assert worker.answer("score", prediction="labels.nii", reference="reference.nii") == scored


# ---- Stop --------------------------------------------------------------------------------------------------


def test_stopped_and_kept_it_gives_the_map_so_far(opened, case):
    opened.send("segment", 6, **fields(case, **LONG, maps=True))
    while opened.until("map")[-1]["step"] != 8:
        pass
    opened.send("stop", keep=True)
    done = opened.until("done", "stopped", "error")[-1]
    assert (done["event"], done["id"], done["stopped"], done["step"]) == ("done", 6, True, 1)
    assert 1 < done["step_reached"] <= 8
    assert len(plan_windows(LONG_SHAPE, 16, done["step_reached"])) <= done["windows_done"] < done["windows_total"]
    assert set(np.unique(array_of(case / done["file"]))) == {0, 1, 2, 3}


def test_stopped_and_not_kept_it_gives_nothing_and_goes_on_to_the_next(opened, case):
    opened.send("segment", 7, **fields(case, **LONG))
    while opened.until("progress")[-1]["windows_done"] < 4:
        pass
    opened.send("stop", keep=False)
    assert opened.until("done", "stopped", "error")[-1] == {"event": "stopped", "id": 7}
    assert opened.answer("segment", 8, **fields(case, step=16))["event"] == "done"


def test_a_stop_reaches_all_that_was_asked_for_before_it_and_nothing_after(opened, case):
    opened.send("segment", 1, **fields(case, **LONG))
    opened.send("segment", 2, **fields(case, **LONG))
    opened.send("stop", keep=True)  # before the first grid is complete there is nothing to keep
    opened.send("segment", 3, **fields(case, step=16))
    answers = [opened.until("done", "stopped", "error")[-1] for _ in range(3)]
    assert [(event["event"], event["id"]) for event in answers] == [("stopped", 1), ("stopped", 2), ("done", 3)]


def test_a_stop_with_nothing_to_stop_is_not_answered(opened, case):
    opened.send("stop", 1, keep=False)
    assert opened.answer("segment", 2, **fields(case, step=16))["id"] == 2


# ---- Score -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other_grid", [False, True])
def test_scores_are_those_of_the_evaluate_command(opened, case, tmp_path, other_grid):
    prediction, reference = case / "prediction.nii", case / "reference.nii"
    labels = np.roll(array_of(reference), 1, axis=0)
    labels[labels == 1] = 2
    write_volume(prediction, labels, nibabel.load(reference).affine)
    if other_grid:
        shape, affine = grid(AXIS_ORDERS[7], spacing=(0.9, 1.1, 1.3), angles=(3, 5, 7))
        reference = tmp_path / "reference.nrrd"
        write_volume(reference, labels_at(world_points(shape, affine)), affine)
    evaluate.main(["--prediction", str(prediction), "--reference", str(reference), "--json", str(tmp_path / "a.json")])
    expected = json.loads((tmp_path / "a.json").read_text("utf-8"))
    done = opened.answer("score", 4, prediction="prediction.nii", reference=str(reference))
    assert done["rows"] == expected["tissues"]
    assert done["rows"][0]["asd_mm"] == "inf"  # no CSF was found
    assert done["resampled"] == expected["prediction_resampled"] == other_grid


def test_disagreements_lie_on_the_references_grid_with_places_in_mm(opened, case):
    reference = np.zeros((12, 13, 14), np.uint8)
    reference[2:9, 2:9, 2:9] = 3
    labels = reference.copy()
    labels[3:8, 3:8, 3:8] = 2  # in the middle WM is called GM
    labels[10, 10, 10] = 1
    affine = np.array([[0, -2.0, 0, 50], [1.0, 0, 0, -20], [0, 0, 1.5, 7], [0, 0, 0, 1]])
    write_volume(case / "found.nii", labels, affine)
    write_volume(case / "expected.nii", reference, affine)
    done = opened.answer("score", prediction="found.nii", reference="expected.nii")
    image = nibabel.load(case / done["disagreement"])
    kinds = np.asarray(image.dataobj)
    assert (kinds == 3).sum() == 125
    assert (kinds == 2).sum() == 1
    assert image.get_data_dtype() == np.uint8
    assert np.array_equal(image.affine, affine)
    # (5, 4, 4) is the first voxel that is 3 mm from outside along all axes: 3 · 1 mm, 2 · 2 mm, 2 · 1.5 mm
    middle = {"position": [42.0, -15.0, 13.0], "depth_mm": 3.0, "label_found": 2, "label_expected": 3}
    corner = {"position": [30.0, -10.0, 22.0], "depth_mm": 1.0, "label_found": 1, "label_expected": 0}
    assert done["places"] == {"csf": corner, "gm": middle, "wm": middle}
    done = opened.answer("score", prediction="expected.nii", reference="expected.nii")
    assert done["places"] == {"csf": None, "gm": None, "wm": None}
    assert done["rows"][0]["asd_mm"] is None


# ---- Errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"t1": "none.nii"}, "none.nii does not exist"),
        ({"t2": "../t2.nii"}, "The field t2 is '../t2.nii'; expected the plain name"),
        ({"step": 17}, "The overlap step is 17 voxels; a whole number from 1 to the window's side of 16"),
        ({"step": "8"}, "The field step of the request segment is '8'"),
        ({"device": "tpu"}, "'tpu' is no device; expected auto, cpu"),
        ({"weights": "/none/w.safetensors"}, "/none/w.safetensors does not exist"),
        ({"weights": "damaged.safetensors"}, "is damaged"),
        ({"weights": "pickled.pt"}, "is a pickled checkpoint"),
        ({"weights": "odd.safetensors"}, "names a window of 18 voxels; expected a multiple of 4"),
        ({"t1": "finer_t1.nii", "mask": "other.nii"}, "The mask"),
        ({"colour": True}, "has the field 'colour'"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_the_next_request_succeeds(opened, case, changes, words):
    (case / "damaged.safetensors").write_bytes((case / "w.safetensors").read_bytes()[:-9])
    (case / "pickled.pt").write_bytes(b"PK\x03\x04 zip of pickles")
    write_weights(case / "odd.safetensors", window=18)
    write_volume(case / "other.nii", np.ones((5, 5, 5), np.uint8), np.eye(4))
    error = opened.answer("segment", 9, **(fields(case) | changes))
    assert (error["event"], error["id"], error["kind"]) == ("error", 9, "input")
    assert words in error["sentence"]
    assert "\n" not in error["sentence"]
    assert opened.answer("segment", **fields(case, step=16))["event"] == "done"


def test_lines_that_are_no_requests_are_answered_and_change_nothing(opened, case):
    for line in (b"garbage", b"", b"[]", b'{"request": "dance", "id": 4}', b'{"request": "open", "folder": 3}'):
        opened.send_line(line)
        error = opened.until("error")[-1]
        assert error["kind"] == "input"
    assert opened.answer("segment", **fields(case, step=16))["event"] == "done"


def test_in_a_folder_of_its_own_it_reads_nothing_from_elsewhere(worker, case):
    worker.answer("open", folder="/none", token="t")
    for changes in ({"t1": str(case / "t1.nii")}, {"mask": "../mask.nii"}):
        error = worker.answer("segment", 5, **(fields(case) | changes))
        assert (error["kind"], error["id"]) == ("input", 5)
        assert "expected the plain name of a file in the opened folder" in error["sentence"]
    worker.send("put", 6, file="/tmp/t1.nii", data="", last=True)
    assert worker.until("error")[-1]["id"] == 6
    error = worker.answer("score", prediction=str(case / "reference.nii"), reference="x.nii")
    assert "The field prediction" in error["sentence"]


# ---- The end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end of input", "quit", "SIGTERM"])
def test_in_mid_run_it_ends_quietly_and_leaves_what_is_not_its_own(case, tmp_path, how):
    with Worker() as client:
        client.until("ready")
        client.open(tmp_path)
        scans = {name: str(case / LONG[name]) for name in ("t1", "t2")}
        client.send("segment", **fields(case, **(LONG | scans)))
        while client.until("progress")[-1]["windows_done"] < 4:
            pass
        if how == "end of input":
            client.process.stdin.close()
        elif how == "quit":
            client.send("quit")
        else:
            client.process.send_signal(signal.SIGTERM)
        last = client.end_of_events()
        assert client.process.wait(PATIENCE) == 0
    assert {event["event"] for event in last} <= {"progress"}  # on their way when it ended
    assert tmp_path.exists() == (how != "end of input")
    assert b"Traceback" not in b"".join(client.log)


def test_work_that_hears_nothing_is_cut_off(tmp_path):
    """Stands for a library that does not come back: the main thread sleeps through everything."""
    program = """
import signal, sys, time
from model_core import worker

class Deaf:
    def segment(self, request, folder):
        print("deaf", file=sys.stderr, flush=True)
        time.sleep(600)

worker.Worker._start = lambda self: Deaf()
worker.main([])
"""
    (tmp_path / "token").write_text("t")
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=WORKER.parents[1], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    lines = [{"request": "open", "folder": str(tmp_path), "token": "t"}, {"request": "segment", **segment_fields()}]
    process.stdin.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    process.stdin.flush()
    assert process.stderr.readline() == b"deaf\n"
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    assert not tmp_path.exists()


def test_interrupted_while_idle_it_ends_as_quietly_and_removes_a_folder_of_its_own():
    with Worker() as client:
        client.until("ready")
        for request in ({"request": "put", "file": "a", "data": "", "last": True}, segment_fields(request="segment")):
            assert "No folder is open" in client.answer(**request)["sentence"]
        folder = Path(client.answer("open", folder="/none", token="t")["folder"])
        client.put("t1.nii", b"x" * 3000)
        client.process.send_signal(signal.SIGINT)
        assert client.end_of_events() == []
        assert client.process.wait(PATIENCE) == 0
    assert not folder.exists()
    assert b"KeyboardInterrupt" not in b"".join(client.log)
