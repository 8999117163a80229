"""--max-memory: workers that fit, a refusal where none does, and a peak that stays under the ceiling."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzzing import QuickSegmenter
from scan_phantoms import grid, scans
from torch import nn

from model_core import segment
from model_core.errors import UserError
from model_core.inference import Segmenter, segmenter
from model_core.inference.plan import plan_windows_of
from model_core.networks import build_network
from model_core.networks.input_form import InputForm
from model_core.segmentation.memory import GB, Need, check_can_prepare, resident_bytes
from model_core.system.command_line import run_command
from model_core.volumes import write_volume
from model_core.volumes.reading import shape_of
from model_core.weights import save_weights

REPOSITORY = Path(__file__).resolve().parents[2]
WINDOW = 8

# Segments in a process of its own, says what the memory was expected to be and what it was at most.
CHILD = """
import json, sys
from pathlib import Path
from model_core.inference import Segmenter
from model_core.segmentation.memory import Need, fit_memory, resident_bytes
from model_core.preprocessing import prepare_pair
from model_core.volumes import read_volume, write_volume
from model_core.networks import build_network
t1, t2 = read_volume(sys.argv[1]), read_volume(sys.argv[2])
segmenter = Segmenter(build_network("model2"), device="cpu", workers=3)
pair = prepare_pair(t1, t2)
held = resident_bytes()
_, told = fit_memory(float(sys.argv[3]), segmenter, pair, [4], with_probabilities=True)
expected = Need(held, pair.t1.shape, t1.array.size, 32**3, 2100, True, True).peak(segmenter.workers)
done = []
result = segmenter.segment(pair.t1, pair.t2, step=4, mask=pair.mask, on_progress=done.append,
                           should_stop=lambda: len(done) > 2)
