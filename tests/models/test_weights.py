"""Published weights come through the libraries' own loaders and go into plain and modified backbones."""

import pytest
import timm
import torch
import torchvision
from torch import Tensor
from torchvision import models as tv

from pipeline.errors import InputError
from pipeline.models.backbones.build import build_backbone
from pipeline.models.pretrained import PUBLISHED, published_source, published_state
from pipeline.models.weights import load_backbone
from pipeline.options import BACKBONES, DeformableOptions, FusionOptions, Method, PSConvOptions
from pipeline.preset import ModelSize

SIZE = ModelSize(width=0.25, depth=0.05, fusion_min_width=8)
WEIGHTS = {"resnet50": tv.ResNet50_Weights, "resnext101_32x8d": tv.ResNeXt101_32X8D_Weights}


def state(name: str = "resnet50") -> dict[str, Tensor]:
    """Return weights that stand for published ones: random, with a classifier."""
    torch.manual_seed(1)
    own = build_backbone(name, SIZE, "batch", Method()).state_dict()
    return {key: torch.rand_like(value.float()) for key, value in own.items()} | {"fc.weight": torch.ones(3, 3)}


@pytest.mark.parametrize("name", sorted(WEIGHTS))
def test_torchvision_checks_hashes_and_loads_tensors_only(name, monkeypatch):
    asked = []

    def fetch(url, **options):
        asked.append((url, options))
        return {"conv1.weight": torch.ones(1), "fc.weight": torch.ones(1), "fc.bias": torch.ones(1)}

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fetch)
    assert list(published_state(name)) == ["conv1.weight"]
    [(url, options)] = asked
    assert url == WEIGHTS[name].IMAGENET1K_V1.url
    assert options["check_hash"]
    assert options["weights_only"]


def test_timm_gives_its_published_network(monkeypatch):
    asked = []

    class Network:
        def state_dict(self):
            return {"features.conv1_1.conv.weight": torch.ones(1), "classifier.weight": torch.ones(1)}

    monkeypatch.setattr(timm, "create_model", lambda *args, **options: asked.append((args, options)) or Network())
    assert list(published_state("dpn92")) == ["features.conv1_1.conv.weight"]
    assert asked == [(("dpn92.mx_in1k",), {"pretrained": True})]


def test_timm_publishes_what_is_named():
    names = [name for library, name in PUBLISHED.values() if library == "timm"]
    assert names
    assert all(timm.get_pretrained_cfg(name).has_weights for name in names)


def test_backbones_without_published_weights_are_named():
    assert set(BACKBONES) - set(PUBLISHED) == {"se_resnet101", "resnext29_8x64d", "resnext29_16x64d"}
    assert published_source("resnext101_32x4d") == "timm resnext101_32x4d.gluon_in1k"
    for name in ("se_resnet101", "resnext29_8x64d", "vgg16"):
        with pytest.raises(InputError, match=f"No ImageNet weights are published for backbone '{name}'"):
            published_state(name)


def test_a_failed_download_is_one_sentence(monkeypatch):
    def fail(*args, **options):
        raise OSError("no route\nto host")

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    with pytest.raises(InputError, match=r"IMAGENET1K_V1 for resnet50 could not be fetched \(no route to host\)"):
        published_state("resnet50")


def test_a_plain_backbone_takes_everything_but_the_classifier():
    source = state()
    body = build_backbone("resnet50", SIZE, "batch", Method())
    matched = load_backbone(body, source)
    assert (matched.transferred, matched.initial, matched.unused) == ((), (), ("fc.weight",))
    assert all(
        torch.equal(value.float(), source[key].to(value.dtype).float()) for key, value in body.state_dict().items()
    )


@pytest.mark.parametrize(
    ("method", "initial"),
    [
        (Method(psconv=PSConvOptions()), set()),
        (Method(global_scale=True), {"conv2.scale_predictor.weight", "conv2.scale_predictor.bias"}),
        (Method(deformable=DeformableOptions()), {"conv2.offset_predictor.weight", "conv2.offset_predictor.bias"}),
    ],
)
@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "se_resnet50"])
def test_replaced_convolutions_keep_the_plain_weight(name, method, initial):
    source = state(name)
    body = build_backbone(name, SIZE, "batch", method)
    matched = load_backbone(body, source)
    for stage in (2, 3, 4):
        assert torch.equal(body.get_submodule(f"layer{stage}")[0].conv2.weight, source[f"layer{stage}.0.conv2.weight"])
    assert {key.split(".0.", 1)[1] for key in matched.initial} == initial
    assert len(matched.initial) == 3 * len(initial)
    assert matched.unused == ("fc.weight",)


def test_fusion_modules_stay_as_they_are():
    body = build_backbone("resnet50", SIZE, "batch", Method(fusion=FusionOptions()))
    before = body.layer2[0].fusion3.squeeze[0].weight.clone()
    matched = load_backbone(body, state())
    assert torch.equal(body.layer2[0].fusion3.squeeze[0].weight, before)
    assert len(matched.initial) > 100
    assert all(".fusion" in key for key in matched.initial)
    assert matched.unused == ("fc.weight",)


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
def test_decomposed_convolutions_take_the_rows_in_the_centre_form(name):
    source = state(name)
    scales = {"layer2.0": (0.5, 0.5), "layer3.0": (1.3, 1.7), "layer4.0": (0.4, 2.0)}
    body = build_backbone(name, SIZE, "batch", Method(decomposed=True), scales)
    matched = load_backbone(body, source)
    assert matched.initial == ()
    assert matched.unused == ("fc.weight",)
    weight = source["layer2.0.conv2.weight"]
    first, second = [conv.weight for conv in body.layer2[0].conv2.convs][:1], body.layer2[0].conv2.convs[-1].weight
    assert torch.equal(first[0], weight[: len(first[0]), :, 1:2, 1:2])  # half the rows lose their taps
    assert torch.equal(second, weight[-len(second) :])
    rows = torch.cat([conv.weight.flatten(1).sum(1) for conv in body.layer3[0].conv2.convs])
    torch.testing.assert_close(rows, source["layer3.0.conv2.weight"].flatten(1).sum(1))
    assert [key for key in matched.transferred if key.startswith("layer4.0")] == [
        f"layer4.0.conv2.convs.{index}.weight" for index in range(len(body.layer4[0].conv2.convs))
    ]


def test_shapes_that_differ_are_left_alone_and_reported():
    source = state() | {"conv1.weight": torch.ones(16, 3, 3, 3), "layer2.0.conv2.weight": torch.ones(4, 4, 3, 3)}
    body = build_backbone("resnet50", SIZE, "batch", Method(decomposed=True))
    matched = load_backbone(body, source)
    assert matched.initial == ("conv1.weight", "layer2.0.conv2.convs.0.weight")
    assert matched.unused == ("conv1.weight", "fc.weight", "layer2.0.conv2.weight")
    assert matched.report()["initial"] == list(matched.initial)
    assert str(matched).startswith(f"{len(matched.loaded)} tensors loaded, 2 transferred; 2 keep their initial values")
