"""The last step of every detector: clip boxes to the image, suppress class by class, and keep the best."""

import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image, nms, remove_small_boxes

PADDING = -1.0  # all coordinates of a proposal that is none: it lies left of every image
AT_ONCE = 25_000  # boxes that a GPU suppresses at a time; it compares all pairs


def suppress(
    boxes: Tensor, scores: Tensor, classes: Tensor, shape: tuple[int, int], iou: float | None, limit: int | None
) -> dict[str, Tensor]:
    """Return `boxes`, `labels` from 1 and `scores` of an image's detections, best first.

    Args:
        boxes: [n, 4] in network-input pixels; they are clipped, and those outside the image (in the padding) dropped.
        scores: [n].
        classes: [n], from 0.
        shape: (h, w) of the image.
        iou: from which a better detection of the same class suppresses one; None suppresses nothing.
        limit: most detections of an image; None keeps all.
    """
    boxes = clip_boxes_to_image(boxes, shape)
    inside = remove_small_boxes(boxes, min_size=1e-2)
    boxes, scores, classes = boxes[inside], scores[inside], classes[inside]
    if iou is None:
        kept = scores.argsort(descending=True, stable=True)[:limit]
    else:
        kept = batched_nms(boxes, scores, classes, iou)[:limit]
    return {"boxes": boxes[kept], "labels": classes[kept] + 1, "scores": scores[kept]}


def padded_best(
    boxes: Tensor, scores: Tensor, kept: Tensor, counts: list[int], side: int, iou: float, limit: int
) -> tuple[list[Tensor], list[Tensor]]:
    """Return every image's best boxes [P, 4] after suppression within its levels, best first, and their scores [P].

    All images have `limit` boxes, or as many as there are candidates; where suppression leaves fewer, `PADDING` and
    scores without meaning follow. A GPU is waited for once for as many images as have `AT_ONCE` boxes.

    Args:
        boxes: [N, M, 4] in network-input pixels, clipped to their images.
        scores: [N, M].
        kept: [N, M], bool; the other boxes neither suppress nor remain.
        counts: number of boxes on each level, level by level; their sum is M.
        side: of the largest image.
        iou: from which a better box of the same image and level suppresses one.
        limit: most boxes of an image.
    """
    images, many = scores.shape
    levels = torch.cat([boxes.new_full((count,), number) for number, count in enumerate(counts)])
    rows = torch.arange(images, device=boxes.device, dtype=boxes.dtype)
    # Images and levels lie apart, one along y and the other along x, so that coordinates stay small and exact.
    shift = torch.stack(torch.broadcast_tensors(levels, rows[:, None]), dim=2).repeat(1, 1, 2) * (side + 1)
    apart = torch.where(kept[..., None], boxes + shift, 0.0)  # a box without area overlaps none
    last = images * many
    ranks = torch.full((last,), last, device=boxes.device)
    together = max(1, AT_ONCE // many)
    for first in range(0, images, together):
        part = slice(first, first + together)
        left = nms(apart[part].reshape(-1, 4), scores[part].reshape(-1), iou)
        ranks[left + first * many] = torch.arange(len(left), device=boxes.device)
    ranks = ranks.view(images, many).where(kept, last)
    ranks, best = ranks.topk(min(limit, many), dim=1, largest=False)
    found = boxes.gather(1, best[..., None].expand(-1, -1, 4)).where((ranks < last)[..., None], PADDING)
    return list(found), list(scores.gather(1, best))
