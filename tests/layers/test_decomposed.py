"""Scale decomposition: every printed pair, the text's examples, rounding, weight transfer."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_derived
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d, SubConv, decompose, fractional_dilation_conv2d

SCALES = st.floats(0, 4, allow_nan=False)


TABLE_3 = load_derived("pod_table_3")


def as_dict(sub):
    return {
        "kernel": list(sub.kernel),
        "dilation": list(sub.dilation),
        "padding": list(sub.padding),
        "out_channels": sub.out_channels,
    }


def test_derived_cases():
    for case in load_derived("pod_decomposition"):
        got = [as_dict(sub) for sub in decompose(*case["d"], case["out_channels"])]
        assert got == case["convs"], case["source"]


def test_every_printed_pair_of_table_3():
    assert len(TABLE_3) == 24
    for row in TABLE_3:
        subs = decompose(*row["scale"], row["channels"])
        assert [as_dict(sub) for sub in subs] == row["parts"], row
        assert sum(sub.out_channels * math.prod(sub.kernel) * row["channels"] for sub in subs) == row["weights"]


def test_ambiguous_pairs_and_examples_of_the_text():
    ambiguous = [row for row in TABLE_3 if "alternative" in row]
    assert len(ambiguous) == 2
    for row in ambiguous:
        # A bare |0.95 - 1| <= 0.05 is false in binary; a tolerance just below 0.05 gives that reading.
        got = [as_dict(sub) for sub in decompose(*row["scale"], row["channels"], tolerance=0.0499)]
        assert got == row["alternative"]
    for pair, lower, upper, alpha in (((1.7, 2.9), (1, 2), (2, 3), 0.8), ((2.02, 1.7), (2, 1), (2, 2), 0.7)):
        subs = decompose(*pair, 1000)
        assert [sub.padding for sub in subs] == [lower, upper]
        assert subs[1].out_channels == round(1000 * alpha)


def test_parameters_of_the_learner_by_network():
    for blocks, expected in (((4, 6, 3), 7194), ((4, 23, 3), 15932)):  # ResNet-50 and ResNet-101
        added = 0
        for width, repeats in zip((128, 256, 512), blocks, strict=True):
            with torch.device("meta"):
                layer, plain = GlobalScaleConv2d(width, width), torch.nn.Conv2d(width, width, 3, bias=False)
            extra = [sum(p.numel() for p in module.parameters()) for module in (layer, plain)]
            added += repeats * (extra[0] - extra[1])
        assert added == expected


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    scales=st.tuples(st.floats(0.951, 9), st.floats(0.951, 9)),
    channels=st.sampled_from([4, 64, 128]),
    stride=st.integers(1, 2),
)
def test_without_scales_below_one_it_costs_what_the_plain_convolution_costs(scales, channels, stride):
    """Parameters and multiply-adds, to the integer (POD, section 4.2: neither extra parameters nor extra cost)."""
    with torch.device("meta"):
        layer = DecomposedConv2d(channels, decompose(*scales, channels), stride)
        plain = torch.nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        x = torch.empty(1, channels, 15, 22)
    costs = []
    for module in (layer, plain):
        with FlopCounterMode(display=False) as counter:
            module(x)
        costs.append((sum(p.numel() for p in module.parameters()), counter.get_total_flops()))
    assert costs[0] == costs[1]


def test_biases_are_transferred():
    layer = DecomposedConv2d(4, decompose(1.7, 2.9, 10), bias=True)
    weight, bias = torch.randn(10, 4, 3, 3), torch.arange(10.0)
    layer.transfer_(weight, bias=bias)
    assert [conv.bias.tolist() for conv in layer.convs] == [[0, 1], [2, 3, 4, 5, 6, 7, 8, 9]]
    layer.transfer_(weight)
    assert layer.convs[0].bias.tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"bias of shape \[10\].*\[9\]"):
        layer.transfer_(weight, bias=bias[:9])
    with pytest.raises(ValueError, match="bias of none"):
        DecomposedConv2d(4, decompose(1.7, 2.9, 10)).transfer_(weight, bias=bias)


def test_rules_by_hand():
    # (a) both near integers; 0.95 is inside the tolerance although |0.95 - 1| > 0.05 in binary.
    assert decompose(0.95, 2.05, 8) == [SubConv((3, 3), (1, 2), (1, 2), 8)]
    assert decompose(0.05, 0.02, 8) == [SubConv((1, 1), (1, 1), (0, 0), 8)]
    # (b) one near: its own fraction.
    assert decompose(2.02, 1.7, 10) == [SubConv((3, 3), (2, 1), (2, 1), 3), SubConv((3, 3), (2, 2), (2, 2), 7)]
    assert decompose(0.5, 1.0, 4) == [SubConv((1, 3), (1, 1), (0, 1), 2), SubConv((3, 3), (1, 1), (1, 1), 2)]
    # (c) none: the mean fraction, (0.7 + 0.9) / 2 = 0.8.
    assert [sub.out_channels for sub in decompose(1.7, 2.9, 10)] == [2, 8]
    # Half rounds up for the lower part: 0.5 * 5 = 2.5.
    assert [sub.out_channels for sub in decompose(1.5, 1.5, 5)] == [3, 2]
    # A part without channels is left out.
    assert decompose(1.9, 1.9, 4) == [SubConv((3, 3), (2, 2), (2, 2), 4)]
    assert decompose(1.4, 1.0, 8, tolerance=0.4) == decompose(1.0, 1.0, 8)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(scale_h=SCALES, scale_w=SCALES, channels=st.integers(1, 300))
def test_channels_add_up_and_dilations_enclose_the_scale(scale_h, scale_w, channels):
    subs = decompose(scale_h, scale_w, channels)
    assert sum(sub.out_channels for sub in subs) == channels
    assert min(sub.out_channels for sub in subs) > 0
    for sub in subs:
        for axis, scale in enumerate((scale_h, scale_w)):
            assert abs(sub.padding[axis] - scale) < 1 + 1e-6
            assert (sub.kernel[axis] == 1) == (sub.padding[axis] == 0)
            assert sub.dilation[axis] == max(1, sub.padding[axis])


def test_bad_arguments_are_named():
    for scales in ((-0.1, 1.0), (float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(ValueError, match="finite and not negative"):
            decompose(*scales, 8)
    with pytest.raises(ValueError, match="out_channels"):
        decompose(1.0, 1.0, 0)
    layer = DecomposedConv2d(4, decompose(1.5, 1.5, 4))
    with pytest.raises(ValueError, match="'centre' or 'sum'"):
        layer.transfer_(torch.zeros(4, 4, 3, 3), "center")
    with pytest.raises(ValueError, match=r"\[4, 4, 3, 3\]"):
        layer.transfer_(torch.zeros(4, 4, 1, 1))


def pieces(x, weight, subs, mode, stride=1, groups=1):
    """Each row of the whole by its own sub-convolution's dilation, from a full convolution."""
    outputs, first = [], 0
    for sub in subs:
        kernel = weight
        for axis, size in zip((2, 3), sub.kernel, strict=True):
            if size == 1:
                kernel = kernel.sum(axis, keepdim=True) if mode == "sum" else kernel.narrow(axis, 1, 1)
        y = F.conv2d(x, kernel, None, stride, sub.padding, sub.dilation, groups)
        outputs.append(y[:, first : first + sub.out_channels])
        first += sub.out_channels
    return torch.cat(outputs, 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    scale_h=SCALES,
    scale_w=SCALES,
    groups=st.sampled_from([1, 2, 4]),
    width=st.integers(1, 5),
    stride=st.integers(1, 2),
    mode=st.sampled_from(["centre", "sum"]),
    size=st.tuples(st.integers(1, 8), st.integers(1, 8)),
)
def test_equals_its_sub_convolutions(scale_h, scale_w, groups, width, stride, mode, size):
    """Also with groups: a row keeps the input channels it had in the undecomposed convolution."""
    subs = decompose(scale_h, scale_w, groups * width)
    layer = DecomposedConv2d(2 * groups, subs, stride, groups).double()
    weight = torch.randn(groups * width, 2, 3, 3, dtype=torch.double)
    assert layer.transfer_(weight, mode) is layer
    x = torch.randn(2, 2 * groups, *size, dtype=torch.double)
    torch.testing.assert_close(layer(x), pieces(x, weight, subs, mode, stride, groups))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(scales=st.tuples(st.integers(0, 3), st.integers(0, 3)), groups=st.sampled_from([1, 3]))
