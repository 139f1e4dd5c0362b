"""First convolutions for small images: SNIP's CNN-S (section 3)."""

from torch import nn

KERNELS = {"small_48": (3, 1), "small_96": (5, 2)}  # kernel and stride


def replace_stem(body: nn.Module, stem: str) -> None:
    """Replace a ResNet's first convolution by that of a small-image classifier; "standard" changes nothing.

    The 48-pixel network starts with 3x3 kernels at stride 1, the 96-pixel network with 5x5 kernels at stride 2. The
    paper changes only the first layer, so the max pooling behind it stays; both networks end in 3x3 positions.

    Raises:
        ValueError: an unknown stem, or a body without torchvision's 7x7 `conv1`.
    """
    if stem == "standard":
        return
    if stem not in KERNELS:
        raise ValueError(f"stem must be 'standard' or one of {sorted(KERNELS)}, got {stem!r}.")
    old = getattr(body, "conv1", None)
    if not isinstance(old, nn.Conv2d) or old.kernel_size != (7, 7):
        raise ValueError(f"stem {stem!r} replaces a 7x7 first convolution, and this body's is {old}.")
    kernel, stride = KERNELS[stem]
    body.conv1 = nn.Conv2d(3, old.out_channels, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(body.conv1.weight, mode="fan_out", nonlinearity="relu")
