"""Segmentation by sliding windows: the same as a plain loop, whatever the order, the batches and the shortcuts."""

import itertools
import threading

import numpy as np
import pytest
import torch
from torch import nn

from model_core.errors import UserError
from model_core.inference import Segmenter
from model_core.inference.accumulator import WindowAccumulator
from model_core.inference.plan import plan_windows_of
from model_core.inference.standardisation import standardise_windows
from model_core.networks import build_network
from model_core.system import devices
from model_core.system.devices import Device, choose_device, fitting_batch
from model_core.windows import plan_windows

WINDOW = 8


class TinyNetwork(nn.Module):
    """Two convolutions, so that an answer depends on the whole window; counts the windows that it sees."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.layers = nn.Sequential(nn.Conv3d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv3d(6, 4, 3, padding=1))
        self.windows_seen = 0
        self.largest_batch = 0

    def forward(self, x):
        self.windows_seen += len(x)
        self.largest_batch = max(self.largest_batch, len(x))
        return 3 * self.layers(x + x.amax(dim=(2, 3, 4), keepdim=True))


def brain_pair(shape, seed=0):
    """T1 and T2 with an ellipsoid of noise in a field of zeros, and the ellipsoid."""
    rng = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
    inside = sum(axis**2 for axis in grid) < 0.9
    t1, t2 = (np.where(inside, rng.uniform(50, 900, shape), 0).astype(np.float32) for _ in range(2))
    return t1, t2, inside


def standardised_by_hand(volume):
    return (volume - volume.mean()) / max(volume.std(), 1 / np.sqrt(volume.size))


def plain_loop(network, t1, t2, inside, window, step):
    """Every window of the plan, one at a time, in float64 sums; labelled background where there is no brain."""
    sums, counts = np.zeros((4, *t1.shape)), np.zeros(t1.shape)
    network.eval()
    for i, j, k in plan_windows(t1.shape, window, step):
        box = (slice(i, i + window), slice(j, j + window), slice(k, k + window))
        pair = np.stack([standardised_by_hand(scan[box].astype(np.float64)) for scan in (t1, t2)])
        with torch.inference_mode():
            logits = network(torch.from_numpy(pair[None].astype(np.float32)))[0]
        sums[:, *box] += torch.softmax(logits, dim=0).numpy()
        counts[box] += 1
    probabilities = sums / counts
    return np.where(inside, probabilities.argmax(axis=0), 0), probabilities


def assert_same(result, labels, probabilities):
    np.testing.assert_allclose(result.probabilities, probabilities, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(result.labels, labels)


def test_standardised_windows_have_mean_0_and_deviation_1_in_each_modality():
    windows = np.random.default_rng(1).normal(400, 120, (3, 2, 4, 5, 6))
    windows[2, 1] = 17.0  # one value alone: the floor makes it zeros
    expected = np.stack([[standardised_by_hand(volume) for volume in window] for window in windows])
    standardised = standardise_windows(torch.from_numpy(windows)).numpy()
    np.testing.assert_allclose(standardised, expected, atol=1e-12)
    assert not standardised[2, 1].any()


def test_the_deviation_is_floored_at_one_over_the_root_of_the_voxels():
    window = torch.zeros(1, 1, 4, 4, 4)
    window[0, 0, 0, 0, 0] = 0.064  # deviation 0.0079, floor 1/8
    assert standardise_windows(window)[0, 0, 0, 0, 0].item() == pytest.approx((0.064 - 0.001) * 8, abs=1e-6)


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 8])
def test_the_result_is_that_of_a_plain_loop_at_every_step(step):
    network = TinyNetwork()
    t1, t2, inside = brain_pair((11, 16, 13))
    result = Segmenter(network, window=WINDOW, device="cpu", batch_size=7).segment(t1, t2, step=step)
    assert_same(result, *plain_loop(network, t1, t2, inside, WINDOW, step))
    assert result.labels.dtype == np.uint8
    assert result.probabilities.dtype == np.float32
    assert result.step_reached == step
    assert result.windows_done == result.windows_total == len(plan_windows(t1.shape, WINDOW, step))
    assert len(np.unique(result.labels)) == 4  # else equality would say little


@pytest.mark.parametrize("step", [4, 5, 8, 16, 32])
def test_the_paper_s_window_and_steps_give_what_a_plain_loop_gives(step):
    network = TinyNetwork()
    t1, t2, inside = brain_pair((37, 33, 45))
    result = Segmenter(network, device="cpu").segment(t1, t2, step=step)
    assert_same(result, *plain_loop(network, t1, t2, inside, 32, step))


def test_the_real_network_gives_what_a_plain_loop_gives():
    torch.manual_seed(0)
    network = build_network("nonlocal_unet")
    t1, t2, inside = brain_pair((17, 16, 21))
    result = Segmenter(network, window=16, device="cpu").segment(t1, t2, step=8)
    assert_same(result, *plain_loop(network, t1, t2, inside, 16, 8))


@pytest.mark.parametrize("shape", [(5, 20, 9), (3, 4, 5), (8, 7, 8)])
def test_a_volume_smaller_than_a_window_is_padded_with_zeros_and_cropped_back(shape):
    network = TinyNetwork()
    t1, t2, inside = brain_pair(shape)
    padding = [(0, max(0, WINDOW - side)) for side in shape]
    labels, probabilities = plain_loop(network, *(np.pad(a, padding) for a in (t1, t2, inside)), WINDOW, 4)
    back = tuple(slice(side) for side in shape)
    result = Segmenter(network, window=WINDOW, device="cpu").segment(t1, t2, step=4)
    assert_same(result, labels[back], probabilities[:, *back])


def test_outside_the_brain_the_label_is_background_whatever_the_network_says():
    network = TinyNetwork()
    t1, t2, inside = brain_pair((12, 12, 12))
    t1[2, 2, 2] = 1.0  # T1 alone is enough to be brain
    inside[2, 2, 2] = True
    result = Segmenter(network, window=WINDOW, device="cpu").segment(t1, t2, step=4)
    assert result.probabilities.argmax(axis=0)[~inside].any()  # the network itself says otherwise
    assert not result.labels[~inside].any()
    assert_same(result, *plain_loop(network, t1, t2, inside, WINDOW, 4))


def test_a_mask_says_where_the_brain_is():
    network = TinyNetwork()
    t1, t2, _ = brain_pair((14, 20, 12))
    mask = np.zeros(t1.shape, dtype=bool)
    mask[1:9, 0:6, 2:12] = True  # reaches where the scans are 0 and leaves out much of where they are not
    result = Segmenter(network, window=WINDOW, device="cpu").segment(t1, t2, step=4, mask=mask)
    assert_same(result, *plain_loop(network, t1, t2, mask, WINDOW, 4))


@pytest.mark.parametrize("masked", [False, True])
def test_windows_of_zeros_alone_share_one_run(masked):
    network = TinyNetwork()
    t1, t2 = (np.zeros((24, 24, 24), dtype=np.float32) for _ in range(2))
    t1[8:16, 8:16, 8:16], t2[8:16, 8:16, 8:16] = np.random.default_rng(0).uniform(1, 2, (2, 8, 8, 8))
    mask = np.ones(t1.shape, dtype=bool) if masked else None
    result = Segmenter(network, window=WINDOW, device="cpu").segment(t1, t2, step=8, mask=mask)
    assert (result.windows_done, network.windows_seen) == (27, 2)
    assert_same(result, *plain_loop(network, t1, t2, t1 > 0 if mask is None else mask, WINDOW, 8))


def test_an_empty_volume_is_background_after_one_run():
    network = TinyNetwork()
    empty = np.zeros((9, 10, 11), dtype=np.float32)
    result = Segmenter(network, window=WINDOW, device="cpu").segment(empty, empty)
    assert not result.labels.any()
    assert result.windows_done == result.windows_total
    assert network.windows_seen == 1


def test_progress_never_falls_and_ends_with_every_window_done():
    t1, t2, _ = brain_pair((20, 22, 24))
    seen = []
    segmenter = Segmenter(TinyNetwork(), window=WINDOW, device="cpu", batch_size=5)
    result = segmenter.segment(t1, t2, step=2, on_progress=seen.append)
    done = [progress.windows_done for progress in seen]
    assert done == sorted(done)
    assert all(progress.windows_total == len(plan_windows(t1.shape, WINDOW, 2)) for progress in seen)
    assert done[-1] == result.windows_total
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left > 0
    reached = [progress.step_reached for progress in seen]
    assert list(dict.fromkeys(reached)) == [0, 8, 4, 2]
    assert list(dict.fromkeys(progress.stage_step for progress in seen)) == [8, 4, 2]
    assert (
        max(after - before for before, after in itertools.pairwise(done)) < len(plan_windows(t1.shape, WINDOW, 2)) / 2
    )


def test_each_stage_hands_over_the_map_of_its_own_step():
    network = TinyNetwork()
    t1, t2, inside = brain_pair((13, 19, 16))
    maps = []
    Segmenter(network, window=WINDOW, device="cpu").segment(
        t1, t2, step=2, on_map=lambda step, labels: maps.append((step, labels))
    )
    assert [step for step, _ in maps] == [8, 4, 2]
    for step, labels in maps:
        assert labels.dtype == np.uint8
        np.testing.assert_array_equal(labels, plain_loop(network, t1, t2, inside, WINDOW, step)[0])


def test_stopping_after_the_coarse_grid_keeps_its_map():
    network = TinyNetwork()
    t1, t2, inside = brain_pair((16, 16, 16))
    maps = []
    segmenter = Segmenter(network, window=WINDOW, device="cpu", batch_size=4)
    result = segmenter.segment(
        t1, t2, step=2, on_map=lambda step, _: maps.append(step), should_stop=lambda: maps == [8]
    )
    assert result.step_reached == 8
    assert result.windows_done == 8
    assert result.windows_total == 125
    assert_same(result, *plain_loop(network, t1, t2, inside, WINDOW, 8))


def test_stopping_within_a_stage_is_labelled_with_the_last_complete_one():
    t1, t2, inside = brain_pair((16, 16, 16))
    seen = []
    segmenter = Segmenter(TinyNetwork(), window=WINDOW, device="cpu", batch_size=1)
    result = segmenter.segment(t1, t2, step=4, on_progress=seen.append, should_stop=lambda: len(seen) == 10)
    assert (result.step_reached, result.windows_done) == (8, 10)
    assert (result.probabilities[0, inside] < 1).all()


def test_stopping_before_the_coarse_grid_is_complete_leaves_background_where_no_window_was():
    t1, t2, inside = brain_pair((16, 16, 16))
    seen = []
    segmenter = Segmenter(TinyNetwork(), window=WINDOW, device="cpu", batch_size=1, workers=1)
    result = segmenter.segment(t1, t2, step=8, on_progress=seen.append, should_stop=lambda: len(seen) == 1)
    assert (result.step_reached, result.windows_done) == (0, 1)
    visited = np.zeros(t1.shape, dtype=bool)
    visited[:8, :8, :8] = True
    assert (result.probabilities[0, ~visited] == 1).all()
    assert not result.labels[~visited].any()
    assert (result.probabilities[0, visited & inside] < 1).all()


def test_the_network_is_evaluated_and_left_in_the_mode_it_came_in():
    network = TinyNetwork().train()
    modes = []
    network.layers.register_forward_hook(lambda module, *_: modes.append((module.training, torch.is_grad_enabled())))
    t1, t2, _ = brain_pair((8, 8, 8))
    Segmenter(network, window=WINDOW, device="cpu").segment(t1, t2)
    assert modes == [(False, False)]
    assert network.training


class ShortOfMemory(TinyNetwork):
    """Fails as the CPU's allocator does on more windows than it is allowed."""

    def __init__(self, allowed):
        super().__init__()
        self.allowed = allowed

    def forward(self, x):
        if len(x) > self.allowed:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory")
        return super().forward(x)


