"""Invented images and targets of detectors, tiny detectors of every family, and one training step that is checked."""

from typing import Any

import msgspec
import tiny
import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from pipeline import config
from pipeline.models import build_detector
from pipeline.options import DeformableOptions, Method, ProposalNetwork, RegionClassifier
from pipeline.spec import Spec

BASE = "msfm_frcnn_r50_fpn_1x"
ROI_FAMILIES = ("faster_rcnn", "c4", "mask_rcnn", "cascade_rcnn", "cascade_mask_rcnn", "dynamic_rcnn", "grid_rcnn")
DENSE = ("retinanet", "fcos", "reppoints")
CONV5 = Method(deformable=DeformableOptions(stages=(5,), offset_groups=4))  # of Deformable R-FCN
SHAPE = (3, 64, 96)
SHAPES = [(3, 96, 128), (3, 64, 96)]


def full(detector: str, **method: object) -> Spec:
    """Return a family's full-size baseline on ResNet-50."""
    return tiny.with_method(tiny.with_detector(config.resolve(BASE, "full"), detector), **method)


def spec(family: str, **method: object) -> Spec:
    """Return a tiny detector's specification; `c4` is Faster R-CNN without a pyramid, `rpn` SNIP's proposal network."""
    if family == "rpn":
        return rpn_spec(features="conv45", **method)
    if family == "c4":
        return tiny.with_method(tiny.spec("pod_frcnn_r50_c4_1x"), **method)
    return tiny.with_method(tiny.with_detector(tiny.spec(BASE), family), **method)


def rpn_spec(preset: str = "tiny", backbone: str = "resnet50", **options: object) -> Spec:
    """Return a proposal network on SNIP's recipe; options of the network or of a method."""
    name = "snip_drfcn_r50_7ep_single_scale"
    found = tiny.spec(name) if preset == "tiny" else config.resolve(name, preset)
    own = {key: options.pop(key) for key in ("features", "anchors") if key in options}
    changes = {"detector": "d_rfcn_rpn", "neck": "none", "backbone": backbone, "region": None}
    changes |= {"method": Method(**options), "rpn": ProposalNetwork(**own)}
    return tiny.changed(found, experiment=changes, recipe={"rpn_positive_iou": 0.5, "rpn_negative_iou": 0.4})


def region_spec(preset: str = "tiny", backbone: str = "resnet50", method: Method = CONV5, **region: Any) -> Spec:
    """Return a classifier of given proposals on SNIP's recipe, whatever the experiments' files say."""
    name = "snip_drfcn_r50_7ep_single_scale"
    found = tiny.spec(name) if preset == "tiny" else config.resolve(name, preset)
    changes = {"detector": "d_rfcn_rcn", "neck": "none", "backbone": backbone, "method": method}
    return tiny.changed(found, experiment=changes | {"region": RegionClassifier(**region)})


def model(family: str, classes: int = 3, **method: object) -> nn.Module:
    """Return a tiny detector with weights of seed 0."""
    torch.manual_seed(0)
    return build_detector(spec(family, **method), classes)


def with_size(found: Spec, **size: object) -> Spec:
    """Return a specification with other sizes of its network."""
    return tiny.changed(found, preset={"model": msgspec.structs.replace(found.preset.model, **size)})


def picture(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape or SHAPE, generator=torch.Generator().manual_seed(seed))


def pictures(shapes: list[tuple[int, int, int]]) -> list[Tensor]:
    """Return images of these shapes from one generator."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(shape, generator=generator) for shape in shapes]


def target(*boxes: list[float], label: int = 1, size: tuple[int, int] = SHAPES[0][1:]) -> dict[str, Tensor]:
    """Return a target whose objects are of one class and fill their boxes."""
    found = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros(len(found), *size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, found.int().tolist(), strict=True):
        mask[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = 1
    return {"boxes": found, "labels": torch.full((len(found),), label), "masks": masks}


def crowd(count: int = 1000, size: tuple[int, int] = SHAPES[0][1:]) -> dict[str, Tensor]:
    """Return a target of many overlapping objects of one class, with sides of 1 to 36 pixels."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * 60
    found = torch.cat([corners, corners + 1 + 35 * torch.rand(count, 2, generator=generator)], dim=1)
    return target(*found.tolist(), size=size)


def roi_options(**changes: object) -> dict[str, object]:
    """Return arguments of RoI heads whose network is not needed."""
    sampling = {"fg_iou_thresh": 0.5, "bg_iou_thresh": 0.5, "batch_size_per_image": 8, "positive_fraction": 0.25}
    detection = {"score_thresh": 0.05, "nms_thresh": 0.5, "detections_per_img": 3}
    network = dict.fromkeys(("box_roi_pool", "box_head", "box_predictor", "bbox_reg_weights"))
    return network | sampling | detection | changes


def image_list(height: int = 64, width: int = 64) -> ImageList:
    """Return one black image as heads see it."""
    return ImageList(torch.zeros(1, 3, height, width), [(height, width)])


def learn(detector: nn.Module, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, float]:
    """Return the losses of one training step, and check that they and all gradients are finite."""
    losses = detector.train()(images, targets)
    assert all(loss.dtype == torch.float32 and bool(loss.isfinite()) for loss in losses.values())
    detector.zero_grad()
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in detector.named_parameters() if p.requires_grad}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    return {name: loss.item() for name, loss in losses.items()}
