"""Chips: square crops of a high-resolution image that cover its small objects (SNIP, section 6.2; SNIPER)."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_chip_cover(boxes: Tensor, candidates: Tensor) -> list[int]:
    """Return indices of the candidates that cover the boxes, in the order of greedy choice.

    Each step takes the candidate that covers most of the boxes not yet covered, and among equals the first, until none
    covers any. A chip covers a box that lies fully inside it. Boxes and chips are half-open xyxy pixels.

    Args:
        boxes: [n, 4]; a box that no candidate covers is left out.
        candidates: [m, 4].

    Source: SNIPER, `chip_generator.generate`, for given candidates.
    """
    covers = inside(as_boxes(boxes), as_boxes(candidates))  # [m, n]
    chosen: list[int] = []
    if not covers.numel():
        return chosen
    uncovered = torch.ones(covers.shape[1], dtype=torch.bool, device=covers.device)
    while True:
        gains = (covers & uncovered).sum(dim=1)
        best = first_maximum(gains)
        if gains[best] == 0:
            return chosen
        chosen.append(best)
        uncovered &= ~covers[best]


def sample_chips(
    boxes: Tensor, image_size: tuple[int, int], chip_size: int, generator: torch.Generator, draws: int = 50
) -> Tensor:
    """Return chips [c, 4] (half-open xyxy, whole pixels) that cover every object that fits a chip.

    Each round draws `draws` chips, keeps the one that covers most objects not yet covered, and continues with the rest.
    Corners are uniform over [-c/2, side - c/2], rounded, and snapped to the image's borders. Where no draw covers any
    object, a chip is centred on a random one instead, so that every round covers at least one.

    Args:
        boxes: [n, 4] objects in pixels of the resized image; they are clipped to the image first.
        image_size: (h, w) of the resized image.
        chip_size: side of a chip; along an axis where the image is smaller, chips have its size.
        generator: source of randomness, on the CPU.
        draws: chips drawn in a round.

    Source: SNIP, section 6.2, which does not say how corners are drawn.
    Differs from the paper: objects that fit in no chip are skipped.
    """
    wanted = as_boxes(boxes).double().cpu()
    sides = torch.tensor([image_size[1], image_size[0]], dtype=torch.float64)  # (w, h), as in xyxy
    chip = sides.clamp(max=chip_size)
    wanted = torch.minimum(wanted.clamp(min=0), sides.repeat(2))
    # Whole-pixel corners of the chips that hold a box: none where a box is too large.
    lowest = (wanted[:, 2:] - chip).ceil().clamp(min=0)  # [n, 2]
    highest = torch.minimum(wanted[:, :2].floor(), sides - chip)
    fits = (lowest <= highest).all(dim=1)
    wanted, lowest, highest = wanted[fits], lowest[fits], highest[fits]

    chips: list[Tensor] = []
    while len(wanted):
        corners = (torch.rand(draws, 2, dtype=torch.float64, generator=generator) * sides - chip / 2).round()
        corners = torch.minimum(corners.clamp(min=0), sides - chip)
        drawn = torch.cat([corners, corners + chip], dim=1)
        covers = inside(wanted, drawn)  # [draws, n]
        gains = covers.sum(dim=1)
        best = first_maximum(gains) if draws else 0
        if draws and gains[best] > 0:
            chips.append(drawn[best])
        else:
            row = int(torch.randint(len(wanted), (1,), generator=generator))
            centre = (wanted[row, :2] + wanted[row, 2:]) / 2
            corner = torch.maximum(lowest[row], torch.minimum((centre - chip / 2).round(), highest[row]))
            chips.append(torch.cat([corner, corner + chip]))
        left = ~inside(wanted, chips[-1][None])[0]
        wanted, lowest, highest = wanted[left], lowest[left], highest[left]
    result = torch.stack(chips) if chips else wanted.new_zeros(0, 4)
    return result.float()


def grid_chips(
    boxes: Tensor, image_size: tuple[int, int], chip_size: int, stride: int, generator: torch.Generator
) -> Tensor:
    """Return chips [c, 4] (half-open xyxy, whole pixels): a greedy cover of the objects by chips on a grid (SNIPER).

    The grid's chips are shuffled, so that the choice among equally good ones is random.

    Args:
        boxes: [n, 4] objects in pixels of the resized image; a box that no chip of the grid covers is left out.
        image_size: (h, w) of the resized image.
        chip_size: side of a chip; along an axis where the image is smaller, chips have its size.
        stride: pixels between neighbours.
        generator: source of randomness, on the CPU.

    Source: SNIPER, `chip_generator.generate`.
    Differs from SNIPER, whose chips along the right and lower border are a pixel larger: all chips have one size.
    """
    candidates = chip_grid(image_size, chip_size, stride)
    candidates = candidates[torch.randperm(len(candidates), generator=generator)]
    boxes = torch.minimum(as_boxes(boxes).float().cpu().clamp(min=0), torch.tensor(image_size).flip(0).repeat(2))
    return candidates[greedy_chip_cover(boxes, candidates)]


def chip_grid(image_size: tuple[int, int], chip_size: int, stride: int) -> Tensor:
    """Return the chips [m, 4] of a grid that starts in the upper left corner, row by row.

    The last column and the last row lie at the image's borders, at any distance from the one before.
    Raise ValueError for a stride below 1.
    """
    if stride < 1:
        raise ValueError(f"Chips on a grid need a stride of at least one pixel, got {stride}.")
    height, width = image_size
    chip_h, chip_w = min(chip_size, height), min(chip_size, width)
    tops = [*range(0, height - chip_h, stride), height - chip_h]
    lefts = [*range(0, width - chip_w, stride), width - chip_w]
    chips = [(left, top, left + chip_w, top + chip_h) for top in tops for left in lefts]
    return torch.tensor(chips, dtype=torch.float32)


def assign_to_chips(boxes: Tensor, chips: Tensor) -> Tensor:
    """Return the chip [n] that shows the largest share of each box, the first of equals; -1 where none shows it.

    SNIPER trains an object only in this chip and ignores it in all others.

    Args:
        boxes: [n, 4].
        chips: [c, 4], in pixels of the same image.

    Source: SNIPER, `chip_worker.box_assigner`, without its filters by size.
    """
    boxes, chips = as_boxes(boxes).double(), as_boxes(chips).double()
    if not len(chips) or not len(boxes):
        return torch.full((len(boxes),), -1, dtype=torch.int64)
    corner = torch.maximum(boxes[:, None, :2], chips[None, :, :2])
    seen = (torch.minimum(boxes[:, None, 2:], chips[None, :, 2:]) - corner).clamp(min=0)  # [n, c, 2]
    share = seen.prod(dim=2) / (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)[:, None].clamp(min=1e-9)
    best = torch.tensor([first_maximum(row) for row in share])
    shown = seen[torch.arange(len(boxes)), best]
    return torch.where((shown >= 1).all(dim=1), best, -1)


def inside(boxes: Tensor, chips: Tensor) -> Tensor:
    """Return whether each of the chips [m, 4] fully contains each of the boxes [n, 4]: bool [m, n]."""
    return (boxes[None, :, :2] >= chips[:, None, :2]).all(2) & (boxes[None, :, 2:] <= chips[:, None, 2:]).all(2)


def first_maximum(values: Tensor) -> int:
    """Return the first index of the maximum, because torch's argmax may return any of equals."""
    return int(torch.nonzero(values == values.max())[0, 0])


def as_boxes(boxes: Tensor) -> Tensor:
    """Return boxes as [n, 4], and an empty tensor of any shape as [0, 4]; raise ValueError for other shapes."""
    boxes = torch.as_tensor(boxes)
    if boxes.numel() and (boxes.dim() != 2 or boxes.shape[1] != 4):
        raise ValueError(f"Boxes must be [n, 4], found {list(boxes.shape)}.")
    return boxes.reshape(-1, 4)
