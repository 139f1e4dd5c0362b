"""Chips: square crops of a high-resolution image that cover its small objects (SNIP, section 5.3; SNIPER)."""

from __future__ import annotations

import torch
from torch import Tensor


def greedy_chip_cover(boxes: Tensor, candidates: Tensor) -> list[int]:
    """Return indices of the candidates that cover the boxes, in the order of greedy choice.

    Each step takes the candidate that holds most of the boxes not yet covered, the first of equals, until none holds
    any. A chip covers a box that lies fully inside it. Boxes and chips are half-open xyxy pixels.

    Args:
        boxes: [n, 4]; a box that no candidate holds is left out.
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

    Each round draws `draws` chips, keeps the one that holds most objects not yet covered, and goes on with the rest.
    Corners are uniform over [-c/2, side - c/2], rounded, and snapped to the image's borders. Where no draw holds any,
    a chip is centred on a random object instead, so that every round covers at least one.

    Args:
        boxes: [n, 4] objects in pixels of the resized image; what sticks out of the image is cut off first.
        image_size: (h, w) of the resized image.
        chip_size: side of a chip; an image that is smaller along an axis has chips of its own size there.
        generator: source of randomness, on the CPU.
        draws: chips in a round.

    Source: SNIP, section 5.3; how corners are drawn is not printed there.
    Differs from the paper: objects that fit no chip are skipped.
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


def inside(boxes: Tensor, chips: Tensor) -> Tensor:
    """Return [m, n], whether chip m [m, 4] holds box n [n, 4] fully."""
    return (boxes[None, :, :2] >= chips[:, None, :2]).all(2) & (boxes[None, :, 2:] <= chips[:, None, 2:]).all(2)


def first_maximum(values: Tensor) -> int:
    """Return the first index of the maximum: torch's argmax does not promise which of equals it takes."""
    return int(torch.nonzero(values == values.max())[0, 0])


def as_boxes(boxes: Tensor) -> Tensor:
    """Return boxes as [n, 4], an empty tensor of any shape as [0, 4]. Raises ValueError for other shapes."""
    boxes = torch.as_tensor(boxes)
    if boxes.numel() and (boxes.dim() != 2 or boxes.shape[1] != 4):
        raise ValueError(f"Boxes must be [n, 4], found {list(boxes.shape)}.")
    return boxes.reshape(-1, 4)
