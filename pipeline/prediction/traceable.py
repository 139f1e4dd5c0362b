"""Detectors whose sizes a trace records: one picture of any size, and any number of candidates, also none.

A trace keeps what tensors are computed from and turns Python's numbers into constants. Where the networks count in
Python (sizes, candidates, images), `traceable` puts the same computation on tensors in their place while it is open.
It is for the trace of one picture without gradients; what is traced gives the networks' own numbers up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
import torchvision.ops.boxes
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import batched_nms, roi_align

from pipeline.layers.multi_scale_fusion import MultiScaleFusion
from pipeline.models.batching import Batching
from pipeline.models.contract import Detections, Images, Levels, Shapes
from pipeline.models.detectors import cascade_rcnn, fcos, grid_rcnn, reppoints, retinanet
from pipeline.models.heads import mask_branch, roi_heads, suppression
from pipeline.models.heads.roi_pool import MultiLevelRoIAlign
from pipeline.models.heads.sampling import BoxCoder


@contextmanager
def traceable(groups: int) -> Iterator[None]:
    """Let every detector compute on tensors what a trace would take for a constant.

    Args:
        groups: more than the largest number by which boxes are suppressed apart: a class from 0, or a level.
    """

    def suppressed(boxes: Tensor, scores: Tensor, numbers: Tensor, iou: float) -> Tensor:
        return Suppression.apply(boxes, scores, numbers, iou, groups)

    places: list[tuple[Any, str, Any]] = [
        (Batching, "forward", padded),
        (MultiScaleFusion, "forward", fused),
        (MultiLevelRoIAlign, "forward", pooled),
        (roi_heads.RoIHeads, "select_detections", selected),
        (cascade_rcnn, "refine", refined),
        (grid_rcnn.GridRoIHeads, "detect", located),
        (torchvision.ops.boxes, "batched_nms", suppressed),  # the RPN's
        (torchvision.ops.boxes, "clip_boxes_to_image", clipped),
        (suppression, "batched_nms", suppressed),
        (suppression, "clip_boxes_to_image", clipped),
        (reppoints, "moment_boxes", moment_boxes),
        *((module, "top_candidates", top_candidates) for module in (fcos, reppoints, retinanet)),
        *((module, "level_positions", level_positions) for module in (fcos, reppoints, retinanet)),
        (BoxCoder, "decode_single", decoded),
        (mask_branch.MaskRoIHeads, "detect", roi_heads.RoIHeads.detect),  # without masks
    ]
    with ExitStack() as stack:
        for owner, name, value in places:
            stack.enter_context(mock.patch.object(owner, name, value))
        yield


class Suppression(torch.autograd.Function):
    """`batched_nms` as ONNX's NonMaxSuppression, which keeps classes apart itself.

    torchvision's own form moves the boxes of each class apart instead, which rounds their coordinates.
    """

    @staticmethod
    def forward(ctx: Any, boxes: Tensor, scores: Tensor, numbers: Tensor, iou: float, groups: int) -> Tensor:
        """Return the rows [k] of boxes [n, 4] that are left, best first; equal `numbers` [n] suppress each other."""
        return batched_nms(boxes, scores, numbers, iou)

    @staticmethod
    def symbolic(g: Any, boxes: Any, scores: Any, numbers: Any, iou: float, groups: int) -> Any:
        """Return the node's place in the file's graph."""

        def constant(value: Any, dtype: torch.dtype = torch.int64) -> Any:
            return g.op("Constant", value_t=torch.tensor(value, dtype=dtype))

        own = g.op("Equal", constant([[group] for group in range(groups)]), g.op("Unsqueeze", numbers, constant([0])))
        by_group = g.op("Where", own, scores, constant(-1.0, torch.float32))  # [groups, n]
        every = constant([torch.iinfo(torch.int64).max])
        kept = g.op(
            "NonMaxSuppression",
            g.op("Unsqueeze", boxes, constant([0])),
            g.op("Unsqueeze", by_group, constant([0])),
            every,
            constant([iou], torch.float32),
            constant([-0.5], torch.float32),  # a box competes in its own group alone, whatever its score
        )
        rows = g.op("Gather", kept, constant(2), axis_i=1)
        found = g.op("Gather", scores, rows)
        _, order = g.op("TopK", found, g.op("Shape", found), outputs=2)
        return g.op("Gather", rows, order).setType(scores.type().with_dtype(torch.int64).with_sizes([None]))


class Above(torch.autograd.Function):
    """Which scores exceed a threshold; in the trace also the best, because without a candidate the exporter crashes."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, threshold: float) -> Tensor:
        """Return a mask of the scores' shape."""
        return (scores > threshold) | (scores == scores.max())

    @staticmethod
    def symbolic(g: Any, scores: Any, threshold: float) -> Any:
        """Return the node's place in the file's graph."""
        above = g.op("Greater", scores, g.op("Constant", value_t=torch.tensor(threshold)))
        return above.setType(scores.type().with_dtype(torch.bool).with_sizes([None, None]))


