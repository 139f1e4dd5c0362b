"""Global scale learner: a 3x3 convolution whose dilation is predicted from the whole image (POD, section 3.1)."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.layers.fractional_columns import column_conv2d
from pipeline.layers.grouped_dilated import conv2d

# Multiply-adds of an image from which one product over columns is the faster way on a CPU. In layers of a tenth of them
# (preset tour) a training's step took 1.3 to 1.6 times that of the blend.
COLUMNS_FROM = 2e7


def fractional_dilation_conv2d(x: Tensor, weight: Tensor, scales: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolve each image with its own fractional dilation, exactly; differentiable in x, weight and scales.

    Tap (i, j) of the kernel reads x at (stride * h + i * d_h, stride * w + j * d_w) by bilinear interpolation; x is
    zero outside the map (POD, equation 2). The result is linear in d between floor(d) and floor(d) + 1 on each axis, so
    it is a blend of at most four convolutions with integer dilations; dilation 0 sums the kernel over that axis. At an
    integer scale, the scale's gradient is the derivative towards larger scales. Scales count by their size: -0.5 is 0.5
    with the opposite gradient, so that a scale that training pushed below 0 goes on learning.

    Args:
        x: [N, C_in, H, W].
        weight: [C_out, C_in / groups, k, k], k odd.
        scales: [N, 2], dilations (d_h, d_w) of every image in feature pixels.

    Returns:
        [N, C_out, floor((H - 1) / stride) + 1, floor((W - 1) / stride) + 1].

    Raises:
        ValueError: an even kernel, scales of another shape, or a scale that is not finite.
    """
    if weight.shape[2] % 2 == 0 or weight.shape[3] % 2 == 0:
        raise ValueError(f"The kernel must be odd in both axes, got {list(weight.shape[2:])}.")
    if scales.shape != (x.shape[0], 2):
        raise ValueError(f"Expected scales of shape {[x.shape[0], 2]} (height, width), got {list(scales.shape)}.")
    if x.is_meta or x.shape[0] == 0:  # no scales can be read: take the shapes and cost of scale 1
        return _dilated(x, weight, (1, 1), stride, groups)
    scales = magnitude(scales.to(torch.promote_types(scales.dtype, torch.float32)))
    values = scales.detach().double().tolist()
    if not all(math.isfinite(value) for pair in values for value in pair):
        raise ValueError(f"Scales must be finite, got {values}; training has diverged.")
    learning = torch.is_grad_enabled() and scales.requires_grad
    whole = all(value.is_integer() for pair in values for value in pair) and not learning  # plain convolutions
    work = weight.numel() * x.shape[2] * x.shape[3] / stride**2
    dense = groups == 1 and tuple(weight.shape[2:]) == (3, 3) and work >= COLUMNS_FROM
    if x.device.type == "cpu" and dense and not whole and x.numel():
        if torch.is_autocast_enabled("cpu") and x.dtype != torch.float64:
            x, weight = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (x, weight))
        return column_conv2d(x, weight, scales, values, stride, partial(_blended, values=values, stride=stride))
    return _blended(x, weight, scales, values, stride, groups)


def _blended(x: Tensor, weight: Tensor, scales: Tensor, values, stride: int, groups: int = 1) -> Tensor:
    """Blend the convolutions of all images, those with equal floors together."""
    floors = [(math.floor(h), math.floor(w)) for h, w in values]
    upper = (scales - scales.new_tensor(floors))[:, :, None, None, None]  # [N, 2, 1, 1, 1]
    blend = torch.stack([1 - upper, upper])  # [floor or ceil, N, 2, 1, 1, 1]

    pairs = sorted(set(floors))
    if len(pairs) == 1:
        return _blend(x, weight, pairs[0], blend, stride, groups)
    rows = [[row for row, pair in enumerate(floors) if pair == wanted] for wanted in pairs]
    parts = []
    for pair, indices in zip(pairs, rows, strict=True):
        index = torch.tensor(indices, device=x.device)
        parts.append(_blend(x[index], weight, pair, blend[:, index], stride, groups))
    order = torch.tensor([row for indices in rows for row in indices], device=x.device)
    return torch.cat(parts)[order.argsort()]


def magnitude(scales: Tensor) -> Tensor:
    """Return |scales|; at 0 the gradient is that towards larger scales, where `abs` has none."""
    return torch.where(scales < 0, -scales, scales)


