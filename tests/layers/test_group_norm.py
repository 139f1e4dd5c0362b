"""Group norm in channels_last: torch's own in contiguous tensors, with its gradients, at any size and precision."""

import copy

import pytest
import torch

from pipeline.layers import group_norm
from pipeline.layers.group_norm import GroupNorm

CL = torch.channels_last
TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.bfloat16: 2e-2}


def norm(groups, channels, inplace=False):
    torch.manual_seed(0)
    layer = GroupNorm(groups, channels, inplace)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    return layer


@pytest.fixture(params=[0, 10**9], ids=["batch norms", "contiguous copies"])
def either_way(monkeypatch, request):
    monkeypatch.setattr(group_norm, "_LEAST_VALUES", request.param)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize(("channels", "groups"), [(8, 4), (8, 8), (8, 1), (6, 2), (64, 2)])
def test_output_and_gradients_are_torchs(either_way, channels, groups, batch, dtype):
    layer = norm(groups, channels)
    layer = layer.double() if dtype is torch.float64 else layer
    x = (2 * torch.randn(batch, channels, 9, 7) + 1).to(dtype).to(memory_format=CL).requires_grad_()
    y = layer(x)
    cotangent = torch.randn_like(y)
    found = (y, *torch.autograd.grad(y, (x, layer.weight, layer.bias), cotangent))
    exact = copy.deepcopy(layer).double()
    far = x.detach().double().contiguous().requires_grad_()
    expected = torch.group_norm(far, groups, exact.weight, exact.bias, exact.eps)
    wanted = (expected, *torch.autograd.grad(expected, (far, exact.weight, exact.bias), cotangent.double()))
    for got, right in zip(found, wanted, strict=True):
        scale = max(1.0, right.abs().max().item()) if right.numel() else 1.0
        torch.testing.assert_close(got.double(), right, atol=TOLERANCE[dtype] * scale, rtol=TOLERANCE[dtype])
    assert y.dtype is dtype
    assert y.is_contiguous(memory_format=CL) or not batch
    with torch.no_grad():
        torch.testing.assert_close(layer(x), y)


@pytest.mark.parametrize("groups", [2, 4])
def test_second_derivatives(either_way, groups):
    layer, x = norm(groups, 4).double(), torch.randn(2, 4, 3, 2, dtype=torch.double).to(memory_format=CL)
    assert torch.autograd.gradgradcheck(layer, x.requires_grad_(), fast_mode=True)


def test_only_frozen_inputs_are_overwritten(monkeypatch):
    monkeypatch.setattr(group_norm, "_LEAST_VALUES", 0)
    layer = norm(2, 64, inplace=True)
    x = torch.randn(2, 64, 4, 4).to(memory_format=CL)
    before = x.clone()
    y = layer(x)
    assert torch.equal(x, before)
    with torch.inference_mode():
        assert layer(x).data_ptr() == x.data_ptr()
    torch.testing.assert_close(x, y)


def test_traced_norms_are_torchs_operation():
    layer, x = norm(2, 4), torch.randn(2, 4, 3, 3).to(memory_format=CL)
    names = {str(node.target) for node in torch.export.export(layer.eval(), (x,)).graph.nodes if node.op != "output"}
    assert "aten.group_norm.default" in names
    torch.testing.assert_close(torch.func.vmap(layer)(x[:, None])[:, 0], layer(x))
