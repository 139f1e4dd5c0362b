"""PSConv with learnt dilations: a binary mask chooses between two, as a Kronecker product of small sign matrices."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from pipeline.layers.grouped_dilated import conv2d
from pipeline.layers.kaiming import KaimingConv2d, check_channels, check_kernel_size


class LearnableMaskPSConv2d(KaimingConv2d):
    """A convolution that learns which of two dilations each kernel has (PSConv, section 4.2).

    The mask [C_out, C_in/groups] is the Kronecker product of the signs of `factors`, one small matrix for each pair of
    prime factors of the two sides (64 x 64: six 2 x 2, 24 parameters). Where it is positive, the kernel has the larger
    dilation. The sign is straight-through: its gradient is the identity on [-1, 1] and zero outside. The layer costs
    two dense convolutions, "extra parameters and computational complexity" as the paper says.

    Differs from the paper, which says only "decomposed via the Kronecker product" and "STE [XNOR-Net]". Our choices are
    signs, as in XNOR-Net, because a product of zeros and ones would start almost empty and starve its factors of
    gradient; factors that start uniform in [-1, 1]; and a Kaiming normal weight as in `PSConv2d`.

    Raises:
        ValueError: an even kernel, channels that groups does not divide, or not exactly two different dilations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        dilations: Sequence[int] = (1, 2),
    ) -> None:
        check_kernel_size(kernel_size)
        dilations = tuple(dilations)
        if len(dilations) != 2 or any(not isinstance(d, int) or d < 1 for d in dilations) or len(set(dilations)) < 2:
            raise ValueError(f"dilations must be two different positive integers, got {dilations}.")
        check_channels(in_channels, out_channels, groups)
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, groups=groups, bias=bias
        )
        self.dilations = tuple(sorted(dilations))
        shapes = _factor_shapes(out_channels, in_channels // groups)
        self.factors = nn.ParameterList(nn.Parameter(torch.empty(shape)) for shape in shapes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw a Kaiming normal weight (fan out) and factors uniform in [-1, 1], and zero the bias."""
        super().reset_parameters()
        for factor in getattr(self, "factors", ()):  # the parent's __init__ calls this before there are any
            nn.init.uniform_(factor, -1.0, 1.0)

    def mask(self) -> Tensor:
        """Return 1 where a kernel has the larger dilation, else 0: [C_out, C_in/groups], straight-through gradient."""
        return (reduce(torch.kron, [straight_through_sign(factor) for factor in self.factors]) + 1) / 2

    def dilation_lattice(self) -> Tensor:
        """Return the present dilation of every kernel, int [C_out, C_in/groups]."""
        small, large = self.dilations
        with torch.no_grad():
            return torch.where(self.mask() > 0.5, large, small).to(torch.int32)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C_in, H, W]."""
        large = self.weight * self.mask().to(self.weight.dtype)[:, :, None, None]
        y = None
        for weight, dilation in zip((self.weight - large, large), self.dilations, strict=True):
            padding = dilation * (self.kernel_size[0] // 2)
            bias = self.bias if y is None else None
            out = conv2d(x, weight, bias, self.stride, padding, dilation, self.groups)
            y = out if y is None else y + out
        return y


def straight_through_sign(x: Tensor) -> Tensor:
    """Return the sign of x, 1 at 0; its gradient is 1 where |x| <= 1, else 0 (XNOR-Net, section 3.1)."""
    soft = x.clamp(-1.0, 1.0)
    hard = torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
    # Zero plus the sign, not sign - soft + soft: that would be 1 up to rounding.
    return hard + (soft - soft.detach())


def _factor_shapes(rows: int, columns: int) -> list[tuple[int, int]]:
    """Pair the prime factors of both sides, largest first; a side that runs out gets ones."""
    primes = [_primes(rows), _primes(columns)]
    length = max(1, *map(len, primes))
    tall, wide = (factors + [1] * (length - len(factors)) for factors in primes)
    return list(zip(tall, wide, strict=True))


def _primes(number: int) -> list[int]:
    found, divisor = [], 2
    while number > 1:
        while number % divisor == 0:
            found.append(divisor)
            number //= divisor
        divisor += 1
    return found[::-1]
