"""From a GSL network to fast-deployment inits: learnt scales, decomposition and weight transfer, by hand."""

from __future__ import annotations

import json

import pytest
import tiny
import torch
from torch import nn

from pipeline import paths
from pipeline.data.detection_set import DetectionSet, load_scaled
from pipeline.data.manifest import load_split
from pipeline.errors import InputError
from pipeline.files import read_json
from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d
from pipeline.models import build_detector
from pipeline.prediction.detector import predict
from pipeline.spec import Spec
from pipeline.training import detection
from pipeline.training.checkpoint import load_init, load_weights, save_weights
from pipeline.training.detection import train_detector
from pipeline.training.global_scales import block_name, decompose_init, learn_scales, scale_layers, stability
from pipeline.training.inputs import read_scales

BLOCKS = ["layer2.0", "layer3.0", "layer4.0"]


def learner(neck: str) -> Spec:
    return tiny.spec(f"pod_frcnn_r50_{neck}_1x_gsl")


def classes() -> int:
    return len(read_json(paths.manifest("tiny"))["categories"])


def write_learner(spec: Spec, scale_h: float, scale_w: float, spread: float = 0.0) -> nn.Module:
    """Write the weights of a GSL network whose every layer predicts one scale, and return the network."""
    torch.manual_seed(1)
    model = build_detector(spec, classes()).eval()
    for layer in scale_layers(model).values():
        layer.scale_predictor.bias.data = torch.tensor([scale_h - 1, scale_w - 1])
        layer.scale_predictor.weight.data.fill_(spread)
    save_weights(paths.weights("tiny", spec.name), model.state_dict())
    return model


def fast_network(spec: Spec, init: str) -> tuple[nn.Module, list[str]]:
    """Return a fast-deployment network that starts from an init, and the names that the init does not hold."""
    tensors, metadata = load_weights(paths.init("tiny", init))
    torch.manual_seed(2)
    model = build_detector(tiny.with_method(spec, decomposed=True), classes(), read_scales(metadata)).eval()
    _, unmatched = load_init(model, tensors)
    return model, unmatched


def outputs(model: nn.Module) -> list[torch.Tensor]:
    """Return the features and RPN outputs of a detector on one image, and its head's on whole-image RoIs."""
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = model.backbone(image)
        rois = [torch.tensor([[0.0, 0, 96, 64], [10, 10, 60, 50]])]
        pooled = model.roi_heads.box_roi_pool(features, rois, [(64, 96)])
        logits, deltas = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
        objectness, _ = model.rpn.head(list(features.values()))
    return [*features.values(), *objectness, logits, deltas]


def test_mean_and_spread_over_images(tiny_project):
    spec = learner("fpn")
    model = write_learner(spec, 1.0, 1.0, spread=0.05)
    learn_scales(spec)
    layer = read_json(paths.scales("tiny", spec.name))["layers"]["layer2.0"]
    # The same by hand: the first 5 images of the stage's permutation, alone and at the training's size.
    data = DetectionSet(load_split(paths.manifest("tiny"), "train"))
    rows = torch.randperm(10, generator=torch.Generator().manual_seed(0))[:5].tolist()
    values = []
    with torch.inference_mode():
        for row in rows:
            batch, _ = model.transform([load_scaled(data, row, 80, 133.3)[0]])
            body = model.backbone.body
            x = body.layer1(body.maxpool(body.relu(body.bn1(body.conv1(batch.tensors)))))
            block = body.layer2[0]
            inner = block.relu(block.bn1(block.conv1(x)))
            values.append(block.conv2.predict_scales(inner)[0])
    scales = torch.stack(values).double()
    assert layer["mean_h"] == pytest.approx(scales[:, 0].mean().item(), abs=1e-5)
    assert layer["std_w"] == pytest.approx(scales[:, 1].std(correction=0).item(), abs=1e-5)
    assert layer["std_h"] > 0


