"""Backbones against torchvision's and timm's own networks, at every preset size, with every method inside."""

import functools

import msgspec
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models as tv

from pipeline.errors import InputError
from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d, MultiScaleFusion, PSConv2d
from pipeline.models.backbones.build import blocks_of, build_backbone, build_stage, freeze_stages
from pipeline.models.backbones.deformable import DeformableConv2d
from pipeline.models.backbones.resnet import resnet_shape
from pipeline.models.measure import on_meta, parameters
from pipeline.models.weights import load_backbone
from pipeline.options import BACKBONES, DeformableOptions, FusionOptions, Method, PSConvOptions
from pipeline.preset import ModelSize

FULL = ModelSize()
SMALL = ModelSize(width=0.25, depth=0.05, fusion_min_width=8)
PLAIN = Method()
METHODS = {
    "plain": PLAIN,
    "psconv": Method(psconv=PSConvOptions()),
    "gsl": Method(global_scale=True),
    "fd": Method(decomposed=True),
    "dcn": Method(deformable=DeformableOptions()),
    "msfm": Method(fusion=FusionOptions(positions=(1, 2, 3), norm_groups=(8, 4, 32), convs=(1, 1, 1, 2, 2))),
    "dcn_msfm": Method(deformable=DeformableOptions(), fusion=FusionOptions()),
}
DPN_METHODS = ("plain", "psconv", "dcn")


def images(side: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


@functools.cache
def small(name: str, method: str = "plain") -> nn.Module:
    """Return a narrow network in evaluation mode, the plain one's weights in every method's."""
    torch.manual_seed(0)
    body = build_backbone(name, SMALL, "batch", METHODS[method]).eval()
    if method != "plain":
        load_backbone(body, small(name).state_dict())
    return body


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("resnet50", tv.resnet50),
        ("resnet101", tv.resnet101),
        ("resnext50_32x4d", tv.resnext50_32x4d),
        ("resnext101_32x8d", tv.resnext101_32x8d),
        ("se_resnet50", "seresnet50"),
        ("resnext101_32x4d", "resnext101_32x4d"),
        ("dpn92", "dpn92"),
        ("dpn98", "dpn98"),
    ],
)
def test_names_and_shapes_are_torchvisions_or_timms(name, theirs):
    if isinstance(theirs, str):
        theirs = functools.partial(timm.create_model, theirs)
    with on_meta():
        own, wanted = build_backbone(name, FULL, "batch", PLAIN).state_dict(), theirs().state_dict()
    assert {key: value.shape for key, value in own.items()} == {
        key: value.shape for key, value in wanted.items() if not key.startswith(("fc.", "classifier."))
    }


def test_a_resnext_computes_what_torchvisions_does():
    torch.manual_seed(0)
    theirs = tv.resnext50_32x4d().eval()
    own = build_backbone("resnext50_32x4d", FULL, "batch", PLAIN).eval()
    assert load_backbone(own, theirs.state_dict()).initial == ()
    with torch.inference_mode():
        logits = theirs.fc(own(images(48, 1))["3"].mean((2, 3)))
        torch.testing.assert_close(logits, theirs(images(48, 1)), rtol=1e-4, atol=1e-4)


def test_a_dual_path_network_computes_what_timms_does():
    torch.manual_seed(0)
    theirs = timm.create_model("dpn92").eval()
    own = build_backbone("dpn92", FULL, "batch", PLAIN).eval()
    own.load_state_dict({k: v for k, v in theirs.state_dict().items() if not k.startswith("classifier.")})
    with torch.inference_mode():
        wanted = theirs.forward_intermediates(images(32, 1), norm=True, intermediates_only=True)[1:]
        for found, feature in zip(own(images(32, 1)).values(), wanted, strict=True):
            torch.testing.assert_close(found, feature)


