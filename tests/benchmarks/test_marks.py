"""Verdicts on marks, by hand, and the page that shows them."""

import pytest

from pipeline.benchmarks.marks import MET, MISSED, NOT_RUN, judge
from pipeline.benchmarks.pages.layers import profile_text
from pipeline.benchmarks.timing.profiles import summarise


def row(ratio: float, channels: int = 128, name: str = "psconv", group: str = "layer", **changes) -> dict:
    case = (
        {"channels": channels, "pixels": 14, "batch": 5}
        if group == "layer"
        else {"batch": 2, "height": 224, "width": 224}
    )
    numbers = {"median": ratio, "low": ratio - 0.01, "high": ratio + 0.02}
    found = {"group": group, "case": case, "dtype": "fp32", "mode": "forward", "name": name, "rounds": 9}
    return {**found, "ms": numbers, "ratio": numbers, "peak_mib": 1.5, **changes}


def verdicts(rows: list[dict], device: str = "cpu") -> dict[str, str]:
    return {mark["mark"]: mark["verdict"] for mark in judge(rows, device)}


LAYER = "PSConv layer, fp32, forward, 128 channels and more"


def test_a_mark_is_met_where_every_case_is():
    assert verdicts([row(1.2), row(1.05, 512)])[LAYER] == MET
    assert verdicts([row(1.2), row(1.21, 512)])[LAYER] == MISSED
    assert verdicts([])[LAYER] == NOT_RUN


def test_other_sizes_types_and_layers_do_not_count():
    others = [row(9.0, 64), row(9.0, dtype="bf16"), row(9.0, name="dilated"), row(9.0, mode="train")]
    others.append(row(9.0, group="network"))
    found = verdicts([row(1.0), *others])
    assert found[LAYER] == MET
    assert found["PSConv layer, fp32, with backward, 128 channels and more"] == MISSED
    assert found["PS-ResNet-50, fp32, forward"] == found["PS-ResNet-50, 224 px, forward"] == MISSED
    large = row(9.0, group="network", case={"batch": 1, "height": 800, "width": 1344})
    assert verdicts([large])["PS-ResNet-50, fp32, forward"] == MISSED
    assert verdicts([large])["PS-ResNet-50, 224 px, forward"] == NOT_RUN
    assert (
        verdicts([row(1.0, 64, "kernel"), row(9.0, 128, "kernel")])["PSConv's C++ kernel, fp32, forward, 64 channels"]
        == MET
    )
    assert found["Fast-deployment network, fp32, ONNX Runtime"] == NOT_RUN


def test_the_worst_case_and_the_typical_one_are_kept():
    mark = next(mark for mark in judge([row(1.1), row(1.4, 256), row(1.3, 512)], "cpu") if mark["mark"] == LAYER)
    assert (mark["cases"], mark["cases_met"], mark["typical"]) == (3, 1, 1.3)
    assert mark["worst"]["case"]["channels"] == 256
    assert mark["worst"]["ratio"]["median"] == 1.4


def test_a_gpu_has_marks_of_its_own():
    rows = [row(1.3, 256, dtype="bf16"), row(1.3, 256, dtype="bf16", mode="train"), row(5.0, 128, dtype="bf16")]
    found = verdicts(rows, "cuda")
    assert found["PSConv layer, bf16, forward, 256 channels and more"] == MISSED
    assert found["PSConv layer, bf16, with backward, 256 channels and more"] == MET
    assert LAYER not in found


def test_a_profile_splits_the_extra_time_into_convolutions_and_the_rest():
    plain = summarise([("aten::mkldnn_convolution", 1, 8.0), ("aten::empty", 4, 2.0)], top=5)
    ours = summarise([("aten::mkldnn_convolution", 3, 9.0), ("aten::cat", 2, 4.0), ("aten::idle", 1, 0.0)], top=5)
    assert plain == {
        "ms": 10.0,
        "convolution_ms": 8.0,
        "operators": [
            {"name": "aten::mkldnn_convolution", "calls": 1, "ms": 8.0, "share": 0.8},
            {"name": "aten::empty", "calls": 4, "ms": 2.0, "share": 0.2},
        ],
    }
    assert [entry["name"] for entry in ours["operators"]] == ["aten::mkldnn_convolution", "aten::cat"]
    case = {"channels": 128, "pixels": 14, "batch": 5}
    text = profile_text({"mark": LAYER, "case": case, "shares": {"plain": plain, "psconv": ours}})
    assert "PSConv spends 9.00 ms in convolutions and 4.00 ms in everything else" in text
    assert "its convolutions add +0.10 and everything else adds +0.20" in text
    assert "| PSConv | `aten::cat` | 2.0 | 4.000 | 30.8 |" in text


def test_long_kernel_names_are_cut_and_empty_profiles_are_none():
    assert summarise([("k" * 100, 1, 1.0)], top=1)["operators"][0]["name"] == "k" * 59 + "…"
    assert summarise([], top=3) == {"ms": 0, "convolution_ms": 0, "operators": []}


@pytest.mark.parametrize("name", ["sm90_xmma_fprop_implicit_gemm", "aten::convolution_backward", "cudnn::dgrad_engine"])
def test_convolutions_are_known_by_name(name):
    assert summarise([(name, 1, 2.0), ("aten::cat", 1, 1.0)], top=1)["convolution_ms"] == 2.0
