"""Packed kernels of PSConv: kept without gradients, and made anew whenever the weight is another."""

import copy
import pickle

import pytest
import torch

from pipeline.layers import PSConv2d
from pipeline.layers.psconv_grouped import masked_conv2d


def expected(layer, x):
    return masked_conv2d(x, layer.weight, layer._lattice.masks(), (1, 2, 4), layer.stride[0], 1)


def changes(layer):
    def step():
        optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
        layer.weight.grad = torch.ones_like(layer.weight)
        optimizer.step()

    def replace():
        layer.weight = torch.nn.Parameter(torch.randn_like(layer.weight))

    def assign():
        layer.weight.data = torch.randn_like(layer.weight)

    def load():
        layer.load_state_dict({"weight": torch.randn_like(layer.weight)})

    def set_values():
        with torch.no_grad():
            layer.weight.mul_(2)

    return {"optimiser": step, "loading": load, "parameter": replace, "data": assign, "in place": set_values}


@pytest.mark.parametrize("change", ["optimiser", "loading", "parameter", "data", "in place"])
@torch.no_grad()
def test_a_changed_weight_is_seen(change):
    layer, x = PSConv2d(32, 32), torch.randn(2, 32, 6, 5)
    for _ in range(2):
        torch.testing.assert_close(layer(x), expected(layer, x), atol=1e-4, rtol=1e-4)
        changes(layer)[change]()
    torch.testing.assert_close(layer(x), expected(layer, x), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_kernels_are_packed_once_for_a_type(monkeypatch):
    layer, x = PSConv2d(96, 96), torch.randn(1, 96, 6, 5)
    packed, pack = [], layer._on_cpu.pack
    monkeypatch.setattr(layer._on_cpu, "pack", lambda weight: packed.append(weight.dtype) or pack(weight))
    for _ in range(3):
        layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(3):
            torch.testing.assert_close(layer(x).float(), expected(layer, x).float(), atol=0.1, rtol=0.1)
    assert packed == [torch.float32, torch.bfloat16]


@torch.no_grad()
def test_other_weights_put_in_by_functional_call_are_used():
    layer, x = PSConv2d(32, 32), torch.randn(1, 32, 5, 5)
    first = layer(x)
    for factor in (2.0, 3.0, 4.0):
        found = torch.func.functional_call(layer, {"weight": factor * layer.weight}, (x,))
        torch.testing.assert_close(found, factor * first, atol=1e-4, rtol=1e-4)
    with torch.inference_mode():
        made = PSConv2d(32, 32)  # its tensors have no version counter
        torch.testing.assert_close(made(x), expected(made, x), atol=1e-4, rtol=1e-4)


def test_training_copies_and_pickles_keep_nothing():
    layer, x = PSConv2d(32, 32), torch.randn(1, 32, 5, 5)
    with torch.no_grad():
        layer(x)
    assert layer._on_cpu.kept._value is not None
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert other._on_cpu.kept._value is None
    layer(x)
    assert layer._on_cpu.kept._value is None
