"""Weight share per dilation rate: by hand, its control by untrained weights, and the stage on a tiny detector."""

import json

import pytest
import tiny
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipeline import paths
from pipeline.analysis.weight_share import layer_shares, share_weights, untrained_shares, weight_shares
from pipeline.errors import InputError
from pipeline.layers import PSConv2d
from pipeline.models import build_classifier, build_detector
from pipeline.reporting.figures.weight_share import draw_weight_share
from pipeline.training.checkpoint import save_weights

LATTICE = torch.tensor([[1, 2], [2, 1]])
PSCONV = "psconv_frcnn_r50_fpn_1x_psconv"


def kernels(values: list[list[float]]) -> torch.Tensor:
    """Return a weight [2, 2, 3, 3] whose kernels have these means of absolute values, with both signs inside."""
    signs = torch.tensor([1.0, -1.0]).repeat(5)[:9].view(3, 3)
    return torch.tensor(values)[:, :, None, None] * signs


def test_the_largest_mean_absolute_kernel_of_each_rate_over_their_sum():
    shares = weight_shares(kernels([[0.1, 0.6], [0.5, 0.3]]), LATTICE)  # rate 1: 0.1, 0.3; rate 2: 0.6, 0.5
    assert shares == pytest.approx({1: 0.3 / 0.9, 2: 0.6 / 0.9})


def test_a_kernel_counts_with_its_mean_not_its_largest_weight():
    weight = torch.zeros(2, 2, 3, 3)
    weight[0, 0, 1, 1] = 9.0  # rate 1: mean 1
    weight[0, 1] = 2.0  # rate 2: mean 2
    assert weight_shares(weight, LATTICE) == pytest.approx({1: 1 / 3, 2: 2 / 3})


def test_dead_layers_and_single_rates():
    assert weight_shares(torch.zeros(2, 2, 3, 3), LATTICE) == {1: 0.5, 2: 0.5}
    assert weight_shares(torch.ones(2, 2, 3, 3), torch.ones(2, 2, dtype=torch.int32)) == {1: 1.0}


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 1000))
def test_shares_sum_to_one_and_do_not_depend_on_the_weights_scale(scale, seed):
    layer = PSConv2d(8, 8)
    weight = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    shares = weight_shares(weight, layer.dilation_lattice())
    assert sum(shares.values()) == pytest.approx(1)
    assert weight_shares(-scale * weight, layer.dilation_lattice()) == pytest.approx(shares)


@pytest.mark.parametrize(
    ("weight", "sentence"),
    [
        (torch.zeros(3, 2, 3, 3), r"shape \[3, 2\], got \[2, 2\]"),
        (torch.full((2, 2, 3, 3), float("nan")), "4 kernels are not finite"),
    ],
)
def test_wrong_weights_are_named(weight, sentence):
    with pytest.raises(ValueError, match=sentence):
        weight_shares(weight, LATTICE)


def test_untrained_weights_favour_the_rate_with_more_kernels_and_no_other():
    lattice = PSConv2d(16, 16).dilation_lattice()
    shares = untrained_shares((16, 16, 3, 3), lattice)
    assert shares[2] == shares[4]  # a quarter of the kernels each
    assert shares[1][0] > shares[2][0]
    assert sum(mean for mean, _ in shares.values()) == pytest.approx(1)
    assert shares == untrained_shares((16, 16, 3, 3), lattice)


def test_layers_of_a_network_are_found_by_block_with_their_kernels():
    model = nn.ModuleDict({"layer3": nn.ModuleList([nn.ModuleDict({"conv2": PSConv2d(8, 8, stride=2)})])})
    with torch.no_grad():
        model["layer3"][0]["conv2"].weight.fill_(0.5)
    found = layer_shares(model, model.state_dict())
    assert list(found) == ["layer3.0"]
    assert found["layer3.0"]["stride"] == 2
    assert {rate: entry["kernels"] for rate, entry in found["layer3.0"]["rates"].items()} == {"1": 32, "2": 16, "4": 16}
    assert {entry["share"] for entry in found["layer3.0"]["rates"].values()} == {round(1 / 3, 6)}
    with pytest.raises(ValueError, match=r"hold no layer3\.0\.conv2\.weight"):
        layer_shares(model, {})


def strengthen_rate_4(layer: PSConv2d) -> None:
    """Give the kernels of rate 4 three times the weights of all others."""
    lattice = layer.dilation_lattice()
    with torch.no_grad():
        layer.weight.copy_(torch.where(lattice == 4, 3.0, 1.0)[:, :, None, None].expand_as(layer.weight))


def shares_of(layer: dict) -> dict[str, float]:
    return {rate: entry["share"] for rate, entry in layer["rates"].items()}


def test_the_stage_writes_numbers_and_figure_of_trained_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = tiny.spec(PSCONV)
    torch.manual_seed(0)
    model = build_detector(spec, classes=3)
    strengthen_rate_4(model.get_submodule("backbone.body.layer2.0.conv2"))
    save_weights(paths.weights("tiny", PSCONV), model.state_dict())
    result = share_weights(spec)
    assert json.loads(paths.weight_share("tiny", PSCONV).read_text()) == result
    assert list(result["layers"]) == ["layer1.0", "layer2.0", "layer3.0", "layer4.0"]
    assert shares_of(result["layers"]["layer2.0"]) == {"1": 0.2, "2": 0.2, "4": 0.6}
    figure = paths.figure("tiny", f"{PSCONV}_weight_share")
    draw_weight_share(result, "tiny", figure)
    first = figure.read_bytes()
    lines = figure.with_suffix(".csv").read_text().splitlines()
    assert len(lines) == 1 + 4 * 3
    assert lines[6].startswith(f"{PSCONV},layer2.0,2,4,64,0.6,")
    draw_weight_share(result, "tiny", figure)
    assert figure.read_bytes() == first


@pytest.mark.parametrize("name", ["psconv_cls_r50_120ep_cos_psconv", "psconv_cls_x29_16x64d_300ep_psconv"])
def test_a_classifiers_weights_are_read_where_they_serve_as_an_init(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = tiny.spec(name)
    torch.manual_seed(0)
    model = build_classifier(spec)
    strengthen_rate_4(next(part for part in model.modules() if isinstance(part, PSConv2d)))
    save_weights(paths.init("tiny", name), {f"backbone.{key}": value for key, value in model.state_dict().items()})
    layers = share_weights(spec)["layers"]
    assert shares_of(next(iter(layers.values()))) == {"1": 0.2, "2": 0.2, "4": 0.6}
    assert len(layers) == sum(isinstance(part, PSConv2d) for part in model.modules())


def test_an_experiment_without_psconv_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="has no PSConv layers; name a"):
        share_weights(tiny.spec("psconv_frcnn_r50_fpn_1x"))
    with pytest.raises(InputError, match="do not exist"):
        share_weights(tiny.spec(PSCONV))
