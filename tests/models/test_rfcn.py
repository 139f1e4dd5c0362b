"""Deformable R-FCN's region classifier: parameters and losses by hand, its contract, and whether it learns."""

import math
from typing import Any

import batches
import overfit
import pytest
import torch
from batches import CONV5, crowd, learn, picture, region_spec, with_size
from torch import Tensor, nn

from pipeline.models import build_detector
from pipeline.models.detectors.rfcn import RFCN, RegionHeads
from pipeline.models.measure import measure
from pipeline.options import Method, RegionClassifier
from pipeline.training.snip import wire_snip

PROPOSALS = torch.tensor([[5.0, 5, 40, 40], [30, 30, 60, 60], [0, 0, 96, 64], [50, 10, 70, 50]])
SHAPES = [(3, 64, 96), (3, 80, 60)]


def region_model(classes: int = 3, **region: Any) -> RFCN:
    """Return a tiny classifier with random weights and frozen statistics."""
    torch.manual_seed(0)
    return build_detector(region_spec(**region), classes)


def target(*boxes: list[float], proposals: Tensor = PROPOSALS) -> dict[str, Tensor]:
    return batches.target(*boxes) | {"proposals": proposals}


BODY = 23_508_032 + 3 * (512 * 9 * 72 + 72)  # ResNet-50; offsets of four groups for the three 3x3 of conv5
MAPS = 2048 * 1024 + 1024 + (1024 + 1) * 49 * 81 + (1024 + 1) * 49 * 4
OFFSETS = (1024 + 1) * 49 * 2 * 81 + (1024 + 1) * 49 * 2


@pytest.mark.parametrize(("pooling", "wanted"), [("plain", 0), ("bilinear", 0), ("deformable", OFFSETS)])
def test_parameters_by_hand(pooling, wanted):
    size = measure(region_spec("full", pooling=pooling))
    assert size["parameters_total"] == BODY + MAPS + wanted
    assert size["parameters_trainable"] == BODY + MAPS + wanted - 225_344


def test_multiply_adds_by_hand():
    """conv5 at conv4's stride costs four times its own, but for its first block's 1x1 reduction, which never strode."""
    plain = measure(region_spec("full", method=Method()))
    trunk = (4_089_184_256 - 2048 * 1000) * (800 * 1344) // (224 * 224)
    positions = 50 * 84
    conv5 = 3 * 512**2 * 9 + 1024 * 512 + 2 * 2048 * 512 + 3 * 512 * 2048 + 1024 * 2048  # a position
    strided = conv5 * positions // 4 + 1024 * 512 * positions * 3 // 4
    maps = 2048 * 1024 + 1024 * 49 * 85
    assert plain["macs"] == trunk - strided + (conv5 + maps) * positions


def test_a_joint_network_is_both_without_the_seconds_boxes():
    deformable = {"method": CONV5, "pooling": "deformable"}
    first = measure(region_spec("full", "dpn92", **deformable))
    second = measure(region_spec("full", "resnet101", **deformable))
    joint = measure(region_spec("full", "dpn92", second_backbone="resnet101", **deformable))
    boxes = (1024 + 1) * 49 * (4 + 2)
    for key in ("parameters_total", "parameters_trainable"):
        assert joint[key] == first[key] + second[key] - boxes
    assert joint["macs"] == first["macs"] + second["macs"] - 1024 * 49 * 6 * 50 * 84


@pytest.mark.parametrize(("stride", "side"), [(16, 4), (8, 8)])
def test_maps_have_the_stride_of_conv4(stride, side):
    model = build_detector(with_size(region_spec(method=Method()), c4_stride=stride), 3)
    assert model.backbone(torch.zeros(1, 3, 64, 64))["0"].shape == (1, 256, side, side)
    assert model.roi_heads.box_head[0].stride == stride
    assert model.backbone.body.layer4[0].conv2.dilation == (2, 2)


