"""Fractional dilation on the CPU: one matrix product over interpolated columns, at one convolution's multiplications.

The offsets of the taps are the same at every pixel, so each tap reads the whole map moved by a fraction. The nine moved
maps (two interpolations each, shared along rows) are the columns of one matrix product. The blend of four convolutions
needs four times the multiplications; interpolations cost the less, the more output channels there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

# Columns are made for a part of the rows, which stays in the cache. A part has about this many bytes, and at least this
# many times the weight's bytes, because every part reads the whole weight.
_PART_BYTES, _PART_WEIGHTS = 2e6, 3
_AROUND = ((-1, 1), (0, 0), (1, 1))  # sign of an offset, and whether there is one to interpolate


class _Axis(NamedTuple):
    """Where the taps of one axis lie in a padded map: `near` and `far` whole pixels, `share` of the way to far."""

    near: int
    far: int
    share: float

    @classmethod
    def of(cls, scale: float, length: int) -> _Axis:
        # Beyond the map all taps but the centre read zeros.
        return cls(min(int(scale), length), min(int(scale) + 1, length), scale - int(scale))


class _Piece(NamedTuple):
    """Output rows [first, last) of one image, and their places [start, end) among a part's pixels."""

    image: int
    first: int
    last: int
    start: int
    end: int


def column_conv2d(x: Tensor, weight: Tensor, scales: Tensor, values: list[list[float]], stride: int, blended: Callable):
    """Convolve x [N, C, H, W] with the dense weight [C_out, C, k, k], k = 3, and scales [N, 2] >= 0 (height, width).

    Args:
        values: the scales as numbers.
        blended: the same convolution in differentiable operations, of (x, weight, scales), for second derivatives.

    Returns:
        [N, C_out, floor((H - 1) / stride) + 1, floor((W - 1) / stride) + 1], channels_last.
    """
    return _Function.apply(x, weight, scales, values, stride, blended)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, scales, values, stride, blended):
        ctx.save_for_backward(x, weight, scales)
        ctx.values, ctx.stride, ctx.blended = values, stride, blended
        return _Columns(x, weight, values, stride).forward()

    @staticmethod
    def backward(ctx, grad):
        x, weight, scales = ctx.saved_tensors
        needs = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():  # create_graph=True
            wanted = [one for one, need in zip((x, weight, scales), needs, strict=True) if need]
            found = iter(torch.autograd.grad(ctx.blended(x, weight, scales), wanted, grad, create_graph=True))
            return *(next(found) if need else None for need in needs), None, None, None
        to_x, to_weight, to_scales = _Columns(x, weight, ctx.values, ctx.stride).backward(grad, *needs)
        return to_x, to_weight, None if to_scales is None else to_scales.to(scales), None, None, None


