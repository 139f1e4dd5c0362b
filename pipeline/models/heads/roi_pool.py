"""RoIAlign over the levels of a pyramid, with half-pixel-exact ("aligned") sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from pipeline.models.contract import Levels, Shapes
from pipeline.models.heads.sampled_roi_align import sampled_roi_align

OUTSIDE = -1e5  # network-input pixels, where no sample of a RoI without area finds a feature
CANONICAL_LEVEL = 4  # RoIs of the canonical scale use stride 2^4 (FPN, equation 1)


class MultiLevelRoIAlign(nn.Module):
    """RoIAlign that pools each RoI from the level that fits its size.

    Args:
        strides: of the levels that RoIs are pooled from, powers of two in rising order; further levels are not read.
        output_size: bins along each axis.
        sampling_ratio: bilinear samples of a bin along each axis; 0 takes as many as the bin has feature pixels.
        canonical_scale: sqrt(w h) in network-input pixels of the RoIs that use stride 16.

    Differs from torchvision's MultiScaleRoIAlign, whose samples lie half a feature pixel too far to the lower right.
    """

    def __init__(
        self, strides: Sequence[int], output_size: int, sampling_ratio: int = 2, canonical_scale: float = 224
    ) -> None:
        super().__init__()
        self.strides = tuple(strides)
        self.output_size = (output_size, output_size)
        self.sampling_ratio = sampling_ratio
        self.canonical_scale = canonical_scale

    def levels(self, rois: Tensor) -> Tensor:
        """Return the index [R] into `strides` of each RoI's level; rois [R, 4] are xyxy in network-input pixels."""
        sizes = (rois[:, 2:] - rois[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        wanted = torch.floor(CANONICAL_LEVEL + torch.log2(sizes / self.canonical_scale + 1e-6))
        lowest = round(math.log2(self.strides[0]))
        return (wanted - lowest).clamp(0, len(self.strides) - 1).long()

    def forward(self, features: Levels, proposals: list[Tensor], image_shapes: Shapes) -> Tensor:
        """Return features [R, C, S, S] for RoIs [R_i, 4] of every image, in order; `image_shapes` is not read."""
        maps = list(features.values())[: len(self.strides)]
        images = torch.cat([torch.full_like(boxes[:, :1], row) for row, boxes in enumerate(proposals)])
        rois = torch.cat([images, torch.cat(proposals)], dim=1)
        if rois.device.type == "cpu" and self.sampling_ratio > 0:
            strides, size = self.strides[: len(maps)], self.output_size[0]
            levels = self.levels(rois[:, 1:]).clamp(max=len(maps) - 1)
            return sampled_roi_align(maps, rois, levels, strides, size, self.sampling_ratio)
        if len(maps) == 1:
            return self.pool(maps[0], rois, self.strides[0])
        # Every level pools all RoIs: where a RoI is another level's, it lies outside and costs next to nothing. To know
        # how many are its own, the host would have to wait for the GPU.
        levels = self.levels(rois[:, 1:])
        outside = torch.cat([rois[:, :1], torch.full_like(rois[:, 1:], OUTSIDE)], dim=1)
        pooled = [
            self.pool(level, rois.where((levels == index)[:, None], outside), stride)
            for index, (level, stride) in enumerate(zip(maps, self.strides, strict=True))
        ]
        return sum(pooled[1:], start=pooled[0])

    def pool(self, level: Tensor, rois: Tensor, stride: int) -> Tensor:
        """Return features on one level for RoIs [R, 5], whose first column is the image's number, in fp32.

        In bf16, coordinates above 128 would be rounded to whole pixels.
        """
        return roi_align(level.float(), rois, self.output_size, 1 / stride, self.sampling_ratio, aligned=True)