def test_short_memory_halves_the_batch_and_keeps_the_result():
    network = ShortOfMemory(allowed=3)
    t1, t2, inside = brain_pair((12, 13, 14))
    result = Segmenter(network, window=WINDOW, device="cpu", batch_size=16).segment(t1, t2, step=4)
    assert network.largest_batch == 2
    assert_same(result, *plain_loop(network, t1, t2, inside, WINDOW, 4))


def test_memory_too_short_for_one_window_is_told_in_a_sentence():
    t1, t2, _ = brain_pair((12, 13, 14))
    with pytest.raises(UserError, match=r"memory of cpu does not suffice for 12×13×14 voxels.*; close other programs"):
        Segmenter(ShortOfMemory(allowed=0), window=WINDOW, device="cpu").segment(t1, t2)


def test_memory_too_short_for_windows_side_by_side_runs_them_one_after_the_other():
    class NoRoomForTwo(TinyNetwork):
        def __init__(self):
            super().__init__()
            self.inside, self.met = 0, threading.Event()

        def forward(self, x):
            self.inside += 1
            try:
                if self.inside > 1:
                    self.met.set()
                    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
                if segmenter.workers > 1:
                    self.met.wait(20)  # until another thread is in here, too
                return super().forward(x)
            finally:
                self.inside -= 1

    t1, t2, inside = brain_pair((12, 13, 14))
    segmenter = Segmenter(NoRoomForTwo(), window=WINDOW, device="cpu", workers=2)
    result = segmenter.segment(t1, t2, step=4)
    assert segmenter.network.met.is_set()
    assert segmenter.workers == 1
    assert_same(result, *plain_loop(TinyNetwork(), t1, t2, inside, WINDOW, 4))


