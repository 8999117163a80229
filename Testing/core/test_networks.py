"""The networks: the papers' parameter counts, every window side, and attention that never holds its matrix."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model_core.networks import NETWORKS, build_network, count_parameters, set_dropout
from model_core.networks.attention import GlobalAggregation, attend
from model_core.networks.dropout_attention import dropout_attention
from model_core.networks.dual_aggregation import channel_attention

PARAMETERS = {
    "nonlocal_unet": 1_821_124,  # Wang et al. 2020, Table 4
    "model1": 1_883_332,
    "model2": 1_894_596,
    "model3": 2_136_772,
    "model4": 2_197_444,
    "model5": 1_518_276,
    "cc_3d_fcn": 2_534_276,  # Wang et al. 2020, Table 4
    "dual_aggregation": 2_252_228,
    "dual_aggregation_without_attention": 2_591_300,
    "dual_aggregation_without_dcp": 1_555_524,
    "fast_unet": 1_886_244,  # added up by hand, layer by layer
}
REPOSITORY = Path(__file__).resolve().parents[2]


def test_these_are_all_networks():
    assert list(NETWORKS) == list(PARAMETERS)


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_are_the_ones_of_the_papers(name):
    assert sum(p.numel() for p in build_network(name).parameters() if p.requires_grad) == PARAMETERS[name]
    assert count_parameters(build_network(name)) == PARAMETERS[name]


def test_model2_is_the_baseline_of_the_dual_aggregation_network():
    """Its paper's 3D-UNet has neither pyramids nor attention."""
    baseline = NETWORKS["dual_aggregation"]("baseline", 2, 4, pyramids=False, attention=False)
    assert count_parameters(baseline) == PARAMETERS["model2"]


@pytest.mark.parametrize("name", PARAMETERS)
def test_every_network_runs_forward_and_backward(name):
    network = build_network(name)
    x = torch.randn(2, 2, 16, 16, 16)
    logits = network(x)
    assert logits.shape == (2, 4, 16, 16, 16)
    F.cross_entropy(logits, torch.randint(4, (2, 16, 16, 16))).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("side", [24, 32])
@pytest.mark.parametrize("name", ["nonlocal_unet", "cc_3d_fcn", "dual_aggregation"])
def test_the_papers_networks_run_at_the_papers_window_sides(name, side):
    network = build_network(name)
    logits = network(torch.randn(1, 2, side, side, side))
    assert logits.shape == (1, 4, side, side, side)
    logits.square().mean().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())


@pytest.mark.parametrize("side", [40, 48])
def test_shapes_at_the_large_window_sides(side):
    """On the meta device: every layer's shapes, without the arithmetic."""
    for name in PARAMETERS:
        with torch.device("meta"):
            network = build_network(name).eval()
            assert network(torch.empty(1, 2, side, side, side)).shape == (1, 4, side, side, side), name


def test_windows_need_not_be_cubes_nor_channels_two_and_four():
    network = build_network("nonlocal_unet", in_channels=1, num_classes=3)
    assert network(torch.randn(1, 1, 8, 12, 16)).shape == (1, 3, 8, 12, 16)


def test_a_built_network_says_what_it_is():
    network = build_network("cc_3d_fcn", in_channels=3, num_classes=5)
    assert (network.name, network.in_channels, network.num_classes) == ("cc_3d_fcn", 3, 5)
    assert network.window_multiple == 8
    multiples_of_8 = [name for name in PARAMETERS if build_network(name).window_multiple == 8]
    assert multiples_of_8 == ["cc_3d_fcn", "fast_unet"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("nonlocal_unet", (1, 2, 16, 18, 16)),
        ("cc_3d_fcn", (1, 2, 16, 16, 20)),
        ("dual_aggregation", (1, 1, 16, 16, 16)),
        ("model1", (2, 16, 16, 16)),
        ("model5", (1, 2, 0, 16, 16)),
    ],
)
def test_an_input_that_does_not_fit_is_named_with_its_shape(name, shape):
    with pytest.raises(ValueError, match=f"input has shape {str(shape)[:-1]}".replace("(", r"\(")):
        build_network(name)(torch.zeros(shape))


def test_an_unknown_name_is_answered_with_the_names_there_are():
    with pytest.raises(ValueError, match=r"no network is named 'unet'; the names are nonlocal_unet, model1"):
        build_network("unet")


def test_the_same_seed_builds_the_same_network():
    weights = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        weights.append(torch.nn.utils.parameters_to_vector(build_network("nonlocal_unet").parameters()))
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_fresh_network_starts_from_even_probabilities(name):
    """Cross entropy near log 4, whatever the labels: the first steps are not spent on undoing the first weights."""
    torch.manual_seed(0)
    logits = build_network(name)(torch.randn(2, 2, 16, 16, 16))
    loss = F.cross_entropy(logits, torch.randint(4, (2, 16, 16, 16)))
    assert loss.item() == pytest.approx(math.log(4), abs=0.05)