labels, probabilities = pair.result_to_native(result.labels, result.probabilities, with_probabilities=True)
write_volume(sys.argv[4], labels, t1.affine)
peak = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"told": told, "workers": segmenter.workers, "expected": expected, "peak": peak, "held": held}))
"""


def need(**changes):
    values = {"held": 0.5 * GB, "grid": (100, 100, 100), "native_voxels": 1_000_000, "window_voxels": 32**3}
    return Need(**(values | {"bytes_per_voxel": 2100, "on_cpu": True, "interpolates": False} | changes))


def test_the_peak_is_that_worked_out_by_hand():
    # 40 bytes a voxel of the grid, two windows of 32³ at 2100 bytes a voxel, 50 MB of slack.
    assert need().peak(2) == pytest.approx(0.5e9 + 40e6 + 2 * 2100 * 32**3 + 50e6)
    # On a GPU no window lies in this memory.
    assert need(grid=(32, 100, 100), native_voxels=100_000, on_cpu=False).peak(2) == pytest.approx(
        0.5e9 + 40 * 320_000 + 50e6
    )
    # Probabilities on a fine T1: 30 bytes a voxel of the grid and 30 of T1.
    assert need(native_voxels=8_000_000, interpolates=True).peak(0) == pytest.approx(0.5e9 + 30e6 + 240e6 + 50e6)


def test_as_many_windows_run_side_by_side_as_fit():
    one, two = need().peak(1) / GB, need().peak(2) / GB
    assert need().fitting_workers(4, two) == 2
    assert need().fitting_workers(4, two - 1e-6) == 1
    assert need().fitting_workers(1, 100) == 1
    with pytest.raises(UserError, match=r"needs about 0\.7 GB of memory and --max-memory allows 0\.6 GB; .*; give"):
        need().fitting_workers(4, 0.6)
    assert one > 0.6


def test_what_the_process_holds_is_what_the_system_says():
    psutil = pytest.importorskip("psutil")
    assert resident_bytes() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"])
def test_the_shape_is_read_without_the_voxels(tmp_path, suffix):
    write_volume(tmp_path / f"a{suffix}", np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    assert shape_of(tmp_path / f"a{suffix}") == (3, 4, 5)


def test_scans_too_large_to_be_prepared_are_refused_before_they_are_read(tmp_path):
    write_volume(tmp_path / "t1.nii.gz", np.zeros((300, 300, 200), np.uint8), np.eye(4))
    held = resident_bytes() / GB
    # 18 million voxels: 8 bytes each for both scans, 21 for their preparation, 50 MB of slack.
    enough = held + 18e6 * 29 / GB + 0.05
    check_can_prepare(enough + 0.05, [tmp_path / "t1.nii.gz"] * 2, repairs=False)
    with pytest.raises(UserError, match="Preparing these scans needs about"):
        check_can_prepare(enough - 0.05, [tmp_path / "t1.nii.gz"] * 2, repairs=False)
    with pytest.raises(UserError, match="Preparing these scans needs about"):
        check_can_prepare(enough + 0.05, [tmp_path / "t1.nii.gz"] * 2, repairs=True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the peak of a process's own memory")
def test_a_run_under_a_ceiling_stays_under_it_and_near_its_estimate(tmp_path):
    side = 110
    ball = np.linalg.norm(np.indices((side,) * 3).T - side / 2 + 0.5, axis=-1) < side / 2 - 2
    values = np.random.default_rng(0).integers(1, 99, ball.shape) * ball
    for name in ("t1", "t2"):
        write_volume(tmp_path / f"{name}.nii.gz", values.astype(np.int16), np.diag([0.9, 0.9, 0.9, 1]))
    ceiling = 0.75 * GB
    done = subprocess.run(
        [sys.executable, "-c", CHILD, tmp_path / "t1.nii.gz", tmp_path / "t2.nii.gz", str(ceiling / GB),
         tmp_path / "out.nii.gz"],
        cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 1 <= found["workers"] <= 3
    assert found["peak"] <= 1.1 * ceiling
    assert found["held"] < found["peak"] <= found["expected"] * 1.1
    assert found["expected"] <= ceiling
    assert found["told"].startswith("Memory: about 0.")


# ---- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    folder = tmp_path_factory.mktemp("case")
    shape, affine = grid(spacing=(3, 3, 3), rim_mm=4)
    t1, t2, _ = scans(shape, affine)
    write_volume(folder / "t1.nii.gz", t1.array, affine)
    write_volume(folder / "t2.nii.gz", t2.array, affine)
    save_weights(folder / "w.safetensors", build_network("nonlocal_unet"), {})
    return folder


def call(case, output, ceiling):
    names = {"--t1": "t1.nii.gz", "--t2": "t2.nii.gz", "--weights": "w.safetensors"}
    arguments = [text for name, file in names.items() for text in (name, str(case / file))]
    return [*arguments, "--output", str(output), "--device", "cpu", "--max-memory", ceiling]


def test_the_command_says_what_it_will_take(case, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(segment, "Segmenter", OnTheCpu)
    assert run_command(segment.main, call(case, tmp_path / "out.nii.gz", "1000")) == 0
    assert "of 1000 GB, 7 windows at a time" in capsys.readouterr().out


class OnTheCpu(QuickSegmenter):
    window, device = 32, torch.device("cpu")

    def __init__(self, network, **settings):
        super().__init__(network)
        self.workers, self.form = 7, InputForm()

    def plan(self, brain, step):
        return plan_windows_of(brain, self.window, step)


def test_a_ceiling_that_is_too_low_writes_nothing(case, tmp_path, capfd):
    assert run_command(segment.main, call(case, tmp_path / "out.nii.gz", "0.01")) == 1
    said = capfd.readouterr().err
    assert "Preparing these scans needs about" in said
    assert said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan", "inf"])
def test_what_is_no_size_is_wrong_usage(case, tmp_path, text, capsys):
    with pytest.raises(SystemExit) as caught:
        segment.main(call(case, tmp_path / "out.nii.gz", text))
    assert caught.value.code == 2
    assert "is no size; expected gigabytes" in capsys.readouterr().err


# ---- A GPU whose memory does not suffice -----------------------------------------------------------------------------


class PretendedGpu(str):
    """The CPU under another name, so that everything but the arithmetic takes a GPU's way."""

    type = "mps"

    def __str__(self):
        return "gpu:0"


