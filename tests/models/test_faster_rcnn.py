"""Faster R-CNN against printed parameter counts, and its contract on batches that are odd, empty or unequal."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec
import pytest
import tiny
import torch
import yaml
from torch import nn

from pipeline import config
from pipeline.errors import InputError
from pipeline.layers import DecomposedConv2d, GlobalScaleConv2d, MultiScaleFusion, PSConv2d
from pipeline.models import build_classifier, build_detector
from pipeline.models.backbones.norms import FrozenBatchNorm2d, FrozenStatisticsBatchNorm2d
from pipeline.models.measure import printed_scales
from pipeline.options import FusionOptions
from pipeline.spec import Spec

IDENTITIES = Path(__file__).resolve().parents[2] / ".." / "shared" / "design" / "parameter-identities.yaml"
SHAPES = [(3, 96, 128), (3, 64, 96)]


def counts(spec: Spec, scales: dict | None = None) -> tuple[int, int]:
    """Return the total and the trainable parameters of a full-size detector, without its memory."""
    with torch.device("meta"):
        parameters = list(build_detector(spec, 80, scales).parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


def identities() -> dict:
    """Return the exact counts behind the printed ones; skip where the file is not at hand."""
    if not IDENTITIES.is_file():
        pytest.skip(f"{IDENTITIES} is not here")
    return yaml.safe_load(IDENTITIES.read_text())


@functools.cache
def tiny_model(experiment: str) -> nn.Module:
    """Return a tiny detector with random weights, in evaluation mode."""
    torch.manual_seed(0)
    return build_detector(tiny.spec(experiment), 3).eval()


def target(*boxes: list[float]) -> dict[str, torch.Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
    }


# Parameters


def test_baseline_has_the_printed_parameters():
    assert counts(config.resolve("msfm_frcnn_r50_fpn_1x", "full")) == (41_753_056, 41_527_712)


def test_baseline_equals_the_identities():
    row = identities()["baselines"]["base.faster_r50"]
    wanted = (row["expected_total_params"], row["expected_trainable_params"])
    assert counts(config.resolve("msfm_frcnn_r50_fpn_1x", "full")) == wanted


def test_resnet101_equals_the_identities():
    row = identities()["baselines"]["base.faster_r101"]
    spec = config.resolve("msfm_frcnn_r50_fpn_1x", "full")
    spec = msgspec.structs.replace(spec, experiment=msgspec.structs.replace(spec.experiment, backbone="resnet101"))
    assert counts(spec) == (row["expected_total_params"], row["expected_trainable_params"])


def test_fusion_modules_equal_the_identities():
    rows = identities()["msfm"]
    assert counts(config.resolve("msfm_frcnn_r50_fpn_1x_msfm", "full"))[1] == 43_846_440
    assert rows["t4.faster_r50.msfm"]["expected_trainable_params"] == 43_846_440


def test_every_printed_fusion_design_equals_the_identities():
    baseline = identities()["baselines"]["base.faster_r50"]["expected_trainable_params"]
    spec = config.resolve("msfm_frcnn_r50_fpn_1x", "full")
    checked = 0
    for name, row in identities()["msfm"].items():
        design = row["config"]
        if design["base"] != "faster_r50":
            continue
        groups = design["norm_group"]
        options = FusionOptions(
            positions=tuple(int(place[-1]) for place in design["positions"]),
            scales=tuple(float(scale) for scale in design["scales"]),
            ratios=tuple(design["ratios"]),
            norm_groups=tuple(groups.values()) if isinstance(groups, dict) else (groups,),
            convs=tuple(design["conv_num"]),
            fusion={"add": "add", "cat": "concat"}[design["fusion"]],
        )
        with torch.device("meta"):
            model = build_fusions(spec, options)
        added = sum(p.numel() for p in model.parameters())
        assert baseline + added == row["expected_trainable_params"], name
        checked += 1
    assert checked > 30


def build_fusions(spec: Spec, options: FusionOptions) -> nn.ModuleList:
    """Return the fusion modules that a design puts into conv3_x to conv5_x, without the convolutions around them."""
    from pipeline.models.backbones.method_layers import insert_fusion
    from pipeline.models.backbones.resnet import BLOCKS, FusionBottleneck

    modules = nn.ModuleList()
    for stage in (2, 3, 4):
        for _ in range(BLOCKS["resnet50"][stage - 1]):
            width = 64 * 2 ** (stage - 1)
            block = FusionBottleneck(4 * width, width)
            insert_fusion(block, stage, spec.preset.model, options)
            modules.extend(part for part in block.children() if isinstance(part, MultiScaleFusion))
    return modules


def test_psconv_adds_no_parameter():
    for name in ("psconv_frcnn_r50_fpn_1x", "psconv_frcnn_r50_fpn_1x_psconv"):
        assert counts(config.resolve(name, "full")) == (41_753_056, 41_527_712)


def test_pod_networks_equal_the_identities():
    row = identities()["pod"]["frcnn_r50_fpn"]
    baseline = config.resolve("pod_frcnn_r50_fpn_1x", "full")
    learner = config.resolve("pod_frcnn_r50_fpn_1x_gsl", "full")
    fast = config.resolve("pod_frcnn_r50_fpn_1x_fd", "full")
    assert counts(baseline)[0] == row["baseline_total_params"]
    assert counts(learner)[0] == row["gsl_total_params"]
    assert counts(fast, printed_scales(fast))[0] == row["fd_total_params"]
    assert counts(fast)[0] == row["baseline_total_params"]  # scale 1 everywhere is the plain network


# Where layers go


@pytest.mark.parametrize(
    ("experiment", "layer", "stages"),
    [
        ("pod_frcnn_r50_fpn_1x_gsl", GlobalScaleConv2d, {2: 4, 3: 6, 4: 3}),
        ("pod_frcnn_r50_fpn_1x_fd", DecomposedConv2d, {2: 4, 3: 6, 4: 3}),
        ("psconv_frcnn_r50_fpn_1x_psconv", PSConv2d, {1: 3, 2: 4, 3: 6, 4: 3}),
        ("msfm_frcnn_r50_fpn_1x_msfm", MultiScaleFusion, {2: 8, 3: 12, 4: 6}),
    ],
)
def test_layers_of_a_method_are_in_the_papers_stages(experiment, layer, stages):
    with torch.device("meta"):
        model = build_detector(config.resolve(experiment, "full"))
    found: dict[int, int] = {}
    for name, module in model.named_modules():
        if isinstance(module, layer):
            stage = int(name.split("layer")[1][0])
            found[stage] = found.get(stage, 0) + 1
    assert found == stages


def test_strides_of_the_replaced_convolutions_are_kept():
    for experiment in ("pod_frcnn_r50_fpn_1x_gsl", "pod_frcnn_r50_fpn_1x_fd", "psconv_frcnn_r50_fpn_1x_psconv"):
        model = tiny_model(experiment)
        features = model.backbone.body(torch.zeros(1, 3, 64, 96))
        assert [tuple(f.shape[-2:]) for f in features.values()] == [(16, 24), (8, 12), (4, 6), (2, 3)]


def test_stem_and_first_stage_are_frozen():
    spec = tiny.spec("msfm_frcnn_r50_fpn_1x")
    model = build_detector(spec, 3)
    frozen = {name.split(".")[2] for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"}
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x", frozen_stages=-1), 3)
    assert all(p.requires_grad for p in model.parameters())
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x", frozen_stages=0), 3)
    assert {n.split(".")[2] for n, p in model.named_parameters() if not p.requires_grad} == {"conv1", "bn1"}


@pytest.mark.parametrize(
    ("norm", "kind", "trained", "moves"),
    [
        ("frozen", FrozenBatchNorm2d, False, False),
        ("frozen_statistics", FrozenStatisticsBatchNorm2d, True, False),
        ("batch", nn.BatchNorm2d, True, True),
    ],
)
def test_norms(norm, kind, trained, moves):
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x", norm=norm), 3).train()
    layer = model.backbone.body.layer2[0].bn1
    assert type(layer) is kind
    assert layer.weight.requires_grad is trained
    before = layer.running_mean.clone()
    model([torch.rand(3, 64, 96)], [target([8, 8, 40, 40])])
    assert torch.equal(before, layer.running_mean) is not moves


def test_kinds_are_not_mixed_up():
    with pytest.raises(InputError, match="resnet50 is a classifier, not a detector"):
        build_detector(tiny.spec("resnet50"))
    with pytest.raises(InputError, match="is a faster_rcnn, not a classifier"):
        build_classifier(tiny.spec("msfm_frcnn_r50_fpn_1x"))


def test_anchors_follow_the_presets_factor():
    for experiment, sizes in (
        ("msfm_frcnn_r50_fpn_1x", [(3.2,), (6.4,), (12.8,), (25.6,), (51.2,)]),
        ("pod_frcnn_r50_c4_1x", [(3.2, 6.4, 12.8, 25.6, 51.2)]),
    ):
        found = tiny_model(experiment).rpn.anchor_generator.sizes
        assert [tuple(round(size, 6) for size in level) for level in found] == sizes


# Contract


@pytest.mark.parametrize("experiment", ["msfm_frcnn_r50_fpn_1x", "pod_frcnn_r50_c4_1x"])
def test_batched_inference_equals_single(experiment):
    model = tiny_model(experiment)
    images = [torch.rand(3, 64, 96, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    with torch.inference_mode():
        together = model(images)
        alone = [model([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a["boxes"]) == len(b["boxes"]) > 0
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(a["scores"], b["scores"], rtol=1e-4, atol=1e-5)
        assert torch.equal(a["labels"], b["labels"])


def test_detections_of_unequal_sizes_stay_in_their_images():
    images = [torch.rand(*shape, generator=torch.Generator().manual_seed(1)) for shape in SHAPES]
    with torch.inference_mode():
        outputs = tiny_model("msfm_frcnn_r50_fpn_1x")(images)
    for output, (_, height, width) in zip(outputs, SHAPES, strict=True):
        boxes = output["boxes"]
        assert len(boxes) > 0
        assert boxes.min() >= 0
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert set(output["labels"].tolist()) <= {1, 2, 3}
        scores = output["scores"]
        assert (scores[:-1] >= scores[1:]).all()
        assert len(scores) <= 10


def train_losses(experiment: str, images: list, targets: list) -> dict[str, torch.Tensor]:
    """Return the losses of a fresh tiny detector and check that their gradients are finite."""
    torch.manual_seed(0)
    model = build_detector(tiny.spec(experiment), 3).train()
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
    return losses


@pytest.mark.parametrize("experiment", ["msfm_frcnn_r50_fpn_1x", "pod_frcnn_r50_c4_1x"])
def test_images_without_objects_have_no_regression_loss(experiment):
    images = [torch.rand(*shape) for shape in SHAPES]
    losses = train_losses(experiment, images, [target(), target()])
    assert set(losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert losses["loss_box_reg"].item() == 0
    assert losses["loss_rpn_box_reg"].item() == 0
    assert losses["loss_classifier"].item() > 0


def test_one_of_two_images_without_objects():
    images = [torch.rand(*shape) for shape in SHAPES]
    losses = train_losses("msfm_frcnn_r50_fpn_1x", images, [target([10, 10, 50, 60]), target()])
    assert all(bool(loss.isfinite()) for loss in losses.values())
    assert losses["loss_rpn_box_reg"].item() > 0


def test_positives_know_the_areas_of_their_objects():
    torch.manual_seed(0)
    model = build_detector(tiny.spec("msfm_frcnn_r50_fpn_1x"), 3).train()
    # The first image's object is the second's neighbour in the joined batch: areas must not mix.
    model([torch.rand(3, 64, 96)] * 2, [target([0, 0, 30, 20]), target([5, 5, 15, 25], [40, 8, 80, 60])])
    assert set(model.roi_heads.positives.areas.tolist()) == {600.0, 200.0, 2080.0}  # objects are proposals too


@pytest.mark.parametrize("experiment", ["msfm_frcnn_r50_fpn_1x", "pod_frcnn_r50_c4_1x"])
def test_no_proposal_gives_no_detection(experiment):
    heads = tiny_model(experiment).roi_heads
    channels = tiny_model(experiment).backbone.out_channels
    features = {str(level): torch.rand(2, channels, 16 // 2**level, 24 // 2**level) for level in range(4)}
    if experiment.startswith("snip"):
        features = {"0": features["0"]}
    with torch.inference_mode():
        outputs, losses = heads(features, [torch.zeros(0, 4), torch.zeros(0, 4)], [(64, 96), (64, 96)])
    assert losses == {}
    assert [{key: tuple(value.shape) for key, value in output.items()} for output in outputs] == [
        {"boxes": (0, 4), "labels": (0,), "scores": (0,)}
    ] * 2


def test_no_proposal_for_one_image_of_two():
    heads = tiny_model("msfm_frcnn_r50_fpn_1x").roi_heads
    features = {str(level): torch.rand(2, 16, 16 // 2**level, 24 // 2**level) for level in range(4)}
    proposals = [torch.zeros(0, 4), torch.tensor([[4.0, 4, 60, 60]])]
    with torch.inference_mode():
        first, second = heads(features, proposals, [(64, 96), (64, 96)])[0]
    assert len(first["boxes"]) == 0
    assert len(second["boxes"]) > 0


def test_normalisation_and_padding_of_a_batch():
    from pipeline.models.batching import Batching

    batch, _ = Batching()([torch.full((3, 40, 50), 0.485), torch.full((3, 33, 70), 1.0)])
    assert batch.tensors.shape == (2, 3, 64, 96)
    assert batch.image_sizes == [(40, 50), (33, 70)]
    assert batch.tensors[0, 0, :40, :50].abs().max() < 1e-6  # the mean becomes 0
    torch.testing.assert_close(batch.tensors[1, :, 0, 0], torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))
    assert batch.tensors[0, :, 40:].abs().max() == 0
    assert batch.tensors[1, :, :, 70:].abs().max() == 0
