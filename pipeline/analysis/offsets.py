"""How far a deformable network's sampling grids spread: effective dilations by layer, to compare with learnt scales.

POD (sections 3.1 and 4.4) compares the spread of its global scales, below 3 % of the mean, with that of deformable
convolutions, above 50 %.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import DeformConv2d  # noqa: F401  (registers the operator that `Watch` looks for)

CLASSES = ("background", "small", "medium", "large")


class Grid(NamedTuple):
    """One call of a deformable convolution: its offsets [N, groups * k_h * k_w * 2, H, W] and its plain grid."""

    layer: str
    offsets: Tensor
    kernel: tuple[int, int]
    dilation: tuple[int, int]


class Dilations(NamedTuple):
    """Effective dilation of every filter, [N, groups, H, W]: over all neighbouring taps, over rows, over columns."""

    all: Tensor
    h: Tensor
    w: Tensor


def effective_dilation(grid: Grid) -> Dilations:
    """Return the mean distance between neighbouring taps of each filter, 1 for an undeformed 3x3 convolution.

    This is the deformable convolution's own measure (Dai et al., 2017, section 3): "the mean of the distances between
    all adjacent pairs of sampling locations in the filter".
    """
    (height, width), offsets = grid.kernel, grid.offsets.double()
    taps = offsets.unflatten(1, (-1, height, width, 2))  # [N, groups, k_h, k_w, 2 (h, w), H, W]
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    plain = torch.stack([rows * grid.dilation[0], columns * grid.dilation[1]], dim=-1)
    taps = taps + plain.to(taps)[:, :, :, None, None]
    vertical = taps.diff(dim=2).square().sum(4).sqrt().flatten(2, 3)  # [N, groups, pairs, H, W]
    horizontal = taps.diff(dim=3).square().sum(4).sqrt().flatten(2, 3)
    pairs = torch.cat([vertical, horizontal], dim=2)
    return Dilations(pairs.mean(2), vertical.mean(2), horizontal.mean(2))


class Watch(TorchDispatchMode):
    """Collects the grid of every deformable convolution that runs, whichever module calls it."""

    def __init__(self, names: list[str], seen: list[Grid]) -> None:
        super().__init__()
        self.names, self.seen = names, seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run the operator, and keep its offsets if it is a deformable convolution."""
        if func is torch.ops.torchvision.deform_conv2d.default:
            weight, offsets = args[1], args[2]
            grid = Grid(self.names[-1], offsets.detach(), tuple(weight.shape[2:]), (args[9], args[10]))
            self.seen.append(grid)
        return func(*args, **(kwargs or {}))


@contextmanager
def watching(model: nn.Module) -> Iterator[list[Grid]]:
    """Yield a list to which every call of a deformable convolution of `model` inside the block is added."""
    names, seen, hooks = [""], [], []

    def leave(*_: object) -> None:
        names.pop()

    for name, module in model.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda _m, _i, own=name: names.append(own)))
        hooks.append(module.register_forward_hook(leave, always_call=True))
    try:
        with Watch(names, seen):
            yield seen
    finally:
        for hook in hooks:
            hook.remove()


class Spread:
    """Mean and standard deviation of numbers that are added in parts."""

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, 0.0, 0.0

    def add(self, values: Tensor) -> None:
        """Add numbers of any shape."""
        values = values.double()
        self.count += values.numel()
        self.sum += float(values.sum())
        self.squares += float(values.square().sum())

    def summary(self) -> dict[str, float | int | None]:
        """Return `mean`, `std` and `count` of all numbers; mean and std are None without any."""
        if not self.count:
            return {"mean": None, "std": None, "count": 0}
        mean = self.sum / self.count
        deviation = max(0.0, self.squares / self.count - mean**2) ** 0.5
        return {"mean": round(mean, 6), "std": round(deviation, 6), "count": self.count}


def size_classes(
    boxes: Tensor, size: tuple[int, int], positions: tuple[int, int], small: float, large: float
) -> Tensor:
    """Return the size class of every filter of a feature map, by the object that contains the filter's centre.

    Args:
        boxes: [n, 4], half-open xyxy in pixels of the network's input; the smallest box wins where several overlap.
        size: (h, w) of the network's input, padding included.
        positions: (h, w) of the feature map.
        small: smaller box areas are small, in square pixels.
        large: box areas of at least this are large, in square pixels.

    Returns:
        int64 [h, w], indices into `CLASSES`.
    """
    centres = [(torch.arange(count) + 0.5) * side / count for side, count in zip(size, positions, strict=True)]
    y, x = torch.meshgrid(*centres, indexing="ij")
    found = torch.zeros(positions, dtype=torch.int64)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for row in areas.argsort(descending=True).tolist():
        x1, y1, x2, y2 = boxes[row].tolist()
        area = float(areas[row])
        found[(x >= x1) & (x < x2) & (y >= y1) & (y < y2)] = 1 if area < small else 3 if area >= large else 2
    return found


class OffsetStatistics:
    """Effective dilations by layer, axis and object size, over images."""

    def __init__(self, small: float, large: float) -> None:
        self.areas = (small, large)
        self.layers: dict[str, dict[str, Spread]] = {}

    def add(self, grids: Sequence[Grid], size: tuple[int, int], boxes: Sequence[Tensor]) -> None:
        """Add the effective dilations of one batch.

        Args:
            grids: the deformable convolutions that ran.
            size: (h, w) of the network's padded input.
            boxes: [n, 4] of every image. Layers that ran on another number of maps (regions) have no size classes.
        """
        for grid in grids:
            layer = self.layers.setdefault(grid.layer, {name: Spread() for name in ("all", "h", "w", *CLASSES)})
            found = effective_dilation(grid)
            for name, values in found._asdict().items():
                layer[name].add(values)
            if len(boxes) != len(grid.offsets):
                continue
            for image, own in enumerate(boxes):
                classes = size_classes(own, size, tuple(grid.offsets.shape[2:]), *self.areas)
                for index, name in enumerate(CLASSES):
                    layer[name].add(found.all[image][:, classes.to(found.all.device) == index])

    def summary(self) -> dict[str, dict[str, dict[str, float | int | None]]]:
        """Return mean, standard deviation and count by layer and group."""
        return {layer: {name: spread.summary() for name, spread in own.items()} for layer, own in self.layers.items()}
