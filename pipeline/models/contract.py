"""The types of torchvision's detection contract, which every detector here keeps."""

from torch import Tensor

Images = list[Tensor]  # [3, H, W] each, in 0-1
Targets = list[dict[str, Tensor]]  # an image's `boxes` [n, 4], `labels` [n] and what else its detector learns
Detections = list[dict[str, Tensor]]  # an image's `boxes` [D, 4], `labels` [D], `scores` [D] and what else is predicted
Levels = dict[str, Tensor]  # feature maps by their names
Losses = dict[str, Tensor]  # by their names
Shapes = list[tuple[int, int]]  # (h, w) of every image
