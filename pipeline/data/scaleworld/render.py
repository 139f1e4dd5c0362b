"""Painting of a composed ScaleWorld scene: colours with a guaranteed contrast, shading, exposure and noise."""

import numpy as np

from pipeline.data.scaleworld.background import LUMA, colour_of, paint_background
from pipeline.data.scaleworld.composition import Item, Scene, window

LEAST_CONTRAST, MOST_CONTRAST = 0.28, 0.5  # luma difference between an object's body and what is behind it


def paint_scene(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    """Return the image [H, W, 3] uint8 of a scene: background, items back to front, then exposure and noise."""
    canvas = paint_background(rng, *scene.owner.shape, scene.factor)
    for item in scene.items:
        _paint_item(rng, canvas, item)
    return _expose(rng, canvas)


def _paint_item(rng: np.random.Generator, canvas: np.ndarray, item: Item) -> None:
    in_image, in_sprite = window(item, canvas.shape[:2])
    behind = canvas[in_image]
    if not behind.size:
        return
    coverage = item.sprite.coverage[in_sprite][..., None]
    surroundings = float((behind @ LUMA).mean())
    inks = _clutter_inks(rng, surroundings) if item.category == 0 else _inks(rng, surroundings)
    sprite = item.sprite.ink.copy()
    # The outside ink is black, so that downsampling gives colours already multiplied by coverage.
    sprite.putpalette(np.round(inks * 255).astype(np.uint8).ravel().tolist())
    colour = np.asarray(sprite.convert("RGB").reduce(item.sprite.supersampling), dtype=np.float32)[in_sprite] / 255
    behind *= 1 - coverage
    behind += colour * _shading(rng, *item.sprite.mask.shape)[in_sprite][..., None]


def _inks(rng: np.random.Generator, surroundings: float) -> np.ndarray:
    """Return the colours [4, 3] of outside, body, accent and detail.

    Hues are random, so that colour says nothing about the category. The body differs in luma from the background, the
    accent from the body, and the detail from both.
    """
    body = _apart(rng, surroundings, rng.uniform(LEAST_CONTRAST, MOST_CONTRAST))
    accent = _apart(rng, body, rng.uniform(0.34, 0.55))
    if abs(accent - surroundings) < 0.1:  # a roof or a label as bright as the background would cut the outline
        accent = max((body - 0.35, body + 0.35), key=lambda luma: (0.04 <= luma <= 0.96, abs(luma - surroundings)))
        accent = min(max(accent, 0.04), 0.96)
    detail = max((0.04, 0.5, 0.96), key=lambda luma: min(abs(luma - body), abs(luma - accent)))
    return np.stack(
        [
            np.zeros(3, np.float32),
            colour_of(body, rng, rng.uniform(0.1, 0.5)),
            colour_of(accent, rng, rng.uniform(0.1, 0.5)),
            colour_of(detail, rng, rng.uniform(0.0, 0.15)),
        ]
    )


def _clutter_inks(rng: np.random.Generator, surroundings: float) -> np.ndarray:
    body = colour_of(_apart(rng, surroundings, rng.uniform(0.08, 0.35)), rng, rng.uniform(0.05, 0.4))
    return np.stack([np.zeros(3, np.float32), body, body, body])


def _apart(rng: np.random.Generator, luma: float, distance: float) -> float:
    """Return a luma at `distance` from another, on a random side, or on the other if that is outside 0.04..0.96."""
    side = 1 if rng.random() < 0.5 else -1
    for candidate in (luma + side * distance, luma - side * distance):
        if 0.04 <= candidate <= 0.96:
            return candidate
    return 0.04 if luma > 0.5 else 0.96


def _shading(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Return a soft light [height, width] around 1 from a random direction."""
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.12)
    x = np.linspace(-1, 1, width, dtype=np.float32) * np.float32(strength * np.cos(angle))
    y = np.linspace(-1, 1, height, dtype=np.float32) * np.float32(strength * np.sin(angle))
    return 1 - strength + x + y[:, None]


def _expose(rng: np.random.Generator, canvas: np.ndarray) -> np.ndarray:
    """Change contrast, brightness and colour cast of the whole image, and add sensor noise."""
    contrast = rng.uniform(0.8, 1.15)
    cast = rng.uniform(-0.05, 0.05) + rng.uniform(-0.03, 0.03, 3)
    noise = rng.standard_normal(canvas.shape, dtype=np.float32) * np.float32(rng.uniform(0.005, 0.02))
    image = (canvas - 0.5) * np.float32(contrast) + (0.5 + cast).astype(np.float32) + noise
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