def _blend(x: Tensor, weight: Tensor, floor: tuple[int, int], blend: Tensor, stride: int, groups: int) -> Tensor:
    """Blend the four dilations around one pair of floors; weights `blend` [floor or ceil, N, 2, 1, 1, 1] in float32."""
    learning = torch.is_grad_enabled() and blend.requires_grad
    shares, corners = [], []
    for a in (0, 1):
        for b in (0, 1):
            share = blend[a, :, 0] * blend[b, :, 1]
            # A corner of weight zero adds nothing, but carries the scales' gradient where they learn.
            if learning or share.any():
                shares.append(share)
                corners.append(_dilated(x, weight, (floor[0] + a, floor[1] + b), stride, groups))
    if len(corners) == 1:
        return corners[0]  # its share is 1
    return _WeightedSum.apply(torch.stack(shares), *corners)


class _WeightedSum(torch.autograd.Function):
    """sum_k shares[k] * corners[k], with the shares of each image and their gradients in float32.

    Autograd's own product would promote bfloat16 maps to float32 (a third slower) or round the gradients of the
    shares, whose differences are what the scales learn from.
    """

    @staticmethod
    def forward(ctx, shares: Tensor, *corners: Tensor) -> Tensor:
        """Return the sum of K corners [N, C, H, W], weighted by shares [K, N, 1, 1, 1]."""
        ctx.save_for_backward(shares, *corners)
        first, *others = shares.to(corners[0].dtype)
        y = corners[0] * first
        for corner, share in zip(corners[1:], others, strict=True):
            y.addcmul_(corner, share)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients: a share's is sum(grad * corner) over its image, a corner's is grad * share."""
        shares, *corners = ctx.saved_tensors
        to_shares = None
        if ctx.needs_input_grad[0]:
            to_shares = torch.stack([(grad * corner).sum((1, 2, 3), dtype=shares.dtype) for corner in corners])
            to_shares = to_shares.view_as(shares)
        return to_shares, *(grad * share for share in shares.to(grad.dtype))


def _dilated(x: Tensor, weight: Tensor, dilation: tuple[int, int], stride: int, groups: int) -> Tensor:
    """Convolve with one integer dilation per axis, which may be 0, padded so that only stride changes the size."""
    padding, steps = [], []
    for axis, size in enumerate(dilation):
        size = min(size, x.shape[2 + axis])  # beyond the map all taps but the centre read zeros
        if size == 0:
            weight = weight.sum(2 + axis, keepdim=True)
        padding.append(size * (weight.shape[2 + axis] // 2))
        steps.append(max(1, size))
    return conv2d(x, weight, None, stride, padding, tuple(steps), groups)


class GlobalScaleConv2d(nn.Conv2d):
    """A 3x3 convolution that predicts its dilation for every image: |1 + Linear(global average of the input)|.

    Zero weight and zero bias of `scale_predictor` make it start at scale 1, where it equals the plain convolution with
    the same `weight [C_out, C_in/groups, 3, 3]`.

    Differs from the paper, which does not say where the scale starts; He initialisation would start it near 0. Nor does
    it bound the scale, and its sampling at a negative scale is that of the mirrored kernel; here a negative scale is
    mirrored instead, because a dilation cannot be negative. A clamp at 0 would stop the gradient of a scale below it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=bias)
        self.scale_predictor = nn.Linear(in_channels, 2)
        nn.init.zeros_(self.scale_predictor.weight)
        nn.init.zeros_(self.scale_predictor.bias)

    def reset_parameters(self) -> None:
        """Draw Kaiming normal weights (fan out) and zero the bias."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def predict_scales(self, x: Tensor) -> Tensor:
        """Predict the dilations (d_h, d_w) [N, 2] of x [N, C_in, H, W], in float32 or better even under autocast."""
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            predictor = self.scale_predictor
            dtype = torch.promote_types(x.dtype, predictor.weight.dtype)
            pooled = x.mean((2, 3), dtype=torch.promote_types(dtype, torch.float32))
            offset = F.linear(pooled, predictor.weight.to(pooled.dtype), predictor.bias.to(pooled.dtype))
            return magnitude(1 + offset)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W] with the scales it predicts."""
        y = fractional_dilation_conv2d(x, self.weight, self.predict_scales(x), self.stride[0], self.groups)
        return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]
