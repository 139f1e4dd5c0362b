"""The proposal network by itself: parameters, targets and losses by hand, its contract, and whether it learns."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import overfit
import pytest
import tiny
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from pipeline import config
from pipeline.evaluation.proposals import average_recall
from pipeline.models import build_detector
from pipeline.models.detectors.proposal_network import ProposalDetector
from pipeline.models.measure import measure
from pipeline.options import Method, ProposalNetwork
from pipeline.spec import Spec
from pipeline.training.snip import wire_snip

SEVEN = (32, 64, 112, 160, 208, 256, 384)
SHAPES = [(3, 64, 96), (3, 80, 60)]


def rpn_spec(preset: str = "tiny", backbone: str = "resnet50", **options: Any) -> Spec:
    """Return a specification of the family on SNIP's recipe, whatever the experiments' files say."""
    name = "snip_drfcn_r50_7ep_single_scale"
    found = tiny.spec(name) if preset == "tiny" else config.resolve(name, preset)
    changes = {"detector": "d_rfcn_rpn", "neck": "none", "backbone": backbone, "method": Method(), "region": None}
    experiment = msgspec.structs.replace(found.experiment, **changes, rpn=ProposalNetwork(**options))
    recipe = msgspec.structs.replace(found.recipe, rpn_positive_iou=0.5, rpn_negative_iou=0.4)
    return msgspec.structs.replace(found, experiment=experiment, recipe=recipe)


def rpn_model(**options: Any) -> ProposalDetector:
    torch.manual_seed(0)
    return build_detector(rpn_spec(**options))


def target(*boxes: list[float]) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
    }


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


# Parameters


def test_parameters_by_hand():
    conv4 = measure(rpn_spec("full"))
    both = measure(rpn_spec("full", features="conv45", anchors=SEVEN))
    trunk, conv5 = 23_508_032 - 14_964_736, 14_964_736  # ResNet-50
    assert conv4["parameters_total"] == trunk + (1024 * 9 + 1) * 512 + 513 * 15 * 5
    assert both["parameters_total"] == trunk + conv5 + (3072 * 9 + 1) * 512 + 513 * 21 * 5
    assert both["parameters_trainable"] == both["parameters_total"] - 225_344


def test_classes_do_not_matter():
    assert measure(rpn_spec(), classes=3)["parameters_total"] == measure(rpn_spec(), classes=80)["parameters_total"]


def test_features_and_anchors():
    for features, channels in (("conv4", 128), ("conv45", 128 + 256)):
        model = rpn_model(features=features, anchors=SEVEN)
        maps = model.backbone(torch.zeros(1, 3, 64, 96))
        assert [level.shape for level in maps.values()] == [(1, channels, 8, 12)]
        anchors = model.rpn.anchor_generator(ImageList(torch.zeros(1, 3, 64, 96), [(64, 96)]), list(maps.values()))[0]
        assert anchors.shape == (8 * 12 * 21, 4)
        sides = (anchors[7:14, 2:] - anchors[7:14, :2]).prod(dim=1).sqrt()  # the square ones of the first position
        torch.testing.assert_close(
            sides, torch.tensor([4.0, 6, 12, 16, 20, 26, 38])
        )  # 0.1 of the sides, rounded to even
    assert rpn_model().rpn.border == pytest.approx(3.2)


def test_limits_of_the_papers():
    with torch.device("meta"):
        rpn = build_detector(rpn_spec("full")).rpn.eval()
    assert (rpn.pre_nms_top_n(), rpn.post_nms_top_n(), rpn.nms_thresh) == (6000, 300, 0.7)


# Targets and losses


def test_anchors_beyond_the_border_do_not_train():
    rpn = rpn_model().rpn
    rpn.border = 2.0
    anchors = torch.tensor([[-2.0, 0, 18, 20], [-3, 0, 17, 20], [30, 30, 50, 52], [30, 30, 50, 53], [20, 20, 40, 40]])
    labels, matched = rpn.assign_inside([anchors] * 2, [target([0.0, 0, 20, 20]), target()], [(50, 50), (51, 48)])
    assert labels[0].tolist() == [1, -1, 0, -1, 0]
    assert labels[1].tolist() == [0, -1, 0, 0, 0]
    assert matched[0][0].tolist() == [0, 0, 20, 20]


def test_the_best_anchor_inside_is_positive_below_the_threshold():
    rpn = rpn_model().rpn
    rpn.border = 0.0
    anchors = torch.tensor([[-1.0, 0, 20, 20], [0, 10, 20, 30], [0, 12, 20, 32], [40, 40, 48, 48]])
    labels, _ = rpn.assign_inside([anchors], [target([0.0, 0, 20, 20])], [(50, 50)])
    assert labels[0].tolist() == [-1, 1, 0, 0]  # IoU .95 (outside), 1/3, 1/4, 0
    assert rpn.assign_inside([anchors - 100], [target([0.0, 0, 20, 20])], [(50, 50)])[0][0].tolist() == [-1] * 4


def test_thresholds_of_the_recipe():
    rpn = rpn_model().rpn
    boxes = torch.tensor([[0.0, 0, 20, 20], [0, 0, 20, 10], [0, 0, 20, 9], [0, 0, 20, 8], [0, 0, 20, 7.9]])
    labels, _ = rpn.assign_inside([boxes], [target([0.0, 0, 20, 20])], [(50, 50)])
    assert labels[0].tolist() == [1, 1, -1, -1, 0]  # IoU 1, .5, .45, .4, .395


def test_losses_by_hand():
    rpn = rpn_model().rpn
    objectness = torch.tensor([0.75, 0.5, 0.25, 0.9, 0.9]).logit()
    deltas, wanted = torch.zeros(5, 4), torch.tensor([[1.0, 0, 0, 0], [0, 0.1, 0, 0], [9] * 4, [9] * 4, [9] * 4])
    labels = [torch.tensor([1.0, 1, 0]), torch.tensor([-1.0, 0])]
    losses = rpn.sampled_losses(objectness, deltas, labels, wanted, torch.tensor([100.0, 400, 7, 7, 7]))
    scores = [-math.log(0.75), math.log(2), -math.log(0.75), math.log(10)]
    boxes = [1 - 1 / 18, 0.5 * 0.01 * 9]  # smooth L1 with beta 1/9
    assert losses["loss_objectness"].item() == pytest.approx(sum(scores) / 4)
    assert losses["loss_rpn_box_reg"].item() == pytest.approx(sum(boxes) / 4)
    assert rpn.positives.regression.tolist() == pytest.approx(boxes)
    assert rpn.positives.classification.tolist() == pytest.approx(scores[:2])
    assert rpn.positives.areas.tolist() == [100, 400]


def test_nothing_to_learn_from():
    rpn = rpn_model().rpn
    zeros = torch.zeros(3, 4, requires_grad=True)
    losses = rpn.sampled_losses(zeros[:, 0], zeros, [torch.full((3,), -1.0)], torch.zeros(3, 4), torch.zeros(3))
    assert [loss.item() for loss in losses.values()] == [0, 0]
    assert len(rpn.positives.areas) == 0


def test_snip_ignores_anchors_on_objects_out_of_range():
    model = rpn_model().train()
    wire_snip(model, 0.3)
    anchors = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60], [40, 0, 60, 20]])
    one = target([0.0, 0, 20, 20], [40.0, 40, 60, 60]) | {"valid_proposal": torch.tensor([True, False])}
    labels, matched = model.rpn.assign_inside([anchors], [one], [(64, 96)])
    assert labels[0].tolist() == [1, -1, 0]
    assert matched[0][0].tolist() == [0, 0, 20, 20]


# Contract


def test_proposals_are_detections_of_one_class():
    model = rpn_model(features="conv45").eval()
    with torch.inference_mode():
        outputs = model([picture(*shape) for shape in SHAPES])
    for output, (_, height, width) in zip(outputs, SHAPES, strict=True):
        assert output["boxes"].shape == (20, 4)
        assert output["labels"].tolist() == [1] * 20
        assert (output["scores"].diff() <= 0).all()
        assert output["boxes"].min() >= 0
        assert (output["boxes"].amax(dim=0)[2:] <= torch.tensor([width, height])).all()


def test_batched_inference_equals_single():
    model = rpn_model(features="conv45").eval()
    images = [picture(3, 64, 96, seed=seed) for seed in range(3)]
    with torch.inference_mode():
        together, alone = model(images), [model([one])[0] for one in images]
    for a, b in zip(together, alone, strict=True):
        for key in ("boxes", "scores", "labels"):
            torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-4)


def train_losses(images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the losses of a fresh tiny network, and check that its gradients are finite and complete."""
    model = rpn_model(features="conv45").train()
    losses = model(images, targets)
    sum(losses.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.requires_grad)
    assert set(losses) == {"loss_objectness", "loss_rpn_box_reg"}
    assert all(bool(loss.isfinite()) for loss in losses.values())
    return losses


