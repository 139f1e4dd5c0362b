"""Dynamic R-CNN: label assignment and box loss that follow the quality of proposals (Zhang et al., ECCV 2020).

The network is Faster R-CNN's. Two numbers change while it trains: the least IoU of a positive proposal rises, and the
beta of the box loss falls.
"""

from typing import Any

import torch
from torch import Tensor

from pipeline.models.backbones.build import Scales
from pipeline.models.heads.overlap import pairwise_iou
from pipeline.models.heads.roi_heads import RoIHeads
from pipeline.models.heads.two_stage import TwoStageDetector, assemble_fpn, fpn_parts, roi_arguments
from pipeline.models.necks import build_fpn
from pipeline.spec import Spec

INTERVAL = 100  # steps between two updates
INITIAL_IOU, INITIAL_BETA = 0.4, 1.0
IOU_RANK, BETA_RANK = 75, 10  # K_I of an image with `FULL_ROIS` RoIs, K_beta of any image
FULL_ROIS = 512
LEAST_BETA = 1e-15


class DynamicRoIHeads(RoIHeads):
    """RoI heads whose IoU threshold and smooth L1 beta are updated every `INTERVAL` training steps.

    Everything that an update reads is a buffer, so that a resumed training gives the same result as one that never
    stopped, and no step waits for the device.

    Args:
        iou_rank: K_I; the threshold is the mean over images and steps of an image's K_I-th largest proposal IoU.
        beta_rank: K_beta; beta is the median over steps of the (K_beta * images)-th smallest regression target.
        **arguments: of `RoIHeads`; its `box_loss` is not read.

    Differs from the paper: images without objects and steps without positives do not count.
    """

    iou_threshold: Tensor  # []
    beta: Tensor  # []
    iou_history: Tensor  # [INTERVAL], of the last steps; NaN where a step had no objects
    beta_history: Tensor  # [INTERVAL], NaN where a step had no positives
    steps: Tensor  # [], training steps so far

    def __init__(self, iou_rank: int = IOU_RANK, beta_rank: int = BETA_RANK, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.iou_rank, self.beta_rank = iou_rank, beta_rank
        self.register_buffer("iou_threshold", torch.tensor(INITIAL_IOU))
        self.register_buffer("beta", torch.tensor(INITIAL_BETA))
        self.register_buffer("iou_history", torch.full((INTERVAL,), torch.nan))
        self.register_buffer("beta_history", torch.full((INTERVAL,), torch.nan))
        self.register_buffer("steps", torch.tensor(0))

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Return matched object indices [R] and labels [R] of every image, at the current threshold."""
        remember(self.iou_history, mean_ranked_iou(proposals, gt_boxes, self.iou_rank))
        self._images = len(proposals)
        self.proposal_matcher.high_threshold = self.proposal_matcher.low_threshold = self.iou_threshold
        return super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)

    def box_losses(self, deltas: Tensor, wanted: Tensor) -> Tensor:
        """Return the smooth L1 loss [P] of positives' deltas [P, 4] at the current beta, then count the step."""
        beta = self.beta.clone()  # the backward pass needs it after the update
        away = (deltas - wanted).abs()
        losses = torch.where(away < beta, 0.5 * away**2 / beta, away - 0.5 * beta).sum(dim=1)
        remember(self.beta_history, ranked_target(wanted, self.beta_rank * self._images))
        self.update()
        return losses

    @torch.no_grad()
    def update(self) -> None:
        """Count a step; after every `INTERVAL` steps, set threshold and beta from the histories (section 4)."""
        self.steps += 1
        due = self.steps % INTERVAL == 0
        threshold = self.iou_history.nanmean().clamp(min=INITIAL_IOU)
        beta = self.beta_history.nanquantile(0.5).clamp(max=INITIAL_BETA)
        # Histories without values give NaN, whose comparisons are false: the old value stays.
        self.iou_threshold.copy_(torch.where(due & (threshold >= INITIAL_IOU), threshold, self.iou_threshold))
        self.beta.copy_(torch.where(due & (beta >= LEAST_BETA), beta, self.beta))


@torch.no_grad()
def remember(history: Tensor, value: Tensor) -> None:
    """Drop the oldest entry of a history [n] and append a value []."""
    history.copy_(torch.cat([history[1:], value.reshape(1).to(history)]))


@torch.no_grad()
def mean_ranked_iou(proposals: list[Tensor], objects: list[Tensor], rank: int) -> Tensor:
    """Return the mean over images of the `rank`-th largest IoU of proposals [R, 4] with their best object [G, 4].

    Images without objects do not count; NaN where all images are without.
    """
    ranked = []
    for rois, boxes in zip(proposals, objects, strict=True):
        if len(boxes) and len(rois):
            overlap = pairwise_iou(boxes, rois).amax(dim=0)
            best = overlap.topk(min(rank, len(rois))).values
            real = (rois[:, 2] >= 0).sum()  # the others are padding, which overlaps nothing
            ranked.append(best.take(real.clamp(1, len(best)) - 1))
    return torch.stack(ranked).mean() if ranked else proposals[0].new_tensor(torch.nan)


@torch.no_grad()
def ranked_target(targets: Tensor, rank: int) -> Tensor:
    """Return the `rank`-th smallest (|dx| + |dy|) / 2 of regression targets [P, 4]; NaN where there are none."""
    if not len(targets):
        return targets.new_tensor(torch.nan)
    return targets[:, :2].abs().mean(dim=1).kthvalue(min(rank, len(targets))).values


def build_dynamic_rcnn(spec: Spec, classes: int = 80, scales: Scales | None = None) -> TwoStageDetector:
    """Build the Dynamic R-CNN of a specification, under torchvision's detection contract.

    K_I shrinks with the RoIs that a preset samples of an image, or no small preset would reach it. K_beta does not: the
    objects themselves, proposals with targets of 0, are among the smallest, and a preset has no fewer of them. Nor does
    the interval: an update waits for as many steps as its histories need to be steady.
    """
    backbone = build_fpn(spec, scales)
    arguments = roi_arguments(spec, INITIAL_IOU)
    share = arguments["batch_size_per_image"] / FULL_ROIS
    roi_heads = DynamicRoIHeads(
        iou_rank=max(1, round(IOU_RANK * share)),
        **fpn_parts(spec, backbone.out_channels, classes),
        **arguments,
    )
    return assemble_fpn(spec, backbone, roi_heads)