def test_the_result_is_the_same_to_the_bit_for_any_number_of_workers_batch_and_place_looked_at():
    t1, t2, _ = brain_pair((13, 14, 19))
    results = [
        Segmenter(TinyNetwork(), window=WINDOW, device="cpu", workers=workers, batch_size=batch).segment(
            t1, t2, step=3, look_at=look_at
        )
        for workers, batch, look_at in ((1, 1, None), (3, 1, None), (2, 1, (2, 12, 9)), (1, 1, (12.5, 0, 18)))
    ]
    for result in results[1:]:
        np.testing.assert_array_equal(result.labels, results[0].labels)
        np.testing.assert_array_equal(result.probabilities, results[0].probabilities)


def test_windows_of_the_slices_looked_at_come_first_within_each_stage():
    scan = np.ones((16, 16, 16), dtype=np.float32)
    plan = plan_windows_of(scan > 0, 8, 4)
    job = WindowAccumulator(np.stack([scan, scan]), scan > 0, plan, torch.device("cpu"), look_at=(1, 9, 14))
    for index in (0, 1):
        starts = job.begin(index)
        met = ((starts <= (1, 9, 14)) & (starts + 8 > (1, 9, 14))).sum(axis=1)
        assert (np.diff(met) <= 0).all()
        assert met[0] > met[-1]
        assert len({tuple(start) for start in starts}) == len(starts)
    assert tuple(job.begin(0)[0]) == (0, 8, 8)