def padded(self: Batching, images: Images, targets: None = None) -> tuple[ImageList, None]:
    """Return one image [3, H, W] in 0-1 as `Batching` does: normalised, with zeros up to the divisor."""
    (image,) = images
    height, width = image.shape[-2:]
    below, right = (-side % self.divisor for side in (height, width))
    batch = F.pad(((image - self.mean) / self.std)[None], (0, right, 0, below))
    return ImageList(batch, [(height, width)]), None


def fused(self: MultiScaleFusion, x: Tensor) -> Tensor:
    """Return x [N, C, H, W] through the module, at sizes that follow x's."""
    squeezed = self.squeeze(x)
    size = torch._shape_as_tensor(squeezed)[2:]
    features = []
    for scale, branch in zip(self.scales, self.branches, strict=True):
        scaled = (size.double() * scale).floor().clamp(min=1).long()
        features.append(resized(branch(resized(squeezed, scaled) if scale != 1 else squeezed), size))
    return self.unsqueeze(sum(features) if self.fusion == "add" else torch.cat(features, dim=1)) + x


def resized(x: Tensor, size: Tensor) -> Tensor:
    """Resize x [N, C, H, W] to a size [2] (h, w)."""
    return F.interpolate(x, size=(size[0], size[1]), mode="bilinear", align_corners=False)


def pooled(self: MultiLevelRoIAlign, features: Levels, proposals: list[Tensor], image_shapes: Shapes) -> Tensor:
    """Return features [R, C, S, S] of one image's RoIs [R, 4], each pooled from its own level alone."""
    maps = list(features.values())[: len(self.strides)]
    rois = torch.cat([torch.zeros_like(proposals[0][:, :1]), proposals[0]], dim=1)
    if len(maps) == 1:
        return self.pool(maps[0], rois, self.strides[0])
    levels = self.levels(proposals[0])
    rows = [torch.where(levels == index)[0] for index in range(len(maps))]
    parts = [
        roi_align(level, rois[own], self.output_size, 1 / stride, self.sampling_ratio, aligned=True)
        for level, own, stride in zip(maps, rows, self.strides, strict=True)
    ]
    return torch.cat(parts)[torch.cat(rows).argsort()]


def selected(
    self: roi_heads.RoIHeads, scores: Tensor, deltas: Tensor, proposals: list[Tensor], image_shapes: Shapes
) -> Detections:
    """Return one image's detections from scores [R, K + 1] (background first) and deltas [R, K or 1, 4]."""
    scores = scores[:, 1:]
    row, label = torch.where(Above.apply(scores, self.score_thresh))
    boxes = self.box_coder.decode_single(roi_heads.chosen_deltas(deltas, row, label), proposals[0][row])
    found = scores[row, label]
    return [suppression.suppress(boxes, found, label, image_shapes[0], self.nms_thresh, self.detections_per_img)]


