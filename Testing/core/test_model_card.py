"""The card of a weights file, read without torch: the same card, and the same sentences for what is no such file."""

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file
from worker_client import write_weights

from model_core.errors import UserError
from model_core.model_card import CARD_KEY, DEFAULT_WEIGHTS, read_card
from model_core.weights import load_weights


@pytest.fixture
def saved(tmp_path):
    return write_weights(tmp_path / "weights.safetensors", steps=12, data="synthetic ×10³")


def sentences(path):
    """What the reader of the card and the reader of the weights say of a file."""
    said = []
    for read in (read_card, load_weights):
        with pytest.raises(UserError) as caught:
            read(path)
        said.append(str(caught.value))
    return said


def with_header(path, header):
    """Write a safetensors file of this header (bytes) and 8 bytes of data."""
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    return path


def test_the_card_is_that_of_the_weights(saved):
    card = read_card(saved)
    assert card == load_weights(saved)[1]
    assert (card["network"], card["window"], card["steps"], card["data"]) == ("model2", 16, 12, "synthetic ×10³")


def test_the_default_weights_have_one():
    assert read_card(DEFAULT_WEIGHTS)["network"] == "fast_unet"


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    assert sentences(tmp_path / "none.safetensors")[0].endswith(
        "none.safetensors does not exist; a .safetensors file was expected; check the path."
    )
    assert "is a folder" in sentences(tmp_path)[0]


def test_a_file_that_may_not_be_read_is_called_so(saved, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("model_core.model_card.open", refuse, raising=False)
    said = sentences(saved)
    assert said[0] == said[1]
    assert "weights.safetensors may not be read" in said[0]


@pytest.mark.parametrize("kind", ["zip", "old torch", "pickle"])
def test_pickled_checkpoints_are_refused(kind, tmp_path):
    path = tmp_path / "checkpoint.pt"
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"state": 1}))
    else:
        torch.save({"state": torch.zeros(2)}, path, _use_new_zipfile_serialization=kind == "zip")
    first, second = sentences(path)
    assert first == second
    assert "is a pickled checkpoint" in first


@pytest.mark.parametrize("length", [0, 5, 8, 9, 100, 100_000, -1])
def test_a_file_that_was_cut_short_is_called_damaged(saved, length):
    saved.write_bytes(saved.read_bytes()[:length])
    first, second = sentences(saved)
    assert first == second
    assert "is damaged, cut short or not a safetensors file" in first


@pytest.mark.parametrize(
    "header",
    [
        b"{broken",
        b"[1, 2]",
        b'"text"',
        b"[" * 100_000,
        b"\xff\xfe{}",
        b'{"a": 3}',
        b'{"a": {}}',
        b'{"__metadata__": 7}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 9000]}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": "all"}}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 8]}}',
    ],
)
def test_a_header_that_is_none_is_called_damaged(header, tmp_path):
    first, second = sentences(with_header(tmp_path / "w.safetensors", header))
    assert first == second
    assert "is damaged" in first


def test_a_header_that_claims_to_be_larger_than_the_file_takes_no_memory(tmp_path):
    path = tmp_path / "w.safetensors"
    for claimed in (2**63, 10**8 + 1, 30):
        path.write_bytes(claimed.to_bytes(8, "little") + b'{"a": 1}')
        assert "is damaged" in sentences(path)[0]


def test_weights_of_somebody_else_carry_no_card(saved):
    save_file(load_file(saved), saved, {"format": "pt"})
    first, second = sentences(saved)
    assert first == second
    assert "carries no model card of this program" in first
    save_file(load_file(saved), saved)
    assert sentences(saved) == [first, second]


@pytest.mark.parametrize("card", ["{broken", "[1, 2]", "null"])
def test_a_damaged_card_is_called_so(saved, card):
    save_file(load_file(saved), saved, {CARD_KEY: card})
    first, second = sentences(saved)
    assert first == second
    assert "The model card in the weights file" in first


def test_a_card_that_is_no_text_is_called_damaged(tmp_path):
    header = {"__metadata__": {CARD_KEY: 5}, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}
    path = with_header(tmp_path / "w.safetensors", json.dumps(header).encode())
    with pytest.raises(UserError, match="is damaged"):
        read_card(path)
