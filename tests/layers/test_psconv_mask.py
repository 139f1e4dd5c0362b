"""The learnable binary mask of PSConv: its Kronecker product, its straight-through gradient, its convolution."""

import pytest
import torch
from torch.nn import functional as F

from pipeline.layers import LearnableMaskPSConv2d
from pipeline.layers.psconv_mask import straight_through_sign


def set_factors(layer, *values):
    with torch.no_grad():
        for factor, value in zip(layer.factors, values, strict=True):
            factor.copy_(torch.tensor(value))


def test_sign_passes_the_gradient_inside_one_only():
    x = torch.tensor([-2.0, -1.0, -0.3, 0.0, 0.5, 1.0, 1.5], requires_grad=True)
    y = straight_through_sign(x)
    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    (y * torch.arange(1.0, 8.0)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_mask_is_the_kronecker_product_of_signs():
    layer = LearnableMaskPSConv2d(4, 4)
    set_factors(layer, [[0.5, -0.1], [-0.2, 0.9]], [[0.3, 0.3], [-0.3, 0.7]])
    # Signs: [[+, -], [-, +]] kron [[+, +], [-, +]].
    assert layer.mask().tolist() == [[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    assert layer.dilation_lattice().tolist() == [[2, 2, 1, 1], [1, 2, 2, 1], [1, 1, 2, 2], [2, 1, 1, 2]]


def test_sides_of_other_sizes_and_groups():
    assert [tuple(f.shape) for f in LearnableMaskPSConv2d(64, 64).factors] == [(2, 2)] * 6
    assert [tuple(f.shape) for f in LearnableMaskPSConv2d(12, 20).factors] == [(5, 3), (2, 2), (2, 2)]
    assert [tuple(f.shape) for f in LearnableMaskPSConv2d(8, 8, groups=4).factors] == [(2, 2), (2, 1), (2, 1)]
    assert [tuple(f.shape) for f in LearnableMaskPSConv2d(1, 1).factors] == [(1, 1)]
    assert LearnableMaskPSConv2d(8, 8, groups=4).dilation_lattice().shape == (8, 2)


@pytest.mark.parametrize("groups", [1, 2])
def test_forward_and_gradients_equal_the_masked_sum(groups):
    layer = LearnableMaskPSConv2d(8, 12, stride=2, groups=groups, bias=True, dilations=(3, 1)).double()
    x = torch.randn(2, 8, 7, 6, dtype=torch.double, requires_grad=True)
    lattice, expected = layer.dilation_lattice(), layer.bias[:, None, None]
    for dilation in (1, 3):
        weight = layer.weight * (lattice == dilation)[:, :, None, None]
        expected = expected + F.conv2d(x, weight, None, 2, dilation, dilation, groups)
    y, cotangent = layer(x), torch.randn(2, 12, 4, 3, dtype=torch.double)
    torch.testing.assert_close(y, expected)
    inputs = [x, layer.weight, layer.bias]
    wanted = torch.autograd.grad(expected, inputs, cotangent)
    got = torch.autograd.grad(y, [*inputs, *layer.factors], cotangent)
    for one, other in zip(got, wanted, strict=False):
        torch.testing.assert_close(one, other)


def test_factor_gradient_is_what_each_kernel_gains_by_the_other_dilation():
    layer = LearnableMaskPSConv2d(1, 1).double()
    set_factors(layer, [[0.4]])
    x = torch.randn(1, 1, 7, 7, dtype=torch.double)
    layer(x).sum().backward()
    gain = F.conv2d(x, layer.weight, None, 1, 2, 2).sum() - F.conv2d(x, layer.weight, None, 1, 1).sum()
    # The mask is (1 + sign) / 2, so the factor moves it by half.
    torch.testing.assert_close(layer.factors[0].grad, (gain / 2).detach().view(1, 1))


def test_state_autocast_and_meta():
    layer = LearnableMaskPSConv2d(16, 16)
    assert sorted(layer.state_dict()) == ["factors.0", "factors.1", "factors.2", "factors.3", "weight"]
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 16, 5, 5)).dtype is torch.bfloat16
    with torch.device("meta"):
        assert LearnableMaskPSConv2d(16, 16, stride=2)(torch.zeros(1, 16, 7, 7)).shape == (1, 16, 4, 4)