def test_validation_scales_stand_beside_and_are_not_decomposed(tiny_project):
    spec = learner("fpn")
    write_learner(spec, 1.0, 1.0, spread=0.05)
    learn_scales(spec)
    found = read_json(paths.scales("tiny", spec.name))
    assert found["val"]["images"] == 4  # the split has no more
    assert sorted(found["val"]["layers"]) == BLOCKS
    assert found["val"]["layers"] != found["layers"]
    train, val = found["layers"], found["val"]["layers"]
    assert found["stability"] == pytest.approx(stability(train, val), abs=1e-6)
    decompose_init(spec)
    _, metadata = load_weights(paths.init("tiny", f"{spec.name}_fd_wt"))
    assert json.loads(metadata["scales"]) == {n: [train[n]["mean_h"], train[n]["mean_w"]] for n in BLOCKS}


def test_a_scale_near_0_is_named(tiny_project, capsys):
    spec = learner("fpn")
    write_learner(spec, 0.03, 1.0)
    learn_scales(spec)
    dead = [f"{block} height" for block in BLOCKS]
    assert read_json(paths.scales("tiny", spec.name))["near_zero"] == dead
    assert f"scales near 0, which see one tap of three: {', '.join(dead)}" in capsys.readouterr().err
    write_learner(spec, -0.5, 1.0)  # mirrored: 0.5
    learn_scales(spec)
    found = read_json(paths.scales("tiny", spec.name))
    assert found["near_zero"] == []
    assert found["layers"]["layer2.0"]["mean_h"] == pytest.approx(0.5)


def test_a_short_training_moves_scales_that_start_below_zero(tiny_project, monkeypatch):
    """Every layer starts at 1 - 1.5: a clamp at 0 would leave all of them there."""

    def below(*arguments) -> nn.Module:
        model = build_detector(*arguments)
        for layer in scale_layers(model).values():
            nn.init.constant_(layer.scale_predictor.bias, -1.5)
        return model

    spec = learner("fpn")
    with monkeypatch.context() as patch:
        patch.setattr(detection, "build_detector", below)
        train_detector(spec)
    weights, _ = load_weights(paths.weights("tiny", spec.name))
    biases = [value for name, value in weights.items() if name.endswith("scale_predictor.bias")]
    assert len(biases) == len(BLOCKS)
    assert all((bias != -1.5).all() for bias in biases)
    learn_scales(spec)
    assert read_json(paths.scales("tiny", spec.name))["near_zero"] == []


def test_stability_by_hand():
    train = {"a": {"mean_h": 2.0, "mean_w": 1.0, "std_h": 0.1, "std_w": 0.02}}
    val = {"a": {"mean_h": 2.2, "mean_w": 0.95, "std_h": 0.2, "std_w": 0.01}}
    expected = {"largest_spread_train": 0.05, "largest_spread_val": 0.1, "largest_difference": 0.1}
    assert stability(train, val) == expected
    still = {"a": {"mean_h": 0.0, "mean_w": 0.0, "std_h": 0.0, "std_w": 0.0}}
    assert stability(still, still)["largest_difference"] is None


