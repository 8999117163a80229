"""The form of a network that is rewritten for inference: the training form's numbers, by the paths made for speed."""

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from trained_networks import trained

from model_core.networks import NETWORKS
from model_core.networks.fused import fused, has_fused_form
from model_core.networks.fused_layers import Deconvolution, attend_scaled

FLASH = "aten::_scaled_dot_product_flash_attention_for_cpu"


@pytest.mark.parametrize("name", NETWORKS)
def test_probabilities_equal_those_of_the_training_form(name):
    network = trained(name)
    windows = torch.randn(2, 2, 16, 24, 16)
    with torch.inference_mode():
        expected = network(windows)
        found = fused(network)(windows)
        one_by_one = torch.cat([fused(network)(window[None]) for window in windows])
    assert expected.std() > 0.05
    torch.testing.assert_close(found, expected, atol=3e-5, rtol=1e-4)
    torch.testing.assert_close(found.softmax(1), expected.softmax(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(one_by_one, found, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["nonlocal_unet", "dual_aggregation", "cc_3d_fcn"])
def test_the_network_and_the_windows_stay_as_they_were(name):
    network, windows = trained(name).train(), torch.randn(1, 2, 16, 16, 16)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    given = windows.clone()
    with torch.inference_mode():
        fused(network)(windows)
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert torch.equal(windows, given)


def test_another_class_of_network_is_refused():
    assert not has_fused_form(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="Linear has no inference form"):
        fused(nn.Linear(2, 2))


@pytest.mark.parametrize("kernel", [3, 4])
def test_deconvolutions_by_phases_equal_torch_s(kernel):
    torch.manual_seed(0)
    padding = {"output_padding": 1} if kernel == 3 else {}
    conv = nn.ConvTranspose3d(5, 6, kernel, stride=2, padding=1, **padding)
    x = torch.randn(2, 5, 3, 4, 6)
    with torch.inference_mode():
        torch.testing.assert_close(Deconvolution.of(conv)(x), conv(x), atol=1e-5, rtol=1e-5)


def test_attention_never_holds_the_matrix_of_weights():
    with torch.inference_mode(), profile(activities=[ProfilerActivity.CPU]) as trace:
        fused(trained("nonlocal_unet"))(torch.randn(1, 2, 16, 16, 16))
    calls = {event.key: event.count for event in trace.key_averages()}
    assert calls[FLASH] == 3
    assert not any("attention_math" in name for name in calls)


def test_attention_refuses_tensors_that_would_take_the_slow_path():
    query = torch.randn(1, 1, 8, 4)
    with pytest.raises(ValueError, match=r"key of shape \(1, 1, 8, 4\) is not contiguous"):
        attend_scaled(query, query.transpose(2, 3).contiguous().transpose(2, 3), query)