class Small(nn.Module):
    """Runs out of memory on the pretended GPU for more windows than it is allowed, and after so many runs."""

    def __init__(self, allowed, runs=10**9):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Conv3d(2, 4, 3, padding=1)
        self.allowed, self.runs, self.segmenter = allowed, runs, None
        self.seen = []

    def forward(self, x):
        on_gpu = self.segmenter is not None and self.segmenter.device.type == "mps"
        if on_gpu and (len(x) > self.allowed or len(self.seen) >= self.runs):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.seen.append((on_gpu, len(x)))
        return self.layers(x)


@pytest.fixture
def volume():
    noise = np.random.default_rng(1)
    t1 = np.zeros((20, 18, 16), np.float32)
    t1[9:18, 2:16, 2:14] = noise.uniform(50, 150, (9, 14, 12))
    return t1, np.where(t1 > 0, 300 - t1, 0).astype(np.float32)


def on_pretended_gpu(network, monkeypatch, **settings):
    monkeypatch.setattr(segmenter, "choose_device", lambda name: PretendedGpu("cpu"))
    network.segmenter = Segmenter(network, window=WINDOW, device="mps", **settings)
    return network.segmenter


def assert_equal(result, network, volume):
    network.segmenter = None
    expected = Segmenter(network, window=WINDOW, device="cpu").segment(*volume, step=4)
    np.testing.assert_array_equal(result.labels, expected.labels)
    np.testing.assert_allclose(result.probabilities, expected.probabilities, atol=1e-6)
    assert result.windows_done == result.windows_total


def test_a_gpu_short_of_memory_takes_smaller_batches_and_says_so(volume, monkeypatch):
    network, told = Small(allowed=3), []
    segmenter = on_pretended_gpu(network, monkeypatch, batch_size=16)
    result = segmenter.segment(*volume, step=4, on_progress=lambda progress: told.append(progress.notices))
    assert segmenter.batch_size <= 3
    words = r"The memory of gpu:0 did not suffice for (\d+) windows at a time; (\d+) run together from now on\."
    halvings = [tuple(map(int, re.fullmatch(words, notice).groups())) for notice in result.notices]
    assert halvings
    assert all(after == (before + 1) // 2 for before, after in halvings)
    assert halvings[-1][1] == segmenter.batch_size
    assert told[-1] == result.notices
    assert all(on_gpu for on_gpu, _ in network.seen)
    assert_equal(result, network, volume)


@pytest.mark.parametrize("runs", [0, 1, 5])
def test_where_not_even_one_window_fits_the_cpu_goes_on_from_there(volume, monkeypatch, runs):
    network = Small(allowed=4, runs=runs)
    segmenter = on_pretended_gpu(network, monkeypatch, batch_size=4)
    result = segmenter.segment(*volume, step=4)
    assert segmenter.device == torch.device("cpu")
    assert "did not suffice for one window at a time; the CPU goes on" in result.notices[-1]
    by_gpu, by_cpu = (sum(count for on_gpu, count in network.seen if on_gpu is where) for where in (True, False))
    assert (by_gpu > 0) == (runs > 0)
    assert by_cpu > 0
    blank = 1  # the answer for windows of zeros is computed once, too
    seen = by_gpu + by_cpu
    assert_equal(result, network, volume)
    assert seen - blank <= result.windows_total  # none ran twice


def test_a_volume_that_does_not_fit_a_gpu_is_segmented_by_the_cpu(volume, monkeypatch):
    network = Small(allowed=4)
    on_gpu_first = on_pretended_gpu(network, monkeypatch)
    make = segmenter.WindowAccumulator

    def refuse(*arguments, device, **others):
        if device.type == "mps":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return make(*arguments, device=device, **others)

    monkeypatch.setattr(segmenter, "WindowAccumulator", refuse)
    result = on_gpu_first.segment(*volume, step=4)
    assert "did not suffice for the volume; the CPU goes on" in result.notices[0]
    assert not any(on_gpu for on_gpu, _ in network.seen)
    monkeypatch.undo()
    assert_equal(result, network, volume)
