"""Density of connections: against real networks of ones, the paper's 1-D formula, and known receptive fields."""

import math

import pytest
import torch
from torch import nn

from pipeline.analysis.connections import compare, network_blocks, printed_cases, profile_rows
from pipeline.analysis.receptive_field import (
    KERNELS,
    bottlenecks,
    density,
    difference,
    fractional,
    integral,
    kernel_density,
    plain,
    summarise,
)
from pipeline.layers import GlobalScaleConv2d, decompose
from pipeline.models.backbones.build import build_backbone
from pipeline.models.backbones.resnet import resnet_shape
from pipeline.options import Method
from pipeline.preset import ModelSize

SIZE = ModelSize(width=0.125, depth=0.05, min_blocks=2)
SCALES = {"layer2.0": (0.6, 0.97), "layer2.1": (1.7, 2.9), "layer3.0": (2.02, 1.3)}


def network_of_ones(method: Method) -> nn.Module:
    """A real backbone up to conv4_x with every weight 1, no norm, and sums in the place of max pooling."""
    body = build_backbone("resnet50", SIZE, "batch", method, dict.fromkeys(names(), (1.0, 1.0)) | SCALES, stages=3)
    for name, module in list(body.named_modules()):
        if isinstance(module, nn.BatchNorm2d):
            body.set_submodule(name, nn.Identity())
        if isinstance(module, nn.Conv2d):
            nn.init.ones_(module.weight)
        if isinstance(module, GlobalScaleConv2d):
            scale = SCALES.get(name.removesuffix(".conv2"), (1.0, 1.0))
            module.scale_predictor.bias.data = torch.tensor(scale, dtype=torch.double) - 1
    body.maxpool = nn.Sequential(nn.AvgPool2d(3, 2, 1, divisor_override=1))
    return body.double()


def names() -> list[str]:
    return [f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]


def ours(network: str):
    shape = resnet_shape("resnet50", SIZE)
    kernels = {n: KERNELS[network](*scale, shape.planes[int(n[5]) - 1]) for n, scale in SCALES.items()}
    return density(bottlenecks(shape.planes[:3], shape.blocks[:3], kernels))