def test_the_cifar_network_keeps_32_pixels_in_its_first_stage():
    with on_meta():
        body = build_backbone("resnext29_8x64d", FULL, "batch", METHODS["psconv"])
        features = body(torch.empty(2, 3, 32, 32, device="meta"))
    assert {key: tuple(value.shape) for key, value in features.items()} == {
        "0": (2, 256, 32, 32),
        "1": (2, 512, 16, 16),
        "2": (2, 1024, 8, 8),
    }
    layers = [layer for layer in body.modules() if isinstance(layer, PSConv2d)]
    wanted = [(width, 8) for width in (512, 1024, 2048) for _ in range(3)]
    assert [(layer.out_channels, layer.groups) for layer in layers] == wanted


def test_squeeze_and_excitation_scales_the_residual_by_channel():
    block = small("se_resnet50").layer1[0]
    x = torch.rand(2, 16, 5, 5)
    with torch.inference_mode():
        residual = block.bn3(block.conv3(block.relu(block.bn2(block.conv2(block.relu(block.bn1(block.conv1(x))))))))
        squeezed = torch.relu(block.se.fc1(residual.mean((2, 3), keepdim=True)))
        wanted = torch.relu(residual * torch.sigmoid(block.se.fc2(squeezed)) + block.downsample(x))
        torch.testing.assert_close(block(x), wanted)
    assert block.se.fc1.out_channels == 64 // 16


