"""The last step of every detector: clip boxes to the image, suppress class by class, and keep the best."""

from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes


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