def heads_of(logits: Tensor, limit: int | None) -> RegionHeads:
    """Return heads whose network gives these logits, and deltas of zero, for the first RoIs that it sees."""
    heads = RegionHeads(None, None, None, 0.5, 0.5, 512, 0.25, None, 0.001, 0.3, 100)
    heads.hard_examples, heads.box_loss = limit, "smooth_l1"
    heads.predict = lambda features, boxes, shapes: (
        logits[: sum(map(len, boxes))],
        torch.zeros(sum(map(len, boxes)), 1, 4),
    )
    return heads.train()


PROBABILITIES = torch.tensor([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [0.75, 0.25]])
THREE = torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [80, 80, 90, 90]])  # on the object, and twice background


def test_all_rois_train_and_objects_join_them():
    heads = heads_of(PROBABILITIES.log(), None)
    losses = heads({}, [THREE], [(100, 100)], [target([0.0, 0, 10, 10])])[1]
    wanted = [math.log(2), -math.log(0.9), -math.log(0.2), math.log(4)]  # the object itself comes last
    assert losses["loss_classifier"].item() == pytest.approx(sum(wanted) / 4)
    assert losses["loss_box_reg"].item() == 0
    assert heads.positives.classification.tolist() == pytest.approx([math.log(2), math.log(4)])
    assert heads.positives.areas.tolist() == [100.0, 100.0]


def test_the_hardest_rois_train_over_their_number():
    heads = heads_of(PROBABILITIES.log(), 2)
    losses = heads({}, [THREE], [(100, 100)], [target([0.0, 0, 10, 10])])[1]
    assert losses["loss_classifier"].item() == pytest.approx((math.log(5) + math.log(4)) / 2)
    assert heads.positives.classification.tolist() == pytest.approx([math.log(4)])


def test_box_losses_count_for_hardness():
    """A RoI that is a fifth too low is off by 10 * 2/12 in y and 5 log(10/12) in height: more than any score."""
    rois = torch.tensor([[0.0, 0, 10, 12], [50, 50, 60, 60]])
    even = torch.full((4, 2), 0.5).log()
    heads = heads_of(even, 1)
    losses = heads({}, [rois], [(100, 100)], [target([0.0, 0, 10, 10])])[1]
    y, height = 10 * (5 - 6) / 12, 5 * math.log(10 / 12)
    box = 0.5 * y**2 + 0.5 * height**2
    assert losses["loss_classifier"].item() == pytest.approx(math.log(2))
    assert losses["loss_box_reg"].item() == pytest.approx(box)
    assert heads.positives.regression.tolist() == pytest.approx([box])


def test_mining_is_image_by_image_and_after_the_filter():
    logits = torch.tensor([[0.1, 0.9], [0.4, 0.6], [0.7, 0.3]]).log()
    heads = heads_of(logits, 1)
    # The first image keeps its second and third RoI, of which the network is asked first; the other keeps one.
    heads.filter_rois = lambda rois, labels, matched, target: torch.arange(len(rois)) != 0
    background = [target(proposals=THREE), target(proposals=THREE[:2])]
    losses = heads({}, [THREE, THREE[:2]], [(100, 100)] * 2, background)[1]
    assert losses["loss_classifier"].item() == pytest.approx((math.log(10) - math.log(0.7)) / 2)


def test_snip_leaves_out_rois_and_objects_out_of_range():
    model = region_model().train()
    wire_snip(model, 0.3)
    counted = []
    model.roi_heads.losses = lambda logits, deltas, labels, *rest: counted.append(labels.tolist()) or {}
    one = target([4.0, 4, 40, 40], [48.0, 8, 72, 52])
    one |= {"valid_head": torch.tensor([True, False]), "head_range": torch.tensor([30.0, 40.0])}
    model([picture()], [one])
    # RoIs of 35, 30, 78 and 28 pixels and the objects' own of 36 and 32, of which the second is out of range.
    assert counted == [[1, 0, 1]]


