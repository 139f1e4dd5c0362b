"""PSConv: the official fixtures, hand-written lattices, and the identity with a masked sum of dilated convolutions."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_case as load_official
from torch.nn import functional as F

from pipeline.layers import PSConv2d, ThreeBranchPSConv2d
from pipeline.layers import psconv as module

CASES = ["case_01", "case_03", "case_04", "case_06", "case_08", "case_10", "case_12", "case_14"]
BUGGY = "case_12"


@pytest.fixture(params=[1000, 1], ids=["dense", "grouped"])
def group_width(request, monkeypatch):
    """Run with the dense form (channels in tests are few) and with the grouped form."""
    set_group_width(monkeypatch, request.param)


def set_group_width(monkeypatch, width):
    # The least width of bfloat16 decides when a layer is built whether it keeps masks: always here.
    monkeypatch.setattr(module, "_GROUP_WIDTH", {**dict.fromkeys(module._GROUP_WIDTH, width), torch.bfloat16: 1000})


def load_case(name):
    arrays, settings_ = load_official(f"psconv/{name}")
    tensors = {key: torch.from_numpy(value) for key, value in arrays.items()}
    state = {key[3:]: value for key, value in tensors.items() if key.startswith("sd.")}
    return settings_["kwargs"], tensors, state


def masked_sum(layer, x):
    """The definition: one dilated convolution a distinct dilation, over the weight where the lattice has it."""
    lattice, total = layer.dilation_lattice(), 0
    for dilation in lattice.unique().tolist():
        weight = layer.weight * (lattice == dilation)[:, :, None, None]
        padding = dilation * (layer.kernel_size[0] // 2)
        total = total + F.conv2d(x, weight, None, layer.stride, padding, dilation, layer.groups)
    return total if layer.bias is None else total + layer.bias[:, None, None]


@pytest.mark.usefixtures("group_width")
@pytest.mark.parametrize("name", [name for name in CASES if name != BUGGY])
def test_official_layer_forward_and_gradients(name):
    kwargs, tensors, state = load_case(name)
    layer = PSConv2d.from_three_branch(
        state, dilation=kwargs["dilation"], stride=kwargs["stride"], groups=kwargs.get("groups", 1)
    )
    assert torch.equal(layer.dilation_lattice().to(torch.int16), tensors["D"])
    x = tensors["x"].requires_grad_()
    y = layer(x)
    torch.testing.assert_close(y, tensors["y"], atol=1e-5, rtol=1e-5)
    (y * tensors["grad_y"]).sum().backward()
    torch.testing.assert_close(x.grad, tensors["grad_x"], atol=1e-5, rtol=1e-5)
    grads = {key[5:]: value for key, value in tensors.items() if key.startswith("grad.")}
    # The official gradients, laid into the dense lattice as the weights are.
    grads = {key: value for key, value in grads.items() if key.endswith("weight")}
    merged = PSConv2d.from_three_branch(grads, dilation=kwargs["dilation"], groups=kwargs.get("groups", 1))
    torch.testing.assert_close(layer.weight.grad, merged.weight, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", CASES)
def test_three_branch_equals_the_official_layer_bug_included(name):
    kwargs, tensors, state = load_case(name)
    kwargs = {key: value for key, value in kwargs.items() if key != "padding"}
    layer = ThreeBranchPSConv2d(**kwargs)
    expected_mask = tensors["mask"][:, :, None, None].bool()
    assert torch.equal(layer.mask, expected_mask)
    assert not layer.conv.weight[expected_mask.expand_as(layer.conv.weight)].any()
    layer.load_state_dict(state)
    x = tensors["x"].requires_grad_()
    y = layer(x)
    torch.testing.assert_close(y, tensors["y"], atol=1e-5, rtol=1e-5)
    (y * tensors["grad_y"]).sum().backward()
    torch.testing.assert_close(x.grad, tensors["grad_x"], atol=1e-5, rtol=1e-5)
    for key, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, tensors[f"grad.{key}"], atol=1e-5, rtol=1e-5)


def test_group_mask_bug_is_refused_with_the_kernels_named():
    kwargs, tensors, state = load_case(BUGGY)
    first = (tensors["D"] == 0).nonzero()[0].tolist()
    with pytest.raises(ValueError, match="ThreeBranchPSConv2d") as caught:
        PSConv2d.from_three_branch(state, groups=kwargs["groups"])
    assert "64 overlapping kernels" in str(caught.value)
    assert f"({first[0]}, {first[1]})" in str(caught.value)


def test_biases_of_three_branches_are_summed():
    layer = ThreeBranchPSConv2d(8, 8, bias=True)
    with torch.no_grad():
        for value, conv in enumerate((layer.conv, layer.gwconv, layer.gwconv_shift), start=1):
            conv.bias.fill_(value)
    assert PSConv2d.from_three_branch(layer.state_dict()).bias.tolist() == [6.0] * 8


def test_checkpoint_with_missing_or_odd_tensors_is_refused():
    state = ThreeBranchPSConv2d(8, 8).state_dict()
    with pytest.raises(ValueError, match=r"needs 'gwconv\.weight'"):
        PSConv2d.from_three_branch({"conv.weight": state["conv.weight"]})
    with pytest.raises(ValueError, match="even fraction"):
        PSConv2d.from_three_branch({**state, "gwconv.weight": torch.zeros(8, 3, 3, 3)})
    with pytest.raises(ValueError, match="leave these arguments out"):
        PSConv2d.from_three_branch(state, layout="interleaved")


def test_lattices_by_hand():
    interleaved = PSConv2d(4, 4, layout="interleaved").dilation_lattice()
    # Row c is (1, 2, 1, 4) read from k - c + 1: figure 2 of the paper, 2 on the diagonal.
    assert interleaved.tolist() == [[2, 1, 4, 1], [1, 2, 1, 4], [4, 1, 2, 1], [1, 4, 1, 2]]
    block = PSConv2d(8, 8).dilation_lattice()
    assert block[0].tolist() == block[1].tolist() == [2, 2, 1, 1, 4, 4, 1, 1]
    assert block[6].tolist() == [1, 1, 4, 4, 1, 1, 2, 2]
    order = [(k % 4) * 2 + k // 4 for k in range(8)]  # appendix B's permutation
    paper = PSConv2d(8, 8, layout="interleaved").dilation_lattice()
    assert torch.equal(paper, block[order][:, order])
    assert PSConv2d(4, 4, axes="input", layout="interleaved").dilation_lattice().tolist() == [[1, 2, 1, 4]] * 4
    assert PSConv2d(4, 4, axes="output").dilation_lattice().T.tolist() == [[1, 2, 1, 4]] * 4
    assert PSConv2d(8, 6, axes="input").dilation_lattice()[5].tolist() == [1, 1, 2, 2, 1, 1, 4, 4]
    assert PSConv2d(6, 6, groups=6).dilation_lattice().flatten().tolist() == [1, 2, 1, 4, 1, 2]
    grouped = PSConv2d(16, 16, groups=2).dilation_lattice()
    assert torch.equal(grouped[:8], block)
    assert torch.equal(grouped[8:], block)
    ragged = PSConv2d(5, 3, layout="interleaved").dilation_lattice()
    assert ragged.tolist() == [[2, 1, 4, 1, 2], [1, 2, 1, 4, 1], [4, 1, 2, 1, 4]]


@st.composite
def layers(draw):
    layout = draw(st.sampled_from(["block", "interleaved"]))
    patterns = [(1,), (2, 2), (1, 2), (1, 2, 1, 1), (1, 2, 1, 2), (1, 2, 1, 4)]
    patterns += [(1, 2, 4, 8), (1, 2) + (1,) * 6, (3, 1, 2)]
    dilations = draw(st.sampled_from(patterns))
    groups = draw(st.integers(1, 3))
    step = len(dilations) * groups if layout == "block" else groups
    channels = [step * draw(st.integers(1, 2 if layout == "block" else 5)) for _ in range(2)]
    if draw(st.integers(0, 5)) == 0:
        channels, groups = [5, 5], 5
    return {
        "in_channels": channels[0],
        "out_channels": channels[1],
        "groups": groups,
        "dilations": dilations,
        "layout": layout,
        "axes": draw(st.sampled_from(["both", "input", "output"])),
        "stride": draw(st.integers(1, 2)),
        "kernel_size": draw(st.sampled_from([1, 3, 5])),
        "bias": draw(st.booleans()),
    }


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    kwargs=layers(),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    least=st.sampled_from([1, 2, 1000]),
    memory_format=st.sampled_from([torch.contiguous_format, torch.channels_last]),
)
def test_equals_the_masked_sum(kwargs, height, width, least, memory_format):
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_group_width(monkeypatch, least)
        layer = PSConv2d(**kwargs).double().to(memory_format=memory_format)
        x = torch.randn(2, kwargs["in_channels"], height, width, dtype=torch.double)
        x = x.to(memory_format=memory_format).requires_grad_()
        y = layer(x)
    expected = masked_sum(layer, x)
    cotangent = torch.randn_like(expected)
    inputs = [x, *layer.parameters()]
    results = ((found, *torch.autograd.grad(found, inputs, cotangent)) for found in (y, expected))
    for got, wanted in zip(*results, strict=True):
        torch.testing.assert_close(got, wanted)


def test_parameters_are_a_standard_convolutions():
    layer = PSConv2d(64, 128, groups=4, bias=True)
    plain = torch.nn.Conv2d(64, 128, 3, groups=4)
    shapes = {key: value.shape for key, value in layer.state_dict().items()}
    assert shapes == {key: value.shape for key, value in plain.state_dict().items()}
    torch.manual_seed(0)
    assert PSConv2d(256, 256).weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)


def test_tiny_maps_empty_batches_and_meta():
    layer = PSConv2d(8, 8)
    x = torch.randn(1, 8, 1, 1)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight[:, :, 1:2, 1:2]))  # every tap but the centre is out
    assert layer(torch.zeros(0, 8, 5, 7)).shape == (0, 8, 5, 7)
    with torch.device("meta"):
        assert PSConv2d(64, 64, stride=2)(torch.zeros(1, 64, 7, 8)).shape == (1, 64, 4, 4)


def test_bfloat16_autocast_keeps_memory_format_value_and_gradient():
    torch.manual_seed(0)
    for channels in (16, 128):
        layer = copy.deepcopy(PSConv2d(channels, channels)).to(memory_format=torch.channels_last)
        x = torch.randn(1, channels, 9, 9).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            y = layer(x)
            wide = copy.deepcopy(layer).double()(x.double())
        assert wide.dtype is torch.float64  # left alone, as by a plain convolution
        assert y.dtype is torch.bfloat16
        assert y.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(y.float(), layer(x), atol=0.06, rtol=0.06)
        low, full = (torch.autograd.grad(found.float().sum(), layer.weight)[0] for found in (y, layer(x)))
        torch.testing.assert_close(low, full, atol=0.4, rtol=0.06)
