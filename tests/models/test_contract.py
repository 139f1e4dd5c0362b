"""What every detector of images promises, on batches that are odd, empty, crowded or unequal."""

import pytest
import torch
from batches import DENSE, ROI_FAMILIES, SHAPE, SHAPES, crowd, learn, model, pictures, target
from torch import nn

from pipeline.options import DeformableOptions, FusionOptions, PSConvOptions

FAMILIES = (*ROI_FAMILIES, *DENSE, "rpn")
METHODS = {
    "psconv": PSConvOptions(),
    "global_scale": True,
    "decomposed": True,
    "deformable": DeformableOptions(),
    "fusion": FusionOptions(),
}
BF16 = dict.fromkeys(DENSE, 0.02) | {"dynamic_rcnn": 0.05}  # of all losses; of the others' scores and masks 0.1


def confident(family: str) -> nn.Module:
    """Return a random detector whose scores differ and pass the threshold, in evaluation mode."""
    found = model(family).eval()
    if family == "grid_rcnn":
        found.roi_heads.score_thresh = 0.0
    if family in DENSE:
        torch.manual_seed(1)
        for layer in (*found.head.classification, *found.head.regression):
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        nn.init.normal_(found.head.logits.weight, std=0.2)
        nn.init.constant_(found.head.logits.bias, -2.0)
    return found


def loss_names(family: str) -> set[str]:
    if family in DENSE:
        own = {"fcos": {"loss_centerness"}, "reppoints": {"loss_box_init"}}.get(family, set())
        return {"loss_classifier", "loss_box_reg"} | own
    if family == "rpn":
        return {"loss_objectness", "loss_rpn_box_reg"}
    parts = ["classifier", "grid" if family == "grid_rcnn" else "box_reg", *(["mask"] if "mask" in family else [])]
    ends = ["_0", "_1", "_2"] if "cascade" in family else [""]
    return {"loss_objectness", "loss_rpn_box_reg"} | {f"loss_{part}{end}" for part in parts for end in ends}