@pytest.mark.parametrize(
    ("network", "method"),
    [("plain", Method()), ("gsl", Method(global_scale=True)), ("fd", Method(decomposed=True))],
)
def test_equals_backpropagation_through_the_real_network(network, method):
    body = network_of_ones(method)
    image = torch.ones(1, 3, 336, 336, dtype=torch.double, requires_grad=True)
    with torch.enable_grad():
        y = body(image)["2"]
        (gradient,) = torch.autograd.grad(y[0, 5, 10, 10], image)
    found = ours(network)
    real = gradient[0].sum(0)
    assert math.log10(real.sum()) == pytest.approx(found.log10_paths, abs=1e-9)
    reach = [side // 2 for side in found.share.shape]
    cut = real[160 - reach[0] : 161 + reach[0], 160 - reach[1] : 161 + reach[1]]
    assert (cut > 0).sum() == (real > 0).sum()  # nothing lies outside
    torch.testing.assert_close(cut / cut.sum(), found.share, rtol=1e-9, atol=1e-15)
    assert summarise(found)["connected"] == int((real > 0).sum())


def test_known_receptive_fields():
    shape = resnet_shape("resnet50", ModelSize())
    for stages, side in ((1, 35), (2, 91), (3, 267), (4, 427)):
        found = density(bottlenecks(shape.planes[:stages], shape.blocks[:stages], {}))
        assert summarise(found)["receptive_field"] == [side, side]
        assert float(found.share.sum()) == pytest.approx(1)
        torch.testing.assert_close(found.share, found.share.T)


@pytest.mark.parametrize("scale", [1.3, 2.5, 3.75, 7.0])
def test_one_axis_is_the_papers_formula(scale):
    """Section 3.2: (1 - alpha) at floor(d) and alpha at ceil(d), the same for the interpolation and for FD."""
    low, alpha = math.floor(scale), scale - math.floor(scale)
    expected = torch.zeros(2 * math.ceil(scale) + 1, dtype=torch.double)
    middle = len(expected) // 2
    for sign in (-1, 1):
        expected[middle + sign * low] += (1 - alpha) / 3
        if alpha:
            expected[middle + sign * (low + 1)] += alpha / 3
    expected[middle] += 1 / 3
    for kernel in (fractional(1.0, scale), integral(decompose(1.0, scale, 100))):
        torch.testing.assert_close(kernel_density(kernel).sum(0), expected)
    assert difference(kernel_density(fractional(1.0, scale)), kernel_density(integral(decompose(1, scale, 100)))) < 1e-9


def test_two_axes_differ_by_the_corners_alone():
    """GSL blends four corners, FD two: at (1.5, 1.5) half of FD's channels are at 1 and half at 2."""
    gsl, fd = (kernel_density(kernel) for kernel in (fractional(1.5, 1.5), integral(decompose(1.5, 1.5, 64))))
    assert gsl[2 - 1, 2 - 1].item() == pytest.approx(0.25 / 9)
    assert fd[2 - 1, 2 - 1].item() == pytest.approx(0.5 / 9)
    assert gsl[2 - 1, 2 - 2].item() == pytest.approx(0.25 / 9)
    assert fd[2 - 1, 2 - 2].item() == 0
    torch.testing.assert_close(gsl.sum(0), fd.sum(0))  # each axis by itself agrees
    assert difference(gsl, fd) == pytest.approx(8 * 0.25 / 9)


def test_scales_below_one():
    """FD's kernel of one tap stands for GSL's three taps on one place: fewer paths, as its weights are fewer."""
    kernel = integral(decompose(0.4, 1.0, 10))
    assert kernel.paths == pytest.approx(0.6 * 3 + 0.4 * 9)
    assert fractional(0.4, 1.0).paths == 9
    torch.testing.assert_close(kernel_density(fractional(0.0, 1.0)), torch.full((1, 3), 1 / 3, dtype=torch.double))


def test_kernels_of_ones():
    assert plain().reach == (1, 1)
    torch.testing.assert_close(kernel_density(plain()), torch.full((3, 3), 1 / 9, dtype=torch.double))
    assert KERNELS["rounded"](1.4, 2.6, 8).reach == (1, 3)
    spaced = kernel_density(KERNELS["fd"](3.0, 3.0, 8))
    assert int((spaced > 0).sum()) == 9  # a dilated kernel leaves holes
    assert spaced.shape == (7, 7)


def test_difference_is_total_variation():
    a, b = torch.zeros(3, 3), torch.zeros(1, 5)
    a[1, 1], b[0, 2], b[0, 4] = 1.0, 0.25, 0.75
    assert difference(a, b) == difference(b, a) == pytest.approx(0.75)
    assert difference(a, a) == 0


def test_printed_cases_hold_the_papers_claim():
    """FD keeps GSL's density almost unchanged (section 3.2); rounding and plain convolutions do not."""
    cases = {case.name: case for case in printed_cases()}
    assert sorted(cases) == ["printed_faster_rcnn_c4", "printed_faster_rcnn_fpn", "printed_retinanet_fpn"]
    c4 = cases["printed_faster_rcnn_c4"]
    assert c4.scales == {
        "layer2.0": (0.88, 0.95), "layer2.3": (1.3, 1.28), "layer3.0": (1.39, 1.41), "layer3.5": (8.49, 9.34),
    }  # fmt: skip
    assert cases["printed_retinanet_fpn"].scales["layer4.2"] == (1.75, 1.53)
    percent = {}
    for case in cases.values():
        found = compare(case, {network: density(network_blocks(case, network)) for network in KERNELS})
        far = {network: values["difference_to_gsl"] for network, values in found["networks"].items()}
        assert far["gsl"] == 0
        assert far["fd"] < 0.03 < far["rounded"] < far["plain"]
        percent[case.name] = [round(100 * far[network], 1) for network in ("fd", "rounded", "plain")]
        assert found["networks"]["plain"]["beyond_plain"] == 0
        assert found["networks"]["gsl"]["spread"] > found["networks"]["plain"]["spread"]
        assert sorted(found["layer_difference_to_gsl"]) == sorted(case.scales)
    assert percent == {
        "printed_faster_rcnn_c4": [1.8, 9.7, 85.8],
        "printed_faster_rcnn_fpn": [1.8, 6.6, 52.9],
        "printed_retinanet_fpn": [2.4, 7.1, 18.1],
    }


def test_profiles_hold_one_side_in_steps_of_the_stem():
    shape = resnet_shape("resnet50", ModelSize())
    found = density(bottlenecks(shape.planes[:1], shape.blocks[:1], {}))
    rows = profile_rows("a", "plain", found)
    heights = [row for row in rows if row["axis"] == "height"]
    assert [row["offset"] for row in heights[:2]] == [1.5, 5.5]
    profile = found.share.sum(1)[17:]
    assert heights[0]["share"] == pytest.approx(float(profile[:4].mean()), rel=1e-3)
    assert len(heights) == len(rows) / 2 == 4  # 35 pixels: 17 on one side and the centre
