"""The speed bench measures what it says: its arithmetic, its order, and peers that compute the same."""

import itertools
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch import nn

from model_core.inference import Segmenter
from model_core.metrics import dice
from model_core.networks import build_network
from Testing.benchmarks import (
    gpu_rows,
    inference_rows,
    machine,
    preview_rows,
    run,
    sample,
    settings,
    training_rows,
    whole_brain_rows,
)
from Testing.benchmarks.peers import (
    ATTENTIONS,
    columns_along,
    monai_probabilities,
    plain_nearest_distances,
    with_attention,
)
from Testing.benchmarks.picture import draw_rows
from Testing.benchmarks.repeats import interleaved_seconds
from Testing.benchmarks.rows import Row, Target, format_table, number, ratio_row
from Testing.benchmarks.sample import Scans

ROOT = Path(__file__).parents[2]
ATTENTION_FLOP = 4 * (512 * 512 * 128 + 4096 * 512 * 64 + 32768 * 4096 * 32)  # two products; bottom and up-samplings


class TinyNetwork(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.layer = nn.Conv3d(2, 4, 3, padding=1)

    def forward(self, x):
        return 2 * self.layer(x)


def scans_of(shape):
    rng = np.random.default_rng(1)
    t1, t2 = rng.uniform(50, 900, (2, *shape)).astype(np.float32)
    return Scans(t1, t2, np.ones(shape, dtype=bool))


class TestRows:
    def test_a_ratio_is_taken_round_by_round_and_then_its_median(self):
        row = ratio_row("Inference", "crop", "peer", [1.0, 2.0, 4.0], [5.0, 4.0, 12.0], "s", target=Target(3))
        assert row.figures == (5, 2, 3)
        assert (row.median, row.ours, row.theirs, row.is_met) == (3, 2, 5, True)

    def test_the_median_of_two_lies_between_them(self):
        assert Row("", "", (1.0, 2.0), "s").median == 1.5

    def test_targets_are_met_from_either_side(self):
        assert Target(3.5).is_met_by(3.5)
        assert not Target(3.5).is_met_by(3.49)
        assert Target(300, at_least=False).is_met_by(300)
        assert not Target(300, at_least=False).is_met_by(301)
        assert Row("", "", (1.0,), "s").is_met is None

    @pytest.mark.parametrize(
        ("value", "text"),
        [(99.9996, "99.999"), (100.0, "100"), (4.034, "4.03"), (274.4, "274"), (1269.2, "1,269"), (3.3e-8, "3.3e-08"),
         (0.0, "0"), (0.36, "0.36")],
    )  # fmt: skip
    def test_numbers_keep_three_digits_and_never_round_up_to_all(self, value, text):
        assert number(value) == text

    def test_the_table_is_markdown_with_sections_and_notes(self):
        rows = [
            ratio_row("Inference", "crop", "MONAI", [1.0, 1.0], [3.0, 4.0], "s", target=Target(3.6),
                      note="On two cores."),
            Row("Inference", "memory", (200.0,), "MB", target=Target(300, at_least=False)),
            Row("Scores", "pace", (12.0,), ""),
        ]  # fmt: skip
        assert format_table(rows).splitlines() == [
            "|               | against | ours | theirs | median | min–max |   target | met |",
            "| ------------- | ------- | ---: | -----: | -----: | ------: | -------: | --: |",
            "| **Inference** |         |      |        |        |         |          |     |",
            "| crop¹         | MONAI   |  1 s |  3.5 s |   3.5× |   3×–4× |   ≥ 3.6× |  no |",
            "| memory        |         |      |        | 200 MB |         | ≤ 300 MB | yes |",
            "| **Scores**    |         |      |        |        |         |          |     |",
            "| pace          |         |      |        |     12 |         |          |     |",
            "",
            "¹ On two cores.",
        ]

    def test_repeats_are_interleaved(self):
        calls = []
        runs = {name: lambda name=name: calls.append(name) for name in "ABC"}
        seconds = interleaved_seconds(runs, 3, "letters")
        assert "".join(calls) == "ABCABCABC"
        assert {name: len(each) for name, each in seconds.items()} == {"A": 3, "B": 3, "C": 3}

    def test_the_picture_is_drawn_for_every_unit(self, tmp_path):
        rows = [Row("", "measure", figures, unit, target=Target(2)) for unit in ("×", "%", "MB", "s", "ms")
                for figures in ((0.3, 0.4), (5.0,))]  # fmt: skip
        draw_rows(tmp_path / "bench.png", rows, "this machine")
        assert (tmp_path / "bench.png").read_bytes().startswith(b"\x89PNG")


class TestPeers:
    @pytest.mark.parametrize("name", ATTENTIONS)
    def test_they_give_the_training_forms_logits(self, name):
        torch.manual_seed(0)
        network = build_network("nonlocal_unet").eval()
        calls = []
        attention = ATTENTIONS[name]
        if attention is not None:

            def attention(*tensors, attend=ATTENTIONS[name]):
                calls.append([tensor.is_contiguous() for tensor in tensors])
                return attend(*tensors)

        windows = torch.randn(1, 2, 16, 16, 16)
        with torch.inference_mode():
            expected, found = network(windows), with_attention(network, attention)(windows)
            again = network(windows)
        assert expected.std() > 0.01
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(again, expected, atol=0, rtol=0)
        assert calls == ([] if name.endswith("contiguous SDPA") else [[False] * 3] * 3)

    def test_monai_runs_the_same_windows(self):
        scans, network = scans_of((48, 64, 32)), TinyNetwork()
        ours = Segmenter(network, device="cpu").segment(scans.t1, scans.t2, step=settings.CROP_STEP).probabilities
        theirs = monai_probabilities(network, scans.t1, scans.t2, step=settings.CROP_STEP, batch_size=4)
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
        rows = inference_rows.same_answers("MONAI", ours, theirs, scans.mask)
        assert [row.is_met for row in rows] == [True, True]

    def test_other_answers_are_noticed(self):
        ours = np.zeros((4, 2, 2, 2), np.float32)
        ours[0] = 1
        theirs = ours.copy()
        theirs[:, 0, 0, 0] = 0, 1, 0, 0
        rows = inference_rows.same_answers("MONAI", ours, theirs, np.ones((2, 2, 2), dtype=bool))
        assert [(row.median, row.is_met) for row in rows] == [(87.5, False), (1.0, False)]

    def test_plain_distances_are_the_full_matrix_s(self):
        rng = np.random.default_rng(0)
        volumes = rng.random((2, 5, 6, 7)) < 0.4
        for axis in range(3):
            first, second = (columns_along(volume, axis) for volume in volumes)
            assert first.shape == (210 // volumes.shape[axis + 1], volumes.shape[axis + 1])
            matrix = cdist(first, second)
            for found, expected in zip(
                plain_nearest_distances(first, second), (matrix.min(1), matrix.min(0)), strict=True
            ):
                np.testing.assert_allclose(found, expected, atol=1e-7)

    def test_batches_are_bounded_by_the_free_memory(self, monkeypatch):
        free = type("Memory", (), {"available": 10e9})  # of which 7 GB may be taken
        monkeypatch.setattr(inference_rows.psutil, "virtual_memory", lambda: free)
        assert inference_rows.batches_that_fit((1, 2, 4), 1000) == (1, 2, 4)
        assert inference_rows.batches_that_fit((1, 2, 4), 2000) == (1, 2)
        assert inference_rows.batches_that_fit((1, 2, 4), 9000) == (1,)


def test_a_window_s_operations_are_those_of_its_convolutions_and_attention():
    counted = []

    def count(module, inputs, output):
        places = inputs[0] if isinstance(module, nn.ConvTranspose3d) else output
        counted.append(2 * places[0, 0].numel() * module.weight.numel())

    network = build_network("nonlocal_unet").eval()
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, 2, 16, 16, 16))
    assert inference_rows.window_flop() == 8 * sum(counted) + ATTENTION_FLOP