def of_scores(name: str) -> bool:
    return "classifier" in name or "objectness" in name


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_inference_equals_single(family):
    detector, images = confident(family), pictures([SHAPE] * 3)
    with torch.inference_mode():
        together, alone = detector(images), [detector([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert set(a) == {"boxes", "labels", "scores"} | ({"mask_probs"} if "mask" in family else set())
        assert len(a["boxes"]) == len(b["boxes"]) > (9 if family in (*DENSE, "grid_rcnn", "rpn") else 0)
        assert torch.equal(a["labels"], b["labels"])
        for name in ("boxes", "scores", *(["mask_probs"] if "mask" in family else [])):
            torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-4 if name == "boxes" else 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_detections_of_unequal_sizes_stay_in_their_images(family):
    with torch.inference_mode():
        outputs = confident(family)(pictures(SHAPES))
    for output, (_, height, width) in zip(outputs, SHAPES, strict=True):
        boxes, scores = output["boxes"], output["scores"]
        assert len(boxes) == 20 if family == "rpn" else 0 < len(boxes) <= 10
        assert boxes.min() >= 0
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert set(output["labels"].tolist()) <= ({1} if family == "rpn" else {1, 2, 3})
        assert (scores[:-1] >= scores[1:]).all()
        if "mask" in family:
            masks = output["mask_probs"]
            assert masks.shape == (len(boxes), 1, 28, 28)
            assert 0 <= masks.min() < masks.max() <= 1


@pytest.mark.parametrize("family", ["grid_rcnn", *DENSE])
def test_no_score_above_the_threshold_gives_no_detection(family):
    detector = model(family).eval()  # a fresh dense detector's scores are 0.01
    if family == "grid_rcnn":
        detector.roi_heads.score_thresh = 1.0
    with torch.inference_mode():
        (found,) = detector(pictures([SHAPE]))
    assert {name: tuple(part.shape) for name, part in found.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "scores": (0,),
    }


@pytest.mark.parametrize("family", ROI_FAMILIES)
def test_no_proposal_gives_no_detection(family):
    detector = confident(family)
    channels = detector.backbone.out_channels
    features = {str(level): torch.rand(2, channels, 16 // 2**level, 24 // 2**level) for level in range(4)}
    with torch.inference_mode():
        proposals = [torch.zeros(0, 4), torch.tensor([[4.0, 4, 60, 60]])]
        outputs, losses = detector.roi_heads(features, proposals, [SHAPE[1:]] * 2)
        nothing, _ = detector.roi_heads(features, [proposals[0]] * 2, [SHAPE[1:]] * 2)
    assert losses == {}
    masks = {"mask_probs": (0, 1, 28, 28)} if "mask" in family else {}
    for output in (outputs[0], *nothing):
        shapes = {name: tuple(value.shape) for name, value in output.items()}
        assert shapes == {"boxes": (0, 4), "labels": (0,), "scores": (0,), **masks}
    assert len(outputs[1]["boxes"]) > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_images_without_objects_train_scores_alone(family):
    detector = model(family)
    losses = learn(detector, pictures(SHAPES), [target(), target(size=SHAPES[1][1:])])
    assert set(losses) == loss_names(family)
    assert all((value > 0) is of_scores(name) for name, value in losses.items())
    assert [len(part) for part in detector.positives[:3]] == [0, 0, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_of_two_unequal_images_without_objects(family):
    detector = model(family)
    losses = learn(detector, pictures(SHAPES), [target([10, 10, 50, 60]), target(size=SHAPES[1][1:])])
    assert set(losses) == loss_names(family)
    # Where an object itself is the only positive RoI, its box has nothing to learn.
    assert all(value > 0 for name, value in losses.items() if family in DENSE or "loss_box_reg" not in name)
    assert set(detector.positives.areas.tolist()) == {2000.0}
    assert not any(part.requires_grad for part in detector.positives)


@pytest.mark.parametrize("family", FAMILIES)
def test_positives_know_the_areas_of_their_own_images_objects(family):
    # The first image's object is the second's neighbour in the joined batch: areas must not mix.
    detector = model(family, classes=1)
    targets = [target([10, 10, 50, 60]), target([0, 0, 20, 12], [30, 30, 70, 60])]
    learn(detector, pictures([SHAPES[0]] * 2), targets)
    assert set(detector.positives.areas.tolist()) == {2000.0, 240.0, 1200.0}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_class_and_a_thousand_objects(family):
    detector, many = model(family, classes=1), crowd(1000)
    learn(detector, pictures(SHAPES[:1]), [many])
    sides = many["boxes"][:, 2:] - many["boxes"][:, :2]
    areas = detector.positives.areas
    assert torch.cdist(areas[:, None], sides.prod(dim=1)[:, None]).amin(dim=1).max() < 0.1
    if family in ROI_FAMILIES:
        assert len(areas) == 4  # a quarter of the sixteen RoIs
    else:
        assert len(areas) == 16 if family == "rpn" else len(areas) > 40


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_losses_are_finite_and_near(family):
    images, targets = pictures(SHAPES[:1]), [target([8, 8, 40, 40])]
    wanted = learn(model(family), images, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = learn(model(family), images, targets)
        with torch.inference_mode():
            (detected,) = confident(family)(images)
    assert all(bool(value.isfinite().all()) for value in detected.values())
    for name, value in found.items():
        if family in BF16 or of_scores(name) or "mask" in name:
            assert value == pytest.approx(wanted[name], rel=BF16.get(family, 0.1)), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", METHODS)
def test_methods_train_inside(family, method):
    learn(model(family, **{method: METHODS[method]}), pictures(SHAPES[:1]), [target([8, 8, 40, 40])])


@pytest.mark.parametrize("family", ROI_FAMILIES)
def test_filtered_rois_take_no_part(family):
    detector = model(family)
    detector.roi_heads.filter_rois = lambda rois, labels, matched, found: labels == 0
    losses = detector.train()(pictures(SHAPES[:1]), [target([8, 8, 40, 40])])
    for name, value in losses.items():
        if "rpn" not in name and "objectness" not in name:
            assert (value > 0) == ("classifier" in name), name


def test_training_needs_targets():
    with pytest.raises(ValueError, match="Training needs targets"):
        model("retinanet").train()(pictures(SHAPES))
    bad = {"boxes": torch.zeros(3), "labels": torch.zeros(3).long()}
    with pytest.raises(ValueError, match=r"boxes must be \[n, 4\], got \[3\] in image 1"):
        model("fcos").train()(pictures(SHAPES), [target(), bad])
