"""PSConv as ordinary convolutions: the same outputs, no zeros multiplied."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from pipeline.layers import PSConv2d
from pipeline.layers.static_psconv import StaticPSConv2d

PATTERNS = [(1, 2), (1, 2, 1, 1), (1, 4, 1, 1), (1, 2, 1, 2), (1, 2, 1, 4), (1, 2, 4, 8), (1, 1, 1, 2, 1, 1, 1, 1)]


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    dilations=st.sampled_from([*PATTERNS, (2,)]),
    axes=st.sampled_from(["both", "input", "output"]),
    layout=st.sampled_from(["block", "interleaved"]),
    groups=st.sampled_from([1, 2]),
    width=st.integers(1, 3),
    odd=st.integers(0, 3),
    stride=st.integers(1, 2),
    bias=st.booleans(),
)
def test_equals_the_layer(dilations, axes, layout, groups, width, odd, stride, bias):
    extra = odd if layout == "interleaved" else 0  # interleaved takes any number of channels
    channels_in = groups * (len(dilations) * width + extra)
    channels_out = groups * (len(dilations) + 2 * extra)
    layer = PSConv2d(channels_in, channels_out, 3, stride, groups, bias, dilations, axes, layout).double()
    if bias:
        torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, channels_in, 7, 9, dtype=torch.double)
    torch.testing.assert_close(StaticPSConv2d(layer)(x), layer(x))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_fewer_channels_than_the_pattern_has(depth):
    for rows in (1, 2, 5):
        layer = PSConv2d(depth, rows, layout="interleaved").double()
        x = torch.randn(1, depth, 6, 6, dtype=torch.double)
        torch.testing.assert_close(StaticPSConv2d(layer)(x), layer(x))


def test_depthwise_is_one_convolution_a_dilation():
    layer = PSConv2d(8, 8, groups=8).double()
    static = StaticPSConv2d(layer)
    x = torch.randn(1, 8, 9, 9, dtype=torch.double)
    torch.testing.assert_close(static(x), layer(x))
    assert [(conv.dilation[0], conv.groups, conv.out_channels) for conv in static.convs] == [
        (1, 4, 4), (2, 2, 2), (4, 2, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("layout", ["block", "interleaved"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("axes", ["both", "input", "output"])
def test_multiplies_as_a_plain_convolution(pattern, layout, axes):
    static = StaticPSConv2d(PSConv2d(16, 24, dilations=pattern, layout=layout, axes=axes))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        static(torch.zeros(1, 16, 10, 10))
    assert counter.get_total_flops() == 2 * 9 * 16 * 24 * 100
    assert sum(conv.weight.numel() for conv in static.convs) == 9 * 16 * 24
    assert all(conv.weight.count_nonzero() == conv.weight.numel() for conv in static.convs)


def test_the_layer_is_left_alone():
    layer = PSConv2d(8, 8)
    before = layer.weight.clone()
    StaticPSConv2d(layer).convs[0].weight.data.zero_()
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("axes", ["both", "output"])
@pytest.mark.parametrize("bias", [False, True])
def test_an_affine_map_folds_into_it(axes, bias):
    layer = PSConv2d(8, 8, axes=axes, bias=bias, layout="interleaved")
    if bias:
        torch.nn.init.normal_(layer.bias)
    static = StaticPSConv2d(layer)
    x, scale, shift = torch.randn(2, 8, 6, 6), torch.randn(8), torch.randn(8)
    expected = layer(x) * scale[:, None, None] + shift[:, None, None]
    static.affine_(scale, shift)
    torch.testing.assert_close(static(x), expected)
