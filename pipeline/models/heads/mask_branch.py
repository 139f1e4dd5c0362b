"""Mask branch of RoI heads: a small mask for every class and RoI, learnt on the RoIs that are objects."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align

from pipeline.models.contract import Detections, Levels, Losses, Shapes, Targets
from pipeline.models.heads.roi_heads import RoIHeads, SampledRoIs
from pipeline.models.heads.roi_pool import MultiLevelRoIAlign
from pipeline.models.heads.two_stage import fpn_pool
from pipeline.models.normaliser import Normaliser, local_normaliser, normalised
from pipeline.spec import Spec

CONVOLUTIONS = 4
RESOLUTION = 14  # of the RoI features; the masks have twice as many bins along an axis


class MaskBranch(nn.Module):
    """Four 3x3 convolutions, a deconvolution and one mask per class, on 14x14 RoI features (Mask R-CNN, figure 4)."""

    normaliser: Normaliser = staticmethod(local_normaliser)  # maps the number of positive RoIs to the loss's divisor

    def __init__(self, pool: MultiLevelRoIAlign, channels: int, classes: int) -> None:
        super().__init__()
        self.pool = pool
        self.head = MaskRCNNHeads(channels, (channels,) * CONVOLUTIONS, dilation=1)
        self.predictor = MaskRCNNPredictor(channels, channels, classes)

    def forward(self, features: Levels, boxes: list[Tensor]) -> Tensor:
        """Return mask logits [R, K, 28, 28] for RoIs [R_i, 4] of every image, in fp32 even under autocast."""
        return self.predictor(self.head(self.pool(features, boxes, []))).float()

    def loss(self, features: Levels, sampled: SampledRoIs, targets: Targets) -> Tensor:
        """Return the binary cross-entropy of the masks of the objects' classes, averaged over the positive RoIs.

        Args:
            features: the pyramid's levels.
            sampled: the RoIs of a step.
            targets: each image's `masks` [n, H, W], 0 or 1, in network-input pixels.

        Raises:
            ValueError: a target without masks, or without one mask for each box.
        """
        check_masks(targets)
        positive = sampled.positive
        boxes = [boxes[rows] for boxes, rows in zip(sampled.boxes, positive, strict=True)]
        logits = self(features, boxes)
        if not len(logits):
            return normalised(logits.sum() * 0, 0, self.normaliser)
        classes = torch.cat([labels[rows] for labels, rows in zip(sampled.labels, positive, strict=True)]) - 1
        wanted = torch.cat(
            [
                crop_masks(target["masks"], matched[rows], rois, logits.shape[-1])
                for target, matched, rows, rois in zip(targets, sampled.matched, positive, boxes, strict=True)
            ]
        )
        loss = F.binary_cross_entropy_with_logits(of_classes(logits, classes), wanted)
        return normalised(loss, len(logits), self.normaliser)

    def dense_parts(self, images: Tensor, channels: int, rois: int) -> None:
        """Run the branch's convolutions on `rois` RoIs of `channels` channels on the images' device."""
        self.predictor(self.head(torch.empty(rois, channels, *self.pool.output_size, device=images.device)))


class MaskRoIHeads(RoIHeads):
    """RoI heads with a mask branch; detections have `mask_probs` [D, 1, 28, 28] relative to their boxes.

    Multiply-adds count the branch on as many RoIs as an image has detections, because it runs on no others.
    """

    def __init__(self, *args: Any, masks: MaskBranch, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.masks = masks

    def sampled_losses(
        self, features: Levels, sampled: SampledRoIs, image_shapes: Shapes, targets: Targets
    ) -> tuple[Losses, Tensor]:
        """Return the named losses of sampled RoIs, including `loss_mask`, and their box deltas."""
        losses, deltas = super().sampled_losses(features, sampled, image_shapes, targets)
        return losses | {"loss_mask": self.masks.loss(features, sampled, targets)}, deltas

    def detect(self, features: Levels, proposals: list[Tensor], image_shapes: Shapes) -> Detections:
        """Return boxes, labels, scores and `mask_probs` of every image."""
        return add_masks([self.masks], features, super().detect(features, proposals, image_shapes))

    def keep_candidates(self) -> None:
        """Change nothing: masks are computed for what suppression leaves."""

    def dense_parts(self, images: Tensor, channels: int, proposals: int) -> None:
        """Run the parts whose multiply-adds count."""
        super().dense_parts(images, channels, proposals)
        self.masks.dense_parts(images, channels, min(proposals, self.detections_per_img))


def build_mask_branch(spec: Spec, classes: int) -> MaskBranch:
    """Build the mask branch of an experiment on its pyramid."""
    return MaskBranch(fpn_pool(spec, RESOLUTION), spec.preset.model.fpn_channels, classes)


def check_masks(targets: Targets) -> None:
    """Raise ValueError where a target has no masks, or not one mask for each box."""
    for row, target in enumerate(targets):
        if "masks" not in target:
            raise ValueError(f"A mask branch needs masks [n, H, W] in every target; image {row} has {sorted(target)}.")
        masks, boxes = target["masks"], target["boxes"]
        if masks.dim() != 3 or len(masks) != len(boxes):
            raise ValueError(
                f"masks must be [n, H, W], one a box, got {list(masks.shape)} for {len(boxes)} boxes in image {row}."
            )


def crop_masks(masks: Tensor, matched: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Crop objects' masks to RoIs and resample them to 0 or 1: [P, side, side] in fp32.

    Args:
        masks: [n, H, W] of an image's objects.
        matched: [P], the object of each RoI.
        boxes: [P, 4], xyxy in the masks' pixels.
        side: bins along each axis.

    A bin is 1 where the mask covers at least half of it, as in the papers' code bases (Mask R-CNN, section 3).
    Differs from torchvision's project_masks_on_boxes, which samples half a pixel too far to the lower right and
    converts all masks from uint8: only those in use are, to save memory on images of a thousand objects.
    """
    if not len(matched):
        return boxes.new_zeros(0, side, side)
    places, used = used_first(matched, len(masks))
    rois = torch.cat([places[:, None].to(boxes.dtype), boxes], dim=1)
    covered = roi_align(masks[used, None].to(boxes.dtype), rois, (side, side), aligned=True)
    return (covered[:, 0] >= 0.5).float()


def used_first(matched: Tensor, objects: int) -> tuple[Tensor, Tensor]:
    """Return the places [P] of objects `matched` [P] in a list of objects that has all of them, and that list.

    The list is as long as the used ones can be many, for a GPU's count of them would have to be waited for.
    """
    used = torch.zeros(objects, dtype=torch.uint8, device=matched.device).index_fill(0, matched, 1)
    listed = used.sort(descending=True, stable=True).indices
    return listed.argsort()[matched], listed[: len(matched)]


def of_classes(logits: Tensor, classes: Tensor) -> Tensor:
    """Pick from logits [R, K, S, S] the mask [R, S, S] of each RoI's class [R], counted from 0."""
    return logits[torch.arange(len(classes), device=classes.device), classes]


def add_masks(branches: Sequence[MaskBranch], features: Levels, detections: Detections) -> Detections:
    """Add to detections `mask_probs` [D, 1, 28, 28], their labels' mask probabilities averaged over branches."""
    boxes = [found["boxes"] for found in detections]
    classes = torch.cat([found["labels"] for found in detections]) - 1
    by_branch = torch.stack([of_classes(branch(features, boxes), classes).sigmoid() for branch in branches])
    by_image = by_branch.mean(dim=0)[:, None].split([len(part) for part in boxes])
    return [found | {"mask_probs": masks} for found, masks in zip(detections, by_image, strict=True)]
