"""Load the C++ kernel where one has been built, and prove it before its first use."""

from __future__ import annotations

import functools
import warnings

import torch

from pipeline.layers.native.build import library_path
from pipeline.layers.native.kernel import Blocks, Kernel
from pipeline.layers.psconv_grouped import grouped_conv2d
from pipeline.layers.psconv_lattice import Lattice, make_plan

# Channels in and out, stride, height, width: blocks of 16 in pairs of two dilations, and more than one tile of pixels.
CASES = ((64, 64, 1, 11, 9), (64, 192, 2, 7, 18), (128, 128, 1, 3, 31), (128, 64, 2, 8, 8))
TOLERANCES = {torch.float32: 1e-4, torch.bfloat16: 0.02}  # of the largest value
_CL = torch.channels_last


@functools.cache
def load() -> Kernel | None:
    """Return the kernel, or None where it is not built or does not give the values of plain operations."""
    path = library_path()
    if not path.exists():
        return None
    try:
        kernel = Kernel(path)
    except OSError as error:
        warnings.warn(f"PSConv2d goes on without its C++ kernel, which cannot be loaded: {error}", stacklevel=2)
        return None
    if not proven(kernel):
        warnings.warn("PSConv2d goes on without its C++ kernel, whose values are wrong here.", stacklevel=2)
        return None
    return kernel


def proven(kernel: Kernel) -> bool:
    """Tell whether the kernel and both its gradients equal plain operations in float64."""
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        return all(_equal(kernel, random, *case) for case in CASES)


def _equal(kernel: Kernel, random: torch.Generator, channels: int, outputs: int, stride: int, *size: int) -> bool:
    lattice = Lattice(channels, outputs, 1, (1, 2, 1, 4), "both", "block")
    plan = make_plan(lattice)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, dtype=torch.double, device="cpu")

    x, weight = noise(2, channels, *size).requires_grad_(), noise(outputs, channels, 3, 3).requires_grad_()
    y = grouped_conv2d(x, weight, plan, stride)
    grad = noise(*y.shape)
    wanted = (y, *torch.autograd.grad(y, (x, weight), grad))
    blocks = Blocks.of(lattice, plan, stride, 3)
    for dtype, tolerance in TOLERANCES.items():
        if not kernel.knows(dtype):
            continue
        x, weight, grad = (part.detach().to(dtype).contiguous(memory_format=_CL) for part in (x, weight, grad))
        backward = kernel.pack(blocks, weight, backward=True)
        found = (
            kernel.convolve(blocks, x, kernel.pack(blocks, weight), torch.empty_like(grad)),
            kernel.convolve(blocks, grad, backward, torch.empty_like(x), backward=True),
            kernel.weight_gradient(blocks, grad, x),
        )
        for got, right in zip(found, wanted, strict=True):
            if not (got - right).abs().max() <= tolerance * right.abs().max():
                return False
    return True
