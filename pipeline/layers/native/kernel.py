"""The C++ kernel on tensors of the CPU: float32, and bfloat16 where the processor has AMX or AVX512-BF16."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.profiler import record_function

from pipeline.layers.psconv_lattice import Lattice, Plan

DEPTH = 16  # channels of a block must be a multiple of it: walk.h
_POINTER, _LONG, _INT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
_SIZES = ("groups", "rows", "columns", "height", "width", "size", "stride")


class Blocks(NamedTuple):
    """A layer as the kernel sees it: `groups` of `rows` times `columns` blocks of `height` times `width` kernels."""

    groups: int
    rows: int
    columns: int
    height: int
    width: int
    size: int
    stride: int
    dilations: Tensor  # int32 [rows, columns]

    @classmethod
    def of(cls, lattice: Lattice, plan: Plan, stride: int, kernel_size: int) -> Blocks | None:
        """Return the blocks of a layer, or None where they do not lie side by side or do not fill vectors."""
        height, width = lattice.out_channels // plan.output_blocks, lattice.in_channels // plan.input_blocks
        if plan.interleaved or height % DEPTH or width % DEPTH:
            return None
        table = lattice.block_table(plan).to(torch.int32).contiguous()
        return cls(plan.groups, plan.rows, plan.columns, height, width, kernel_size, stride, table)


class _Layer(ctypes.Structure):  # `Layer` of walk.h
    _fields_ = (*((name, _LONG) for name in (*_SIZES, "threads")), ("dilations", _POINTER))


class Kernel:
    """A compiled kernel.

    Args:
        path: of the shared library.

    Raises:
        OSError: it cannot be loaded.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library, layer = ctypes.CDLL(str(path)), ctypes.POINTER(_Layer)
        # What hides AMX from oneDNN hides it here, so that measurements compare like with like.
        shown = re.search("AMX|DEFAULT|^$", os.environ.get("ONEDNN_MAX_CPU_ISA", ""), re.IGNORECASE)
        self._names = {torch.float32: ""} | ({torch.bfloat16: "_bf16"} if shown and self._library.has_bf16() else {})
        for name in self._names.values():
            self._declare(f"pack{name}", layer, _INT, _POINTER, _LONG, _LONG, _LONG, _POINTER)
            self._declare(f"convolve{name}", layer, _INT, _POINTER, _POINTER, _POINTER, *[_LONG] * 5)
            self._declare(f"weight_gradient{name}", layer, _POINTER, _POINTER, _POINTER, *[_LONG] * 5)

    def _call(self, name: str, dtype: torch.dtype, blocks: Blocks, *arguments: int) -> None:
        function = getattr(self._library, name + self._names[dtype])
        sizes = (getattr(blocks, size) for size in _SIZES)
        layer = _Layer(*sizes, torch.get_num_threads(), blocks.dilations.data_ptr())
        # A profiler sees only what it is told of; telling it costs as much as a small call.
        watched = torch.autograd.profiler._is_profiler_enabled
        with record_function(f"psconv::{name}") if watched else contextlib.nullcontext():
            function(layer, *arguments)

    def _declare(self, name: str, *arguments: type) -> None:
        function = getattr(self._library, name)
        function.argtypes, function.restype = arguments, None

    def knows(self, dtype: torch.dtype) -> bool:
        """Tell whether the kernel convolves tensors of this type."""
        return dtype in self._names

    def pack(self, blocks: Blocks, weight: Tensor, *, backward: bool = False) -> Tensor:
        """Return the dense weight in the order in which `convolve` reads it."""
        out, depth, row, tap = weight.stride()
        if row != blocks.size * tap:
            return self.pack(blocks, weight.contiguous(), backward=backward)
        packed = weight.new_empty(weight.numel())
        pointers = weight.data_ptr(), packed.data_ptr()
        self._call("pack", weight.dtype, blocks, backward, pointers[0], out, depth, tap, pointers[1])
        return packed

    def convolve(self, blocks: Blocks, x: Tensor, packed: Tensor, y: Tensor, *, backward: bool = False) -> Tensor:
        """Fill y with the convolution of x, or the gradient of the input (y) with that of the output (x).

        Both are [N, C, H, W] and channels_last; `packed` is of the same direction.
        """
        if y.numel():
            pointers = x.data_ptr(), packed.data_ptr(), y.data_ptr()
            self._call("convolve", x.dtype, blocks, backward, *pointers, len(x), *x.shape[2:], *y.shape[2:])
        return y

    def weight_gradient(self, blocks: Blocks, grad: Tensor, x: Tensor) -> Tensor:
        """Return the gradient of the dense weight, channels_last, from that of the output; both are channels_last."""
        shape = (grad.shape[1], blocks.size, blocks.size, blocks.columns * blocks.width)
        result = torch.zeros(shape, dtype=torch.float32, device="cpu")
        if grad.numel():
            pointers = grad.data_ptr(), x.data_ptr(), result.data_ptr()
            self._call("weight_gradient", x.dtype, blocks, *pointers, len(x), *x.shape[2:], *grad.shape[2:])
        return result.permute(0, 3, 1, 2).to(x.dtype)
