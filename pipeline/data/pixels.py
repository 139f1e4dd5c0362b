"""Pixels of a verified picture as 8-bit RGB, by one rule for all depths."""

import numpy as np
from PIL import Image

# Pillow's own limit is set aside: every picture is held to `max_megapixels` when it is verified (data/images.py).
Image.MAX_IMAGE_PIXELS = None

LEVELS = 65536  # of a 16-bit grey picture whose entry names no other number
DEEP = ("I", "F")  # first letters of Pillow's modes of more than 8 bits


def as_rgb(image: Image.Image, levels: float = LEVELS) -> Image.Image:
    """Return an image as 8-bit RGB; `levels` grey levels of a 16-bit or float picture become 256.

    Pillow itself would saturate them to white. 65536 levels keep the upper byte.
    """
    if image.mode.startswith(DEEP):
        grey = np.asarray(image).astype(np.float64) * (256 / levels)
        image = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    return image.convert("RGB")