def test_deformable_pooling_starts_as_bilinear():
    images, proposals = [picture()], [PROPOSALS]
    models = {pooling: region_model(pooling=pooling).eval() for pooling in ("bilinear", "deformable")}
    models["deformable"].load_state_dict(models["bilinear"].state_dict(), strict=False)
    with torch.inference_mode():
        (plain, boxes), (moved, moved_boxes) = (model.region_scores(images, proposals)[0] for model in models.values())
    torch.testing.assert_close(plain, moved)
    torch.testing.assert_close(boxes, moved_boxes)


@pytest.mark.parametrize("pooling", ["plain", "bilinear", "deformable"])
def test_batched_inference_equals_single(pooling):
    model = region_model(pooling=pooling).eval()
    images = [picture(seed=seed) for seed in range(3)]
    proposals = [PROPOSALS, PROPOSALS[:0], PROPOSALS[1:]]
    with torch.inference_mode():
        together = model(images, proposals=proposals)
        alone = [model([one], proposals=[boxes])[0] for one, boxes in zip(images, proposals, strict=True)]
    assert [len(found["boxes"]) > 0 for found in together] == [True, False, True]
    for a, b in zip(together, alone, strict=True):
        for key in ("boxes", "scores", "labels"):
            torch.testing.assert_close(a[key], b[key], rtol=1e-4, atol=1e-4)


def test_proposals_travel_as_an_argument_or_in_targets():
    model = region_model().eval()
    with torch.inference_mode():
        given = model([picture()], proposals=[PROPOSALS])[0]
        carried = model([picture()], [target()])[0]
    assert len(given["boxes"]) > 0
    assert all(torch.equal(given[key], carried[key]) for key in given)


def test_missing_or_wrong_proposals():
    model, images = region_model().eval(), [picture(*shape) for shape in SHAPES]
    with pytest.raises(ValueError, match="image 0 has none"):
        model(images)
    with pytest.raises(ValueError, match="image 1 has none"):
        model(images, [target(), {"boxes": PROPOSALS}])
    with pytest.raises(ValueError, match="got 1 for 2 images"):
        model(images, proposals=[PROPOSALS])
    with pytest.raises(ValueError, match=r"\[P, 4\], got \[4\] for image 1"):
        model(images, proposals=[PROPOSALS, PROPOSALS[0]])
    with pytest.raises(ValueError, match="Training needs targets"):
        model.train()(images, proposals=[PROPOSALS] * 2)


