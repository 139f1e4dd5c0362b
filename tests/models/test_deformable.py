"""Deformable convolution by sampling equals torchvision's operator, forward and backward."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import deform_conv2d

from pipeline.models.backbones.deformable import deformable_conv2d, sampled_conv2d


@pytest.mark.parametrize(
    ("size", "channels", "outputs", "groups", "fields", "stride", "padding", "dilation"),
    [
        ((7, 9), 8, 6, 1, 1, 1, 1, 1),
        ((8, 5), 8, 8, 2, 4, 2, 1, 1),
        ((6, 6), 8, 4, 4, 2, 1, 2, 2),
        ((1, 1), 4, 4, 1, 2, 1, 1, 1),
        ((1, 6), 4, 4, 1, 1, 1, 1, 1),
    ],
)
def test_equals_torchvision(size, channels, outputs, groups, fields, stride, padding, dilation):
    torch.manual_seed(0)
    rows, columns = ((side + 2 * padding - 2 * dilation - 1) // stride + 1 for side in size)
    x = torch.randn(2, channels, *size, dtype=torch.float64, requires_grad=True)
    offsets = 2 * torch.randn(2, fields * 18, rows, columns, dtype=torch.float64)
    offsets.requires_grad_(True)
    weight = torch.randn(outputs, channels // groups, 3, 3, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(outputs, dtype=torch.float64, requires_grad=True)
    inputs, steps = (x, offsets, weight, bias), ((stride,) * 2, (padding,) * 2, (dilation,) * 2)
    ours = sampled_conv2d(*inputs, *steps)
    theirs = deform_conv2d(*inputs, *steps)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    slope = torch.randn_like(ours)
    pairs = zip(torch.autograd.grad(ours, inputs, slope), torch.autograd.grad(theirs, inputs, slope), strict=True)
    for own, other in pairs:
        torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-9)


def test_a_dispatch_mode_sees_torchvisions_operator():
    torch.manual_seed(0)
    x, offsets, weight = torch.randn(1, 4, 9, 7), torch.randn(1, 18, 9, 7), torch.randn(4, 4, 3, 3)
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Watch():
        watched = deformable_conv2d(x, offsets, weight, padding=(1, 1))
    assert torch.ops.torchvision.deform_conv2d.default in seen
    assert torch.allclose(deformable_conv2d(x, offsets, weight, padding=(1, 1)), watched, atol=2e-5)
