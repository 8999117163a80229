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
from model_core.networks.ensemble import Ensemble
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


# ---- half precision ----


def test_in_half_precision_a_file_takes_half_the_space_and_is_read_in_full(network, tmp_path):
    sizes = {}
    for half in (False, True):
        save_weights(tmp_path / f"{half}.safetensors", network, {}, half=half)
        sizes[half] = (tmp_path / f"{half}.safetensors").stat().st_size
    assert sizes[True] == pytest.approx(sizes[False] / 2, rel=0.02)
    stored = load_file(tmp_path / "True.safetensors")
    loaded, card = load_weights(tmp_path / "True.safetensors")
    assert card["stored_as"] == "float16"
    assert load_weights(tmp_path / "False.safetensors")[1]["stored_as"] == "float32"
    for name, tensor in network.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == tensor.dtype, name
        if tensor.is_floating_point():
            assert stored[name].dtype == torch.float16, name
            assert torch.equal(found, tensor.half().float()), name
        else:
            assert stored[name].dtype == tensor.dtype, name
            assert torch.equal(found, tensor), name
    assert not torch.equal(loaded.stem.weight, network.stem.weight)  # else equality would say little


def test_saving_in_half_precision_leaves_the_network_as_it_was(network, tmp_path):
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_weights(tmp_path / "w.safetensors", network, {}, half=True)
    for name, tensor in network.state_dict().items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, before[name])


def test_a_file_in_half_precision_that_does_not_say_so_is_refused(network, tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, network, {}, half=True)
    rewrite(path, card={"stored_as": "float32"})
    with pytest.raises(UserError, match=r"float16 instead of .* float32"):
        load_weights(path)


# ---- several networks in one file ----


@pytest.fixture
def ensemble(tmp_path):
    torch.manual_seed(0)
    ensemble = Ensemble([build_network("model2") for _ in range(3)]).eval()
    save_weights(tmp_path / "ensemble.safetensors", ensemble, {"seeds": [1, 2, 3]})
    return ensemble, tmp_path / "ensemble.safetensors"


def test_an_ensemble_comes_back_as_it_was(ensemble):
    ensemble, path = ensemble
    loaded, card = load_weights(path)
    assert isinstance(loaded, Ensemble)
    assert not loaded.training
    assert (card["network"], card["members"], card["parameters"]) == ("model2", 3, 3 * 1_894_596)
    x = torch.randn(1, 2, 8, 8, 8)
    with torch.inference_mode():
        assert torch.equal(loaded(x), ensemble(x))
        for one, other in zip(loaded.members, ensemble.members, strict=True):
            assert torch.equal(one(x), other(x))


def test_an_ensemble_in_half_precision_comes_back_rounded(ensemble, tmp_path):
    ensemble, _ = ensemble
    save_weights(tmp_path / "half.safetensors", ensemble, {}, half=True)
    loaded, _ = load_weights(tmp_path / "half.safetensors")
    for one, other in zip(loaded.members, ensemble.members, strict=True):
        assert torch.equal(one.stem.weight, other.stem.weight.half().float())


def test_one_network_is_its_only_member(saved):
    loaded, card = load_weights(saved)
    assert card["members"] == 1
    assert not isinstance(loaded, Ensemble)
    rewrite(saved, card={"members": None})
    with pytest.raises(UserError, match="names None members"):
        load_weights(saved)


def test_weights_from_before_there_were_ensembles_are_one_network(saved):
    (key,) = metadata_of(saved)
    card = json.loads(metadata_of(saved)[key])
    del card["members"], card["stored_as"]
    rewrite(saved, metadata={key: json.dumps(card)})
    assert load_weights(saved)[0].name == "nonlocal_unet"


@pytest.mark.parametrize("members", [0, -1, 17, 10**9, True, 2.0, "two"])
def test_a_number_of_members_that_cannot_be_is_refused_before_any_is_built(ensemble, members, monkeypatch):
    rewrite(ensemble[1], card={"members": members})
    monkeypatch.setattr("model_core.weights.build_network", None)
    with pytest.raises(UserError, match=f"names {members!r} members; 1 to 16 were expected"):
        load_weights(ensemble[1])


@pytest.mark.parametrize(("members", "difference"), [(1, r"lacks classify|lacks |has "), (2, "has mean"), (4, "lacks")])
def test_another_number_of_members_than_the_file_holds_is_told_in_a_sentence(ensemble, members, difference):
    rewrite(ensemble[1], card={"members": members})
    with pytest.raises(UserError, match=rf"is not of the network model2 that it names: it ({difference})"):
        load_weights(ensemble[1])