def test_region_scores_are_those_of_the_detections():
    model = region_model(nms=1.0).eval()
    with torch.inference_mode():
        scores, boxes = model.region_scores([picture()], [PROPOSALS])[0]
        found = model([picture()], proposals=[PROPOSALS])[0]
    torch.testing.assert_close(scores.sum(dim=1), torch.ones(4))
    assert len(found["scores"]) == 10  # of 4 RoIs and 3 classes, the preset's limit
    wanted, order = scores[:, 1:].flatten().sort(descending=True)
    torch.testing.assert_close(found["scores"], wanted[:10])
    torch.testing.assert_close(found["boxes"], boxes[order[:10] // 3])
    assert torch.equal(found["labels"], order[:10] % 3 + 1)


def test_a_joint_network_averages_scores_and_takes_the_firsts_boxes():
    model = region_model(second_backbone="resnet101").eval()
    assert [name for name, _ in model.backbone.named_children()] == ["body", "second"]
    first, second = ({"scores": logits.log(), "boxes": torch.full((2, 4), 7.0)} for logits in PROBABILITIES.split(2))
    model.roi_heads.box_head = nn.ModuleList([nn.Identity(), nn.Identity()])
    for head, output in zip(model.roi_heads.box_head, (first, {"scores": second["scores"]}), strict=True):
        head.forward = lambda level, rois, output=output: output
    logits, deltas = model.roi_heads.predict({"0": torch.zeros(1), "1": torch.zeros(1)}, [PROPOSALS[:2]], [(64, 96)])
    torch.testing.assert_close(logits.softmax(dim=1), torch.tensor([[0.35, 0.65], [0.825, 0.175]]))
    assert deltas.tolist() == [[[7.0] * 4]] * 2


def train_losses(images: list[Tensor], targets: list[dict[str, Tensor]], **region: Any) -> dict[str, float]:
    """Return the losses of one step of a fresh tiny classifier."""
    losses = learn(region_model(**region), images, targets)
    assert set(losses) == {"loss_classifier", "loss_box_reg"}
    return losses


@pytest.mark.parametrize("pooling", ["plain", "bilinear", "deformable"])
def test_images_without_objects_of_unequal_sizes_and_in_bf16(pooling):
    images = [picture(*shape) for shape in SHAPES]
    losses = train_losses(images, [target(), target()], pooling=pooling)
    assert losses["loss_box_reg"] == 0
    assert losses["loss_classifier"] > 0
    losses = train_losses(images, [target([10, 10, 50, 60]), target(proposals=PROPOSALS[:0])], pooling=pooling)
    assert losses["loss_box_reg"] > 0
    with torch.autocast("cpu", torch.bfloat16):
        assert sum(train_losses([picture()], [target([4.0, 4, 40, 40])], pooling=pooling).values()) > 0


def test_a_thousand_objects_of_one_class_and_nothing_at_all():
    losses = train_losses([picture()], [crowd() | {"proposals": PROPOSALS}], classes=1)
    assert losses["loss_box_reg"] > 0
    nothing = train_losses([picture()], [target(proposals=PROPOSALS[:0])], pooling="deformable")
    assert list(nothing.values()) == [0, 0]


@pytest.mark.parametrize("backbone", ["dpn92", "dpn98", "resnet101"])
def test_other_backbones(backbone):
    train_losses([picture()], [target([4.0, 4, 40, 40])], backbone=backbone, pooling="deformable")


def overfit_proposals(boxes: Tensor, shape: tuple[int, int], random: torch.Generator) -> Tensor:
    """Return four jittered copies of every object and 30 random boxes, as a proposal network would give."""
    many = boxes.repeat(4, 1)
    sides = (many[:, 2:] - many[:, :2]).repeat(1, 2)
    near = many + (torch.rand(many.shape, generator=random) - 0.5) * 0.4 * sides
    corners = torch.rand(30, 2, 2, generator=random) * torch.tensor([shape[1], shape[0]])
    anywhere = torch.cat([corners.amin(dim=1), corners.amax(dim=1) + 4], dim=1)
    return torch.cat([near, anywhere])


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["plain", "bilinear", "deformable"])
def test_overfits_eight_images(pooling):
    # Plain pooling rounds to whole cells of 8 pixels, which objects of 12 pixels are too small for.
    images, targets, truth = overfit.scenes(enlarged=2 if pooling == "plain" else 1)
    random = torch.Generator().manual_seed(0)
    with_proposals = [
        {**one, "proposals": overfit_proposals(one["boxes"], image.shape[-2:], random)}
        for image, one in zip(images, targets, strict=True)
    ]
    spec = overfit.spec(
        "snip_drfcn_r50_7ep_single_scale",
        detector="d_rfcn_rcn",
        neck="none",
        region=RegionClassifier(pooling=pooling, nms=0.3),
        method=CONV5,
    )
    with overfit.one_thread():
        torch.manual_seed(0)
        model = build_detector(spec, overfit.CLASSES)
        overfit.train(model, images, with_proposals, *((100, 2e-3) if pooling == "plain" else (80, 3e-3)))
        with torch.inference_mode():
            outputs = model.eval()(images, with_proposals)
    assert overfit.score_ap50(outputs, truth) > 0.9