def test_integer_scales_transfer_the_gsl_convolution_exactly(scales, groups):
    gsl = GlobalScaleConv2d(6, 6, stride=2, groups=groups, bias=False).double()
    with torch.no_grad():
        gsl.scale_predictor.bias.copy_(torch.tensor(scales) - 1.0)
    layer = DecomposedConv2d(6, decompose(*scales, 6), 2, groups).double().transfer_(gsl.weight, "sum")
    x = torch.randn(2, 6, 9, 8, dtype=torch.double)
    torch.testing.assert_close(layer(x), gsl(x))


def test_sum_is_dilation_zero_and_centre_is_not():
    weight, x = torch.randn(4, 3, 3, 3), torch.randn(1, 3, 6, 6)
    subs = decompose(0.0, 2.0, 4)
    functional = fractional_dilation_conv2d(x, weight, torch.tensor([[0.0, 2.0]]))
    layer = DecomposedConv2d(3, subs)
    torch.testing.assert_close(layer.transfer_(weight, "sum")(x), functional)
    assert torch.equal(layer.transfer_(weight).convs[0].weight, weight[:, :, 1:2])
    assert not torch.allclose(layer(x), functional, atol=1e-2)


@pytest.mark.parametrize("bias", [False, True])
def test_an_affine_map_folds_into_the_layer(bias):
    layer = DecomposedConv2d(4, decompose(1.7, 2.9, 10), groups=2, bias=bias)
    x, scale, shift = torch.randn(2, 4, 6, 6), torch.randn(10), torch.randn(10)
    expected = layer(x) * scale[:, None, None] + shift[:, None, None]
    layer.affine_(scale, shift)
    torch.testing.assert_close(layer(x), expected)


def test_state_is_in_convs_and_loads():
    layer = DecomposedConv2d(4, decompose(1.7, 2.9, 10), bias=True)
    assert sorted(layer.state_dict()) == [f"convs.{i}.{name}" for i in (0, 1) for name in ("bias", "weight")]
    assert [list(conv.weight.shape) for conv in layer.convs] == [[2, 4, 3, 3], [8, 4, 3, 3]]
    torch.manual_seed(0)
    wide = DecomposedConv2d(64, decompose(1.2, 1.2, 256))
    for conv in wide.convs:
        assert conv.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.02)


def test_empty_batches_tiny_maps_and_gradients():
    layer = DecomposedConv2d(3, decompose(0.5, 7.5, 6), stride=2)
    assert layer(torch.zeros(0, 3, 5, 4)).shape == (0, 6, 3, 2)
    assert layer(torch.ones(1, 3, 1, 1)).shape == (1, 6, 1, 1)
    layer(torch.randn(1, 3, 12, 30)).sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in layer.parameters())
