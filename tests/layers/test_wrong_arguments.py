"""Layers that are asked for what they cannot be name the rule and the value."""

import functools

import pytest

from pipeline.layers import (
    DecomposedConv2d,
    LearnableMaskPSConv2d,
    MultiScaleFusion,
    PSConv2d,
    ThreeBranchPSConv2d,
    decompose,
)

PSCONV = functools.partial(PSConv2d, 8, 8)
BRANCHES = functools.partial(ThreeBranchPSConv2d, 8, 8)
MASK = functools.partial(LearnableMaskPSConv2d, 8, 8)
FUSION = functools.partial(MultiScaleFusion, 8)


@pytest.mark.parametrize(
    ("layer", "wrong", "message"),
    [
        (PSCONV, {"groups": 3}, "in_channels must be a positive multiple of groups = 3, got 8"),
        (PSCONV, {"groups": 0}, "groups must be one positive integer, got 0"),
        (PSCONV, {"axes": "all"}, "axes must be 'both', 'input' or 'output', got 'all'"),
        (PSCONV, {"layout": "rows"}, "layout must be 'block' or 'interleaved', got 'rows'"),
        (PSCONV, {"kernel_size": 2}, "kernel_size must be one odd integer, got 2"),
        (PSCONV, {"kernel_size": (3, 3)}, "kernel_size must be one odd integer"),
        (PSCONV, {"stride": 0}, "stride must be one positive integer, got 0"),
        (PSCONV, {"dilations": (1, 0)}, r"dilations must be positive integers, got \(1, 0\)"),
        (PSCONV, {"dilations": ()}, "dilations must be positive integers"),
        (PSCONV, {"dilations": (1.5,)}, "dilations must be positive integers"),
        (functools.partial(PSConv2d, 6, 8), {}, "4 equal blocks"),
        (functools.partial(PSConv2d, 8, 6), {}, "out_channels / groups = 6"),
        (BRANCHES, {"parts": 3}, "parts must be even and positive, got 3"),
        (BRANCHES, {"kernel_size": 4}, "kernel_size must be one odd integer, got 4"),
        (BRANCHES, {"dilation": 0}, "groups and dilation must be positive integers, got 1 and 0"),
        (BRANCHES, {"groups": 4}, r"in_channels must be a multiple of groups \* parts = 16, got 8"),
        (MASK, {"kernel_size": 2}, "kernel_size must be one odd integer, got 2"),
        (MASK, {"groups": 3}, "in_channels must be a positive multiple of groups = 3, got 8"),
        (MASK, {"dilations": (1, 1)}, r"two different positive integers, got \(1, 1\)"),
        (MASK, {"dilations": (1, 2, 4)}, r"two different positive integers, got \(1, 2, 4\)"),
        (FUSION, {"ratio": 3}, "ratio must divide"),
        (FUSION, {"ratio": 16}, "ratio must divide"),
        (FUSION, {"ratio": 2, "scales": (0.0,)}, "scales must be positive"),
        (FUSION, {"ratio": 2, "convs": (1, 2)}, "one or 5"),
        (FUSION, {"ratio": 2, "convs": 0}, "convs must be positive"),
        (FUSION, {"ratio": 2, "norm_groups": 0}, "norm_groups"),
        (FUSION, {"ratio": 2, "fusion": "cat"}, "'add' or 'concat'"),
        (DecomposedConv2d, {"in_channels": 4, "sub_convs": []}, "sub_convs is empty"),
        (DecomposedConv2d, {"in_channels": 5, "sub_convs": decompose(1.5, 1.5, 4), "groups": 2}, "multiple of groups"),
    ],
)
def test_rule_and_value_are_named(layer, wrong, message):
    with pytest.raises(ValueError, match=message):
        layer(**wrong)