@pytest.mark.parametrize("width", [1.0, 0.5, 0.25, 0.125])
@pytest.mark.parametrize("name", BACKBONES)
def test_every_width_builds_with_psconv(name, width):
    size = ModelSize(width=width, depth=0.05, min_blocks=2)
    if name == "dpn92":  # three channels a group
        with pytest.raises(InputError, match=r"conv2_1 at .*model.width of .*multiple"), on_meta():
            build_backbone(name, size, "batch", METHODS["psconv"])
        return
    with on_meta():
        body = build_backbone(name, size, "batch", METHODS["psconv"])
    layers = [layer for layer in body.modules() if isinstance(layer, PSConv2d)]
    assert len(layers) == 2 * len(blocks_of(name))
    assert all(layer.in_channels // layer.groups % 4 == 0 for layer in layers)


@pytest.mark.parametrize(
    ("name", "width", "groups", "channels"),
    [
        ("resnext50_32x4d", 1.0, 32, 128),
        ("resnext50_32x4d", 0.5, 16, 64),
        ("resnext50_32x4d", 0.25, 8, 32),
        ("resnext101_32x8d", 0.5, 32, 128),
        ("resnext101_32x8d", 0.25, 16, 64),
        ("resnext29_8x64d", 0.25, 8, 128),
        ("resnext29_8x64d", 0.125, 8, 64),
        ("resnext29_16x64d", 0.01, 3, 12),
    ],
)
def test_narrow_resnexts_lose_width_a_group_and_then_groups(name, width, groups, channels):
    with on_meta():
        conv = build_backbone(name, ModelSize(width=width, depth=0.05), "batch", PLAIN).layer1[0].conv2
    assert (conv.groups, conv.out_channels) == (groups, channels)


@pytest.mark.parametrize("first", range(8, 65))
def test_rounding_never_loses_a_channel_of_a_group(first):
    shape = resnet_shape("resnext50_32x4d", ModelSize(width=first / 64))
    widths = [int(planes * (shape.base_width / 64)) for planes in shape.planes]
    assert widths == [4, 8, 16, 32]


@pytest.mark.parametrize(
    ("name", "method"),
    # DPN-92 has three channels a group, which the test above refuses
    [(name, method) for name in BACKBONES for method in METHODS if (name, method) != ("dpn92", "psconv")],
)
def test_every_method_runs_forward_and_backward_in_every_small_backbone(name, method):
    if name.startswith("dpn") and method not in DPN_METHODS:
        with pytest.raises(InputError, match="takes no GSL, FD or fusion"):
            build_backbone(name, SMALL, "batch", METHODS[method])
        return
    torch.manual_seed(0)
    body = build_backbone(name, SMALL, "batch", METHODS[method])
    features = body(images(32))
    strides = (1, 2, 4) if len(blocks_of(name)) == 3 else (4, 8, 16, 32)
    assert [tuple(value.shape[1:]) for value in features.values()] == [
        (channels, 32 // stride, 32 // stride) for channels, stride in zip(body.out_channels, strides, strict=True)
    ]
    sum(value.square().mean() for value in features.values()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in body.parameters())


@pytest.mark.parametrize("method", ["gsl", "fd", "dcn", "msfm", "dcn_msfm"])
@pytest.mark.parametrize("name", ["resnet50", "se_resnet101", "resnext101_32x4d", "resnext29_8x64d"])
def test_methods_start_as_the_plain_network(name, method):
    with torch.inference_mode():
        for found, wanted in zip(
            small(name, method)(images(32)).values(), small(name)(images(32)).values(), strict=True
        ):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_psconv_keeps_the_plain_weight_and_changes_the_output():
    plain, psconv = small("resnext101_32x4d"), small("resnext101_32x4d", "psconv")
    assert torch.equal(plain.layer2[0].conv2.weight, psconv.layer2[0].conv2.weight)
    with torch.inference_mode():
        assert not torch.allclose(plain(images(32))["1"], psconv(images(32))["1"])


@pytest.mark.parametrize(
    ("method", "layer", "stages"),
    [
        (METHODS["psconv"], PSConv2d, (2, 3, 4, 5)),
        (METHODS["gsl"], GlobalScaleConv2d, (3, 4, 5)),
        (Method(global_scale=True, scale_stages=(2, 3, 4, 5)), GlobalScaleConv2d, (2, 3, 4, 5)),
        (Method(decomposed=True, scale_stages=(5,)), DecomposedConv2d, (5,)),
        (METHODS["dcn"], DeformableConv2d, (3, 4, 5)),
        (Method(deformable=DeformableOptions(stages=(5,))), DeformableConv2d, (5,)),
        (METHODS["msfm"], MultiScaleFusion, (3, 4, 5)),
    ],
)
def test_layers_are_in_the_stages_asked_for(method, layer, stages):
    with on_meta():
        body = build_backbone("resnext50_32x4d", FULL, "batch", method)
    for stage in (2, 3, 4, 5):
        blocks = body.get_submodule(f"layer{stage - 1}")
        found = [m for m in blocks.modules() if isinstance(m, layer)]
        a_block = 3 if layer is MultiScaleFusion else 1
        assert len(found) == (len(blocks) * a_block if stage in stages else 0)
        assert all(getattr(m, "groups", 32) == 32 for m in found)


@pytest.mark.parametrize("positions", [(1,), (2,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 3)])
def test_fusion_modules_stand_at_every_combination_of_positions(positions):
    method = Method(fusion=FusionOptions(positions=positions, norm_groups=(4,) * len(positions)))
    with on_meta():
        body = build_backbone("resnet50", FULL, "batch", method)
    block = body.layer3[1]
    for position in (1, 2, 3):
        module = block.get_submodule(f"fusion{position}")
        assert isinstance(module, MultiScaleFusion) == (position in positions)
        if position in positions:
            assert module.squeeze[0].in_channels == (1024 if position == 3 else 256)


def test_deformable_offsets_bend_the_grid_of_their_own_group():
    torch.manual_seed(0)
    layer = DeformableConv2d(4, 6, stride=2, groups=2, offset_groups=2)
    x = torch.rand(1, 4, 7, 7)
    with torch.no_grad():
        layer.offset_predictor.bias[:18:2] = 1.0  # the first group's rows move down by one
        shifted = torch.zeros_like(x)
        shifted[:, :2, :-1] = x[:, :2, 1:]
        shifted[:, 2:] = x[:, 2:]
        wanted = nn.functional.conv2d(shifted, layer.weight, stride=2, padding=1, groups=2)
        # A plain shift loses the rows above the image; inside, the two agree.
        torch.testing.assert_close(layer(x)[:, :, 1:], wanted[:, :, 1:])
    assert parameters(layer) == 6 * 2 * 9 + (4 * 36 * 9 + 36)


def test_dilated_stages_keep_their_resolution():
    with on_meta():
        for name, at in (("resnet50", "layer4.0.conv2"), ("dpn92", "features.conv5_1.c3x3_b.conv")):
            method = Method(deformable=DeformableOptions(stages=(5,), offset_groups=4))
            body = build_backbone(name, FULL, "batch", method, strides=(1, 2, 2, 1), dilations=(1, 1, 1, 2))
            features = body(torch.empty(1, 3, 64, 64, device="meta"))
            assert [value.shape[-1] for value in features.values()] == [16, 8, 4, 4]
            layer = body.get_submodule(at)
            assert (layer.dilation, layer.offset_predictor.dilation) == ((2, 2), (2, 2))


def test_the_stage_of_a_c4_head_is_the_backbones_own():
    with on_meta():
        body = build_backbone("resnext101_32x8d", SMALL, "batch", METHODS["dcn"])
        stage = build_stage("resnext101_32x8d", SMALL, "batch", METHODS["dcn"], None, number=4, stride=2)
    own = {key: value.shape for key, value in body.layer4.state_dict().items()}
    assert {key: value.shape for key, value in stage.state_dict().items()} == own


@pytest.mark.parametrize(
    ("norm", "trained", "moves"), [("frozen", 0, False), ("frozen_statistics", 1, False), ("batch", 1, True)]
)
@pytest.mark.parametrize("name", ["resnext50_32x4d", "dpn98"])
def test_norms_freeze_what_they_say(name, norm, trained, moves):
    torch.manual_seed(0)
    body = build_backbone(name, SMALL, norm, PLAIN).train()
    norms = [module for module in body.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(p.requires_grad == bool(trained) for layer in norms for p in layer.parameters())
    before = norms[0].running_mean.clone()
    body(images(32))
    assert bool((norms[0].running_mean != before).any()) == moves


@pytest.mark.parametrize("name", ["resnet50", "dpn92"])
def test_freezing_covers_the_stem_and_the_first_stages(name):
    with on_meta():
        body = build_backbone(name, FULL, "batch", PLAIN)
    freeze_stages(body, -1)
    assert all(p.requires_grad for p in body.parameters())
    freeze_stages(body, 1)
    frozen = {
        key.removeprefix("features.").split("_")[0].split(".")[0]
        for key, p in body.named_parameters()
        if not p.requires_grad
    }
    assert frozen == ({"conv1", "bn1", "layer1"} if name == "resnet50" else {"conv1", "conv2"})
    free = [key for key, p in body.named_parameters() if p.requires_grad]
    assert not any("layer1" in key or "conv2_" in key for key in free)


def test_errors_name_the_rule_and_the_place():
    with pytest.raises(InputError, match=r"Unknown backbone 'resnet5'.*resnet50"):
        build_backbone("resnet5", FULL, "batch", PLAIN)
    with pytest.raises(InputError, match="3 stages, and 4 are asked for"):
        build_backbone("resnext29_8x64d", FULL, "batch", PLAIN, stages=4)
    with pytest.raises(InputError, match=r"layer1\.0 at the preset's model\.width of 0\.15.*10 into 4 equal blocks"):
        build_backbone("resnet50", ModelSize(width=0.15), "batch", METHODS["psconv"])
    with pytest.raises(InputError, match=r"layer2\.0 .*offset_groups = 3"):
        build_backbone("resnet50", SMALL, "batch", Method(deformable=DeformableOptions(offset_groups=3)))
    with pytest.raises(InputError, match=r"No learnt scale is known of layer2\.0"):
        build_backbone("resnet50", SMALL, "batch", METHODS["fd"], {"layer3.0": (1.0, 1.0)})
    with pytest.raises(InputError, match="no stage 4"):
        build_stage("dpn92", SMALL, "batch", PLAIN, None, 4, 2)


def test_wrong_methods_are_refused_where_they_are_read():
    for wrong, words in (
        ({"psconv": {}, "deformable": {}}, "psconv and deformable both replace"),
        ({"scale_stages": [1]}, "stages must be different ones"),
        ({"deformable": {"stages": [3, 3]}}, "stages must be different ones"),
        ({"fusion": {"positions": [2, 2], "norm_groups": [4, 4]}}, "positions must be different ones"),
    ):
        with pytest.raises(msgspec.ValidationError, match=words):
            msgspec.convert(wrong, Method)