def test_scales_of_a_network_without_a_learner(tiny_project):
    with pytest.raises(InputError, match="has no global scale learner; name a \\*_gsl experiment"):
        learn_scales(tiny.spec("pod_frcnn_r50_fpn_1x"))


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_transferred_network_equals_its_learner_at_integer_scales(tiny_project, neck):
    spec = learner(neck)
    model = write_learner(spec, 2.0, 3.0)
    learn_scales(spec)
    decompose_init(spec)
    fast, unmatched = fast_network(spec, f"{spec.name}_fd_wt")
    assert unmatched == []
    layers = [layer for layer in fast.modules() if isinstance(layer, DecomposedConv2d)]
    assert len(layers) == 3
    assert not any(isinstance(layer, GlobalScaleConv2d) for layer in fast.modules())
    assert {conv.dilation for layer in layers for conv in layer.convs} == {(2, 3)}
    for a, b in zip(outputs(fast), outputs(model), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_detector_without_rois_is_transferred_too(tiny_project):
    spec = tiny.with_detector(learner("fpn"), "retinanet")
    model = write_learner(spec, 2.0, 3.0)
    learn_scales(spec)
    found = read_json(paths.scales("tiny", spec.name))
    assert sorted(found["layers"]) == BLOCKS
    assert found["classes"] == classes()
    decompose_init(spec)
    fast, unmatched = fast_network(spec, f"{spec.name}_fd_wt")
    assert unmatched == []
    _, unmatched = fast_network(spec, f"{spec.name}_fd")
    assert unmatched
    assert all(name.startswith(("backbone.fpn.", "head.")) for name in unmatched)
    image = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted, got = (list(each.backbone(image).values()) for each in (model, fast))
        wanted, got = ([*levels, *each.head(levels)["logits"]] for levels, each in ((wanted, model), (got, fast)))
    assert len(wanted) == 10
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_fractional_scales_are_learnt_and_split_the_channels(tiny_project, neck):
    spec = learner(neck)
    model = write_learner(spec, 1.7, 2.9)
    learn_scales(spec)
    found = read_json(paths.scales("tiny", spec.name))
    assert (found["experiment"], found["images"]) == (spec.name, 5)
    assert found["layers"] == {key: {"mean_h": 1.7, "mean_w": 2.9, "std_h": 0.0, "std_w": 0.0} for key in BLOCKS}
    assert found["largest_shift"] == pytest.approx(1.9)
    decompose_init(spec)
    _, metadata = load_weights(paths.init("tiny", f"{spec.name}_fd_wt"))
    assert json.loads(metadata["scales"]) == {block: [1.7, 2.9] for block in BLOCKS}
    fast, _ = fast_network(spec, f"{spec.name}_fd_wt")
    learnt = {name: layer.weight for name, layer in scale_layers(model).items()}
    layers = {name: layer for name, layer in fast.named_modules() if isinstance(layer, DecomposedConv2d)}
    assert len(layers) == 3
    for name, layer in layers.items():
        lower, upper = layer.convs
        assert (lower.dilation, upper.dilation) == ((1, 2), (2, 3))
        # The share of the upper part is the mean of 0.7 and 0.9: a fifth of the channels stays below.
        channels = layer.out_channels
        assert lower.out_channels == int(0.2 * channels + 0.5)
        assert torch.equal(torch.cat([lower.weight, upper.weight]), learnt[block_name(name)])


@pytest.mark.parametrize("neck", ["fpn", "c4"])
def test_pretrained_init_is_cut_the_same_way(tiny_project, neck):
    spec = learner(neck)
    write_learner(spec, 0.02, 1.0)  # dilation 0 in height: kernels of 1x3
    learn_scales(spec)
    decompose_init(spec)
    pretrained, _ = load_weights(paths.init("tiny", "resnet50"))
    fast, unmatched = fast_network(spec, f"{spec.name}_fd")
    heads = ("rpn.", "backbone.fpn.", "roi_heads.box_head.fc", "roi_heads.box_predictor.")
    assert unmatched
    assert all(name.startswith(heads) for name in unmatched)  # nothing of the detector's training is in it
    for name, layer in fast.named_modules():
        if isinstance(layer, DecomposedConv2d):
            (conv,) = layer.convs
            assert conv.kernel_size == (1, 3)
            weight = pretrained[f"backbone.body.{block_name(name)}.conv2.weight"]
            assert torch.equal(conv.weight, weight[:, :, 1:2])  # the centre row
    own = fast.state_dict()
    assert torch.equal(own["backbone.body.layer2.0.conv1.weight"], pretrained["backbone.body.layer2.0.conv1.weight"])


def test_fast_networks_train_and_detect_from_both_inits(tiny_project):
    spec = tiny.spec("pod_frcnn_r50_fpn_1x_gsl", steps=2)
    train_detector(spec)
    learn_scales(spec)
    decompose_init(spec)
    for name in ("pod_frcnn_r50_fpn_1x_fd", "pod_frcnn_r50_fpn_1x_fd_wt"):
        fast = tiny.spec(name, steps=2)
        train_detector(fast)
        _, metadata = load_weights(paths.weights("tiny", name))
        assert sorted(json.loads(metadata["scales"])) == BLOCKS  # prediction builds the network from them
        predict(fast, "single")
        assert read_json(paths.detections("tiny", name))
    summary = read_json(paths.training_summary("tiny", "pod_frcnn_r50_fpn_1x_fd_wt"))
    assert summary["init_unmatched"] == 0
