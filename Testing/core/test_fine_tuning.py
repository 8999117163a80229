"""Fine-tuning: the mean of initial and trained weights, what it is trained on, and what the card says of it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from trained_networks import TinyNetwork, trained, unsettle

from model_core.datasets.subjects import LabelledPair
from model_core.errors import UserError
from model_core.inference import Segmenter
from model_core.metrics import dice
from model_core.networks import NETWORKS, build_network
from model_core.networks.ensemble import Ensemble
from model_core.training.fine_tuning import weighted_mean
from model_core.training.loop import TrainingSettings, train
from model_core.weights import load_weights, save_weights

SIDE = 16
TISSUES = (1, 2, 3)
OLD_SITE = ([0.0, 1.0, 2.0, 3.0], [0.0, 3.0, 1.0, 2.0])  # T1 and T2 of background, CSF, gray and white matter
NEW_SITE = ([0.0, 1.0, 2.0, 1.5], [0.0, 3.0, 1.0, 3.0])


@pytest.fixture(autouse=True)
def _tiny_network(monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", TinyNetwork)


class Bands:
    """Windows of bands, one a class in random order, that a site shows with intensities of its own and little noise."""

    def __init__(self, site=OLD_SITE, seed=0):
        self.site, self.seed = site, seed

    def pair(self, number):
        rng = np.random.default_rng([self.seed, number])
        labels = np.repeat(rng.permutation(4), SIDE // 4).astype(np.uint8)[:, None, None] * np.ones(
            (1, SIDE, SIDE), np.uint8
        )
        t1, t2 = (
            (np.choose(labels, means) + rng.normal(scale=0.1, size=labels.shape) * (labels > 0)).astype(np.float32)
            for means in self.site
        )
        return LabelledPair("bands", t1, t2, labels)

    def batch(self, iteration, size):
        pairs = [self.pair(iteration * size + number) for number in range(size)]
        return np.stack([np.stack([pair.t1, pair.t2]) for pair in pairs]), np.stack([pair.labels for pair in pairs])


def tiny_settings(**changes):
    common = {"network": "tiny", "window": SIDE, "batch": 2, "iterations": 12, "log_every": 4, "checkpoint_every": 5}
    return TrainingSettings(**common | {"device": "cpu", "attention_dropout": 0.0, "output_dropout": 0.25} | changes)


@pytest.fixture
def initial(tmp_path):
    torch.manual_seed(3)
    path = tmp_path / "initial.safetensors"
    save_weights(path, unsettle(build_network("tiny")), {"title": "Tiny weights", "window": SIDE})
    return path


class TestMean:
    def test_a_quarter_of_2_and_three_quarters_of_4_are_3_and_a_half_in_weights_and_running_statistics(self):
        networks = [build_network("tiny"), build_network("tiny")]
        for network, value in zip(networks, (2, 4), strict=True):
            for tensor in network.state_dict().values():
                tensor.fill_(value)
        mean = weighted_mean(networks[0].state_dict(), networks[1], 0.25).state_dict()
        counters = {name for name in mean if name.endswith("num_batches_tracked")}
        assert {float(value) for name in mean.keys() - counters for value in mean[name].flatten()} == {3.5}
        assert {name.rpartition(".")[2] for name in mean} > {"weight", "running_mean", "running_var"}
        assert counters
        assert {int(mean[name]) for name in counters} == {4}
        assert {float(value) for tensor in networks[1].state_dict().values() for value in tensor.flatten()} == {4.0}

    def test_a_run_saves_the_mean_of_what_it_began_with_and_what_it_came_to(self, initial, tmp_path):
        whole = load_file(train(tiny_settings(), Bands(), tmp_path / "whole", initial_weights=initial))
        shared = load_file(
            train(tiny_settings(keep_initial=0.25), Bands(), tmp_path / "shared", initial_weights=initial)
        )
        before = load_file(initial)
        for name, tensor in shared.items():
            if tensor.is_floating_point():
                assert not torch.equal(whole[name], before[name])
                torch.testing.assert_close(tensor, 0.25 * before[name] + 0.75 * whole[name])
            else:
                assert torch.equal(tensor, whole[name])

    def test_what_is_validated_is_what_is_saved(self, initial, tmp_path):
        pair = Bands(NEW_SITE).pair(7)
        settings = tiny_settings(keep_initial=0.5, validation_step=SIDE)
        path = train(settings, Bands(NEW_SITE), tmp_path / "run", initial_weights=initial, validation_pairs=[pair])
        network, card = load_weights(path)
        labels = Segmenter(network, window=SIDE, device="cpu").segment(pair.t1, pair.t2, step=SIDE).labels
        scores = [float(dice(labels == tissue, pair.labels == tissue)) for tissue in TISSUES]
        assert [card["validation"]["dice"][key] for key in ("csf", "gm", "wm")] == pytest.approx(scores, abs=1e-4)

    def test_the_members_of_an_ensemble_are_trained_and_averaged_together(self, tmp_path):
        members = [trained("tiny", seed=seed) for seed in (1, 2)]
        save_weights(tmp_path / "initial.safetensors", Ensemble(members), {"window": SIDE})
        path = train(
            tiny_settings(iterations=2, keep_initial=0.5), Bands(), tmp_path / "run",
            initial_weights=tmp_path / "initial.safetensors",
        )  # fmt: skip
        network, card = load_weights(path)
        assert card["members"] == 2
        for before, after in zip(members, network.members, strict=True):
            difference = (after.stem.weight - before.stem.weight).abs().max()
            assert 0 < difference < 2e-3  # Adam's two steps of 1e-3 at most, and the half of them

    def test_without_initial_weights_there_is_nothing_to_keep(self, tmp_path):
        with pytest.raises(UserError, match=r"--keep-initial is 0\.5 and there are no initial weights.*give"):
            train(tiny_settings(keep_initial=0.5), Bands(), tmp_path)


class TestResume:
    def test_a_run_that_was_stopped_goes_on_to_the_weights_of_an_unbroken_one(self, initial, tmp_path):
        settings = tiny_settings(keep_initial=0.5, schedule="cosine", warmup=3)
        whole = train(settings, Bands(), tmp_path / "whole", initial_weights=initial)
        asked = iter([False] * 7 + [True] * 99)
        train(settings, Bands(), tmp_path / "broken", initial_weights=initial, should_stop=lambda: next(asked))
        assert load_weights(tmp_path / "broken" / "weights.safetensors")[1]["iterations"] < 12
        broken = train(settings, Bands(), tmp_path / "broken", initial_weights=initial, resume=True)
        first, second = load_file(whole), load_file(broken)
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_another_share_is_refused(self, initial, tmp_path):
        train(tiny_settings(iterations=1, keep_initial=0.5), Bands(), tmp_path / "run", initial_weights=initial)
        with pytest.raises(UserError, match=r"--keep-initial was 0\.5 and is 0\.25"):
            train(
                tiny_settings(iterations=1, keep_initial=0.25), Bands(), tmp_path / "run", initial_weights=initial,
                resume=True,
            )  # fmt: skip


def test_another_site_gains_and_the_old_one_keeps_its_dice(tmp_path):
    settings = tiny_settings(iterations=100, learning_rate=1e-2, output_dropout=0.0)
    old = train(settings, Bands(), tmp_path / "old")
    settings = tiny_settings(iterations=60, learning_rate=1e-2, output_dropout=0.0, keep_initial=0.5)
    new = train(settings, Bands(NEW_SITE, seed=1), tmp_path / "new", initial_weights=old)
    before, after = ({site: mean_dice(path, at) for site, at in SITES.items()} for path in (old, new))
    print(before, after)
    assert before["new"] < 0.9
    assert after["new"] > before["new"] + 0.05
    assert after["old"] > before["old"] - 0.005


SITES = {"old": OLD_SITE, "new": NEW_SITE}


def mean_dice(weights, site):
    """Mean Dice of the tissues in eight windows that no training sees."""
    segmenter = Segmenter(load_weights(weights)[0], window=SIDE, device="cpu")
    pairs = [Bands(site, seed=9).pair(number) for number in range(8)]
    maps = [segmenter.segment(pair.t1, pair.t2, step=SIDE).labels for pair in pairs]
    return np.mean([dice(m == t, p.labels == t) for m, p in zip(maps, pairs, strict=True) for t in TISSUES])
