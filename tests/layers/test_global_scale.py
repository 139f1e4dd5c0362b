"""GSL: the derived fixtures, torchvision's deformable convolution, gradients, and the start at scale 1."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_case
from torch.nn import functional as F
from torchvision.ops import deform_conv2d

from pipeline.layers import GlobalScaleConv2d, fractional_columns, fractional_dilation_conv2d, global_scale


@pytest.fixture(autouse=True, params=[0.0, math.inf], ids=["columns", "blend"])
def way(request, monkeypatch):
    """Both ways to convolve on a CPU, whatever the size."""
    monkeypatch.setattr(global_scale, "COLUMNS_FROM", request.param)


def double(*shape):
    return torch.randn(*shape, dtype=torch.double)


def deformable(x, weight, scales, stride=1, groups=1):
    """The same sampling as a deformable convolution: tap (i, j) is moved by (i (d_h - 1), j (d_w - 1))."""
    height, width = ((side - 1) // stride + 1 for side in x.shape[2:])
    taps = torch.tensor([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)], dtype=x.dtype)
    offset = (taps[None] * (scales[:, None] - 1)).flatten(1)[:, :, None, None].expand(-1, -1, height, width)
    return deform_conv2d(x, offset.contiguous(), weight, stride=stride, padding=1)


@pytest.mark.parametrize("name", ["gsl_01", "gsl_02"])
def test_naive_sampling_fixture(name):
    arrays, facts = load_case(f"derived/{name}")
    x, weight, scales, y = (torch.from_numpy(arrays[key]).double() for key in ("x", "w", "scales_hw", "y"))
    found = fractional_dilation_conv2d(x, weight, scales, facts["stride"])
    torch.testing.assert_close(found, y, atol=1e-12, rtol=1e-12)


def test_one_row_by_hand():
    x = torch.arange(6.0).square().view(1, 1, 1, 6)  # 0 1 4 9 16 25
    weight = torch.zeros(1, 1, 3, 3)
    weight[0, 0, 1] = torch.tensor([1.0, 10.0, 100.0])
    y = fractional_dilation_conv2d(x, weight, torch.tensor([[1.0, 1.5]]))
    # Column 2 reads x(0.5) + 10 x(2) + 100 x(3.5), with x(0.5) = 0.5 and x(3.5) = 12.5 by linear interpolation.
    assert y[0, 0, 0, 2].item() == 0.5 + 40 + 1250
    # Column 5: x(3.5) + 10 x(5) + 100 x(6.5), which is outside.
    assert y[0, 0, 0, 5].item() == 12.5 + 250


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    scales=st.lists(st.tuples(*[st.floats(0.001, 4.0)] * 2), min_size=1, max_size=4),
    stride=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
)
def test_equals_deformable_convolution(scales, stride, groups, size):
    scales = torch.tensor(scales, dtype=torch.double)
    x, weight = double(len(scales), 4, *size), double(6, 4 // groups, 3, 3)
    y = fractional_dilation_conv2d(x, weight, scales, stride, groups)
    torch.testing.assert_close(y, deformable(x, weight, scales, stride, groups), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("stride", [1, 2])
def test_any_parts_of_the_rows_give_the_same(monkeypatch, stride):
    torch.manual_seed(0)
    inputs = double(3, 4, 7, 6), double(5, 4, 3, 3), torch.tensor([[1.3, 0.4], [2.1, 9.7], [0.2, 3.9]]).double()
    for tensor in inputs:
        tensor.requires_grad_()
    expected = deformable(*inputs, stride)
    wanted = (expected, *torch.autograd.grad(expected, inputs, torch.ones_like(expected)))
    monkeypatch.setattr(fractional_columns, "_PART_WEIGHTS", 0)
    for least in (1.0, 4e4, 1e9):  # one row, some rows, all rows of all images
        monkeypatch.setattr(fractional_columns, "_PART_BYTES", least)
        y = fractional_dilation_conv2d(*inputs, stride)
        found = (y, *torch.autograd.grad(y, inputs, torch.ones_like(y)))
        torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


def test_second_derivatives():
    torch.manual_seed(0)
    inputs = double(2, 2, 3, 3), double(2, 2, 3, 3), torch.tensor([[1.3, 0.4], [0.6, 1.7]], dtype=torch.double)
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradgradcheck(fractional_dilation_conv2d, inputs, fast_mode=True)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(dilation=st.tuples(st.integers(1, 12), st.integers(1, 12)), stride=st.integers(1, 2))
def test_integer_scale_is_a_dilated_convolution(dilation, stride):
    x, weight = double(2, 3, 7, 6), double(4, 3, 3, 3)
    expected = F.conv2d(x, weight, None, stride, dilation, dilation)
    scales = torch.tensor([dilation] * 2, dtype=torch.double)
    torch.testing.assert_close(fractional_dilation_conv2d(x, weight, scales, stride), expected)


def test_scale_zero_sums_the_kernel():
    x, weight = double(1, 2, 5, 5), double(3, 2, 3, 3)
    y = fractional_dilation_conv2d(x, weight, torch.zeros(1, 2, dtype=torch.double))
    torch.testing.assert_close(y, F.conv2d(x, weight.sum((2, 3), keepdim=True)))
    row = fractional_dilation_conv2d(x, weight, torch.tensor([[0.0, 2.0]], dtype=torch.double))
    torch.testing.assert_close(row, F.conv2d(x, weight.sum(2, keepdim=True), padding=(0, 2), dilation=(1, 2)))


def test_a_scale_of_minus_one_half_is_one_half_with_the_opposite_gradient():
    x, weight = torch.zeros(1, 1, 1, 3, dtype=torch.double), torch.zeros(1, 1, 3, 3, dtype=torch.double)
    x[0, 0, 0] = torch.tensor([1.0, 2.0, 4.0])
    weight[0, 0, 1] = torch.tensor([1.0, 0.0, 1.0])
    scales = torch.tensor([[1.0, -0.5]], dtype=torch.double, requires_grad=True)
    y = fractional_dilation_conv2d(x, weight, scales)[0, 0, 0, 1]
    # The middle reads x(0.5) + x(1.5) = 1.5 + 3; d units wider it reads (2 - 1 d) + (2 + 2 d), so dy / dd is 1.
    assert y.item() == 4.5
    assert torch.autograd.grad(y, scales)[0].tolist() == [[0.0, -1.0]]


def test_the_predictor_of_a_scale_below_zero_learns():
    """1 + bias = -0.5: a clamp would give a gradient of 0; mirrored, the scale is 0.5 and the bias learns."""
    layer, plain = GlobalScaleConv2d(2, 3).double(), GlobalScaleConv2d(2, 3).double()
    plain.load_state_dict(layer.state_dict())
    torch.nn.init.constant_(layer.scale_predictor.bias, -1.5)
    torch.nn.init.constant_(plain.scale_predictor.bias, -0.5)
    x = double(2, 2, 6, 6)
    assert layer.predict_scales(x).tolist() == [[0.5, 0.5]] * 2
    for module in (layer, plain):
        module(x).square().sum().backward()
    below, above = layer.scale_predictor.bias.grad, plain.scale_predictor.bias.grad
    assert above.abs().min() > 0
    torch.testing.assert_close(below, -above)


def test_scale_beyond_the_map_leaves_the_centre_tap():
    x, weight = double(1, 2, 4, 5), double(3, 2, 3, 3)
    y = fractional_dilation_conv2d(x, weight, torch.tensor([[1e6, 77.7]], dtype=torch.double))
    torch.testing.assert_close(y, F.conv2d(x, weight[:, :, 1:2, 1:2]))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    scales=st.lists(st.tuples(*[st.floats(0.05, 0.95)] * 2), min_size=1, max_size=3),
    floors=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=3),
    stride=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
)
def test_gradcheck_of_mixed_floors_and_groups(scales, floors, stride, groups):
    values = [[a + b for a, b in zip(*pair, strict=True)] for pair in zip(scales, floors, strict=False)]
    torch.manual_seed(0)
    scales = torch.tensor(values, dtype=torch.double)
    inputs = (double(len(values), 2, 4, 5), double(4, 2 // groups, 3, 3), scales)
    for tensor in inputs:
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda *args: fractional_dilation_conv2d(*args, stride, groups), inputs)


def test_gradcheck_through_the_layer():
    """To the input (also by way of the predicted scale), the weight, the bias and the scale predictor."""
    torch.manual_seed(0)
    layer = GlobalScaleConv2d(2, 4, stride=2, groups=2, bias=True).double()
    with torch.no_grad():
        layer.scale_predictor.weight.copy_(0.1 * double(2, 2))
        layer.scale_predictor.bias.copy_(torch.tensor([0.37, -0.62]))
    names = [name for name, _ in layer.named_parameters()]

    def forward(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    inputs = (double(2, 2, 5, 4).requires_grad_(), *layer.parameters())
    assert torch.autograd.gradcheck(forward, inputs)


@pytest.mark.parametrize(
    ("scales", "learning", "expected"),
    [
        ([[1.3, 2.6]] * 4, False, 4),  # equal floors share their convolutions, whatever the fractions
        ([[1.3, 2.6], [1.9, 2.1], [1.5, 2.0], [1.0, 2.9]], False, 4),
        ([[1.3, 2.0]] * 2, False, 2),  # corners without weight are skipped
        ([[3.0, 2.0]] * 2, False, 1),
        ([[3.0, 2.0]] * 2, True, 4),  # but carry the scale's gradient while it learns
        ([[1.3, 2.6], [2.3, 2.6]], True, 8),  # two distinct floors
    ],
)
def test_at_most_four_convolutions_a_distinct_floor(monkeypatch, scales, learning, expected):
    """In differentiable operations, which GPUs and grouped convolutions use."""
    calls = []
    plain = F.conv2d
    monkeypatch.setattr(F, "conv2d", lambda x, *args: calls.append((len(x), args[4])) or plain(x, *args))
    scales = torch.tensor(scales, requires_grad=learning)
    fractional_dilation_conv2d(torch.randn(len(scales), 4, 6, 6), torch.randn(4, 2, 3, 3), scales, groups=2)
    assert len(calls) == expected
    assert all(isinstance(step, int) for _, steps in calls for step in steps)
    floors = {tuple(pair) for pair in scales.floor().tolist()}
    assert sum(images for images, _ in calls) == expected * len(scales) / len(floors)


@pytest.mark.parametrize("start", [0.0, 1.0, 2.0])
def test_gradient_at_an_integer_is_the_right_derivative(start):
    torch.manual_seed(0)
    x, weight, step = double(1, 3, 8, 8), double(2, 3, 3, 3), 1e-6
    scales = torch.full((1, 2), start, dtype=torch.double, requires_grad=True)

    def loss(scales):
        return fractional_dilation_conv2d(x, weight, scales).square().sum()

    (got,) = torch.autograd.grad(loss(scales), scales)
    with torch.no_grad():
        moved = [loss(scales + step * torch.eye(2, dtype=torch.double)[axis]) for axis in (0, 1)]
        expected = torch.stack([(value - loss(scales)) / step for value in moved])
    torch.testing.assert_close(got[0], expected, rtol=1e-4, atol=1e-2)
    assert got.abs().min() > 1  # it learns from its very start


def test_layer_starts_as_the_plain_convolution_with_its_weight():
    torch.manual_seed(0)
    for stride, groups, bias in ((1, 1, False), (2, 2, True)):
        layer = GlobalScaleConv2d(4, 6, stride, groups, bias)
        x = torch.randn(3, 4, 9, 8)
        assert layer.predict_scales(x).tolist() == [[1.0, 1.0]] * 3
        expected = F.conv2d(x, layer.weight, layer.bias, stride, 1, 1, groups)
        with torch.no_grad():
            assert torch.equal(layer(x), expected)  # one convolution
        torch.testing.assert_close(layer(x), expected)  # four, three of weight 0
    plain = torch.nn.Conv2d(4, 6, 3, 2, 1, groups=2)
    missing, unexpected = layer.load_state_dict(plain.state_dict(), strict=False)
    assert missing == ["scale_predictor.weight", "scale_predictor.bias"]
    assert not unexpected


def test_predicted_scales_are_one_plus_linear_of_the_mean():
    layer = GlobalScaleConv2d(2, 2)
    with torch.no_grad():
        layer.scale_predictor.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
    x = torch.stack([torch.full((3, 4), 0.25), torch.full((3, 4), 5.0)])[None]
    assert layer.predict_scales(x).tolist() == [[1.25, 4.0]]  # 1 - 5 is mirrored


def test_bfloat16_autocast_keeps_scales_in_float32():
    torch.manual_seed(0)
    layer = GlobalScaleConv2d(8, 8)
    with torch.no_grad():
        layer.scale_predictor.bias.copy_(torch.tensor([0.123, 0.456]))
    x = torch.randn(2, 8, 9, 9).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        scales = layer.predict_scales(x.bfloat16())
        y = layer(x.bfloat16())
    assert scales.dtype is torch.float32
    torch.testing.assert_close(scales, torch.tensor([[1.123, 1.456]] * 2))
    assert y.dtype is torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), atol=0.05, rtol=0.05)
    y.float().square().sum().backward()
    assert layer.scale_predictor.bias.grad.abs().min() > 0


def test_empty_batches_tiny_maps_and_meta():
    layer = GlobalScaleConv2d(3, 5, stride=2)
    assert layer(torch.zeros(0, 3, 6, 7)).shape == (0, 5, 3, 4)
    x = torch.randn(2, 3, 1, 1)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[:, :, 1:2, 1:2]))
    with torch.device("meta"):
        assert GlobalScaleConv2d(3, 5, stride=2)(torch.zeros(1, 3, 6, 7)).shape == (1, 5, 3, 4)


def test_misuse_is_named():
    x, weight = torch.zeros(2, 3, 4, 4), torch.zeros(5, 3, 3, 3)
    with pytest.raises(ValueError, match=r"shape \[2, 2\]"):
        fractional_dilation_conv2d(x, weight, torch.ones(2))
    with pytest.raises(ValueError, match="finite"):
        fractional_dilation_conv2d(x, weight, torch.tensor([[1.0, 1.0], [float("nan"), 1.0]]))
    with pytest.raises(ValueError, match="odd"):
        fractional_dilation_conv2d(x, weight[:, :, :2], torch.ones(2, 2))
