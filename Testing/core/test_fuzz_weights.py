"""Damaged weights files and checkpoints are data that cannot be read, never programs: one sentence each."""

import json
import struct

import pytest
import torch
from fuzzing import check_sentence, fenced, fuzz_settings
from hypothesis import given
from hypothesis import strategies as st

from model_core.errors import UserError
from model_core.networks import SegmentationNetwork, build_network
from model_core.training.checkpoints import load_checkpoint, save_checkpoint
from model_core.training.settings import TrainingSettings
from model_core.training.state import begin_training
from model_core.weights import load_weights, save_weights, window_of

LENGTHS = [0, 1, 7, 8, 2**31, 2**32, 2**53, 2**60, 2**63, 2**64 - 1]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8) | st.floats(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=8), values, max_size=3),
    max_leaves=6,
)


class Content(bytes):
    """The bytes of a file; too many to be printed when a test fails."""

    def __repr__(self):
        return f"{len(self)} bytes"


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "good.safetensors"
    save_weights(path, build_network("model5"), {})
    return Content(path.read_bytes())


def header_of(content):
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def with_header(header, tensors, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + tensors


def damaged(draw, content):
    """A weights file whose bytes, length, header or card are not as they were."""
    header, tensors = header_of(content)
    names = [name for name in header if name != "__metadata__"]
    match draw(st.sampled_from(["bytes", "cut", "length", "card", "field", "tensor", "offsets"])):
        case "bytes":
            spoilt = bytearray(content)
            for _ in range(draw(st.integers(1, 5))):
                reach = draw(st.sampled_from([9, 600, 8000]))
                spoilt[draw(st.integers(0, reach))] = draw(st.integers(0, 255))
            return bytes(spoilt)
        case "cut":
            return content[: draw(st.integers(0, len(content)))]
        case "length":
            return with_header(header, tensors, draw(st.sampled_from(LENGTHS)))
        case "card":
            header["__metadata__"] = draw(json_values | st.dictionaries(st.just("infantbrainseg_card"), json_values))
        case "field":
            card = json.loads(header["__metadata__"]["infantbrainseg_card"])
            card[draw(st.sampled_from(["network", "in_channels", "num_classes", "window"]))] = draw(
                json_values | st.sampled_from(["nonlocal_unet", "os.system", "__import__", 64, 2**40, -1])
            )
            header["__metadata__"]["infantbrainseg_card"] = json.dumps(card)
        case "tensor":
            header[draw(st.sampled_from(names))][draw(st.sampled_from(["dtype", "shape"]))] = draw(
                json_values | st.sampled_from(["F64", "I8", "X", [2**40], [2**31, 2**31], [-1], []])
            )
        case "offsets":
            ends = st.sampled_from([0, 4, -1, 2**40, 2**62, len(tensors), len(tensors) + 1])
            header[draw(st.sampled_from(names))]["data_offsets"] = [draw(ends), draw(ends)]
    return with_header(header, tensors)


@fuzz_settings(25)
@given(data=st.data())
def test_damaged_weights_are_loaded_or_refused_in_a_sentence(content, tmp_path, data):
    path = tmp_path / "spoilt.safetensors"
    path.write_bytes(damaged(data.draw, content))
    sentence = None
    try:
        with fenced():
            network, card = load_weights(path)
            assert isinstance(network, SegmentationNetwork)
            assert 0 < window_of(path, card, network) <= 256
    except UserError as error:
        sentence = str(error)
    if sentence:
        check_sentence(sentence)
        assert str(path) in sentence


@pytest.mark.parametrize("length", LENGTHS)
def test_a_header_whose_length_lies_is_refused_before_memory_is_taken(content, tmp_path, length):
    path = tmp_path / "spoilt.safetensors"
    path.write_bytes(struct.pack("<Q", length) + content[8:])
    with fenced(), pytest.raises(UserError, match="damaged, cut short or not a safetensors file"):
        load_weights(path)


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    """A training that has just begun, and its checkpoint."""
    state, _ = begin_training(TrainingSettings(network="model5", window=16, batch=1, device="cpu"), {}, None)
    path = tmp_path_factory.mktemp("run") / "checkpoint.safetensors"
    save_checkpoint(path, state)
    return state, Content(path.read_bytes())


@fuzz_settings(12)
@given(data=st.data())
def test_damaged_checkpoints_are_refused_in_a_sentence(training, tmp_path, data):
    state, whole = training
    path = tmp_path / "checkpoint.safetensors"
    header, tensors = header_of(whole)
    match data.draw(st.sampled_from(["cut", "length", "record", "bytes"])):
        case "cut":
            path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        case "length":
            path.write_bytes(with_header(header, tensors, data.draw(st.sampled_from(LENGTHS))))
        case "record":
            record = json.loads(header["__metadata__"]["training"])
            record[data.draw(st.sampled_from(sorted(record)))] = data.draw(json_values)
            header["__metadata__"]["training"] = json.dumps(record)
            path.write_bytes(with_header(header, tensors))
        case "bytes":
            spoilt = bytearray(whole)
            spoilt[data.draw(st.integers(0, 4000))] = data.draw(st.integers(0, 255))
            path.write_bytes(spoilt)
    random_state = torch.get_rng_state()
    try:
        with fenced():
            load_checkpoint(path, state)
    except UserError as error:
        check_sentence(str(error))
    finally:
        torch.set_rng_state(random_state)
