"""Weights on disk: what goes in comes out, and every file that is not ours is told from it in a sentence."""

import json
import os
import pickle
import stat

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model_core.errors import UserError
from model_core.networks import NETWORKS, build_network
from model_core.weights import load_weights, save_weights


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = build_network("nonlocal_unet")
    network(torch.randn(2, 2, 8, 8, 8))  # moves the running statistics away from their first values
    return network


@pytest.fixture
def saved(network, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_weights(path, network, {"steps": 12, "data": "synthetic", "scores": {"csf": 0.91}})
    return path


def metadata_of(path):
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def rewrite(path, *, tensors=None, card=None, metadata=None):
    """The file again with other tensors, or a changed card."""
    tensors = load_file(path) if tensors is None else tensors
    metadata = metadata_of(path) if metadata is None else metadata
    if card:
        (key,) = metadata
        metadata = {key: json.dumps(json.loads(metadata[key]) | card)}
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_loaded_network_answers_as_the_saved_one(name, tmp_path):
    network = build_network(name).eval()
    save_weights(tmp_path / "w.safetensors", network, {})
    loaded, card = load_weights(tmp_path / "w.safetensors")
    x = torch.randn(1, 2, 8, 8, 8)
    assert torch.equal(loaded(x), network(x))
    assert not loaded.training
    assert loaded.name == card["network"] == name


def test_running_statistics_travel_and_the_loaded_network_can_be_trained(network, saved):
    loaded, _ = load_weights(saved)
    assert torch.equal(loaded.head.activate[0].running_var, network.head.activate[0].running_var)
    assert not torch.equal(loaded.head.activate[0].running_var, torch.ones(32))
    loaded.train()(torch.randn(1, 2, 8, 8, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in loaded.parameters())


def test_the_card_keeps_what_was_given_and_adds_what_is_known(saved):
    _, card = load_weights(saved)
    assert (card["steps"], card["data"], card["scores"]) == (12, "synthetic", {"csf": 0.91})
    assert (card["network"], card["in_channels"], card["num_classes"]) == ("nonlocal_unet", 2, 4)
    assert card["parameters"] == 1_821_124
    assert card["window"] == 32
    assert "per window and modality" in card["normalisation"]
    assert card["versions"]["torch"] == torch.__version__
    assert card["date"][:2] == "20"


def test_a_window_that_is_given_is_kept(network, tmp_path):
    save_weights(tmp_path / "w.safetensors", network, {"window": 24})
    assert load_weights(tmp_path / "w.safetensors")[1]["window"] == 24


def test_a_network_of_other_channels_is_rebuilt_as_it_was(tmp_path):
    save_weights(tmp_path / "w.safetensors", build_network("model2", in_channels=1, num_classes=3), {})
    loaded, _ = load_weights(tmp_path / "w.safetensors")
    assert loaded(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


def test_loading_draws_no_random_numbers(saved):
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    load_weights(saved)
    assert torch.equal(torch.rand(3), expected)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(network, saved, monkeypatch):
    before = saved.read_bytes()

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(UserError, match=r"disk is full"):
        save_weights(saved, network, {"steps": 13})
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_a_card_that_is_no_json_leaves_no_file(network, tmp_path):
    with pytest.raises(TypeError):
        save_weights(tmp_path / "w.safetensors", network, {"steps": object()})
    assert not os.listdir(tmp_path)


def test_others_may_read_the_file_as_the_umask_allows(network, tmp_path):
    before = os.umask(0o022)
    try:
        save_weights(tmp_path / "w.safetensors", network, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == 0o644


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.safetensors does not exist; .* check the path"):
        load_weights(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="is a folder"):
        load_weights(tmp_path)


class Bomb:
    """Unpickling it makes a file: proof that something was run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("kind", ["zip", "pickle", "old torch"])
def test_a_pickled_checkpoint_is_refused_and_never_opened(kind, tmp_path):
    path, proof = tmp_path / "checkpoint.pt", tmp_path / "proof"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Bomb(proof)))
    else:
        torch.save({"state": Bomb(proof)}, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(UserError, match=r"checkpoint\.pt is a pickled checkpoint .* only \.safetensors is read"):
        load_weights(path)
    assert not proof.exists()


@pytest.mark.parametrize("length", [0, 5, 100, 100_000, -1])
def test_a_file_that_was_cut_short_is_called_damaged(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    with pytest.raises(UserError, match=r"weights\.safetensors is damaged, cut short or not a safetensors file"):
        load_weights(saved)


def test_a_file_of_another_kind_is_called_so(tmp_path):
    path = tmp_path / "notes.safetensors"
    path.write_text("these are no weights " * 50)
    with pytest.raises(UserError, match="not a safetensors file"):
        load_weights(path)


def test_a_header_whose_length_looks_like_a_pickle_is_still_read(saved):
    """The header of a safetensors file may be 0x…80 bytes long, and 0x80 opens a pickle."""
    content = saved.read_bytes()
    length = int.from_bytes(content[:8], "little")
    padding = (0x80 - length) % 0x100
    saved.write_bytes(
        (length + padding).to_bytes(8, "little") + content[8 : 8 + length] + b" " * padding + content[8 + length :]
    )
    assert saved.read_bytes()[:1] == b"\x80"
    assert load_weights(saved)[0].name == "nonlocal_unet"
    saved.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(UserError, match="is damaged"):
        load_weights(saved)


def test_safetensors_of_somebody_else_are_told_from_ours(saved):
    rewrite(saved, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"carries no model card of this program"):
        load_weights(saved)


@pytest.mark.parametrize("card", ["{broken", "[1, 2]"])
def test_a_damaged_card_is_called_so(saved, card):
    (key,) = metadata_of(saved)
    rewrite(saved, metadata={key: card})
    with pytest.raises(UserError, match=r"model card in the weights file .* is damaged"):
        load_weights(saved)


def test_an_unknown_network_is_answered_with_the_known_ones(saved):
    rewrite(saved, card={"network": "vnet"})
    with pytest.raises(UserError, match="names the network 'vnet'; one of nonlocal_unet, model1"):
        load_weights(saved)


@pytest.mark.parametrize("channels", ["two", 0, -1, 2.5, None, True, 10**9])
def test_channels_that_cannot_be_are_refused(saved, channels):
    rewrite(saved, card={"in_channels": channels})
    with pytest.raises(UserError, match=r"input and 4 output channels; whole numbers were expected"):
        load_weights(saved)


def test_tensors_of_another_network_are_refused(saved):
    rewrite(saved, card={"network": "model2"})
    with pytest.raises(UserError, match=r"is not of the network model2 that it names: it (lacks|has) bottom\."):
        load_weights(saved)


def test_a_tensor_of_another_shape_or_kind_is_named(saved):
    tensors = load_file(saved)
    rewrite(saved, tensors=tensors | {"head.conv.bias": torch.zeros(5)})
    with pytest.raises(UserError, match=r"it has head\.conv\.bias of \(5,\) float32 instead of \(4,\) float32"):
        load_weights(saved)
    rewrite(saved, tensors=tensors | {"head.conv.bias": torch.zeros(4, dtype=torch.float16)})
    with pytest.raises(UserError, match=r"it has head\.conv\.bias of \(4,\) float16 instead of \(4,\) float32"):
        load_weights(saved)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_of_a_diverged_training_are_refused(saved, value):
    tensors = load_file(saved)
    tensors["stem.weight"][3, 1, 1, 1, 1] = value
    rewrite(saved, tensors=tensors)
    with pytest.raises(UserError, match=r"values in stem\.weight that are not finite numbers"):
        load_weights(saved)