class _Columns:
    def __init__(self, x: Tensor, weight: Tensor, values: list[list[float]], stride: int) -> None:
        self.x, self.weight, self.stride = x, weight, stride
        self.channels, self.out_channels = weight.shape[1], weight.shape[0]
        self.axes = [[_Axis.of(*pair) for pair in zip(scale, x.shape[2:], strict=True)] for scale in values]
        self.matrix = weight.permute(2, 3, 1, 0).reshape(9 * self.channels, self.out_channels)
        self.height, self.width = ((length - 1) // stride + 1 for length in x.shape[2:])

    def forward(self) -> Tensor:
        size = (len(self.x), self.out_channels, self.height, self.width)
        # No view of another tensor: autograd lets nobody change a view that a function returns.
        y = torch.empty(size, dtype=self.x.dtype, memory_format=torch.channels_last)
        pixels = y.permute(0, 2, 3, 1).view(-1, self.out_channels)
        for place, pieces in self._parts():
            torch.mm(self._columns(pieces), self.matrix, out=pixels[place])
        return y

    def backward(self, grad: Tensor, need_x: bool, need_weight: bool, need_scales: bool):
        grad = grad.permute(0, 2, 3, 1).reshape(-1, self.out_channels)
        to_x = torch.zeros_like(self.x, memory_format=torch.channels_last) if need_x else None
        to_matrix = self.matrix.new_zeros(self.matrix.shape, dtype=_precise(self.matrix)) if need_weight else None
        to_scales = torch.zeros(len(self.x), 2, dtype=_precise(self.x)) if need_scales else None
        for place, pieces in self._parts():
            if need_weight:
                columns = self._columns(pieces)
                if to_matrix.dtype == columns.dtype:
                    to_matrix.addmm_(columns.t(), grad[place])
                else:
                    to_matrix += columns.t() @ grad[place]
            if need_x or need_scales:
                self._through(pieces, grad[place] @ self.matrix.t(), to_x, to_scales)
        if need_weight:
            size = self.weight.shape
            to_matrix = to_matrix.to(self.weight.dtype).view(*size[2:], *size[1::-1]).permute(3, 2, 0, 1)
        return to_x, to_matrix, to_scales

    def _parts(self) -> Iterator[tuple[slice, list[_Piece]]]:
        """Cut the output rows of all images into parts; yield the pixels of each and its pieces by image."""
        row = self.width * 9 * self.channels
        least = max(_PART_BYTES / self.x.element_size(), _PART_WEIGHTS * self.weight.numel())
        step, rows = max(1, int(least // row)), len(self.x) * self.height
        for begin in range(0, rows, step):
            end, pieces = min(rows, begin + step), []
            for image in range(begin // self.height, (end - 1) // self.height + 1):
                first = max(0, begin - image * self.height)
                last = min(self.height, end - image * self.height)
                start = (image * self.height + first - begin) * self.width
                pieces.append(_Piece(image, first, last, start, start + (last - first) * self.width))
            yield slice(begin * self.width, end * self.width), pieces

    def _columns(self, pieces: list[_Piece]) -> Tensor:
        """Return the inputs that a part's pixels multiply, [pixels, 9 C], tap by tap."""
        columns = self.x.new_empty(pieces[-1].end, 9 * self.channels)
        for piece in pieces:
            out = columns[piece.start : piece.end].view(-1, self.width, 3, 3, self.channels)
            across = self.axes[piece.image][1]
            for i, line in enumerate(self._lines(piece)):
                for j, (near, far) in enumerate(self._moved(line, across)):
                    if j == 1:
                        out[:, :, i, j].copy_(near)
                    else:
                        torch.lerp(near, far, across.share, out=out[:, :, i, j])
        return columns

    def _lines(self, piece: _Piece) -> list[Tensor]:
        """Return a piece's rows moved up, not at all and down, each [rows, W + padding, C]."""
        share = self.axes[piece.image][0].share
        pairs = self._rows(self._padded(piece), piece)
        return [near if i == 1 else torch.lerp(near, far, share) for i, (near, far) in enumerate(pairs)]

    def _padded(self, piece: _Piece) -> Tensor:
        """Return the rows of an image that a piece reads, with zeros around: [rows, W + padding, C]."""
        down, across = self.axes[piece.image]
        first, last = piece.first * self.stride - down.far, (piece.last - 1) * self.stride + down.far + 1
        inside = slice(max(0, first), min(self.x.shape[2], last))
        pixels = self.x[piece.image].permute(1, 2, 0)[inside]
        return F.pad(pixels, (0, 0, across.far, across.far, inside.start - first, last - inside.stop))

    def _rows(self, padded: Tensor, piece: _Piece) -> list[tuple[Tensor, Tensor]]:
        down, count = self.axes[piece.image][0], piece.last - piece.first
        return [
            tuple(padded[down.far + sign * by :: self.stride][:count] for by in (down.near * has, down.far * has))
            for sign, has in _AROUND
        ]

    def _moved(self, line: Tensor, across: _Axis) -> list[tuple[Tensor, Tensor]]:
        return [
            tuple(
                line[:, across.far + sign * by :: self.stride][:, : self.width]
                for by in (across.near * has, across.far * has)
            )
            for sign, has in _AROUND
        ]

    def _through(self, pieces: list[_Piece], to_columns: Tensor, to_x: Tensor | None, to_scales: Tensor | None) -> None:
        """Add what a part's columns receive to the gradients of x and of the scales."""
        for piece in pieces:
            down, across = self.axes[piece.image]
            padded = self._padded(piece)
            to_padded = torch.zeros_like(padded)
            towards = to_columns[piece.start : piece.end].view(-1, self.width, 3, 3, self.channels)
            pairs = self._rows(padded, piece)
            for i, (near, far) in enumerate(pairs):
                line = near if i == 1 else torch.lerp(near, far, down.share)
                to_line = torch.zeros_like(line, memory_format=torch.contiguous_format)
                moved, to_moved = self._moved(line, across), self._moved(to_line, across)
                for j in range(3):
                    found = self._interpolated(towards[:, :, i, j], moved[j], to_moved[j], across, j, to_scales)
                    if to_scales is not None and j != 1:
                        to_scales[piece.image, 1] += found
                found = self._interpolated(to_line, (near, far), self._rows(to_padded, piece)[i], down, i, to_scales)
                if to_scales is not None and i != 1:
                    to_scales[piece.image, 0] += found
            if to_x is not None:
                first = piece.first * self.stride - down.far
                inside = slice(max(0, first), min(self.x.shape[2], first + len(padded)))
                found = to_padded[inside.start - first : inside.stop - first, across.far : across.far + self.x.shape[3]]
                to_x[piece.image].permute(1, 2, 0)[inside] += found

    @staticmethod
    def _interpolated(grad, sources, targets, axis: _Axis, place: int, to_scales: Tensor | None) -> Tensor | None:
        """Add an interpolation's gradient to those of its two sources; return that of its share."""
        if place == 1:
            targets[0].add_(grad)
            return None
        targets[0].add_(grad, alpha=1 - axis.share)
        targets[1].add_(grad, alpha=axis.share)
        if to_scales is None:
            return None
        return (sources[1] - sources[0]).mul_(grad).sum(dtype=to_scales.dtype)


def _precise(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)
