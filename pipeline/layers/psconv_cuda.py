"""PSConv on CUDA: the fused kernel or cuDNN's convolutions, whichever the first call measures as faster."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.layers.psconv_grouped import grouped_conv2d, masked_conv2d
from pipeline.layers.psconv_lattice import Lattice, Plan

Convolution = Callable[[Tensor, Tensor], Tensor]
_ROUNDS = 5


class CudaConv:
    """Runs one layer in the way that was fastest for inputs of about this size, of this type and need of gradients.

    Where timing is not allowed (deterministic algorithms, CUDA graph capture), the grouped convolutions run.

    Args:
        lattice: the dilations of the layer.
        plan: how its channels fall into blocks.
        stride: of the convolution.
    """

    def __init__(self, lattice: Lattice, plan: Plan, stride: int) -> None:
        self.lattice, self.plan, self.stride = lattice, plan, stride
        self.choices: dict[tuple, str] = {}
        self._ways: dict[str, Convolution] | None = None

    def __getstate__(self) -> dict:
        # Ways hold functions, and choices belong to a device: neither travels with a copied or saved layer.
        return {**self.__dict__, "choices": {}, "_ways": None}

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W] with the dense weight of the same type."""
        if torch.are_deterministic_algorithms_enabled() or x.dtype == torch.float64:
            return grouped_conv2d(x, weight, self.plan, self.stride)
        needs = torch.is_grad_enabled() and x.requires_grad, torch.is_grad_enabled() and weight.requires_grad
        channels_last = x.is_contiguous(memory_format=torch.channels_last)
        key = (_size(x), x.dtype, x.device, channels_last, needs, torch.backends.cudnn.allow_tf32)
        if key not in self.choices:
            if torch.cuda.is_current_stream_capturing() or not x.numel():
                return grouped_conv2d(x, weight, self.plan, self.stride)
            self.choices[key] = _fastest(self.ways(), x, weight, needs)
        return self.ways()[self.choices[key]](x, weight)

    def ways(self) -> dict[str, Convolution]:
        """Return the ways to compute the layer by name; the fused kernel only where Triton is installed."""
        if self._ways is None:
            masks: dict[torch.device, Tensor] = {}

            def masked(x: Tensor, weight: Tensor) -> Tensor:
                if x.device not in masks:
                    with torch.inference_mode(False):  # masks of a prediction may serve a training later
                        masks[x.device] = self.lattice.masks().to(x.device)
                return masked_conv2d(
                    x, weight, masks[x.device], self.lattice.distinct(), self.stride, self.lattice.groups
                )

            self._ways = {"grouped": lambda x, w: grouped_conv2d(x, w, self.plan, self.stride), "masked": masked}
            fused = _fused(self.lattice, self.plan, self.stride)
            if fused is not None:
                self._ways["fused"] = fused
        return self._ways


def _size(x: Tensor) -> int:
    """Return the next power of two to a batch's pixels: trainings at many sizes shall not measure at each of them."""
    return (x.numel() // x.shape[1]).bit_length()


def _fused(lattice: Lattice, plan: Plan, stride: int) -> Convolution | None:
    if lattice.depthwise:
        return None  # nothing to multiply in tiles
    try:
        from pipeline.layers.psconv_triton import TritonConv
    except ImportError:
        return None
    return TritonConv(plan, lattice.block_table(plan), stride)


def _fastest(ways: dict[str, Convolution], x: Tensor, weight: Tensor, needs: tuple[bool, bool]) -> str:
    """Return the way that takes least time on copies: forward and, where gradients are needed, backward."""
    found: dict[str, float] = {}
    for name, way in ways.items():
        try:
            with torch.enable_grad():
                x_copy, weight_copy = (
                    tensor.detach().requires_grad_(need) for tensor, need in zip((x, weight), needs, strict=True)
                )
                found[name] = _milliseconds(way, x_copy, weight_copy)
        except torch.OutOfMemoryError:
            continue
        except Exception as error:
            if name == "grouped":
                raise
            warnings.warn(f"PSConv2d goes on without its {name} convolution: {error}", stacklevel=2)
    return min(found, key=found.__getitem__) if found else "grouped"


def _milliseconds(way: Convolution, x: Tensor, weight: Tensor) -> float:
    def once() -> None:
        y = way(x, weight)
        if y.requires_grad:
            wanted = [tensor for tensor in (x, weight) if tensor.requires_grad]
            torch.autograd.grad(y, wanted, torch.ones_like(y))

    times = []
    for _ in range(_ROUNDS + 2):  # the first calls compile and choose algorithms
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        once()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return sorted(times[2:])[_ROUNDS // 2]
