"""PSConv as a sum of grouped convolutions, in plain differentiable operations that export and compile."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.layers.grouped_dilated import conv2d, is_channels_last
from pipeline.layers.psconv_lattice import Plan, Term


def grouped_conv2d(x: Tensor, weight: Tensor, plan: Plan, stride: int) -> Tensor:
    """Convolve x [N, C_in, H, W] with a dense PSConv weight [C_out, C_in/groups, k, k] term by term."""
    if plan.interleaved:
        x = shuffle_channels(x, plan.groups, blocks_last=True, blocks=plan.input_blocks // plan.groups)
    y, parts, order = None, [], []
    for term in plan.terms:
        padding = term.dilation * (weight.shape[-1] // 2)
        kernels = term_weight(weight, plan, term)
        out = conv2d(
            reorder(x, term.inputs, plan.input_blocks), kernels, None, stride, padding, term.dilation, term.groups
        )
        if len(term.outputs) < plan.output_blocks:
            parts.append(out)
            order.extend(term.outputs)
            continue
        out = reorder(out, inverse(term.outputs), plan.output_blocks)
        y = out if y is None else y + out
    if parts:
        y = reorder(torch.cat(parts, dim=1), inverse(order), plan.output_blocks)
    if plan.interleaved:
        y = shuffle_channels(y, plan.groups, blocks_last=False, blocks=plan.output_blocks // plan.groups)
    return y


def masked_conv2d(x: Tensor, weight: Tensor, masks: Tensor, dilations: Sequence[int], stride: int, groups: int):
    """Sum one convolution of the masked weight per dilation; `masks` is bool [len(dilations), C_out, C_in/groups]."""
    y = None
    for mask, dilation in zip(masks, dilations, strict=True):
        padding = dilation * (weight.shape[-1] // 2)
        out = conv2d(x, weight * mask[:, :, None, None], None, stride, padding, dilation, groups)
        y = out if y is None else y + out
    return y


def block_view(weight: Tensor, plan: Plan) -> Tensor:
    """View [C_out, C_in/groups, k, k] as blocks [groups, rows, height, columns, width, k, k]."""
    if plan.interleaved:
        view = weight.unflatten(1, (-1, plan.columns)).unflatten(0, (plan.groups, -1, plan.rows))
        return view.transpose(1, 2).transpose(3, 4)
    return weight.unflatten(1, (plan.columns, -1)).unflatten(0, (plan.groups, plan.rows, -1))


def term_weight(weight: Tensor, plan: Plan, term: Term) -> Tensor:
    """Pick the kernels of one term, [its outputs, its inputs per group, k, k]."""
    blocks = block_view(weight, plan)
    if term.weight_rows is not None:
        blocks = torch.stack([blocks[:, row] for row in term.weight_rows], 1)
    if term.weight_columns is not None:
        blocks = torch.stack([blocks[:, :, :, column] for column in term.weight_columns], 3)
    rectangles = [
        blocks[:, part :: term.parts, :, (part + term.shift) % term.parts :: term.parts] for part in range(term.parts)
    ]
    return torch.stack(rectangles, 1).flatten(4, 5).flatten(0, 3)


def reorder(x: Tensor, order: Sequence[int], blocks: int) -> Tensor:
    """Return all or some channel blocks of x in another order; split and cat keep the memory format."""
    if tuple(order) == tuple(range(blocks)):
        return x
    pieces = x.chunk(blocks, 1)
    return torch.cat([pieces[block] for block in order], 1)


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """Return the order that undoes `order`."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


def shuffle_channels(x: Tensor, groups: int, blocks: int, *, blocks_last: bool) -> Tensor:
    """Turn channels (group, i, block) into (group, block, i) where `blocks_last`, and back where not."""
    split = (groups, -1, blocks) if blocks_last else (groups, blocks, x.shape[1] // (groups * blocks))
    shuffled = x.unflatten(1, split).transpose(2, 3).flatten(1, 3)
    return shuffled.contiguous(memory_format=torch.channels_last) if is_channels_last(x) else shuffled