class FakeSegmenter:
    """Two windows up to the first map, then 100 more; each takes as many seconds as it is asked to."""

    def __init__(self, clock, first, later):
        self.clock, self.seconds, self.windows_run = clock, itertools.chain([first] * 2, [later] * 100), 0

    def segment(self, *scans, on_progress, on_map, should_stop, **options):
        for seconds in self.seconds:
            self.windows_run += 1
            self.clock[0] += seconds
            on_progress(None)
            if self.windows_run == 2:
                on_map(32, None)
            if should_stop():
                return


class TestPreview:
    def test_the_pace_is_that_of_the_windows_after_the_first_map(self, monkeypatch):
        clock = [0.0]
        monkeypatch.setattr(preview_rows.time, "perf_counter", lambda: clock[0])
        segmenter = FakeSegmenter(clock, first=3, later=0.5)
        assert preview_rows.first_map_and_pace(segmenter, scans_of((32, 32, 32)), 5) == (6, 0.5)
        assert segmenter.windows_run == 2 + 5

    def test_windows_of_zeros_do_not_run(self):
        scans = scans_of((40, 40, 40))
        assert (preview_rows.windows_run(scans), preview_rows.windows_run(scans, after_first_map=True)) == (8, 0)
        corner = np.zeros((64, 64, 64), np.float32)
        corner[0, 0, 0] = 1
        scans = replace(scans, t1=corner, t2=corner)
        assert (preview_rows.windows_run(scans), preview_rows.windows_run(scans, after_first_map=True)) == (1, 0)
        centre = np.roll(corner, (12, 12, 12), (0, 1, 2))  # in the windows from 0 and 8 of each axis
        scans = replace(scans, t1=centre, t2=centre)
        assert (preview_rows.windows_run(scans), preview_rows.windows_run(scans, after_first_map=True)) == (8, 7)


