"""Gradients of grouped dilated convolutions in bfloat16 are those in float32, also where oneDNN's own are wrong."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.layers import DecomposedConv2d, PSConv2d
from pipeline.layers.grouped_dilated import GroupedDilatedConv2d, conv2d, has_wrong_gradient
from pipeline.models.backbones.resnet import FusionBottleneck

CL = torch.channels_last
SIZE = (2, 64, 24, 40)


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape) + shape[0])).bfloat16()


def gradients(layer: nn.Module, dtype: torch.dtype) -> list[torch.Tensor]:
    """Gradients to x and to all parameters, of the same bfloat16 numbers in either type; channels_last."""
    layer = layer.to(dtype).to(memory_format=CL)
    layer.zero_grad()
    x = numbers(*SIZE).to(dtype).contiguous(memory_format=CL).requires_grad_()
    y = layer(x)
    y.backward(numbers(*y.shape).to(dtype))
    return [x.grad.float(), *(parameter.grad.float() for parameter in layer.parameters())]


def layers():
    torch.manual_seed(0)
    for groups in (2, 4, 8, 16, 64):
        yield GroupedDilatedConv2d(64, 64, 3, padding=4, dilation=4, groups=groups)
    yield PSConv2d(64, 64, groups=8)
    yield PSConv2d(64, 64, groups=8, dilations=(2, 2))
    yield PSConv2d(64, 64, groups=2, dilations=(1, 4))
    yield DecomposedConv2d(64, [((3, 3), (2, 2), (2, 2), 32), ((3, 3), (4, 4), (4, 4), 32)], groups=8)


@pytest.mark.parametrize(
    "layer", list(layers()), ids=lambda layer: f"{type(layer).__name__}-{getattr(layer, 'groups', '')}"
)
def test_gradients_in_bfloat16_are_those_in_float32(layer):
    layer.bfloat16()  # both types start from rounded weights
    for found, expected in zip(gradients(layer, torch.bfloat16), gradients(layer, torch.float32), strict=True):
        assert (found - expected).abs().max() < 0.03 * expected.abs().max()


def test_other_convolutions_stay_as_they_are():
    x, weight = numbers(*SIZE).contiguous(memory_format=CL), numbers(64, 8, 3, 3)
    assert has_wrong_gradient(x, weight, 2, 8)
    assert has_wrong_gradient(x, numbers(64, 24, 3, 3), (1, 2), 2)
    assert not has_wrong_gradient(x, weight, 1, 8)
    assert not has_wrong_gradient(x, numbers(64, 16, 3, 3), 2, 4)
    assert not has_wrong_gradient(x, numbers(64, 64, 3, 3), 2, 1)
    assert not has_wrong_gradient(x.float(), weight.float(), 2, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert has_wrong_gradient(x.float(), weight.float(), 2, 8)


def test_values_and_memory_format_are_a_plain_convolutions():
    x, weight = numbers(*SIZE).contiguous(memory_format=CL), numbers(64, 8, 3, 3).requires_grad_()
    y, plain = conv2d(x, weight, None, 1, 2, 2, 8), F.conv2d(x, weight, None, 1, 2, 2, 8)
    assert y.stride() == plain.stride()
    assert (y - plain).abs().max() <= 2**-7 * plain.abs().max()


def test_a_standard_convolution_hands_its_parameters_on():
    conv = nn.Conv2d(8, 16, 3, 2, 4, 4, 4, bias=True)
    state = torch.random.get_rng_state()
    layer = GroupedDilatedConv2d.of(conv)
    assert torch.equal(torch.random.get_rng_state(), state)  # no draw: other weights stay those of their seed
    assert layer.weight is conv.weight
    assert layer.bias is conv.bias
    x = torch.randn(1, 8, 9, 9)
    assert torch.equal(layer(x), conv(x))
    assert repr(layer)[len("GroupedDilated") :] == repr(conv)


def test_dilated_blocks_with_groups_have_it():
    block = FusionBottleneck(64, 16, groups=4, base_width=64, dilation=2)
    assert isinstance(block.conv2, GroupedDilatedConv2d)
    assert type(FusionBottleneck(64, 16, dilation=2).conv2) is nn.Conv2d
    assert type(FusionBottleneck(64, 16, groups=4, base_width=64).conv2) is nn.Conv2d
