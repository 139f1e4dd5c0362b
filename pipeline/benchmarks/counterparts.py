"""The layers that a PSConv layer is compared with, and the sizes of the comparison."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.benchmarks.cases import DTYPES, Case, forward_call, random_input, train_call
from pipeline.layers import PSConv2d, ThreeBranchPSConv2d
from pipeline.layers.kept import Kept

CHANNELS, PIXELS = (64, 128, 256, 512), (56, 28, 14, 7)
PAPER = {"channels": 64, "pixels": 56, "batch": 200}  # (N, C, H, W) = (200, 64, 56, 56): PSConv, section 4.2
QUICK = ({"channels": 64, "pixels": 28, "batch": 4}, {"channels": 128, "pixels": 14, "batch": 4})
# Least multiply-adds of one plain convolution: 5 to 50 ms on two CPU cores unless one image already has more, and
# enough to fill a GPU, whose samples are many calls long.
WORK = {("cpu", "fp32"): 0.8e9, ("cpu", "bf16"): 3.2e9, ("cuda", "fp32"): 60e9, ("cuda", "bf16"): 60e9}
MOST_IMAGES = 4096


class MaskedPSConv2d(PSConv2d):
    """PSConv by its definition: the sum of one dense convolution of a masked weight per dilation (equation 3)."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.register_buffer("_rates", self.dilation_lattice(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W]."""
        half = self.kernel_size[0] // 2
        parts = []
        for dilation in sorted(set(self.dilations)):
            weight = self.weight * (self._rates == dilation)[:, :, None, None]
            parts.append(F.conv2d(x, weight, None, self.stride, dilation * half, dilation, self.groups))
        return sum(parts[1:], parts[0])


class FoldedPSConv2d(nn.Module):
    """PSConv as between layers that took over its channel orders: x and the output have theirs folded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer = PSConv2d(channels, channels).without_kernel()
        self._kept = Kept()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W], without gradients."""
        folded, weight = self.layer.folded(x.device, x.dtype), self.layer.weight
        return folded(x, weight, self._kept.of([weight], x.dtype, lambda: folded.pack(weight)))


def layers(channels: int) -> dict[str, nn.Module]:
    """Return the compared 3x3 layers by name, the plain one first, all without bias."""
    return {
        "plain": nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        "psconv": PSConv2d(channels, channels).without_kernel(),
        "kernel": PSConv2d(channels, channels),
        "folded": FoldedPSConv2d(channels),
        "dilated": nn.Conv2d(channels, channels, 3, padding=2, dilation=2, bias=False),
        "groups_2": nn.Conv2d(channels, channels, 3, padding=1, groups=2, bias=False),
        "groups_4": nn.Conv2d(channels, channels, 3, padding=1, groups=4, bias=False),
        "three_branch": ThreeBranchPSConv2d(channels, channels),
        "masked_sum": MaskedPSConv2d(channels, channels),
    }


def runs(name: str, layer: nn.Module, device: str, dtype: torch.dtype, mode: str) -> bool:
    """Tell whether a layer computes in the way that it is named for."""
    place = torch.device(device)
    if name == "kernel":
        return layer.has_kernel(place, dtype)
    return name != "folded" or (mode == "forward" and layer.layer.folded(place, dtype) is not None)


def sizes(device: str, dtype: str, quick: bool = False) -> list[dict[str, int]]:
    """Return the channels, pixels and batch of all cases, the paper's last."""
    if quick:
        return list(QUICK)
    found = []
    for channels, pixels in itertools.product(CHANNELS, PIXELS):
        one = 9 * channels**2 * pixels**2
        batch = min(MOST_IMAGES, max(1, round(WORK[device, dtype] / one)))
        found.append({"channels": channels, "pixels": pixels, "batch": batch})
    return [*found, PAPER]


def layer_cases(device: str, quick: bool, memory_format: torch.memory_format) -> Iterator[Case]:
    """Yield every size in fp32 and bf16, forward alone and with backward."""
    for dtype in DTYPES:
        for size, mode in itertools.product(sizes(device, dtype, quick), ("forward", "train")):

            def calls(size=size, dtype=dtype, mode=mode):
                torch.manual_seed(0)
                make = {"forward": forward_call, "train": train_call}[mode]
                shape = (size["batch"], size["channels"], size["pixels"], size["pixels"])
                x = random_input(shape, dtype, device, memory_format)
                place = {"device": device, "dtype": DTYPES[dtype], "memory_format": memory_format}
                found = layers(size["channels"])
                found = {name: layer for name, layer in found.items() if runs(name, layer, device, DTYPES[dtype], mode)}
                return {name: make(layer.to(**place), x) for name, layer in found.items()}

            yield Case("layer", size, dtype, mode, calls)