def test_a_crop_is_the_middle():
    scans = scans_of((6, 9, 8))
    np.testing.assert_array_equal(scans.crop(4).t1, scans.t1[1:5, 2:6, 2:6])


def test_the_scored_label_maps_are_alike_but_not_equal():
    labels, reference = sample.label_pair((140, 150, 170))
    assert labels.shape == reference.shape == (140, 150, 170)
    assert np.bincount(reference.ravel())[1:].tolist() == [188746, 453529, 270353]
    assert all(0.75 < dice(labels == label, reference == label) < 0.97 for label in (1, 2, 3))


def test_peak_memory_is_that_of_the_process_itself():
    code = (
        "import numpy as np; from Testing.benchmarks.machine import memory_mb, peak_memory_mb; before = memory_mb(); "
        "np.ones(40_000_000); print(peak_memory_mb() - before)"
    )
    ballast = np.ones(200_000_000)  # 1.6 GB of this process, which must not count
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout
    assert ballast[0] == 1
    assert float(answer) == pytest.approx(320, abs=15)


def test_gpu_rows_compare_labels_and_time_the_whole_run(monkeypatch):
    monkeypatch.setattr(gpu_rows, "PRODUCT_SIDE", 64)
    scans, network = scans_of((40, 40, 48)), TinyNetwork()
    crop = scans.crop(32)
    labels = Segmenter(network, device="cpu").segment(crop.t1, crop.t2, step=16).labels
    sizes = replace(settings.QUICK, repeats=2, crop_side=32)
    same = gpu_rows.gpu_rows(network, scans, labels, sizes, device="cpu", precisions=("float32",))
    other = gpu_rows.gpu_rows(network, scans, (labels + 1) % 4, sizes, device="cpu", precisions=("float32",))
    whole, pace, share, first_map, agreement, trace = same
    assert (agreement.median, agreement.is_met) == (100, True)
    assert (other[-2].median, other[-2].is_met) == (0, False)
    assert trace.median > 0
    assert "aten::" in trace.note  # the operations are named
    assert pace.median == pytest.approx(np.median([12 / seconds for seconds in whole.figures]))  # 2 × 2 × 3 windows
    assert share.ours == pytest.approx(pace.median * inference_rows.window_flop() / 1e12)
    assert all(0 < early / 1000 < late for early, late in zip(first_map.figures, whole.figures, strict=True))


