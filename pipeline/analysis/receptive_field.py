"""Receptive field and density of connections of residual networks, by back-propagation through networks of ones.

The density D(p) is the number of paths between an output and the input at relative position p if all weights are 1
(POD, section 3). In a ResNet it is the same for every output channel, because 1x1 convolutions only multiply it by the
number of their inputs. One channel therefore stands for all; strides, 3x3 convolutions and shortcuts determine D.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.layers import SubConv, decompose, fractional_dilation_conv2d

STEM_REACH, STEM_STRIDE = 3 + 2, 4  # a 7x7 convolution and a 3x3 pooling, both at stride 2
STEM_PATHS = 9 * 49 * 3  # from one pooled value to the image's three channels
ROUNDED = 0.5  # tolerance with which `decompose` returns one convolution of the nearest dilation


class Kernel(NamedTuple):
    """A 3x3 convolution of ones, averaged over its output channels: its function, its reach (h, w) and its sum."""

    apply: Callable[[Tensor, int], Tensor]  # of a map [1, 1, H, W] in float64 and a stride
    reach: tuple[int, int]
    paths: float


def fractional(scale_h: float, scale_w: float) -> Kernel:
    """Return the kernel of a global scale learner at one scale."""

    def apply(x: Tensor, stride: int) -> Tensor:
        return fractional_dilation_conv2d(x, x.new_ones(1, 1, 3, 3), x.new_tensor([[scale_h, scale_w]]), stride)

    return Kernel(apply, (math.ceil(scale_h), math.ceil(scale_w)), 9.0)


def integral(sub_convs: Sequence[SubConv]) -> Kernel:
    """Return the kernel of a decomposed convolution, whose parts are weighted by their shares of the channels."""
    channels = sum(sub.out_channels for sub in sub_convs)

    def apply(x: Tensor, stride: int) -> Tensor:
        outputs = [
            F.conv2d(x, x.new_full((1, 1, *sub.kernel), sub.out_channels / channels), None, stride, sub.padding,
                     sub.dilation)
            for sub in sub_convs
        ]  # fmt: skip
        return torch.stack(outputs).sum(0)

    reach = tuple(max(sub.padding[axis] for sub in sub_convs) for axis in (0, 1))
    paths = sum(sub.out_channels * sub.kernel[0] * sub.kernel[1] for sub in sub_convs) / channels
    return Kernel(apply, reach, paths)


def plain() -> Kernel:
    """Return the kernel of an ordinary 3x3 convolution."""
    return integral(decompose(1, 1, 1))


KERNELS: dict[str, Callable[[float, float, int], Kernel]] = {  # from a scale (h, w) and the number of output channels
    "plain": lambda _h, _w, _channels: plain(),
    "gsl": lambda h, w, _channels: fractional(h, w),
    "fd": lambda h, w, channels: integral(decompose(h, w, channels)),
    "rounded": lambda h, w, channels: integral(decompose(h, w, channels, ROUNDED)),
}


class Block(NamedTuple):
    """A bottleneck: its 3x3 kernel, its stride, and the paths through its 1x1 convolutions and through its shortcut."""

    kernel: Kernel
    stride: int
    tap_paths: int
    shortcut_paths: int

    @property
    def paths(self) -> float:
        """Return the number of paths from one output to all inputs."""
        return self.tap_paths * self.kernel.paths + self.shortcut_paths

    def __call__(self, x: Tensor) -> Tensor:
        """Map [1, 1, H, W] with weights of one, divided by the number of paths so that deep networks fit in float64."""
        branch = self.kernel.apply(x, self.stride) * (self.tap_paths / self.paths)
        return branch + x[:, :, :: self.stride, :: self.stride] * (self.shortcut_paths / self.paths)


class Density(NamedTuple):
    """Shares of the paths at every relative position, [2 reach_h + 1, 2 reach_w + 1], and log10 of their number."""

    share: Tensor
    log10_paths: float


def bottlenecks(planes: Sequence[int], counts: Sequence[int], kernels: dict[str, Kernel]) -> list[Block]:
    """Return a ResNet's blocks from conv2_x on.

    Args:
        planes: channels of the stages' 3x3 convolutions; a block's output has four times as many.
        counts: blocks of each stage.
        kernels: 3x3 kernels by block ("layer2.0"); blocks that are missing have a plain convolution.
    """
    ordinary, found, channels = plain(), [], planes[0]
    for stage, (width, count) in enumerate(zip(planes, counts, strict=True)):
        for index in range(count):
            first = index == 0
            kernel = kernels.get(f"layer{stage + 1}.{index}", ordinary)
            stride = 2 if first and stage else 1
            found.append(Block(kernel, stride, width * width * channels, channels if first else 1))
            channels = 4 * width
    return found


def density(blocks: Sequence[Block]) -> Density:
    """Return the density of connections between an output of the last block and the image, a ResNet's stem included.

    Max pooling counts as a connection to everything that it sees. The network of ones runs on a map that contains the
    whole receptive field, and the gradient of its central output is the density.
    """
    stride, reach = STEM_STRIDE, [STEM_REACH, STEM_REACH]
    for block in blocks:
        reach = [far + stride * own for far, own in zip(reach, block.kernel.reach, strict=True)]
        stride *= block.stride
    middles = [math.ceil(far / stride) + 1 for far in reach]  # of the output, at `stride` times that in the image
    sides = [stride * (2 * middle + 1) for middle in middles]
    image = torch.zeros(1, 1, *sides, dtype=torch.float64, requires_grad=True)
    x = F.avg_pool2d(image, 7, 2, 3)
    x = F.avg_pool2d(x, 3, 2, 1)
    for block in blocks:
        x = block(x)
    (gradient,) = torch.autograd.grad(x[0, 0, middles[0], middles[1]], image)
    cut = [slice(stride * middle - far, stride * middle + far + 1) for middle, far in zip(middles, reach, strict=True)]
    share = gradient[0, 0, cut[0], cut[1]]
    return Density(share, math.log10(STEM_PATHS) + sum(math.log10(block.paths) for block in blocks))


def kernel_density(kernel: Kernel) -> Tensor:
    """Return the share of one layer's connections at every relative position, [2 reach_h + 1, 2 reach_w + 1]."""
    height, width = (2 * far + 1 for far in kernel.reach)
    x = torch.zeros(1, 1, height, width, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(kernel.apply(x, 1)[0, 0, kernel.reach[0], kernel.reach[1]], x)
    return gradient[0, 0] / kernel.paths


def summarise(found: Density) -> dict[str, object]:
    """Return the receptive field (h, w) in pixels, the number and share of connected positions, and the spread.

    `spread` is the standard deviation (h, w) of a path's end about the centre, in pixels.
    """
    connected = found.share > 0
    field = [int(connected.any(1 - axis).nonzero()[[0, -1]].diff(dim=0)) + 1 for axis in (0, 1)]
    spread = []
    for axis in (0, 1):
        profile = found.share.sum(1 - axis)
        position = torch.arange(len(profile), dtype=profile.dtype) - len(profile) // 2
        spread.append(round(float((profile * position.square()).sum().sqrt()), 3))
    return {
        "receptive_field": field,
        "connected": int(connected.sum()),
        "coverage": round(int(connected.sum()) / (field[0] * field[1]), 6),
        "spread": spread,
        "log10_paths": round(found.log10_paths, 4),
    }


def difference(a: Tensor, b: Tensor) -> float:
    """Return the share of paths that must move to turn one density into the other (total variation), 0 to 1."""
    sides = [max(pair) for pair in zip(a.shape, b.shape, strict=True)]
    return 0.5 * float((_centred(a, sides) - _centred(b, sides)).abs().sum())


def _centred(share: Tensor, sides: Sequence[int]) -> Tensor:
    margins = [(side - own) // 2 for side, own in zip(sides, share.shape, strict=True)]
    return F.pad(share, (margins[1], margins[1], margins[0], margins[0]))
