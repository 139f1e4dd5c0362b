"""Normalise images and pad a batch to one size; the data code resizes, because it decides every image's scale."""

import torch
from torch import nn
from torchvision.models.detection.image_list import ImageList

from pipeline.models.contract import Detections, Images, Targets

MEAN = (0.485, 0.456, 0.406)  # ImageNet, RGB in 0-1
STD = (0.229, 0.224, 0.225)


def check_targets(targets: Targets | None) -> None:
    """Raise ValueError where a training step has no targets, or boxes that are not [n, 4] with two positive sides.

    Sides are looked at on the CPU only: a GPU's answer would have to be waited for, in every step.
    """
    if targets is None:
        raise ValueError("Training needs targets, one dict with boxes [n, 4] and labels [n] an image.")
    for row, boxes in enumerate(target["boxes"] for target in targets):
        if boxes.dim() != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes must be [n, 4], got {list(boxes.shape)} in image {row}.")
        if boxes.device.type == "cpu" and bool((flat := (boxes[:, 2:] <= boxes[:, :2]).any(dim=1)).any()):
            raise ValueError(f"boxes need x1 < x2 and y1 < y2, got {boxes[flat][0].tolist()} in image {row}.")


class Batching(nn.Module):
    """The `transform` of torchvision's detectors, without its resizing.

    Multi-scale training, collages and pyramids decide the size of each image before the model sees it.
    """

    def __init__(self, divisor: int = 32) -> None:
        super().__init__()
        self.divisor = divisor
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Images, targets: Targets | None = None) -> tuple[ImageList, Targets | None]:
        """Return images ([3, H, W] in 0-1) as one normalised, zero-padded ImageList [N, 3, H', W'], and the targets."""
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (-(-max(side) // self.divisor) * self.divisor for side in zip(*sizes, strict=True))
        batch = images[0].new_zeros((len(images), height, width, 3)).permute(0, 3, 1, 2)  # channels last in memory
        for row, image in zip(batch, images, strict=True):
            row[:, : image.shape[-2], : image.shape[-1]] = (image - self.mean) / self.std
        return ImageList(batch, sizes), targets

    def postprocess(self, result: Detections, image_shapes: list, original_sizes: list) -> list:
        """Return the detections unchanged: they are in the pixels of the given image already."""
        return result
