"""PSConv on CUDA as one implicit matrix product that walks the dilation lattice (Triton; forward and both gradients).

A tile of outputs lies in one row block. It runs over the column blocks and reads the one dilation of each from a small
table: there are as many multiplications as in a plain convolution, nothing is copied, and the output is written once.
The layouts `block` and `interleaved` differ in two strides only. Sums are in float32.

Importing this module needs Triton; `pipeline.layers.psconv_cuda` imports it when it is first needed.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from pipeline.layers.psconv_lattice import Plan

# Sizes of maps, which differ from batch to batch: one compiled kernel serves all. Strides stay specialised, because
# those of channels_last maps are multiples of the channels, and loads are wide where they are multiples of 16.
_SIZES = ("pixels", "in_height", "in_width", "out_height", "out_width")


@triton.jit(do_not_specialize=_SIZES)
def _forward_kernel(
    x_ptr, w_ptr, y_ptr, table_ptr,
    pixels, in_height, in_width, out_height, out_width,
    x_image, x_row, x_column, x_channel, w_out, w_in, w_row, w_column, y_image, y_row, y_column, y_channel,
    in_block, in_step, out_block, out_step, stride,
    rows: tl.constexpr, columns: tl.constexpr, height: tl.constexpr, width: tl.constexpr, SIZE: tl.constexpr,
    PRECISION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(height, BN)
    block = tl.program_id(1) // tiles  # row block, over all groups
    group, row = block // rows, block % rows
    inner = (tl.program_id(1) % tiles) * BN + tl.arange(0, BN)
    out_channels = group * rows * height + row * out_block + inner * out_step
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    image, place = m // (out_height * out_width), m % (out_height * out_width)
    out_y, out_x = place // out_width, place % out_width
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for column in range(0, columns):
        dilation = tl.load(table_ptr + row * columns + column)
        for tap in range(0, SIZE * SIZE):
            tap_y, tap_x = tap // SIZE, tap % SIZE
            in_y = out_y * stride + (tap_y - SIZE // 2) * dilation
            in_x = out_x * stride + (tap_x - SIZE // 2) * dilation
            inside = (m < pixels) & (in_y >= 0) & (in_y < in_height) & (in_x >= 0) & (in_x < in_width)
            source = image.to(tl.int64) * x_image + in_y * x_row + in_x * x_column
            for first in range(0, width, BK):
                k = first + tl.arange(0, BK)
                depth = column * in_block + k * in_step
                a = tl.load(
                    x_ptr + source[:, None] + (group * columns * width + depth)[None, :] * x_channel,
                    mask=inside[:, None] & (k < width)[None, :], other=0.0,
                )  # fmt: skip
                b = tl.load(
                    w_ptr + out_channels[None, :] * w_out + depth[:, None] * w_in + tap_y * w_row + tap_x * w_column,
                    mask=(inner < height)[None, :] & (k < width)[:, None], other=0.0,
                )  # fmt: skip
                total = tl.dot(a, b, total, input_precision=PRECISION)
    target = image.to(tl.int64) * y_image + out_y * y_row + out_x * y_column
    tl.store(
        y_ptr + target[:, None] + out_channels[None, :] * y_channel,
        total.to(y_ptr.dtype.element_ty),
        mask=(m < pixels)[:, None] & (inner < height)[None, :],
    )


@triton.jit(do_not_specialize=_SIZES)
def _input_kernel(
    g_ptr, w_ptr, gx_ptr, table_ptr,
    pixels, in_height, in_width, out_height, out_width,
    g_image, g_row, g_column, g_channel, w_out, w_in, w_row, w_column, x_image, x_row, x_column, x_channel,
    in_block, in_step, out_block, out_step, stride,
    rows: tl.constexpr, columns: tl.constexpr, height: tl.constexpr, width: tl.constexpr, SIZE: tl.constexpr,
    PRECISION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(width, BN)
    block = tl.program_id(1) // tiles  # column block, over all groups
    group, column = block // columns, block % columns
    inner = (tl.program_id(1) % tiles) * BN + tl.arange(0, BN)
    depth = column * in_block + inner * in_step
    m = tl.program_id(0) * BM + tl.arange(0, BM)
    image, place = m // (in_height * in_width), m % (in_height * in_width)
    in_y, in_x = place // in_width, place % in_width
    total = tl.zeros((BM, BN), dtype=tl.float32)
    for row in range(0, rows):
        dilation = tl.load(table_ptr + row * columns + column)
        for tap in range(0, SIZE * SIZE):
            tap_y, tap_x = tap // SIZE, tap % SIZE
            far_y = in_y - (tap_y - SIZE // 2) * dilation
            far_x = in_x - (tap_x - SIZE // 2) * dilation
            out_y, out_x = far_y // stride, far_x // stride
            inside = (m < pixels) & (far_y >= 0) & (far_x >= 0) & (out_y < out_height) & (out_x < out_width)
            inside = inside & (out_y * stride == far_y) & (out_x * stride == far_x)
            source = image.to(tl.int64) * g_image + out_y * g_row + out_x * g_column
            for first in range(0, height, BK):
                k = first + tl.arange(0, BK)
                out_channels = group * rows * height + row * out_block + k * out_step
                a = tl.load(
                    g_ptr + source[:, None] + out_channels[None, :] * g_channel,
                    mask=inside[:, None] & (k < height)[None, :], other=0.0,
                )  # fmt: skip
                b = tl.load(
                    w_ptr + out_channels[:, None] * w_out + depth[None, :] * w_in + tap_y * w_row + tap_x * w_column,
                    mask=(k < height)[:, None] & (inner < width)[None, :], other=0.0,
                )  # fmt: skip
                total = tl.dot(a, b, total, input_precision=PRECISION)
    target = image.to(tl.int64) * x_image + in_y * x_row + in_x * x_column
    tl.store(
        gx_ptr + target[:, None] + (group * columns * width + depth)[None, :] * x_channel,
        total.to(gx_ptr.dtype.element_ty),
        mask=(m < pixels)[:, None] & (inner < width)[None, :],
    )


@triton.jit(do_not_specialize=_SIZES)
def _weight_kernel(
    g_ptr, x_ptr, gw_ptr, table_ptr,
    pixels, in_height, in_width, out_height, out_width,
    g_image, g_row, g_column, g_channel, x_image, x_row, x_column, x_channel,
    w_split, w_out, w_in, w_row, w_column,
    in_block, in_step, out_block, out_step, stride,
    rows: tl.constexpr, columns: tl.constexpr, height: tl.constexpr, width: tl.constexpr, SIZE: tl.constexpr,
    STEPS: tl.constexpr, PRECISION: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    # One program: a tile of kernels of one (row block, column block), one tap, one share of the pixels.
    tall, wide = tl.cdiv(height, BM), tl.cdiv(width, BN)
    tile, cell = tl.program_id(0) % (tall * wide), tl.program_id(0) // (tall * wide)
    column, block = cell % columns, cell // columns
    group, row = block // rows, block % rows
    tap_y, tap_x = tl.program_id(1) // SIZE, tl.program_id(1) % SIZE
    outer = (tile // wide) * BM + tl.arange(0, BM)
    inner = (tile % wide) * BN + tl.arange(0, BN)
    out_channels = group * rows * height + row * out_block + outer * out_step
    depth = column * in_block + inner * in_step
    dilation = tl.load(table_ptr + row * columns + column)
    total = tl.zeros((BM, BN), dtype=tl.float32)
    start = tl.program_id(2) * (STEPS * BK)
    for step in range(0, STEPS):
        m = start + step * BK + tl.arange(0, BK)
        valid = m < pixels
        image, place = m // (out_height * out_width), m % (out_height * out_width)
        out_y, out_x = place // out_width, place % out_width
        in_y = out_y * stride + (tap_y - SIZE // 2) * dilation
        in_x = out_x * stride + (tap_x - SIZE // 2) * dilation
        inside = valid & (in_y >= 0) & (in_y < in_height) & (in_x >= 0) & (in_x < in_width)
        g_place = image.to(tl.int64) * g_image + out_y * g_row + out_x * g_column
        x_place = image.to(tl.int64) * x_image + in_y * x_row + in_x * x_column
        a = tl.load(
            g_ptr + g_place[None, :] + out_channels[:, None] * g_channel,
            mask=valid[None, :] & (outer < height)[:, None], other=0.0,
        )  # fmt: skip
        b = tl.load(
            x_ptr + x_place[:, None] + (group * columns * width + depth)[None, :] * x_channel,
            mask=inside[:, None] & (inner < width)[None, :], other=0.0,
        )  # fmt: skip
        total = tl.dot(a, b, total, input_precision=PRECISION)
    target = tl.program_id(2).to(tl.int64) * w_split + tap_y * w_row + tap_x * w_column
    tl.store(
        gw_ptr + target + out_channels[:, None] * w_out + depth[None, :] * w_in,
        total,
        mask=(outer < height)[:, None] & (inner < width)[None, :],
    )


class TritonConv:
    """`grouped_conv2d` of one layer as fused kernels; once differentiable.

    Args:
        plan: how the channels fall into blocks.
        table: the dilation of each (row block, column block), int32 [plan.rows, plan.columns].
        stride: of the convolution.
    """

    def __init__(self, plan: Plan, table: Tensor, stride: int) -> None:
        self.plan, self.stride = plan, stride
        self._tables = {"cpu": table.to(torch.int32).contiguous()}

    def __call__(self, x: Tensor, weight: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W] with the dense weight of the same type."""
        return _Function.apply(x, weight, self)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
        sizes = [(length - 1) // self.stride + 1 for length in x.shape[2:]]
        y = x.new_empty((len(x), *sizes, weight.shape[0])).permute(0, 3, 1, 2)
        height, _, blocks = self._blocks(weight)
        pixels = len(y) * sizes[0] * sizes[1]
        tiles = _tiles(height, blocks["width"], weight.dtype)
        if pixels:
            grid = (triton.cdiv(pixels, tiles["BM"]), self.plan.output_blocks * triton.cdiv(height, tiles["BN"]))
            _forward_kernel[grid](
                x, weight, y, self._table(x), pixels, *x.shape[2:], *sizes,
                *_strides(x), *weight.stride(), *_strides(y), **blocks, **_constants(weight), **tiles,
            )  # fmt: skip
        return y

    def grad_input(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        grad = grad.contiguous(memory_format=torch.channels_last)
        weight = weight.contiguous(memory_format=torch.channels_last)
        found = x.new_empty((len(x), *x.shape[2:], x.shape[1])).permute(0, 3, 1, 2)
        _, width, blocks = self._blocks(weight)
        pixels = len(x) * x.shape[2] * x.shape[3]
        tiles = _tiles(width, blocks["height"], weight.dtype)
        if pixels:
            grid = (triton.cdiv(pixels, tiles["BM"]), self.plan.input_blocks * triton.cdiv(width, tiles["BN"]))
            _input_kernel[grid](
                grad, weight, found, self._table(x), pixels, *x.shape[2:], *grad.shape[2:],
                *_strides(grad), *weight.stride(), *_strides(found), **blocks, **_constants(weight), **tiles,
            )  # fmt: skip
        return found

    def grad_weight(self, grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        grad = grad.contiguous(memory_format=torch.channels_last)
        x = x.contiguous(memory_format=torch.channels_last)
        height, width, blocks = self._blocks(weight)
        pixels = len(grad) * grad.shape[2] * grad.shape[3]
        tiles = _weight_tiles(height, width)
        cells = self.plan.output_blocks * self.plan.columns
        cells *= triton.cdiv(height, tiles["BM"]) * triton.cdiv(width, tiles["BN"])
        taps = weight.shape[-1] ** 2
        # Shares of the pixels are summed afterwards in a fixed order: atomic additions would differ from run to run.
        wanted = max(1, min(_PROGRAMS // (cells * taps), pixels // 512))
        # A power of two, so that maps of many sizes share a compiled kernel.
        steps = triton.next_power_of_2(triton.cdiv(max(1, pixels), wanted * tiles["BK"]))
        splits = max(1, triton.cdiv(pixels, steps * tiles["BK"]))
        out_channels, depth, size, _ = weight.shape
        found = x.new_zeros((splits, out_channels, size, size, depth), dtype=torch.float32).permute(0, 1, 4, 2, 3)
        if pixels:
            _weight_kernel[(cells, taps, splits)](
                grad, x, found, self._table(x), pixels, *x.shape[2:], *grad.shape[2:],
                *_strides(grad), *_strides(x), *found.stride(), **blocks, STEPS=steps, **_constants(weight), **tiles,
            )  # fmt: skip
        return found.sum(0).to(weight.dtype)

    def _blocks(self, weight: Tensor) -> tuple[int, int, dict[str, int]]:
        plan = self.plan
        height, width = weight.shape[0] // plan.output_blocks, weight.shape[1] // plan.columns
        # Where channels interleave, neighbours in a block are `rows` or `columns` channels apart.
        steps = (1, plan.columns, 1, plan.rows) if plan.interleaved else (width, 1, height, 1)
        names = ("in_block", "in_step", "out_block", "out_step")
        sizes = {"rows": plan.rows, "columns": plan.columns, "height": height, "width": width, "stride": self.stride}
        return height, width, {**sizes, **dict(zip(names, steps, strict=True))}

    def _table(self, x: Tensor) -> Tensor:
        key = str(x.device)
        if key not in self._tables:
            self._tables[key] = self._tables["cpu"].to(x.device)
        return self._tables[key]


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, conv):
        ctx.save_for_backward(x, weight)
        ctx.conv = conv
        return conv.forward(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        need_x, need_weight = ctx.needs_input_grad[:2]
        return (
            ctx.conv.grad_input(grad, x, weight) if need_x else None,
            ctx.conv.grad_weight(grad, x, weight) if need_weight else None,
            None,
        )


_PROGRAMS = 1024  # programs that keep a large GPU busy


def _strides(x: Tensor) -> tuple[int, int, int, int]:
    image, channel, row, column = x.stride()
    return image, row, column, channel


def _constants(weight: Tensor) -> dict[str, object]:
    tf32 = weight.dtype != torch.float32 or torch.backends.cudnn.allow_tf32  # what a plain convolution would use
    return {"SIZE": weight.shape[-1], "PRECISION": "tf32" if tf32 else "ieee"}


def _tiles(out: int, depth: int, dtype: torch.dtype) -> dict[str, int]:
    """Return the tiles of an output with `out` channels that sums over `depth`, and the warps that share one.

    In fp32, tiles 64 deep would need 128 KB of shared memory, and GPUs of sm_86, 89 and 120 have 99. In bf16, they
    would not fit the registers of blocks of 64 channels, nor 4 warps those of 128.
    """
    width = _power(out, 128)
    deep = 64 if width == 128 and dtype != torch.float32 else 32
    return {"BM": 128, "BN": width, "BK": _power(depth, deep), "num_warps": 8 if width == 128 else 4}


def _weight_tiles(height: int, width: int) -> dict[str, int]:
    """Return the tiles of a weight's gradient, for blocks of `height` by `width` channels."""
    return {"BM": _power(height, 64), "BN": _power(width, 64), "BK": 32}


def _power(size: int, most: int) -> int:
    """Return the smallest power of two that holds size, between a tensor core's least (16) and `most`."""
    return min(most, max(16, triton.next_power_of_2(size)))
