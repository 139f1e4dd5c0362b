"""MSFM: identity at the start, exact parameter counts, a hand-written forward, extreme sizes."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pipeline.files import read_json
from pipeline.layers import MultiScaleFusion

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"
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


@pytest.mark.parametrize("fusion", ["add", "concat"])
def test_parameter_formula(fusion):
    channels, ratio, scales, convs = 96, 8, (0.5, 1.0, 2.0), (1, 2, 3)
    w, n, k = channels // ratio, len(scales), sum(convs)
    expected = (2 if fusion == "add" else n + 1) * channels * w + 3 * w + 9 * w * w * k + 3 * w * k + 3 * channels
    assert count(MultiScaleFusion(channels, ratio, scales, convs, 4, fusion)) == expected


def test_printed_parameter_counts():
    path = SHARED / "fixtures" / "derived" / "msfm_params" / "rows.json"
    if not path.is_file():
        pytest.skip("the derived MSFM fixtures are not beside this checkout")
    data = read_json(path)
    for row in data["rows"]:
        scales = (0.5, 0.7, 1.0, 1.4, 2.0)[: row["n_branches"]]
        fusion = {"add": "add", "cat": "concat"}[row["fusion"]]
        blocks = BLOCKS[row["backbone"]]
        added = inserted(row["positions"], row["squeeze_ratios"], scales, row["convs_per_branch"], 4, fusion, blocks)
        total = (data["baseline_trainable_exact"][row["backbone"]] + added) / 1e6
        assert abs(total - row["params_M"]) < data["tolerance_M"], row["name"]


def test_exact_deltas_of_every_row():
    """All 48 cells of MSFM's tables, to the integer; a row's status says whether the printed value agrees."""
    path = SHARED / "design" / "parameter-identities.yaml"
    if not path.is_file():
        pytest.skip("the parameter identities are not beside this checkout")
    rows = yaml.safe_load(path.read_text())["msfm"]
    assert len(rows) == 48
    statuses = {"match_direct": 0, "match_two_step": 0, "mismatch": 0}
    for name, row in rows.items():
        config = row["config"]
        positions = [int(position[-1]) for position in config["positions"]]
        fusion = {"add": "add", "cat": "concat", "concat": "concat"}[config["fusion"]]
        groups = config["norm_group"] if isinstance(config["norm_group"], int) else 4
        blocks = BLOCKS["r101" if "r101" in config["base"] else "r50"]
        added = inserted(positions, config["ratios"], config["scales"], config["conv_num"], groups, fusion, blocks)
        assert added == row["expected_delta"], name
        trainable = row["expected_trainable_params"]
        direct, two_step = round(trainable / 1e6, 1), math.floor(round(trainable / 1e6, 2) * 10 + 0.5 + 1e-9) / 10
        status = (
            "match_direct" if direct == row["printed_m"]
            else "match_two_step" if two_step == row["printed_m"]
            else "mismatch"
        )  # fmt: skip
        assert status == row["status"], name
        statuses[status] += 1
    assert statuses == {"match_direct": 41, "match_two_step": 5, "mismatch": 2}


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


@pytest.mark.parametrize(("position", "groups"), [(1, 1), (1, 4), (1, 8), (2, 4), (3, 4), (3, 8), (3, 16), (3, 32)])
def test_norm_groups_of_the_tables_divide_the_branches(position, groups):
    for channels, ratio in zip((512, 1024, 2048) if position == 3 else (128, 256, 512), (16, 32, 64), strict=True):
        with torch.device("meta"):
            module = MultiScaleFusion(channels, ratio, convs=1, norm_groups=groups)
        assert {branch[1].num_groups for branch in module.branches} == {groups}
        assert module.branches[0][0].out_channels == (32 if position == 3 else 8)


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


def test_misuse_is_named():
    for kwargs, words in (
        ({"ratio": 3}, "ratio must divide"),
        ({"ratio": 16}, "ratio must divide"),
        ({"scales": (0.0,)}, "scales must be positive"),
        ({"convs": (1, 2)}, "one or 5"),
        ({"convs": 0}, "convs must be positive"),
        ({"norm_groups": 0}, "norm_groups"),
        ({"fusion": "cat"}, "'add' or 'concat'"),
    ):
        with pytest.raises(ValueError, match=words):
            MultiScaleFusion(**{"channels": 8, "ratio": 2, **kwargs})
