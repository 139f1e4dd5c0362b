"""A bottleneck around PSConv in evaluation: its neighbours take over PSConv's channel orders, which spares a copy.

Weights and statistics stay in their public order; permuted copies of them are kept until one of them changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.layers.grouped_dilated import is_channels_last
from pipeline.layers.kept import Kept

if TYPE_CHECKING:
    from pipeline.layers.psconv_folded import FoldedConv

_NAMES = ("conv1", "bn1", "conv2", "bn2", "conv3")


def folded_convolutions(block: nn.Module, x: Tensor, kept: Kept) -> Tensor | None:
    """Return conv3 of a bottleneck for its input x, or None where the plain way must be taken.

    That is: with gradients, in training, on other devices, with a fusion module in between, or where a layer is
    observed by a hook or is not of the usual kind.
    """
    if torch.is_grad_enabled() or not hasattr(block.conv2, "folded") or not is_channels_last(x):
        return None
    layers = [block.get_submodule(name) for name in _NAMES]
    conv1, bn1, conv2, bn2, conv3 = layers
    usual = all(type(conv) is nn.Conv2d and conv.kernel_size == (1, 1) and conv.groups == 1 for conv in (conv1, conv3))
    fixed = all(type(bn).forward is nn.BatchNorm2d.forward and not bn.training for bn in (bn1, bn2))
    if not usual or not fixed or conv1.bias is not None or any(one.running_mean is None for one in (bn1, bn2)):
        return None
    if any(part._forward_hooks or part._forward_pre_hooks for part in (*layers, block.relu)):
        return None
    if not all(type(part) is nn.Identity for part in (block.fusion1, block.fusion2)):
        return None
    cast = torch.is_autocast_enabled("cpu") and x.dtype != torch.float64
    dtype = torch.get_autocast_dtype("cpu") if cast else x.dtype
    folded = conv2.folded(x.device, dtype)
    if folded is None:
        return None
    norms = [[bn.running_mean, bn.running_var, bn.weight, bn.bias] for bn in (bn1, bn2)]
    sources = [conv1.weight, conv2.weight, conv3.weight, *norms[0], *norms[1]]
    copies = kept.of(sources, dtype, lambda: _copies(conv1, conv2, conv3, norms, folded, dtype))
    first, kernels, last, before, after = copies
    y = F.relu_(F.batch_norm(F.conv2d(x, first, None, conv1.stride), *before, False, 0.0, bn1.eps))
    y = folded(y.to(dtype), conv2.weight, kernels)
    y = F.relu_(F.batch_norm(y, *after, False, 0.0, bn2.eps))
    return F.conv2d(y, last, conv3.bias)


def _copies(conv1, conv2, conv3, norms, folded: FoldedConv, dtype: torch.dtype) -> tuple:
    """Return conv1's weight, PSConv's kernels, conv3's weight and the norms' numbers in the folded orders."""
    into, out = _channels(folded.inputs, conv2.in_channels), _channels(folded.outputs, conv2.out_channels)
    first = conv1.weight[into].contiguous(memory_format=torch.channels_last)
    last = conv3.weight[:, out].contiguous(memory_format=torch.channels_last)
    before, after = ([part[order] for part in norm] for norm, order in zip(norms, (into, out), strict=True))
    return first.to(dtype), folded.pack(conv2.weight.to(dtype)), last.to(dtype), before, after


def _channels(blocks: tuple[int, ...], channels: int) -> Tensor:
    return torch.arange(channels).view(len(blocks), -1)[list(blocks)].flatten()
