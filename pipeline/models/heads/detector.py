"""What all detectors share: torchvision's contract around a backbone."""

from __future__ import annotations

from typing import Any

from torch import nn
from torchvision.models.detection.image_list import ImageList

from pipeline.models.batching import Batching, check_targets
from pipeline.models.contract import Detections, Images, Levels, Losses, Targets


class Detector(nn.Module):
    """A backbone and what it feeds, under torchvision's detection contract."""

    def __init__(self, backbone: nn.Module, transform: Batching) -> None:
        super().__init__()
        self.backbone, self.transform = backbone, transform

    def run(self, features: Levels, images: ImageList, targets: Targets | None) -> tuple[Detections, Losses]:
        """Return detections in network-input pixels (empty in training) and named losses (empty in evaluation)."""
        raise NotImplementedError

    def forward(self, images: Images, targets: Targets | None = None) -> Any:
        """Return named losses (training) or a list of detections (evaluation) for images [3, H, W] in 0-1.

        Raises:
            ValueError: training without targets, or boxes that are none (`check_targets`).
        """
        if self.training:
            check_targets(targets)
        batch, targets = self.transform(images, targets)
        detections, losses = self.run(self.backbone(batch.tensors), batch, targets)
        if self.training:
            return losses
        return self.transform.postprocess(detections, batch.image_sizes, [image.shape[-2:] for image in images])