def test_batch_statistics_run_at_the_published_momentum():
    network = build_network("model2")
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm3d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.003, 1e-5)}


def test_model1_adds_no_shortcut_and_model2_does():
    without, with_shortcuts = (build_network(name) for name in ("model1", "model2"))
    x = torch.randn(1, 32, 8, 8, 8)
    for network, added in ((without, torch.zeros_like(x)), (with_shortcuts, x)):
        block = network.decode_2.eval()
        torch.nn.init.zeros_(block.conv_2.weight)
        assert torch.equal(block(x), added)


# ---- attention ----


def explicit_attention(query, key, value, weights_kept=1.0):
    weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(query.shape[3]), dim=3) * weights_kept
    return weights @ value


def test_global_aggregation_is_the_equations_of_the_paper():
    """Wang et al. 2020, equations 1 to 3, with numpy and two heads of three channels each."""
    torch.manual_seed(0)
    block = GlobalAggregation(5, 6, heads=2).eval()
    x = torch.randn(1, 5, 2, 3, 2)
    positions = x.numpy().reshape(5, 12).T
    q, k, v = (
        positions @ conv.weight.detach().numpy().reshape(6, 5).T + conv.bias.detach().numpy()
        for conv in (block.query, block.key, block.value)
    )
    heads = []
    for head in (slice(0, 3), slice(3, 6)):
        scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(3))
        heads.append(scores / scores.sum(axis=1, keepdims=True) @ v[:, head])
    out = np.concatenate(heads, axis=1) @ block.output.weight.detach().numpy().reshape(6, 6).T
    out += block.output.bias.detach().numpy()
    np.testing.assert_allclose(block(x).detach().numpy()[0].reshape(6, 12).T, out, atol=1e-5)


def test_channel_attention_is_a_softmax_over_the_products_of_the_maps():
    x = torch.randn(2, 3, 2, 2, 4)
    for item, result in zip(x.numpy(), channel_attention(x).numpy(), strict=True):
        maps = item.reshape(3, 16)
        weights = np.exp(maps @ maps.T / 4)
        weights /= weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(result.reshape(3, 16), weights @ maps, atol=1e-5)


def test_attention_refuses_tensors_that_would_take_the_slow_path():
    tokens = torch.randn(1, 1, 8, 4)
    with pytest.raises(ValueError, match=r"key of shape \(1, 1, 8, 4\) is not contiguous"):
        attend(tokens, torch.randn(1, 1, 4, 8).transpose(2, 3), tokens)


@pytest.mark.parametrize("name", ["nonlocal_unet", "dual_aggregation"])
@pytest.mark.parametrize("training", [False, True])
def test_attention_without_dropout_takes_the_flash_kernel_in_both_directions(name, training):
    network = build_network(name).train(training)
    set_dropout(network, attention=0.0)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loss = network(torch.randn(1, 2, 16, 16, 16)).square().mean()
        if training:
            loss.backward()
    calls = {event.key: event.count for event in profile.key_averages() if "scaled_dot_product" in event.key}
    attentions = {"nonlocal_unet": 3, "dual_aggregation": 2}[name]
    assert calls["aten::_scaled_dot_product_flash_attention_for_cpu"] == attentions
    assert "aten::_scaled_dot_product_attention_math" not in calls
    if training:
        assert calls["aten::_scaled_dot_product_flash_attention_for_cpu_backward"] == attentions


