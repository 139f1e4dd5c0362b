"""What dense heads with focal loss share: towers and their initialisation, positions on levels, the final steps."""

import math

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import sigmoid_focal_loss

from pipeline.models.backbones.build import Scales
from pipeline.models.heads.anchors import IGNORED
from pipeline.models.heads.dense import DenseHead, Outputs
from pipeline.models.heads.suppression import suppress
from pipeline.models.necks import Extra, FPNBackbone, build_fpn
from pipeline.preset import ModelSize
from pipeline.spec import Spec

LEVELS = 5
STRIDE = 8  # of P3, the published finest level; the others are P4 to P7
PRIOR = 0.01  # score of every class at every position at the start (RetinaNet, section 3.3)
CONVS = 4
GROUP_CHANNELS = 8  # in a normalisation group: 32 groups of the papers' 256 channels


class FocalHead(DenseHead):
    """Base of heads with one sigmoid per class on P3 to P7, or on P2 to P6 where the preset's finest stride is 4.

    Args:
        classes: object categories, without the background.
        size: limits of detections and of each level's candidates, and the score threshold.
        nms_iou: IoU from which a better detection of the same class suppresses one; None suppresses nothing.
    """

    nms_iou: float | None
    detections: int | None  # None keeps all

    def __init__(self, classes: int, size: ModelSize, nms_iou: float) -> None:
        super().__init__()
        self.classes, self.nms_iou = classes, nms_iou
        self.strides = [size.dense_stride * 2**level for level in range(LEVELS)]
        self.finer = STRIDE / size.dense_stride  # than published; a level's objects span more strides by this factor
        self.score_threshold, self.candidates, self.detections = (
            size.score_threshold,
            size.rpn_pre_nms_test,
            size.detections,
        )

    def focal_losses(
        self, logits: Tensor, matched: Tensor, positive: Tensor, target: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return the boxes [P, 4] of an image's positives' objects and every row's focal loss [L].

        Args:
            logits: [L, K].
            matched: object [L] of every row; `IGNORED` ones cost nothing.
            positive: rows [P] that are matched to an object.
            target: `boxes` [G, 4] and `labels` [G] from 1.
        """
        wanted = torch.zeros_like(logits)
        wanted[positive, target["labels"][matched[positive]] - 1] = 1
        focal = sigmoid_focal_loss(logits, wanted).sum(dim=1) * (matched != IGNORED)
        return target["boxes"][matched[positive]], focal

    def level_candidates(self, level: int, outputs: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes [n, 4], scores [n] and classes [n] of the best positions of an image's level, before NMS.

        Args:
            level: index into `strides`.
            outputs: this level's named outputs, [1, ..., H, W].
        """
        raise NotImplementedError

    def keep_candidates(self) -> None:
        """Suppress nothing and cut nothing off from now on."""
        self.nms_iou, self.detections = None, None

    def detect(self, outputs: Outputs, images: ImageList) -> list[dict[str, Tensor]]:
        """Return boxes [D, 4], labels [D] and scores [D] of every image: each level's best, after per-class NMS."""
        results = []
        for row, shape in enumerate(images.image_sizes):
            found = [
                self.level_candidates(level, {name: values[level][row : row + 1] for name, values in outputs.items()})
                for level in range(LEVELS)
            ]
            boxes, scores, classes = (torch.cat(parts) for parts in zip(*found, strict=True))
            results.append(suppress(boxes, scores, classes, shape, self.nms_iou, self.detections))
        return results


def build_pyramid(spec: Spec, scales: Scales | None, extra: Extra) -> FPNBackbone:
    """Build the backbone and the five-level pyramid of a dense detector.

    Args:
        spec: the resolved experiment.
        scales: learnt global scale of every decomposed block, (1, 1) where it is None.
        extra: "c5" or "p5", from which P6 and P7 are made. A pyramid that starts at P2 ends with a pooled P6 instead.
    """
    if spec.preset.model.dense_stride < STRIDE:
        return build_fpn(spec, scales)
    return build_fpn(spec, scales, extra, first=1)


def tower(channels: int, size: ModelSize, normalised: bool = False, convs: int = CONVS) -> nn.Sequential:
    """Return 3x3 convolutions with ReLU, and with group normalisation if `normalised` or the preset's `dense_norm`.

    With `dense_norm`, convolutions start as He's: published towers start so small that they need thousands of steps
    before they learn.
    """
    layers: list[nn.Module] = []
    for _ in range(convs):
        layers.append(start(nn.Conv2d(channels, channels, 3, padding=1), size.dense_norm))
        if normalised or size.dense_norm:
            layers.append(nn.GroupNorm(max(1, channels // GROUP_CHANNELS), channels))
        layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def prediction(channels: int, outputs: int, prior: float | None = None, kernel: int = 3) -> nn.Conv2d:
    """Return the convolution behind a tower; its sigmoids start at `prior` where that is given."""
    layer = start(nn.Conv2d(channels, outputs, kernel, padding=kernel // 2))
    if prior is not None:
        nn.init.constant_(layer.bias, -math.log((1 - prior) / prior))
    return layer


def start(layer: nn.Conv2d, strong: bool = False) -> nn.Conv2d:
    """Initialise a convolution by N(0, 0.01) as published, with the same gain where channels are fewer than 256.

    A `strong` initialisation is He's, with the gain of the ReLU behind it.
    """
    if strong:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    else:
        nn.init.normal_(layer.weight, std=0.01 * math.sqrt(256 / layer.in_channels))
    nn.init.zeros_(layer.bias)
    return layer


def level_positions(output: Tensor, stride: int, offset: float = 0.0) -> Tensor:
    """Return the positions (x, y) [H W, 2] of a level [..., H, W] in network-input pixels; the first is at `offset`."""
    height, width = output.shape[-2:]
    y = torch.arange(height, device=output.device) * stride + offset
    x = torch.arange(width, device=output.device) * stride + offset
    return torch.stack([x.repeat(height), y.repeat_interleave(width)], dim=1).float()