def test_images_without_objects_and_of_unequal_sizes():
    images = [picture(*shape) for shape in SHAPES]
    losses = train_losses(images, [target(), target()])
    assert losses["loss_rpn_box_reg"].item() == 0
    assert losses["loss_objectness"].item() > 0
    assert train_losses(images, [target([10, 10, 50, 60]), target()])["loss_rpn_box_reg"].item() > 0


def test_a_thousand_objects():
    corners = torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) * 50
    assert train_losses([picture(3, 64, 96)], [target(*torch.cat([corners, corners + 3], dim=1).tolist())])


def test_wrong_targets():
    model = rpn_model().train()
    with pytest.raises(ValueError, match="Training needs targets"):
        model([picture(3, 64, 96)])
    with pytest.raises(ValueError, match=r"\[n, 4\], got \[4\] in image 0"):
        model([picture(3, 64, 96)], [{"boxes": torch.zeros(4), "labels": torch.zeros(1)}])


def test_bf16():
    model = rpn_model(features="conv45").train()
    with torch.autocast("cpu", torch.bfloat16):
        losses = model([picture(3, 64, 96)], [target([4.0, 4, 40, 40])])
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in losses.values())


def test_dual_path_network():
    torch.manual_seed(0)
    model = build_detector(rpn_spec(backbone="dpn92", features="conv45", anchors=SEVEN)).train()
    losses = model([picture(3, 64, 96)], [target([4.0, 4, 40, 40])])
    assert all(bool(loss.isfinite()) for loss in losses.values())


# Learning


@pytest.mark.slow
@pytest.mark.parametrize("features", ["conv4", "conv45"])
def test_overfits_eight_images(features):
    images, targets, _ = overfit.scenes()
    options = ProposalNetwork(features=features, anchors=SEVEN)
    spec = overfit.spec("snip_drfcn_r50_7ep_single_scale", detector="d_rfcn_rpn", neck="none", region=None, rpn=options)
    with overfit.one_thread():
        torch.manual_seed(0)
        model = build_detector(spec, overfit.CLASSES)
        overfit.train(model, images, targets, 150, 3e-3)
        with torch.inference_mode():
            outputs = model.eval()(images)
    truth, found = ([row["boxes"] for row in rows] for rows in (targets, outputs))
    assert average_recall(truth, found, limits=(100,))[100]["ar"] > 0.9
