"""What the benchmark compares is what it says: functions, parameters, sizes, memory; and a whole small run."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline.benchmarks import counterparts
from pipeline.benchmarks.cases import forward_call, random_input, train_call
from pipeline.benchmarks.counterparts import PAPER, MaskedPSConv2d, layers, sizes
from pipeline.benchmarks.layers import all_cases, explain, main, parser
from pipeline.benchmarks.marks import MISSED
from pipeline.benchmarks.timing.memory import allocations, highest, peak_bytes
from pipeline.layers import PSConv2d
from pipeline.processor import cpu_model

TINY = {"channels": 8, "pixels": 6, "batch": 2}


def test_the_three_forms_of_psconv_compute_the_same():
    torch.manual_seed(1)
    found = layers(16)
    three = found["three_branch"]
    merged = PSConv2d.from_three_branch(three.state_dict())
    masked, layer = MaskedPSConv2d(16, 16), PSConv2d(16, 16)
    x = torch.randn(2, 16, 9, 9)
    for other in (masked, layer):
        other.load_state_dict(merged.state_dict())
        torch.testing.assert_close(other(x), three(x), rtol=1e-5, atol=1e-5)


def test_parameters_and_sizes_of_the_counterparts():
    counts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in layers(64).items()}
    dense = 9 * 64 * 64
    assert counts == {
        "plain": dense,
        "psconv": dense,
        "kernel": dense,
        "folded": dense,
        "dilated": dense,
        "groups_2": dense // 2,
        "groups_4": dense // 4,
        "three_branch": dense * 3 // 2,  # the official module stores masked zeros
        "masked_sum": dense,
    }
    x = torch.randn(1, 32, 7, 5)  # all keep the size
    with torch.no_grad():
        assert {name: layer(x).shape for name, layer in layers(32).items()} == dict.fromkeys(layers(32), x.shape)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_sizes_are_the_product_of_channels_and_pixels_and_the_papers_own(device, dtype):
    found = sizes(device, dtype)
    assert len(found) == 17
    assert found[-1] == PAPER == {"channels": 64, "pixels": 56, "batch": 200}
    pairs = {(c, p) for c in (64, 128, 256, 512) for p in (56, 28, 14, 7)}
    assert {(size["channels"], size["pixels"]) for size in found[:-1]} == pairs
    assert all(1 <= size["batch"] <= 4096 for size in found)
    batches = {(size["channels"], size["pixels"]): size["batch"] for size in sizes("cpu", "fp32")[:-1]}
    assert batches[64, 56] == batches[512, 7] == 7  # 0.8e9 multiply-adds over 9 * 64^2 * 56^2
    assert batches[512, 56] == 1


@given(st.lists(st.integers(-100, 100)))
def test_highest_is_the_largest_prefix_sum(changes):
    assert highest(changes) == max(sum(changes[:count]) for count in range(len(changes) + 1))


def test_allocations_are_read_in_the_order_of_time():
    events = [
        {"name": "[memory]", "ts": 3, "args": {"Bytes": -8}},
        {"name": "aten::add", "ts": 2, "args": {}},
        {"name": "[memory]", "ts": 1, "args": {"Bytes": 8}},
    ]
    assert allocations(events) == [8, -8]


def test_peak_memory_counts_what_lives_at_one_time():
    def call():
        first = torch.empty(1000, dtype=torch.uint8)
        del first
        second = torch.empty(600, dtype=torch.uint8)
        third = torch.empty(700, dtype=torch.uint8)
        return second, third

    assert peak_bytes(call, "cpu") == 1300


def test_training_memory_holds_the_gradients():
    layer, x = nn.Linear(64, 64, bias=False), torch.randn(32, 64)
    needed = 4 * (32 * 64 + 32 * 64 + 64 * 64)  # output, gradients to input and weight
    assert needed <= peak_bytes(train_call(layer, x), "cpu") <= 1.1 * needed


def test_a_training_call_returns_the_gradients_of_input_and_weights():
    layer, x = nn.Conv2d(2, 3, 1, bias=False), torch.randn(1, 2, 4, 4)
    to_input, to_weight = train_call(layer, x)()
    torch.testing.assert_close(to_weight, x.sum((0, 2, 3))[None, :, None, None].expand(3, 2, 1, 1))
    torch.testing.assert_close(to_input, layer.weight.sum(0)[None].expand(1, 2, 4, 4))
    assert layer.weight.grad is None


def test_a_forward_call_is_one_of_evaluation():
    layer = nn.BatchNorm2d(3)
    y = forward_call(layer, torch.full((2, 3, 2, 2), 2.0))()
    torch.testing.assert_close(y, torch.full((2, 3, 2, 2), 2.0), rtol=1e-4, atol=0)
    assert y.is_inference()


def test_inputs_are_the_same_every_time():
    first, second = (random_input((2, 3, 4, 4), "bf16", "cpu", torch.channels_last) for _ in range(2))
    assert torch.equal(first, second)
    assert first.dtype == torch.bfloat16
    assert first.is_contiguous(memory_format=torch.channels_last)


def options(*words: str):
    return parser().parse_args([*words])


def test_a_small_run_writes_rows_marks_and_page(tmp_path, monkeypatch):
    monkeypatch.setattr(counterparts, "QUICK", (TINY,))
    result = main(options("--quick", "--groups", "layer", "--output", str(tmp_path)))
    assert json.loads((tmp_path / "cpu_layers.json").read_text()) == result
    assert any("C++ kernel, which is not built" in line for line in result["absent"])
    assert [row["name"] for row in result["rows"]] == [
        name for name in layers(8) if name not in ("kernel", "folded")
    ] * 4
    assert {(row["dtype"], row["mode"]) for row in result["rows"]} == {
        (dtype, mode) for dtype in ("fp32", "bf16") for mode in ("forward", "train")
    }
    assert all(row["ratio"]["median"] == 1 for row in result["rows"] if row["name"] == "plain")
    assert all(row["ms"]["low"] <= row["ms"]["median"] <= row["ms"]["high"] for row in result["rows"])
    assert all(row["rounds"] >= 5 and row["peak_mib"] > 0 for row in result["rows"])
    page = (tmp_path / "cpu_layers.md").read_text()
    assert "8 channels, 6x6 px, batch 2" in page
    assert page.count("**not run**") == 13  # no case has 128 channels, no network ran


def test_a_missed_mark_is_profiled(monkeypatch):
    monkeypatch.setattr(counterparts, "QUICK", (TINY,))
    cases, _ = all_cases(options("--quick", "--groups", "layer"))
    selects = {"group": "layer", "name": "psconv", "dtype": "fp32", "mode": "train"}
    mark = {"mark": "m", "verdict": MISSED, "worst": {"case": TINY}, "selects": selects}
    (profile,) = explain(cases, [mark, {**mark, "verdict": "met"}], "cpu")
    assert (profile["mark"], profile["case"], list(profile["shares"])) == ("m", TINY, ["plain", "psconv"])
    assert 0 < profile["shares"]["psconv"]["convolution_ms"] <= profile["shares"]["psconv"]["ms"]


def test_the_processors_name_is_linuxs(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n")
    assert cpu_model(tmp_path / "cpuinfo") == "Some CPU @ 2 GHz"
    assert cpu_model(tmp_path / "none")