def test_no_sum_overflows_where_every_window_is_sure():
    class Sure(nn.Module):
        def forward(self, x):
            return torch.tensor([0.0, 200.0, 0.0, 0.0]).view(1, 4, 1, 1, 1).expand(len(x), 4, *x.shape[2:])

    t1, t2, inside = brain_pair((11, 12, 13))
    result = Segmenter(Sure(), window=WINDOW, device="cpu").segment(t1, t2, step=1)
    assert (result.labels[inside] == 1).all()
    np.testing.assert_allclose(result.probabilities[1], 1, atol=1e-6)


def test_a_batch_takes_up_to_seven_tenths_of_the_free_memory():
    assert fitting_batch(free_bytes=1000, bytes_per_window=100) == 7
    assert fitting_batch(free_bytes=1000, bytes_per_window=800) == 1
    assert fitting_batch(free_bytes=10**12, bytes_per_window=10**8) == 64


def test_another_error_of_the_network_is_not_taken_for_short_memory():
    class Broken(TinyNetwork):
        def forward(self, x):
            raise RuntimeError("shapes cannot be multiplied")

    t1, t2, _ = brain_pair((12, 13, 14))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        Segmenter(Broken(), window=WINDOW, device="cpu").segment(t1, t2)


def test_faulty_arrays_are_named_with_their_shape():
    segmenter = Segmenter(TinyNetwork(), window=WINDOW, device="cpu")
    scan = np.ones((9, 9, 9), dtype=np.float32)
    broken = scan.copy()
    broken[4, 4, 4] = np.nan
    with pytest.raises(ValueError, match=r"t2 has shape \(9, 9, 8\) and t1 has \(9, 9, 9\)"):
        segmenter.segment(scan, scan[:, :, :8])
    with pytest.raises(ValueError, match=r"mask has shape \(9, 9\)"):
        segmenter.segment(scan, scan, mask=scan[0])
    with pytest.raises(ValueError, match=r"t1 has shape \(2, 9, 9, 9\)"):
        segmenter.segment(np.stack([scan, scan]), scan)
    with pytest.raises(ValueError, match=r"t2 of shape \(9, 9, 9\) holds values that are not finite"):
        segmenter.segment(scan, broken)
    with pytest.raises(ValueError, match=r"t1 has values of complex64"):
        segmenter.segment(scan.astype(np.complex64), scan)


