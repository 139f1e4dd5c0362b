"""Crops, colours and sizes of a classifier's images; every random choice comes from the given generator."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as V

ATTEMPTS = 10


def uniform(low: float, high: float, random: torch.Generator) -> float:
    """Return a uniform random number."""
    return low + (high - low) * float(torch.rand((), generator=random))


def resized_crop(
    image: Tensor, side: int, area: tuple[float, float], aspect: tuple[float, float], random: torch.Generator
) -> Tensor:
    """Crop a window of random area and aspect ratio from uint8 [3, H, W] and resize it to [3, side, side].

    Up to ten windows are drawn, with uniform areas and log-uniform ratios (width / height). If none fits, the largest
    centred window of a permitted ratio is taken (Inception's augmentation, used in PSConv, section 4.1).
    """
    height, width = image.shape[-2:]
    for _ in range(ATTEMPTS):
        pixels = height * width * uniform(*area, random)
        ratio = math.exp(uniform(math.log(aspect[0]), math.log(aspect[1]), random))
        w, h = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < w <= width and 0 < h <= height:
            top = int(torch.randint(height - h + 1, (), generator=random))
            left = int(torch.randint(width - w + 1, (), generator=random))
            return resize(image[:, top : top + h, left : left + w], (side, side))
    w = min(width, max(1, round(height * aspect[1])))
    h = min(height, max(1, round(width / aspect[0])))
    top, left = (height - h) // 2, (width - w) // 2
    return resize(image[:, top : top + h, left : left + w], (side, side))


def padded_crop(image: Tensor, side: int, padding: int, random: torch.Generator) -> Tensor:
    """Pad uint8 [3, H, W] with `padding` black pixels on every side, and crop a random [3, side, side] from it.

    Other sizes are resized to `side` first. Padding comes before standardisation, as in PSConv, section 4.2.
    """
    if image.shape[-2:] != (side, side):
        image = resize(image, (side, side))
    top, left = (int(torch.randint(2 * padding + 1, (), generator=random)) for _ in range(2))
    return F.pad(image, (padding,) * 4)[:, top : top + side, left : left + side]


def centre_crop(image: Tensor, short_side: int, side: int) -> Tensor:
    """Resize uint8 [3, H, W] to a short side, and crop the central [3, side, side]."""
    height, width = image.shape[-2:]
    scale = short_side / min(height, width)
    image = resize(image, (max(side, round(height * scale)), max(side, round(width * scale))))
    top, left = (image.shape[-2] - side) // 2, (image.shape[-1] - side) // 2
    return image[:, top : top + side, left : left + side]


def jitter(image: Tensor, strength: float, random: torch.Generator) -> Tensor:
    """Multiply brightness, contrast and saturation of uint8 [3, H, W], in turn, by random factors 1 -+ `strength`."""
    for change in (V.adjust_brightness, V.adjust_contrast, V.adjust_saturation):
        image = change(image, uniform(1 - strength, 1 + strength, random))
    return image


def resize(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize uint8 [..., 3, H, W] bilinearly, with antialiasing where it shrinks, to rounded grey values."""
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    if 1 in (*images.shape[-2:], *size):  # PyTorch's byte kernel mistakes the layout of images one pixel wide
        return V.resize(images.float(), list(size), antialias=True).round().clamp(0, 255).to(torch.uint8)
    return V.resize(images, list(size), antialias=True)


def reduced(images: Tensor, low: int | None, side: int) -> Tensor:
    """Reduce images uint8 [..., 3, H, W] to a side of `low` pixels and enlarge them to `side` (SNIP, section 3)."""
    if low is not None:
        images = resize(images, (low, low))
    return resize(images, (side, side))


def standardise(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Map uint8 [N, 3, H, W] to floats with zero mean and unit standard deviation, channels last."""
    mean_, std_ = (images.new_tensor(v, dtype=torch.float32).view(3, 1, 1) for v in (mean, std))
    return ((images.float() / 255 - mean_) / std_).contiguous(memory_format=torch.channels_last)
