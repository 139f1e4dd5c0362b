"""What the papers' convolutions share: how their weights start, and what their sizes must be."""

from torch import nn


class KaimingConv2d(nn.Conv2d):
    """A convolution whose weight starts Kaiming normal (fan out), and whose bias at zero."""

    def reset_parameters(self) -> None:
        """Draw Kaiming normal weights (fan out) and zero the bias."""
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


def check_kernel_size(kernel_size: int) -> None:
    """Raise ValueError for a kernel that is not odd."""
    if not isinstance(kernel_size, int) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be one odd integer, got {kernel_size!r}.")


def check_channels(in_channels: int, out_channels: int, groups: int) -> None:
    """Raise ValueError for channels that do not fall into equal groups."""
    for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
        if groups < 1 or channels < 1 or channels % groups:
            raise ValueError(f"{name} must be a positive multiple of groups = {groups}, got {channels}.")
