"""The contract of cascades and mask branches, on batches that are odd, empty, crowded or unequal."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import Tensor, nn

from pipeline.models import build_detector
from pipeline.options import FusionOptions, PSConvOptions

FAMILIES = ("mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn")
SHAPES = [(3, 96, 128), (3, 64, 96)]


def model(family: str, classes: int = 3, **method: object) -> nn.Module:
    torch.manual_seed(0)
    spec = tiny.with_detector(tiny.with_method(tiny.spec("msfm_frcnn_r50_fpn_1x"), **method), family)
    return build_detector(spec, classes)


def pictures(shapes: list[tuple[int, int, int]]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) for shape in shapes]


def target(shape: tuple[int, int, int], *boxes: list[int]) -> dict[str, Tensor]:
    """Return a target whose objects fill their boxes."""
    masks = torch.zeros(len(boxes), *shape[1:], dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    labels = torch.ones(len(boxes), dtype=torch.int64)
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": labels, "masks": masks}


def step(detector: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return the losses of one training step and check that they and all gradients are finite."""
    losses = detector.train()(images, targets)
    sum(losses.values()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in detector.roi_heads.parameters())
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in detector.backbone.parameters())
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in losses.values())
    return {name: loss.item() for name, loss in losses.items()}


def names(family: str) -> set[str]:
    parts = ["classifier", "box_reg", *(["mask"] if "mask" in family else [])]
    ends = ["_0", "_1", "_2"] if "cascade" in family else [""]
    return {"loss_objectness", "loss_rpn_box_reg"} | {f"loss_{part}{end}" for part in parts for end in ends}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_of_two_unequal_images_without_objects(family):
    detector = model(family)
    losses = step(detector, pictures(SHAPES), [target(SHAPES[0], [10, 10, 50, 60]), target(SHAPES[1])])
    assert set(losses) == names(family)
    assert all(value > 0 for name, value in losses.items() if "box_reg" not in name)
    assert set(detector.positives.areas.tolist()) == {2000.0}
    assert not any(part.requires_grad for part in detector.positives)


@pytest.mark.parametrize("family", FAMILIES)
def test_images_without_objects(family):
    detector = model(family)
    losses = step(detector, pictures(SHAPES), [target(SHAPES[0]), target(SHAPES[1])])
    assert all((value > 0) is ("classifier" in name or "objectness" in name) for name, value in losses.items())
    assert [len(part) for part in detector.positives[:3]] == [0, 0, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_class_and_a_thousand_objects(family):
    corners = torch.randint(0, 40, (1000, 2), generator=torch.Generator().manual_seed(0)).tolist()
    crowd = target((3, 64, 96), *[[x, y, x + 12, y + 9] for x, y in corners])
    detector = model(family, classes=1)
    step(detector, pictures([(3, 64, 96)]), [crowd])
    assert detector.positives.areas.tolist() == [108.0] * 4  # a quarter of the sixteen RoIs


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_losses_are_finite_and_near(family):
    images, targets = pictures([(3, 64, 96)]), [target((3, 64, 96), [8, 8, 40, 40])]
    wanted = step(model(family), images, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = step(model(family), images, targets)
    for name in ("loss_objectness", *(name for name in wanted if "classifier" in name or "mask" in name)):
        assert found[name] == pytest.approx(wanted[name], rel=0.1), name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", [{"psconv": PSConvOptions()}, {"fusion": FusionOptions()}])
def test_methods_train_inside(family, method):
    step(model(family, **method), pictures([(3, 64, 96)]), [target((3, 64, 96), [8, 8, 40, 40])])


@pytest.mark.parametrize("family", FAMILIES)
def test_filtered_rois_take_no_part_in_any_stage(family):
    detector = model(family)
    detector.roi_heads.filter_rois = lambda rois, labels, matched, found: labels == 0
    losses = step(detector, pictures([(3, 64, 96)]), [target((3, 64, 96), [8, 8, 40, 40])])
    for name, value in losses.items():
        if "rpn" not in name and "objectness" not in name:
            assert (value > 0) is ("classifier" in name), name


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_inference_equals_single(family):
    detector = model(family).eval()
    images = pictures([(3, 64, 96)] * 3)
    with torch.inference_mode():
        together, alone = detector(images), [detector([image])[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a["boxes"]) == len(b["boxes"]) > 0
        assert set(a) == {"boxes", "labels", "scores"} | ({"mask_probs"} if "mask" in family else set())
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-3 if name == "boxes" else 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_detections_of_unequal_sizes_stay_in_their_images(family):
    with torch.inference_mode():
        outputs = model(family).eval()(pictures(SHAPES))
    for output, (_, height, width) in zip(outputs, SHAPES, strict=True):
        boxes, scores = output["boxes"], output["scores"]
        assert 0 < len(boxes) <= 10
        assert boxes.min() >= 0
        assert (boxes[:, 2] <= width).all()
        assert (boxes[:, 3] <= height).all()
        assert (scores[:-1] >= scores[1:]).all()
        if "mask" in family:
            masks = output["mask_probs"]
            assert masks.shape == (len(boxes), 1, 28, 28)
            assert 0 <= masks.min() < masks.max() <= 1


@pytest.mark.parametrize("family", FAMILIES)
def test_no_proposal_gives_no_detection(family):
    heads = model(family).eval().roi_heads
    features = {str(level): torch.rand(2, 16, 16 // 2**level, 24 // 2**level) for level in range(4)}
    with torch.inference_mode():
        outputs, losses = heads(features, [torch.zeros(0, 4), torch.tensor([[4.0, 4, 60, 60]])], [(64, 96)] * 2)
    assert losses == {}
    masks = {"mask_probs": (0, 1, 28, 28)} if "mask" in family else {}
    shapes = {name: tuple(value.shape) for name, value in outputs[0].items()}
    assert shapes == {"boxes": (0, 4), "labels": (0,), "scores": (0,), **masks}
    assert len(outputs[1]["boxes"]) > 0
