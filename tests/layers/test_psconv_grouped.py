"""PSConv as grouped convolutions: their number of multiplications, the CPU's fast form, tracing, second derivatives."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from pipeline.layers import PSConv2d, psconv_cpu
from pipeline.layers.psconv_cpu import CpuGroupedConv
from pipeline.layers.psconv_grouped import grouped_conv2d, masked_conv2d
from pipeline.layers.psconv_lattice import Lattice, make_plan

PATTERNS = [(1,), (1, 2), (1, 2, 1, 1), (1, 4, 1, 1), (1, 2, 1, 2), (1, 2, 1, 4), (1, 2, 4, 8), (1, 2) + (1,) * 6]


@pytest.mark.parametrize("layout", ["block", "interleaved"])
@pytest.mark.parametrize("axes", ["both", "input", "output"])
@pytest.mark.parametrize("dilations", PATTERNS, ids=str)
def test_every_ablation_multiplies_as_often_as_a_plain_convolution(layout, axes, dilations):
    for groups in (1, 2):
        plan = make_plan(Lattice(32, 64, groups, dilations, axes, layout))
        with FlopCounterMode(display=False) as counter:
            grouped_conv2d(torch.randn(1, 32, 6, 6), torch.randn(64, 32 // groups, 3, 3), plan, 1)
        assert counter.get_total_flops() == 2 * 36 * 64 * (32 // groups) * 9


def test_terms_by_hand():
    # (1, 2, 1, 4): dilation 1 stands where k - c is odd, which is two dense halves; 2 on the diagonal, 4 two off it.
    plan = make_plan(Lattice(16, 16, 1, (1, 2, 1, 4), "both", "block"))
    found = [(term.dilation, term.groups, term.inputs, term.outputs) for term in plan.terms]
    assert found == [
        (1, 2, (1, 3, 0, 2), (0, 2, 1, 3)),
        (2, 4, (0, 1, 2, 3), (0, 1, 2, 3)),
        (4, 4, (2, 3, 0, 1), (0, 1, 2, 3)),
    ]
    found = [(term.dilation, term.groups, term.inputs, term.outputs) for term in plan.terms_by_input]
    assert found == [
        (1, 2, (0, 2, 1, 3), (1, 3, 0, 2)),
        (2, 4, (0, 1, 2, 3), (0, 1, 2, 3)),
        (4, 4, (0, 1, 2, 3), (2, 3, 0, 1)),
    ]
    seven = make_plan(Lattice(16, 16, 1, (1, 2) + (1,) * 6, "both", "block"))
    assert [(term.dilation, term.groups) for term in seven.terms] == [(1, 2), (1, 4), (1, 8), (2, 8)]
    two = make_plan(Lattice(16, 16, 1, (1, 2, 1, 2), "both", "interleaved"))
    assert two == make_plan(Lattice(16, 16, 1, (1, 2), "both", "interleaved"))  # the paper's claim of table 4
    depthwise = make_plan(Lattice(8, 8, 8, (1, 2, 1, 4), "both", "block"))
    assert [(term.dilation, term.groups, term.inputs) for term in depthwise.terms] == [
        (1, 4, (0, 2)),
        (2, 2, (1,)),
        (4, 2, (3,)),
    ]
    assert make_plan(Lattice(10, 16, 1, (1, 2, 1, 4), "both", "interleaved")) is None


@st.composite
def cases(draw):
    dilations = draw(st.sampled_from([*PATTERNS, (3, 1, 2), (2, 4), (2,)]))
    groups = draw(st.sampled_from([1, 2, 3]))
    step = len(dilations) * groups
    channels = [step * draw(st.integers(1, 3)) for _ in range(2)]
    if draw(st.integers(0, 4)) == 0:
        channels, groups = [step * 2, step * 2], step * 2
    lattice = Lattice(
        *channels,
        groups,
        dilations,
        draw(st.sampled_from(["both", "input", "output"])),
        draw(st.sampled_from(["block", "interleaved"])),
    )
    return lattice, draw(st.sampled_from([1, 2, 3])), draw(st.sampled_from([1, 3, 5]))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    case=cases(),
    batch=st.integers(0, 5),
    height=st.integers(1, 8),
    width=st.integers(1, 8),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    formats=st.tuples(*[st.sampled_from([torch.contiguous_format, torch.channels_last])] * 2),
)
def test_fast_form_equals_the_masked_sum_in_any_parts_of_the_batch(case, batch, height, width, dtype, formats):
    lattice, stride, size = case
    x = torch.randn(batch, lattice.in_channels, height, width, dtype=dtype).to(memory_format=formats[0])
    weight = torch.randn(lattice.out_channels, lattice.in_channels // lattice.groups, size, size, dtype=dtype)
    weight = weight.to(memory_format=formats[1])
    x.requires_grad_()
    weight.requires_grad_()
    expected = masked_conv2d(x, weight, lattice.masks(), lattice.distinct(), stride, lattice.groups)
    cotangent = torch.randn_like(expected)
    wanted = (expected, *torch.autograd.grad(expected, (x, weight), cotangent))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(psconv_cpu, "_PART_BYTES", 1.0)
        monkeypatch.setattr(psconv_cpu, "_PART_WEIGHTS", 0)  # one image a part
        for least in (1.0, 1e9):
            monkeypatch.setattr(psconv_cpu, "_PART_BYTES", least)
            y = CpuGroupedConv(make_plan(lattice), stride, size)(x, weight)
            found = (y, *torch.autograd.grad(y, (x, weight), cotangent))
            for got, right in zip(found, wanted, strict=True):
                scale = max(1.0, right.abs().max().item()) if right.numel() else 1.0
                torch.testing.assert_close(got, right, atol=1e-5 * scale, rtol=1e-5)
    assert y.is_contiguous(memory_format=formats[0]) or formats[0] != formats[1]


def test_gradients_of_only_one_input():
    layer = PSConv2d(16, 32)
    frozen = torch.randn(2, 16, 6, 6)
    layer(frozen).sum().backward()
    expected = masked_conv2d(frozen, layer.weight, layer._lattice.masks(), (1, 2, 4), 1, 1).sum()
    torch.testing.assert_close(layer.weight.grad, torch.autograd.grad(expected, layer.weight)[0], atol=1e-4, rtol=1e-4)
    layer.requires_grad_(False)
    x = frozen.clone().requires_grad_()
    layer(x).sum().backward()
    expected = masked_conv2d(x, layer.weight, layer._lattice.masks(), (1, 2, 4), 1, 1).sum()
    torch.testing.assert_close(x.grad, torch.autograd.grad(expected, x)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layout", ["block", "interleaved"])
def test_second_derivatives(layout):
    plan = make_plan(Lattice(4, 4, 1, (1, 2, 1, 4), "both", layout))
    convolve = CpuGroupedConv(plan, 1, 3)
    x = torch.randn(1, 4, 3, 3, dtype=torch.double, requires_grad=True)
    weight = torch.randn(4, 4, 3, 3, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradgradcheck(convolve, (x, weight), fast_mode=True)


@pytest.mark.parametrize("layout", ["block", "interleaved"])
def test_compiled_exported_and_transformed_layers_give_the_same(layout):
    layer = PSConv2d(32, 32, layout=layout, bias=True)
    x = torch.randn(2, 32, 7, 7)
    expected = layer(x)
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    exported = torch.export.export(layer.eval(), (x,)).module()
    for got in (
        compiled(x),
        exported(x),
        torch.func.vmap(layer)(x[:, None])[:, 0],
        torch.func.jvp(layer, (x,), (x,))[0],
    ):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_exported_graph_has_static_dilations_and_plain_operations_only():
    graph = torch.export.export(PSConv2d(32, 32).eval(), (torch.randn(1, 32, 7, 7),)).graph
    convolutions = [node for node in graph.nodes if "conv2d" in str(node.target)]
    assert sorted(node.args[5] for node in convolutions) == [[1, 1], [2, 2], [4, 4]]
    names = {str(node.target) for node in graph.nodes if node.op == "call_function"}
    assert all(name.startswith("aten.") or "getitem" in name for name in names)


def test_copies_and_pickles_work_and_do_not_share_weights():
    layer = PSConv2d(32, 32)
    x = torch.randn(1, 32, 5, 5)
    expected = layer(x)
    for other in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(other(x), expected)
        with torch.no_grad():
            other.weight.zero_()
        assert not other(x).any()
    torch.testing.assert_close(layer(x), expected)
    layer.to(torch.double)
    torch.testing.assert_close(layer(x.double()).float(), expected, atol=1e-5, rtol=1e-5)


def test_same_input_gives_the_same_bytes():
    torch.manual_seed(0)
    x, layer = torch.randn(3, 64, 9, 9), PSConv2d(64, 64)
    found = []
    for _ in range(2):
        layer.weight.grad = None
        y = layer(x)
        y.square().sum().backward()
        found.append((y.detach().clone(), layer.weight.grad.clone()))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_one_image_without_batch_dimension():
    layer, x = PSConv2d(16, 16), torch.randn(16, 5, 6)
    torch.testing.assert_close(layer(x), layer(x[None])[0])
    with pytest.raises(ValueError, match=r"x must be \[N, 16, H, W\], got \[1, 8, 5, 5\]"):
        layer(torch.randn(1, 8, 5, 5))