def test_training_rows_tell_pace_and_how_long_windows_were_waited_for(monkeypatch):
    monkeypatch.setattr(training_rows, "read_anatomies", lambda paths: [])
    naps = {"make": 0.0, "train": 0.03}

    class SlowSampler:
        def __init__(self, *_, **__):
            pass

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

        def batch(self, iteration, size):
            time.sleep(naps["make"])
            return np.ones((size, 2, 16, 16, 16), np.float32), np.zeros((size, 16, 16, 16), np.uint8)

    monkeypatch.setattr(training_rows, "SyntheticSampler", SlowSampler)
    monkeypatch.setattr(training_rows, "train_step", lambda *_: time.sleep(naps["train"]))
    pace, share, fed = training_rows.iteration_rows(settings.QUICK, "cpu", peak=1e9)
    assert len(pace.figures) == settings.QUICK.training_iterations
    assert 0 < pace.median < 2 / naps["train"]
    assert share.median == pytest.approx(100 * pace.median * 3 * inference_rows.window_flop(16) / 1e9)
    assert fed.median > 50
    naps["make"] = 0.3  # windows come ten times as slowly as they are used
    assert training_rows.iteration_rows(settings.QUICK, "cpu", peak=1e9)[2].median < 40


@pytest.mark.parametrize(("difference", "status"), [(1e-6, 0), (1e-3, 1)])
def test_wrong_answers_fail_the_bench_and_missed_speed_does_not(monkeypatch, tmp_path, capsys, difference, status):
    check = Row("Same answers", "probabilities", (difference,), "", target=Target(1e-5, at_least=False), is_check=True)
    slow = Row("Inference", "crop", (2.0, 3.0), "×", target=Target(3.5))
    monkeypatch.setattr(run, "measure", lambda sizes: [slow, check])
    monkeypatch.setattr(sys, "argv", ["run", "--quick", "--output", str(tmp_path / "bench")])
    assert run.main() == status
    record = json.loads((tmp_path / "bench" / "bench.json").read_text())
    assert record["quick"]
    assert record["machine"]["cores"] == machine.available_cores()
    assert record["rows"][0] | {"median": 2.5, "min": 2.0, "max": 3.0, "is_met": False} == record["rows"][0]
    assert (tmp_path / "bench" / "bench.png").exists()
    assert "| crop " in capsys.readouterr().out


class TestWholeBrain:
    def test_the_published_networks_run_is_reckoned_from_its_pace_and_set_against_ours(self, monkeypatch):
        monkeypatch.setattr(whole_brain_rows, "run_command", lambda: (9.0, 1.2))
        monkeypatch.setattr(whole_brain_rows, "first_map_and_pace", lambda *_: (1.0, 0.5))
        monkeypatch.setattr(whole_brain_rows, "seconds_of", lambda run: 2.0)
        monkeypatch.setattr(whole_brain_rows, "largest_difference_of_forms", lambda scans: Row("Same", "", (0.0,), ""))
        scans = scans_of((40, 32, 32))  # windows of step 8: two
        rows = whole_brain_rows.whole_brain_rows(TinyNetwork(), scans, settings.QUICK)
        assert [(row.median, row.is_met) for row in rows[:1]] == [(2.0, True)]
        assert (rows[1].median, rows[1].ours, rows[1].theirs) == (0.5, 2.0, 1.0)  # 2 windows of half a second
        assert [(row.median, row.unit, row.is_met) for row in rows[2:4]] == [(9.0, "s", True), (1.2, "GB", True)]

    def test_the_inference_form_gives_the_training_forms_probabilities(self):
        row = whole_brain_rows.largest_difference_of_forms(scans_of((64, 64, 64)))
        assert row.is_check
        assert row.is_met