def test_a_window_of_32_is_segmented_without_the_matrix_of_weights():
    """The last up-sampling's 32768×4096 weights would take 512 MB; the whole forward pass stays far below."""
    program = """
import resource, torch
from model_core.networks import build_network
torch.set_num_threads(1)
network = build_network("nonlocal_unet").eval()
with torch.inference_mode():
    network(torch.randn(1, 2, 8, 8, 8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network(torch.randn(1, 2, 32, 32, 32))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=120
    )
    assert float(result.stdout) < 200  # MB


@pytest.mark.parametrize("dropout", [0.5, 0.3, 0.9])
@pytest.mark.parametrize("block_elements", [40, 1 << 19])
def test_dropout_attention_is_explicit_attention_with_the_same_mask(monkeypatch, dropout, block_elements):
    monkeypatch.setattr("model_core.networks.dropout_attention.BLOCK_ELEMENTS", block_elements)
    torch.manual_seed(1)
    query, key, value = (torch.randn(2, 2, n, 5, dtype=torch.float64, requires_grad=True) for n in (13, 11, 11))
    torch.manual_seed(2)
    out = dropout_attention(query, key, value, dropout)
    # Values that are the unit matrix give the weights themselves, with zeros where they were dropped.
    torch.manual_seed(2)
    weights = dropout_attention(query, key, torch.eye(11, dtype=torch.float64).expand(2, 2, 11, 11), dropout)
    kept = round((1 - dropout) * 256) / 256
    expected = explicit_attention(query, key, value, (weights > 0).double().detach() / kept)
    assert torch.allclose(out, expected, atol=1e-12)
    direction = torch.randn_like(out)
    gradients = torch.autograd.grad(out, (query, key, value), direction)
    for gradient, wanted in zip(gradients, torch.autograd.grad(expected, (query, key, value), direction), strict=True):
        assert torch.allclose(gradient, wanted, atol=1e-12)


def test_the_gradients_of_dropout_attention_pass_gradcheck():
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, n, 3, dtype=torch.float64, requires_grad=True) for n in (6, 5, 5)]

    def seeded(query, key, value):
        torch.manual_seed(5)
        return dropout_attention(query, key, value, 0.4)

    assert torch.autograd.gradcheck(seeded, inputs)


def test_dropout_attention_in_float32_is_as_exact_as_explicit_attention():
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 1, n, 32, requires_grad=True) for n in (3000, 500, 500))
    torch.manual_seed(1)
    out = dropout_attention(query, key, value, 0.5)
    torch.manual_seed(1)
    weights = dropout_attention(query, key, torch.eye(500).expand(1, 1, 500, 500), 0.5)
    expected = explicit_attention(query, key, value, (weights > 0).float().detach() * 2)
    assert torch.allclose(out, expected, atol=2e-6)
    gradients = torch.autograd.grad(out.square().sum(), (query, key, value))
    for gradient, wanted in zip(
        gradients, torch.autograd.grad(expected.square().sum(), (query, key, value)), strict=True
    ):
        assert (gradient - wanted).abs().max() < 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.75])
def test_dropout_attention_drops_the_asked_share_independently(dropout):
    torch.manual_seed(0)
    query, key = torch.zeros(1, 1, 400, 8), torch.zeros(1, 1, 512, 8)
    kept = (dropout_attention(query, key, torch.eye(512).expand(1, 1, 512, 512), dropout)[0, 0] > 0).float()
    # 204,800 weights: the share's standard error is 0.0011 at most, and 1/512 is the rate's rounding.
    assert kept.mean().item() == pytest.approx(1 - dropout, abs=0.0055 + 1 / 512)
    rows, columns = kept.mean(dim=1), kept.mean(dim=0)
    assert rows.std().item() == pytest.approx(math.sqrt(dropout * (1 - dropout) / 512), rel=0.2)
    assert columns.std().item() == pytest.approx(math.sqrt(dropout * (1 - dropout) / 400), rel=0.2)


def test_training_with_dropout_is_repeated_by_torch_s_seed():
    network = build_network("nonlocal_unet")
    x = torch.randn(1, 2, 8, 8, 8)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(network(x))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize("name", ["nonlocal_unet", "dual_aggregation"])
def test_dropout_starts_at_one_half_and_can_be_changed_later(name):
    network = build_network(name)
    attentions = [module for module in network.modules() if hasattr(module, "attention_dropout")]
    assert {module.attention_dropout for module in attentions} == {0.5}
    assert network.head.dropout.p == 0.5
    set_dropout(network, attention=0.0)
    assert {module.attention_dropout for module in attentions} == {0.0}
    assert network.head.dropout.p == 0.5
    set_dropout(network, output=0.25)
    assert network.head.dropout.p == 0.25
    set_dropout(network, attention=0.0, output=0.0)
    x = torch.randn(1, 2, 8, 8, 8)
    assert torch.equal(network(x), network(x))
    with pytest.raises(ValueError, match="attention dropout rate is 1"):
        set_dropout(network, attention=1)


def test_dropout_rates_can_be_given_at_building():
    network = NETWORKS["nonlocal_unet"]("nonlocal_unet", 2, 4, attention_dropout=0.1, output_dropout=0.2)
    assert network.up_2.aggregate.attention_dropout == 0.1
    assert network.head.dropout.p == 0.2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none")
@pytest.mark.parametrize("name", PARAMETERS)
def test_every_network_trains_on_a_cuda_gpu_in_mixed_precision(name):
    network = build_network(name).cuda()
    x = torch.randn(2, 2, 32, 32, 32, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    with torch.autocast("cuda", torch.float16):
        loss = network(x).float().square().mean()
    loss.backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in network.parameters())
