"""Samples of positives and negatives: torchvision's sampler, matcher and box coder without what waits for a GPU.

Results and, for a given random state, draws are torchvision's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.detection import _utils

from pipeline.models.heads.rows import Rows


class Sampler(_utils.BalancedPositiveNegativeSampler):
    """Draws positives and negatives of a batch; torchvision's waits for a GPU several times an image."""

    def candidates(self, labels: list[Tensor]) -> Rows:
        """Start to look for the positives and the negatives of every image, by labels [n]: above 0, 0, else ignored."""
        return Rows([mask for row in labels for mask in (row >= 1, row == 0)])

    def draw(self, candidates: Rows) -> list[tuple[Tensor, Tensor]]:
        """Return the rows of the positives and of the negatives drawn from every image, in rising order."""
        rows, drawn = candidates.found(), []
        for positive, negative in zip(rows[::2], rows[1::2], strict=True):
            count = min(len(positive), int(self.batch_size_per_image * self.positive_fraction))
            rest = min(len(negative), self.batch_size_per_image - count)
            drawn.append((pick(positive, count), pick(negative, rest)))
        return drawn


def pick(rows: Tensor, count: int) -> Tensor:
    """Return `count` of the rows [n], drawn without repetition, in rising order."""
    return rows[torch.randperm(len(rows), device=rows.device)[:count]].sort().values


class Matcher(_utils.Matcher):
    """torchvision's Matcher, whose anchors that are best for an object are not listed, but marked."""

    def set_low_quality_matches_(self, matches: Tensor, all_matches: Tensor, quality: Tensor) -> None:
        """Match each anchor [A] that ties for an object's best in `quality` [G, A] to its own best object."""
        best = (quality == quality.amax(dim=1, keepdim=True)).any(dim=0)
        matches.copy_(torch.where(best, all_matches, matches))


class BoxCoder(_utils.BoxCoder):
    """torchvision's BoxCoder, which copies its constants to the GPU in every call."""

    def encode_single(self, reference_boxes: Tensor, proposals: Tensor) -> Tensor:
        """Return the deltas [n, 4] that move proposals [n, 4] to reference boxes [n, 4]."""
        return _utils.encode_boxes(reference_boxes, proposals, self.weights)

    def decode_single(self, rel_codes: Tensor, boxes: Tensor) -> Tensor:
        """Return boxes [n, 4] moved by deltas: [n, 4 K] for deltas [n, 4 K]."""
        boxes = boxes.to(rel_codes.dtype)
        sides = boxes[:, 2:] - boxes[:, :2]
        centres = boxes[:, :2] + 0.5 * sides
        deltas = rel_codes.unflatten(1, (-1, 4))
        x, y, width, height = (part / weight for part, weight in zip(deltas.unbind(2), self.weights, strict=True))
        half = [
            0.5 * (torch.exp(torch.clamp(part, max=self.bbox_xform_clip)) * sides[:, axis, None])
            for axis, part in enumerate((width, height))
        ]
        x, y = (part * sides[:, axis, None] + centres[:, axis, None] for axis, part in enumerate((x, y)))
        return torch.stack([x - half[0], y - half[1], x + half[0], y + half[1]], dim=2).flatten(1)