@pytest.mark.parametrize("step", [0, 9])
def test_a_step_out_of_range_is_told_in_a_sentence(step):
    t1, t2, _ = brain_pair((9, 9, 9))
    with pytest.raises(UserError, match=rf"overlap step is {step} voxels"):
        Segmenter(TinyNetwork(), window=WINDOW, device="cpu").segment(t1, t2, step=step)


def test_a_device_that_is_not_there_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(
        UserError, match=r"cuda:1 was asked for .* finds 1 CUDA GPUs here; choose the device auto or cpu"
    ):
        choose_device("cuda:1")
    with pytest.raises(UserError, match="no Mac with an Apple GPU; choose auto or cpu"):
        choose_device("mps")
    for name in ("gpu", "cuda:x", "", "meta"):
        with pytest.raises(UserError, match=f"The device is '{name}'; auto, cpu, cuda"):
            choose_device(name)


def test_auto_takes_the_first_device_that_works(monkeypatch):
    def offer(**usable):
        names = {"cuda_0": "cuda:0", "cuda_1": "cuda:1"}
        listed = [Device(names.get(name, name), name, usable=works) for name, works in usable.items()]
        monkeypatch.setattr(devices, "list_devices", lambda: [*listed, Device("cpu", "CPU")])

    offer(cuda_0=True, cuda_1=True, mps=True)
    assert choose_device("auto") == torch.device("cuda:0")
    offer(cuda_0=False, cuda_1=True)
    assert choose_device("auto") == torch.device("cuda:1")
    offer(cuda_0=False, mps=True)
    assert choose_device("auto").type == "mps"
    offer(mps=False)
    assert choose_device("auto").type == "cpu"


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(UserError, match="float16 was asked for on the CPU"):
        Segmenter(TinyNetwork(), device="cpu", precision="float16")
    with pytest.raises(ValueError, match="precision is 'bfloat16'"):
        Segmenter(TinyNetwork(), device="cpu", precision="bfloat16")
    with pytest.raises(ValueError, match="batch_size is 0"):
        Segmenter(TinyNetwork(), device="cpu", batch_size=0)
    with pytest.raises(ValueError, match="window is 20; this network takes multiples of 8"):
        Segmenter(build_network("cc_3d_fcn"), device="cpu", window=20)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")
def test_a_cuda_gpu_gives_what_the_cpu_gives_and_leaves_the_tf32_setting():
    torch.manual_seed(0)
    network = build_network("nonlocal_unet")
    t1, t2, _ = brain_pair((40, 33, 36))
    on_cpu = Segmenter(network, device="cpu").segment(t1, t2, step=8)
    torch.backends.cudnn.allow_tf32 = True
    on_gpu = Segmenter(network, device="cuda").segment(t1, t2, step=8)
    assert torch.backends.cudnn.allow_tf32
    np.testing.assert_allclose(on_gpu.probabilities, on_cpu.probabilities, atol=1e-4)
    assert (on_gpu.labels == on_cpu.labels).mean() > 0.9999
    half = Segmenter(network, device="cuda", precision="float16").segment(t1, t2, step=8)
    assert (half.labels == on_cpu.labels).mean() > 0.99
