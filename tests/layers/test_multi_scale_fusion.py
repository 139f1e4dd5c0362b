"""MSFM: identity at the start, exact parameter counts, a hand-written forward, extreme sizes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_numbers import load_derived
from torch.nn import functional as F

from pipeline.layers import MultiScaleFusion
from pipeline.models.identities import load_identities

BLOCKS = {"r50": (4, 6, 3), "r101": (4, 23, 3), "faster_r50": (4, 6, 3)}


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def inserted(positions, ratios, scales, convs, groups, fusion, blocks):
    """Parameters of one module in every block of conv3_x to conv5_x."""
    total = 0
    with torch.device("meta"):
        for position in positions:
            widths = (512, 1024, 2048) if position == 3 else (128, 256, 512)
            for width, ratio, repeats in zip(widths, ratios, blocks, strict=True):
                total += repeats * count(MultiScaleFusion(width, ratio, scales, convs, groups, fusion))
    return total


def test_printed_parameter_counts():
    data = load_derived("msfm_parameters")
    for row in data["rows"]:
        scales = (0.5, 0.7, 1.0, 1.4, 2.0)[: row["n_branches"]]
        fusion = {"add": "add", "cat": "concat"}[row["fusion"]]
        blocks = BLOCKS[row["backbone"]]
        added = inserted(row["positions"], row["squeeze_ratios"], scales, row["convs_per_branch"], 4, fusion, blocks)
        total = (data["baseline_trainable_exact"][row["backbone"]] + added) / 1e6
        assert abs(total - row["params_M"]) < data["tolerance_M"], row["name"]


def test_exact_deltas_of_every_row():
    """All 48 cells of MSFM's tables, to the integer; test_identities compares them with the printed values."""
    rows = [row for row in load_identities() if row.method.fusion is not None]
    assert len(rows) == 48
    for row in rows:
        fusion, blocks = row.method.fusion, BLOCKS[row.backbone.replace("resnet", "r")]
        sizes = (fusion.scales, fusion.convs, fusion.norm_groups[0], fusion.fusion)
        assert inserted(fusion.positions, fusion.ratios, *sizes, blocks) == row.delta, row.name


SCALE_SETS = {
    "3S": (0.5, 0.7, 1.0),
    "5S": (0.5, 0.6, 0.7, 0.85, 1.0),
    "3L": (1.0, 1.4, 2.0),
    "4": (0.5, 0.7, 1.4, 2.0),
    "5": (0.5, 0.7, 1.0, 1.4, 2.0),
}


@pytest.mark.parametrize("fusion", ["add", "concat"])
@pytest.mark.parametrize("convs", [1, 2, "2*"])
@pytest.mark.parametrize("name", SCALE_SETS)
def test_every_scale_set_convolution_number_and_fusion(name, convs, fusion):
    """Table 2's variants: the branches see the sizes of their scales, `2*` is two only where the scale exceeds 1."""
    scales = SCALE_SETS[name]
    depths = [2 if scale > 1 else 1 for scale in scales] if convs == "2*" else [convs] * len(scales)
    module = MultiScaleFusion(32, 4, scales, depths if convs == "2*" else convs, norm_groups=4, fusion=fusion)
    w, n, k = 8, len(scales), sum(depths)
    assert count(module) == (2 if fusion == "add" else n + 1) * 32 * w + 3 * w + 9 * w * w * k + 3 * w * k + 3 * 32
    assert [sum(isinstance(m, torch.nn.Conv2d) for m in branch) for branch in module.branches] == depths
    seen = []
    for branch in module.branches:
        branch.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape[2:])))
    x = torch.randn(1, 32, 20, 40)
    assert torch.equal(module(x), x)
    assert seen == [(math.floor(20 * scale), math.floor(40 * scale)) for scale in scales]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(0, 2),
    fusion=st.sampled_from(["add", "concat"]),
    convs=st.sampled_from([1, 2, (1, 1, 2)]),
    norm_groups=st.sampled_from([1, 4, 32]),
)
def test_identity_at_the_start_whatever_the_size(size, batch, fusion, convs, norm_groups):
    module = MultiScaleFusion(16, 4, (0.5, 1.0, 2.0), convs, norm_groups, fusion)
    x = torch.randn(batch, 16, *size)
    assert torch.equal(module(x), x)


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_forward_by_hand(fusion):
    torch.manual_seed(0)
    module = MultiScaleFusion(8, 2, (0.7, 1.0), (2, 1), 2, fusion)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 8, 9, 10)

    def conv_norm(layers, first, x, groups):
        conv, norm = layers[first], layers[first + 1]
        x = F.conv2d(x, conv.weight, conv.bias, padding=conv.weight.shape[2] // 2)
        return F.group_norm(x, groups, norm.weight, norm.bias)

    s = conv_norm(module.squeeze, 0, x, 2).relu()
    small = F.interpolate(s, size=(6, 7), mode="bilinear", align_corners=False)  # floor(6.3), floor(7.0)
    small = conv_norm(module.branches[0], 0, small, 2).relu()
    small = conv_norm(module.branches[0], 3, small, 2).relu()
    small = F.interpolate(small, size=(9, 10), mode="bilinear", align_corners=False)
    same = conv_norm(module.branches[1], 0, s, 2).relu()
    fused = small + same if fusion == "add" else torch.cat([small, same], 1)
    torch.testing.assert_close(module(x), x + conv_norm(module.unsqueeze, 0, fused, 2))


def test_branch_sizes_are_floors_and_at_least_one():
    module = MultiScaleFusion(8, 2, (0.5, 0.7, 1.4), 1, 2)
    sizes = []
    for branch in module.branches:
        branch.register_forward_hook(lambda _, inputs, __: sizes.append(tuple(inputs[0].shape[2:])))
    module(torch.randn(1, 8, 1, 90))
    assert sizes == [(1, 45), (1, 62), (1, 125)]  # floor(90 * 0.7) = 62: float arithmetic as interpolate has it


def test_it_learns_from_its_start():
    torch.manual_seed(0)
    module = MultiScaleFusion(8, 2, norm_groups=4)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (module(torch.randn(2, 8, 6, 6)) - 1).square().mean().backward()
        optimizer.step()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_bfloat16_autocast_keeps_the_inputs_type():
    module = MultiScaleFusion(16, 4)
    x = torch.randn(1, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(x), x)
        assert module(x.bfloat16()).dtype is torch.bfloat16
