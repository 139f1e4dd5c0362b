"""Scale decomposition: which integer dilations stand for a learnt fractional scale (POD, section 3.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_SLACK = 1e-9  # |0.95 - 1| is 0.050000000000000044 in binary


class SubConv(NamedTuple):
    """One ordinary convolution of a decomposition; pairs are (height, width)."""

    kernel: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]
    out_channels: int


def decompose(scale_h: float, scale_w: float, out_channels: int, tolerance: float = 0.05) -> list[SubConv]:
    """Split a scale (dilations in pixels) into sub-convolutions, the lower first (POD, section 3.2, figure 3).

    An axis within `tolerance` of an integer is rounded. If both are, one convolution is enough. If one is, the other
    axis is split into its floor and ceil, and the ceil's share of the channels is the axis's fraction. If none is, the
    parts are (floor, floor) and (ceil, ceil), and the share is the mean of both fractions. Parts are in output-channel
    order. An axis with dilation 0 has kernel 1 and padding 0.

    Differs from the paper, which does not say how channels round: the lower part has floor((1 - share) * C_out + 0.5)
    channels, and a part without channels is left out.

    Raises:
        ValueError: a scale that is negative or not finite, or fewer than one channel.
    """
    scales = (float(scale_h), float(scale_w))
    if any(not math.isfinite(scale) or scale < 0 for scale in scales):
        raise ValueError(f"Scales must be finite and not negative, got {scales}; a dilation is a size.")
    if out_channels < 1:
        raise ValueError(f"out_channels must be positive, got {out_channels}.")
    lower, upper, fractions = [], [], []
    for scale in scales:
        rounded = math.floor(scale + 0.5)
        if abs(scale - rounded) <= tolerance + _SLACK:
            lower.append(rounded)
            upper.append(rounded)
        else:
            lower.append(math.floor(scale))
            upper.append(math.floor(scale) + 1)
            fractions.append(scale - math.floor(scale))
    share = sum(fractions) / len(fractions) if fractions else 0.0
    lower_channels = math.floor((1 - share) * out_channels + 0.5 + _SLACK)
    parts = ((lower, lower_channels), (upper, out_channels - lower_channels))
    return [_sub_conv(dilations, channels) for dilations, channels in parts if channels]


def _sub_conv(dilations: Sequence[int], out_channels: int) -> SubConv:
    kernel = tuple(3 if dilation else 1 for dilation in dilations)
    return SubConv(kernel, tuple(max(1, dilation) for dilation in dilations), tuple(dilations), out_channels)
