"""Group norm that keeps channels_last on the CPU, at a batch norm's speed."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.layers.grouped_dilated import is_channels_last
from pipeline.layers.tracing import is_traced

# torch's own kernel in channels_last runs over the channels of one group. Measured, forward and backward, AVX-512: 32
# channels a group cost as much as in contiguous tensors, 1 or 2 cost 10 to 50 times as much; and a contiguous copy of
# 1024 channels costs 10 times as much as the norm.
_OWN_BELOW = 16
# Values of an image from which a loop over images is cheaper than two copies to and from contiguous tensors.
_LEAST_VALUES = 2**14


class GroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` of x [N, C, H, W]; a group of one value (a 1x1 map) is mapped to its bias.

    Args:
        groups: of channels.
        channels: of x.
        inplace: whether the output may overwrite x where no gradient is computed, as `nn.ReLU(inplace=True)` does.
    """

    def __init__(self, groups: int, channels: int, inplace: bool = False) -> None:
        super().__init__(groups, channels)
        self.inplace = inplace

    def forward(self, x: Tensor) -> Tensor:
        """Normalise every group of channels of every image; weight and bias may be float32 beside a bfloat16 x."""
        sizes = self.num_groups, self.weight, self.bias, self.eps
        if x.device.type != "cpu" or x.dim() != 4 or not is_channels_last(x) or is_traced():
            return torch.group_norm(x, *sizes)
        learning = torch.is_grad_enabled() and any(one.requires_grad for one in (x, self.weight, self.bias))
        if x.shape[1] // self.num_groups >= _OWN_BELOW and (learning or not self.inplace):
            return torch.group_norm(x, *sizes)
        if x[:1].numel() < _LEAST_VALUES:
            return torch.group_norm(x.contiguous(), *sizes).contiguous(memory_format=torch.channels_last)
        if learning:
            return _Function.apply(x, self.weight, self.bias, self.num_groups, self.eps)
        target = x if self.inplace else torch.empty_like(x)
        _normalise(x, target, *sizes)
        return target


def _normalise(x: Tensor, target: Tensor, groups: int, weight: Tensor, bias: Tensor, eps: float) -> list[Tensor]:
    """Fill target, which may be x; return mean and variance by image and channel [N, C], equal in a group."""
    if not len(x):
        return [weight.new_empty(0, len(weight)) for _ in range(2)]
    blank = torch.zeros_like(weight), torch.zeros_like(weight)
    found = [torch.batch_norm_update_stats(image[None], *blank, 0.0) for image in x]
    mean, variance = (torch.stack(parts).unflatten(1, (groups, -1)) for parts in zip(*found, strict=True))
    centre = mean.mean(2, keepdim=True)
    spread = (variance + (mean - centre).square()).mean(2, keepdim=True)
    means, variances = (part.expand_as(mean).flatten(1).contiguous() for part in (centre, spread))
    unused = {"save_mean": weight.new_empty(0), "save_invstd": weight.new_empty(0)}
    for image, out, *statistics in zip(x, target, means, variances, strict=True):
        scaling = weight, bias, *statistics, False, 0.0, eps
        torch.ops.aten.native_batch_norm.out(image[None], *scaling, out=out[None], **unused)
    return [means, variances]


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias, groups, eps):
        y = torch.empty_like(x)  # channels_last
        statistics = _normalise(x, y, groups, weight, bias, eps)
        ctx.save_for_backward(x, weight, bias, *statistics)
        ctx.groups, ctx.eps = groups, eps
        return y

    @staticmethod
    def backward(ctx, grad):
        x, weight, bias, means, variances = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: second derivatives go through plain operations
            wanted = [one for one, need in zip((x, weight, bias), ctx.needs_input_grad[:3], strict=True) if need]
            y = torch.group_norm(x, ctx.groups, weight, bias, ctx.eps)
            found = iter(torch.autograd.grad(y, wanted, grad, create_graph=True))
            return *(next(found) if need else None for need in ctx.needs_input_grad[:3]), None, None
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_x, to_weight, to_bias = torch.empty_like(x), [], []
        inverse = (variances + ctx.eps).rsqrt()
        alone = x.shape[1] == ctx.groups  # a channel is a group: the gradient is a batch norm's
        for index, target in enumerate(grad_x):
            statistics = means[index], variances[index], means[index], inverse[index]
            image = x[index : index + 1]
            found, *sums = torch.ops.aten.native_batch_norm_backward(
                grad[index : index + 1], image, weight, *statistics, alone, ctx.eps, [True, True, True]
            )
            to_weight.append(sums[0])
            to_bias.append(sums[1])
            if not alone:  # the mean and the variance depend on x as well: a slope and a constant by channel
                slope, constant = _through_statistics(ctx.groups, image, weight, *sums, means[index], inverse[index])
                # A batch norm of variance 1 without epsilon scales by its weight and adds its bias.
                zeros, ones = torch.zeros_like(means[index]), torch.ones_like(means[index])
                found += torch.batch_norm(image, slope, constant, zeros, ones, False, 0.0, 0.0, False)
            target.copy_(found[0])
        return grad_x, *(sum(found, torch.zeros_like(weight)) for found in (to_weight, to_bias)), None, None


def _through_statistics(groups, image, weight, to_weight, to_bias, mean, inverse) -> tuple[Tensor, Tensor]:
    """Return slope and constant of the part of an image's gradient that goes through its mean and variance."""
    values = image.numel() // groups
    by_group = torch.stack([weight * to_bias, weight * to_weight]).unflatten(1, (groups, -1))
    through_mean, through_spread = (by_group.sum(2, keepdim=True) / values).expand_as(by_group).flatten(1)
    slope = -through_spread * inverse.square()
    return slope, -through_mean * inverse - slope * mean
