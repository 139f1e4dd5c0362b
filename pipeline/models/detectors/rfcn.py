"""Deformable R-FCN's region classifier alone: scores and boxes for proposals that another network made.

SNIP trains its classifier (RCN) on proposals that are fixed beforehand (SNIP, section 7.1). The body's conv5 is
dilated, so that its maps have conv4's stride. Position-sensitive maps are pooled by bins, whose mean is the result
(R-FCN, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from pipeline.models.backbones.build import Scales, build_backbone, freeze_stages
from pipeline.models.batching import Batching, check_targets
from pipeline.models.contract import Images, Levels, Losses, Shapes, Targets
from pipeline.models.heads.hard_examples import hardest
from pipeline.models.heads.position_sensitive import Pooling, pool_bins, sample_bins, shift_bins
from pipeline.models.heads.roi_heads import PositiveLosses, RoIHeads, SampledRoIs, joined_positives
from pipeline.models.heads.rows import rows_where
from pipeline.models.heads.two_stage import roi_arguments, set_losses
from pipeline.options import RegionClassifier
from pipeline.preset import ModelSize
from pipeline.spec import Spec

BINS = 7
SCORE_THRESHOLD = 1e-3  # Deformable R-FCN's and SNIPER's; soft-NMS and the valid ranges of a pyramid need low scores


class DilatedBackbone(nn.Module):
    """One backbone body whose conv5 is dilated at conv4's stride, or two side by side in a joint network."""

    def __init__(self, body: nn.Module, second: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        if second is not None:
            self.second = second

    @property
    def bodies(self) -> list[nn.Module]:
        """All bodies; the first one gives the boxes."""
        return list(self.children())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images [N, 3, H, W] to the last features of every body, under "0" and "1"."""
        return {str(number): list(body(x).values())[-1] for number, body in enumerate(self.bodies)}


class PositionSensitiveHead(nn.Module):
    """Position-sensitive maps of one body's features and their pooling (SNIP, section 4).

    Args:
        channels: of the features.
        hidden: channels of the 1x1 convolution before the maps.
        classes: object categories, without the background.
        pooling: rounded bins, bilinear samples, or samples in bins moved by offsets.
        stride: network-input pixels of a position.
        samples: bilinear samples of a bin along each axis.
        boxes: whether the head predicts boxes beside scores.

    Differs from Deformable ConvNets, where offsets learn at a hundredth of the rate: here all layers have one rate.
    """

    def __init__(
        self, channels: int, hidden: int, classes: int, pooling: Pooling, stride: int, samples: int, boxes: bool = True
    ) -> None:
        super().__init__()
        self.pooling, self.stride, self.samples = pooling, stride, samples
        self.reduce = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True))
        outputs = {"scores": classes + 1, "boxes": 4} if boxes else {"scores": classes + 1}
        self.maps = nn.ModuleDict({name: nn.Conv2d(hidden, BINS**2 * many, 1) for name, many in outputs.items()})
        # Offsets have two maps (x, y) for every class and for boxes: three maps where bilinear pooling has one.
        fields = {"scores": classes + 1, "boxes": 1}
        self.offsets = nn.ModuleDict()
        if pooling == "deformable":
            self.offsets.update({name: nn.Conv2d(hidden, BINS**2 * 2 * fields[name], 1) for name in outputs})
        for conv in (self.reduce[0], *self.maps.values()):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)
        for conv in self.offsets.values():
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def dense_parts(self, x: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Map features [N, C, H, W] to position-sensitive maps and offset fields by name, in fp32."""
        x = self.reduce(x).contiguous()
        maps, offsets = (
            {name: plane_conv(conv, x).float() for name, conv in d.items()} for d in (self.maps, self.offsets)
        )
        return maps, offsets

    def forward(self, x: Tensor, rois: list[Tensor]) -> dict[str, Tensor]:
        """Return `scores` (logits [R, K + 1]) and `boxes` (deltas [R, 4]) for RoIs [R_i, 4] of every image."""
        maps, offsets = self.dense_parts(x)
        outputs = {}
        for name, values in maps.items():
            place = (rois, BINS, 1 / self.stride)
            if self.pooling == "plain":
                pooled = pool_bins(values, *place)
            elif self.pooling == "bilinear":
                pooled = sample_bins(values, *place, self.samples)
            else:
                moves = sample_bins(offsets[name], *place, self.samples)
                pooled = shift_bins(values, moves, *place, self.samples)
            outputs[name] = pooled.mean(dim=(2, 3))  # the bins vote
        return outputs


def plane_conv(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return a 1x1 convolution of x [N, C, H, W] in contiguous (channels first) memory, which pooling by bins reads.

    The convolution itself would return channels_last, like its weights, and every pooling would copy its many maps.
    """
    weight = conv.weight.flatten(1).expand(len(x), -1, -1)
    return torch.baddbmm(conv.bias.view(1, -1, 1), weight, x.flatten(2)).unflatten(2, x.shape[-2:])


class RegionHeads(RoIHeads):
    """RoI heads of R-FCN, which train on all given RoIs that no filter drops, or on the hardest of each image.

    `box_head` has one position-sensitive head per body; class scores are averaged, and the first head gives the boxes.

    Attributes:
        hard_examples: RoIs per image that online hard example mining keeps; None keeps all (SNIP, section 7.1).
    """

    hard_examples: int | None = None

    def predict(self, features: Levels, boxes: list[Tensor], image_shapes: Shapes) -> tuple[Tensor, Tensor]:
        """Return logits [R, K + 1] and deltas [R, 1, 4] for RoIs [R_i, 4] of every image."""
        outputs = [head(level, boxes) for head, level in zip(self.box_head, features.values(), strict=True)]
        logits = outputs[0]["scores"]
        if len(outputs) > 1:  # logits whose softmax is the mean probability
            each = torch.stack([output["scores"].log_softmax(dim=1) for output in outputs])
            logits = each.logsumexp(dim=0) - math.log(len(outputs))
        return logits, outputs[0]["boxes"].unsqueeze(1)

    def subsample(self, labels: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return every image's rows of all RoIs that no filter dropped, and the positives' places among them."""
        found = rows_where([mask for row in labels for mask in (row >= 0, row > 0)])
        return [
            (rows, torch.searchsorted(rows, positive)) for rows, positive in zip(found[::2], found[1::2], strict=True)
        ]

    def sampled_losses(
        self, features: Levels, sampled: SampledRoIs, image_shapes: Shapes, targets: Targets
    ) -> tuple[Losses, Tensor]:
        """Return the named losses, divided by their number, of the RoIs that train, and the deltas of all RoIs."""
        logits, deltas = self.predict(features, sampled.boxes, image_shapes)
        labels, wanted, areas = map(torch.cat, (sampled.labels, sampled.regression_targets, sampled.areas))
        with torch.no_grad():
            positive = joined_positives(sampled)
            loss, regression = self.roi_losses(logits, deltas, labels, wanted, positive)
            loss = loss.index_add(0, positive, regression)
        rows = hardest(loss, [len(boxes) for boxes in sampled.boxes], self.hard_examples)
        return self.losses(logits[rows], deltas[rows], labels[rows], wanted[rows], areas[rows]), deltas


class RFCN(nn.Module):
    """Classifier of given proposals; apart from them, it keeps torchvision's detection contract."""

    def __init__(self, backbone: DilatedBackbone, roi_heads: RegionHeads, transform: Batching) -> None:
        super().__init__()
        self.backbone, self.roi_heads, self.transform = backbone, roi_heads, transform

    @property
    def positives(self) -> PositiveLosses | None:
        """Losses of the last training step's positive RoIs that hard example mining kept."""
        return self.roi_heads.positives

    def forward(self, images: Images, targets: Targets | None = None, proposals: Sequence[Tensor] | None = None) -> Any:
        """Return named losses (training) or a list of detections (evaluation).

        Args:
            images: [3, H, W] each, in 0-1.
            targets: for training, `boxes` [n, 4] and `labels` [n] of each image; `proposals` [P, 4] may be here, too.
            proposals: [P, 4] of each image, xyxy in network-input pixels; None takes those of `targets`.

        Raises:
            ValueError: no proposals, an image whose proposals are not [P, 4], or training without targets.
        """
        if self.training:
            check_targets(targets)
        rois = given_proposals(images, targets, proposals)
        batch, targets = self.transform(images, targets)
        features = self.backbone(batch.tensors)
        detections, losses = self.roi_heads(features, rois, batch.image_sizes, targets)
        if self.training:
            return losses
        return self.transform.postprocess(detections, batch.image_sizes, [image.shape[-2:] for image in images])

    def region_scores(self, images: Images, proposals: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Return each image's scores [P, K + 1], the background's first, and clipped boxes [P, 4] of all proposals.

        Nothing is suppressed, because ensembles and flipped images average these RoI by RoI (SNIP, section 7.3).
        """
        rois = given_proposals(images, None, proposals)
        batch, _ = self.transform(images)
        logits, deltas = self.roi_heads.predict(self.backbone(batch.tensors), rois, batch.image_sizes)
        counts = [len(boxes) for boxes in rois]
        boxes = self.roi_heads.box_coder.decode_single(deltas[:, 0], torch.cat(rois)).split(counts)
        return [
            (score, clip_boxes_to_image(box, shape))
            for score, box, shape in zip(logits.softmax(dim=1).split(counts), boxes, batch.image_sizes, strict=True)
        ]

    def dense_parts(self, images: Tensor, proposals: int) -> None:
        """Run the parts whose multiply-adds count, everything but pooling, on images [N, 3, H, W]."""
        for head, level in zip(self.roi_heads.box_head, self.backbone(images).values(), strict=True):
            head.dense_parts(level)


def given_proposals(images: Images, targets: Targets | None, proposals: Sequence[Tensor] | None) -> list[Tensor]:
    """Return the proposals [P, 4] of every image in fp32 on its device; raise ValueError where an image has none."""
    if proposals is None:
        missing = [row for row, target in enumerate(targets or [{}]) if "proposals" not in target]
        if missing:
            raise ValueError(
                "A region classifier needs proposals [P, 4] of every image, as an argument or in its target; "
                f"image {missing[0]} has none."
            )
        proposals = [target["proposals"] for target in targets]
    if len(proposals) != len(images):
        raise ValueError(f"Every image needs proposals, got {len(proposals)} for {len(images)} images.")
    for row, boxes in enumerate(proposals):
        if boxes.dim() != 2 or boxes.shape[1] != 4:
            raise ValueError(f"proposals must be [P, 4], got {list(boxes.shape)} for image {row}.")
    return [boxes.to(images[0].device, torch.float32) for boxes in proposals]


def build_rfcn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> RFCN:
    """Build the region classifier of a specification."""
    size = spec.preset.model
    region = spec.experiment.region or RegionClassifier()
    names = [spec.experiment.backbone, *([region.second_backbone] if region.second_backbone else [])]
    bodies = [build_dilated(spec, name, scales) for name in names]
    heads = [
        PositionSensitiveHead(
            body.out_channels[-1],
            size.head_channels,
            classes,
            region.pooling,
            size.c4_stride,
            spec.roi_samples**2,  # 4 in Deformable R-FCN, where other families' RoIAlign has 2
            boxes=number == 0,
        )
        for number, body in enumerate(bodies)
    ]
    arguments = roi_arguments(spec) | {"nms_thresh": region.nms, "score_thresh": SCORE_THRESHOLD}
    roi_heads = RegionHeads(None, nn.ModuleList(heads), None, **arguments)
    roi_heads.hard_examples = region.hard_examples
    set_losses(roi_heads, spec)
    return RFCN(DilatedBackbone(*bodies), roi_heads, Batching(size.pad_divisor))


def build_dilated(spec: Spec, name: str, scales: Scales | None, stages: int = 4) -> nn.Module:
    """Build a body whose conv5 is dilated by 2 instead of strided, so that its maps have conv4's stride."""
    size = spec.preset.model
    strides = conv4_strides(size)
    body = build_backbone(
        name, size, spec.norm, spec.experiment.method, scales, stages, strides=strides, dilations=(1, 1, 1, 2)
    )
    freeze_stages(body, spec.frozen_stages)
    return body


def conv4_strides(size: ModelSize) -> tuple[int, int, int, int]:
    """Return the stages' strides with which conv4 and conv5 have the preset's stride: 16, or 8 for small images."""
    return (1, 2, 2 if size.c4_stride == 16 else 1, 1)
