"""Online hard example mining: only an image's RoIs with the largest losses train (Shrivastava et al., 2016)."""

import torch
from torch import Tensor


def hardest(losses: Tensor, counts: list[int], limit: int | None) -> Tensor:
    """Return the rows [k], in rising order, of every image's `limit` largest losses; of equal ones, the first is kept.

    Args:
        losses: [R], of the RoIs of all images, image by image.
        counts: number of RoIs of each image.
        limit: number of RoIs that an image keeps; None keeps all.
    """
    rows = torch.arange(len(losses), device=losses.device)
    if limit is None or all(count <= limit for count in counts):
        return rows
    parts = zip(rows.split(counts), losses.detach().split(counts), strict=True)
    kept = [part[torch.argsort(loss, descending=True, stable=True)[:limit]] for part, loss in parts]
    return torch.cat(kept).sort().values
