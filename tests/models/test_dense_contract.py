"""The contract of detectors without proposals, on batches that are odd, empty, crowded or unequal."""

from __future__ import annotations

import msgspec
import overfit
import pytest
import tiny
import torch
from torch import Tensor, nn

from pipeline.models import build_detector
from pipeline.options import DeformableOptions, FusionOptions, PSConvOptions
from pipeline.spec import Spec

FAMILIES = ("retinanet", "fcos", "reppoints")
SHAPES = [(3, 96, 128), (3, 64, 96)]


def spec(family: str, **method: object) -> Spec:
    return tiny.with_method(tiny.with_detector(tiny.spec("msfm_frcnn_r50_fpn_1x"), family), **method)


def model(family: str, classes: int = 3, **method: object) -> nn.Module:
    torch.manual_seed(0)
    return build_detector(spec(family, **method), classes)


def confident(family: str) -> nn.Module:
    """Return a random detector whose scores differ and pass the threshold, in evaluation mode."""
    found = model(family).eval()
    torch.manual_seed(1)
    for part in (found.head.classification, found.head.regression):
        for layer in part:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    nn.init.normal_(found.head.logits.weight, std=0.2)
    nn.init.constant_(found.head.logits.bias, -2.0)
    return found


def pictures(shapes: list[tuple[int, int, int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) for shape in shapes]


def target(*boxes: list[float]) -> dict[str, Tensor]:
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {"boxes": found, "labels": torch.ones(len(found), dtype=torch.int64)}


def crowd(count: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * 60
    found = torch.cat([corners, corners + 1 + 35 * torch.rand(count, 2, generator=generator)], dim=1)
    return {"boxes": found, "labels": torch.randint(1, 4, (count,), generator=generator)}


def step(detector: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return the losses of one training step and check that they and all gradients are finite."""
    losses = detector.train()(images, targets)
    sum(losses.values()).backward()
    gradients = [p.grad for p in detector.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    values = {name: loss.item() for name, loss in losses.items()}
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in losses.values())
    return values


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_inference_equals_single(family):
    detector = confident(family)
    images = pictures([(3, 64, 96)] * 3)
    with torch.inference_mode():
        together, alone = detector(images), [detector([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a["boxes"]) == 10
        torch.testing.assert_close(a["boxes"], b["boxes"], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(a["scores"], b["scores"], rtol=1e-4, atol=1e-5)
        assert torch.equal(a["labels"], b["labels"])


@pytest.mark.parametrize("family", FAMILIES)
def test_detections_of_unequal_sizes_stay_in_their_images(family):
    with torch.inference_mode():
        found = confident(family)(pictures(SHAPES))
    for output, (_, height, width) in zip(found, SHAPES, strict=True):
        boxes, scores = output["boxes"], output["scores"]
        assert 0 < len(boxes) <= 10
        assert boxes.min() >= 0
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()
        assert set(output["labels"].tolist()) <= {1, 2, 3}
        assert (scores[:-1] >= scores[1:]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_detector_finds_nothing(family):
    with torch.inference_mode():
        (found,) = model(family).eval()(pictures([(3, 64, 96)]))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "boxes": (0, 4),
        "labels": (0,),
        "scores": (0,),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_images_without_objects(family):
    detector = model(family)
    losses = step(detector, pictures(SHAPES), [target(), target()])
    assert losses["loss_box_reg"] == 0
    assert losses["loss_classifier"] > 0
    assert [len(part) for part in detector.positives[:3]] == [0, 0, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_of_two_images_without_objects(family):
    detector = model(family)
    losses = step(detector, pictures(SHAPES), [target([10, 10, 50, 60]), target()])
    assert losses["loss_box_reg"] > 0
    assert set(detector.positives.areas.tolist()) == {2000.0}
    assert not any(part.requires_grad for part in detector.positives)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_class(family):
    detector = model(family, classes=1)
    step(detector, pictures(SHAPES), [target([10, 10, 50, 60]), target([0, 0, 20, 12], [30, 30, 70, 60])])
    assert set(detector.positives.areas.tolist()) == {2000.0, 240.0, 1200.0}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thousand_objects(family):
    detector = model(family)
    step(detector, pictures([(3, 96, 96)]), [crowd(1000)])
    assert len(detector.positives.areas) > 40


@pytest.mark.parametrize("family", FAMILIES)
def test_bf16_losses_equal_fp32s(family):
    images, targets = pictures(SHAPES), [target([10, 10, 50, 60]), target()]
    wanted = step(model(family), images, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = step(model(family), images, targets)
    assert found == pytest.approx(wanted, rel=0.02)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "method",
    [
        {"psconv": PSConvOptions(neck=True)},
        {"global_scale": True},
        {"decomposed": True},
        {"deformable": DeformableOptions()},
        {"fusion": FusionOptions()},
    ],
)
def test_methods_train_inside(family, method):
    step(model(family, **method), pictures(SHAPES), [target([10, 10, 50, 60]), target()])


def test_training_needs_targets():
    with pytest.raises(ValueError, match="Training needs targets"):
        model("retinanet").train()(pictures(SHAPES))
    bad = {"boxes": torch.zeros(3), "labels": torch.zeros(3).long()}
    with pytest.raises(ValueError, match=r"boxes must be \[n, 4\], got \[3\] in image 1"):
        model("fcos").train()(pictures(SHAPES), [target(), bad])


def test_recipes_choose_the_box_loss():
    found = spec("retinanet")
    recipe = msgspec.structs.replace(found.recipe, box_loss="smooth_l1")
    assert build_detector(found, 3).head.box_loss == "l1"
    assert build_detector(msgspec.structs.replace(found, recipe=recipe), 3).head.box_loss == "smooth_l1"


FINE = {"dense_stride": 4, "dense_norm": True}


def fine_model(family: str) -> nn.Module:
    found = spec(family)
    size = msgspec.structs.replace(found.preset.model, **FINE)
    torch.manual_seed(0)
    return build_detector(
        msgspec.structs.replace(found, preset=msgspec.structs.replace(found.preset, model=size)), 3
    ).train()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_preset_may_start_at_stride_4_with_normalised_towers(family):
    found, published = fine_model(family), model(family)
    assert found.head.strides == [4, 8, 16, 32, 64]
    assert published.head.strides == [8, 16, 32, 64, 128]
    levels = list(found.backbone(torch.rand(1, 3, 128, 192)).values())
    assert [tuple(level.shape[-2:]) for level in levels] == [(32, 48), (16, 24), (8, 12), (4, 6), (2, 3)]
    for part in (found.head.classification, found.head.regression):
        kinds = [type(layer).__name__ for layer in part]
        assert kinds == ["Conv2d", "GroupNorm", "ReLU"] * (3 if family == "reppoints" else 4)
        spread = part[0].weight.std().item() * (part[0].in_channels * 9 / 2) ** 0.5
        assert spread == pytest.approx(1, rel=0.1)  # He's start: the gain of a ReLU
    losses = found(pictures(SHAPES), [target([8.0, 8, 24, 24]), target()])
    sum(losses.values()).backward()
    assert all(bool(loss.isfinite()) for loss in losses.values())


def test_levels_keep_the_sizes_of_their_objects_from_stride_4_on():
    fine, published = fine_model("retinanet").head, model("retinanet").head
    torch.testing.assert_close(fine.cells, published.cells)
    fine, published = fine_model("fcos").head, model("fcos").head
    assert fine.ranges == published.ranges
    fine, published = fine_model("reppoints").head, model("reppoints").head
    assert fine.base * fine.strides[0] == published.base * published.strides[0]


def test_an_anchor_from_stride_4_on_lies_where_its_features_do():
    head = fine_model("retinanet").head
    anchors = head.anchors(0, torch.zeros(1, 27, 2, 3)).reshape(2, 3, 9, 4)
    centres = (anchors[..., :2] + anchors[..., 2:]) / 2
    torch.testing.assert_close(centres[1, 2], torch.tensor([[8.0, 4.0]]).expand(9, 2))


@pytest.mark.slow
@pytest.mark.parametrize(("family", "steps", "lr"), [("retinanet", 250, 1e-3), ("fcos", 150, 3e-3)])
def test_eight_images_are_learnt(family, steps, lr):
    # RetinaNet's towers have no norms: a higher rate ends in a lower AP.
    assert overfit.overfit_ap50(overfit.spec("msfm_frcnn_r50_fpn_1x", detector=family), steps, lr) > 0.9
