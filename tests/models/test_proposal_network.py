"""The proposal network by itself: parameters, targets and losses by hand, and whether it learns."""

import math
from typing import Any

import overfit
import pytest
import torch
from batches import learn, picture, rpn_spec, target
from torchvision.models.detection.image_list import ImageList

from pipeline.evaluation.proposals import count_recall, recall_of
from pipeline.models import build_detector
from pipeline.models.detectors.proposal_network import ProposalDetector
from pipeline.models.measure import measure
from pipeline.options import ProposalNetwork
from pipeline.training.snip import wire_snip

SEVEN = (32, 64, 112, 160, 208, 256, 384)


def rpn_model(**options: Any) -> ProposalDetector:
    torch.manual_seed(0)
    return build_detector(rpn_spec(**options))


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


def test_dual_path_network():
    torch.manual_seed(0)
    model = build_detector(rpn_spec(backbone="dpn92", features="conv45", anchors=SEVEN))
    learn(model, [picture()], [target([4.0, 4, 40, 40])])


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
    assert recall_of(count_recall(truth, found, limits=(100,)), 100)["ar"] > 0.9