def refined(stage: roi_heads.RoIHeads, boxes: list[Tensor], deltas: Tensor, image_shapes: Shapes) -> list[Tensor]:
    """Return one image's RoIs [R, 4] moved by class-agnostic deltas [R, 1, 4] and clipped to the image."""
    return [clipped(stage.box_coder.decode_single(deltas[:, 0], boxes[0]), image_shapes[0])]


def clipped(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return boxes [n, 4] clipped to a size (h, w); torchvision's own keeps the trace's n."""
    height, width = (torch.tensor(side, dtype=boxes.dtype) for side in size)
    return torch.minimum(boxes.clamp(min=0), torch.stack([width, height, width, height]))


def located(
    self: grid_rcnn.GridRoIHeads, features: Levels, proposals: list[Tensor], image_shapes: Shapes
) -> Detections:
    """Return one image's detections with the grid head's boxes.

    One more RoI, which is dropped, is there where nothing is found: ONNX's group norm cannot reshape no map at all.
    """
    (found,) = roi_heads.RoIHeads.detect(self, features, proposals, image_shapes)
    rois = torch.cat([found["boxes"], found["boxes"].new_tensor([[0.0, 0.0, 1.0, 1.0]])])
    heatmaps, _ = self.grid_head(self.grid_pool(features, [rois], []))
    return [found | {"boxes": clipped(grid_rcnn.decode_boxes(heatmaps, rois), image_shapes[0])[:-1]}]


def decoded(self: BoxCoder, codes: Tensor, boxes: Tensor) -> Tensor:
    """Return boxes [n, 4] moved by deltas [n, 4]; n may be 0, which ONNX cannot reshape to parts of unknown number."""
    sides = boxes[:, 2:] - boxes[:, :2]
    deltas = codes / codes.new_tensor(self.weights)
    centres = deltas[:, :2] * sides + (boxes[:, :2] + 0.5 * sides)
    half = 0.5 * (torch.exp(torch.clamp(deltas[:, 2:], max=self.bbox_xform_clip)) * sides)
    return torch.cat([centres - half, centres + half], dim=1)


def moment_boxes(points: Tensor, spread: Tensor) -> Tensor:
    """Return boxes [n, 4] of point sets [n, 18] (y, x in turn) by the mean and the deviation of their coordinates."""
    centres, halves = [], []
    for axis, values in enumerate((points[:, 1::2], points[:, 0::2])):
        centre = values.mean(dim=1, keepdim=True)
        deviation = ((values - centre).square().sum(dim=1, keepdim=True) / (values.shape[1] - 1)).sqrt()
        centres.append(centre)
        halves.append(deviation * spread[axis].exp())
    centre, half = torch.cat(centres, dim=1), torch.cat(halves, dim=1)
    return torch.cat([centre - half, centre + half], dim=1)


def top_candidates(scores: Tensor, threshold: float, limit: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return values, rows and classes [n] of at most `limit` scores [L, K] above a threshold, best first."""
    rows, classes = torch.where(Above.apply(scores, threshold))
    found = scores[rows, classes]
    best = found.argsort(descending=True)[:limit]
    return found[best], rows[best], classes[best]


def level_positions(output: Tensor, stride: int, offset: float = 0.0) -> Tensor:
    """Return the positions (x, y) [H W, 2] of a level [..., H, W] in network-input pixels; the first is at `offset`."""
    height, width = output.shape[-2:]
    y, x = (torch.arange(side) * stride + offset for side in (height, width))
    grid = torch.stack(torch.broadcast_tensors(x, y[:, None]), dim=-1)
    return grid.reshape(-1, 2).float()


class OnePicture(nn.Module):
    """A detector that takes one image and returns tensors.

    Args:
        detector: in evaluation mode, under torchvision's contract.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> Sequence[Tensor]:
        """Map an image [3, H, W] in 0-1 to boxes [D, 4] in its pixels, labels [D] from 1 and scores [D]."""
        (found,) = self.detector([image])
        return found["boxes"], found["labels"], found["scores"]
