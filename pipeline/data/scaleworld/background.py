"""Textured backgrounds of ScaleWorld: value noise, a horizon, stripes, tiles, patches and speckle."""

import numpy as np
from PIL import Image

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def colour_of(luma: float, rng: np.random.Generator, chroma: float) -> np.ndarray:
    """Return a random RGB colour [3] in 0..1 with the given luma, less colourful where the range requires it."""
    direction = rng.normal(size=3)
    direction -= direction @ LUMA  # shifting all three channels by their luma leaves the luma unchanged
    direction *= chroma / max(float(np.abs(direction).max()), 1e-9)
    room = np.where(direction > 0, 1 - luma, luma) / np.maximum(np.abs(direction), 1e-9)
    return (luma + direction * min(1.0, float(room.min()))).astype(np.float32)


def value_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Return smooth noise [height, width] of about -1..1 with features `cell` pixels wide."""
    grid = rng.uniform(-1, 1, (max(2, round(height / cell) + 1), max(2, round(width / cell) + 1))).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))


def paint_background(rng: np.random.Generator, height: int, width: int, factor: float) -> np.ndarray:
    """Return a background [height, width, 3] float32 in 0..1, which mixes two colours of similar luma by a texture."""
    luma, spread = rng.uniform(0.2, 0.8), rng.uniform(0.04, 0.11)
    first = colour_of(luma - spread, rng, rng.uniform(0.02, 0.25))
    second = colour_of(luma + spread, rng, rng.uniform(0.02, 0.25))
    mix = _TEXTURES[rng.integers(len(_TEXTURES))](rng, height, width, factor)
    cloud = 0.25 * value_noise(rng, height, width, rng.uniform(20, 60) * factor)
    mix = np.clip(0.5 + 0.5 * (mix + cloud), 0, 1)[..., None]
    grain = rng.normal(0, rng.uniform(0.005, 0.025), (height, width, 1)).astype(np.float32)
    return np.clip(first * (1 - mix) + second * mix + grain, 0, 1)


def _grid(height: int, width: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:height, :width].astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def _clouds(rng: np.random.Generator, height: int, width: int, factor: float) -> np.ndarray:
    cell = rng.uniform(60, 240) * factor
    octaves = ((1.0, cell), (0.5, cell / 2), (0.3, cell / 5))
    return sum(weight * value_noise(rng, height, width, size) for weight, size in octaves)


def _horizon(rng: np.random.Generator, height: int, width: int, factor: float) -> np.ndarray:
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    edge = rng.uniform(0.3, 0.7) + 0.06 * value_noise(rng, 2, width, rng.uniform(60, 200) * factor)[:1]
    ground = 0.5 * value_noise(rng, height, width, 14 * factor) * rng.uniform(0.3, 1)
    return np.where(y > edge, 0.8 + ground - 0.6 * (y - edge), -0.9 + 0.8 * y).astype(np.float32)


def _stripes(rng: np.random.Generator, height: int, width: int, factor: float) -> np.ndarray:
    along, across = _grid(height, width, rng.uniform(0, np.pi))
    period = rng.uniform(30, 120) * factor
    return np.sin((along + 0.15 * period * np.sin(across / period)) * (2 * np.pi / period)) * rng.uniform(0.4, 1)


def _tiles(rng: np.random.Generator, height: int, width: int, factor: float) -> np.ndarray:
    x, y = _grid(height, width, rng.normal(0, 0.1))
    tall = rng.uniform(30, 90) * factor
    wide = tall * rng.uniform(1, 2.4)
    row = np.floor(y / tall)
    x = x + (row % 2) * (wide / 2)
    column = np.floor(x / wide)
    joint = ((y / tall - row) * tall < 2.5 * factor) | ((x / wide - column) * wide < 2.5 * factor)
    shade = np.sin(row * 12.9898 + column * 78.233) * 0.4  # a fixed hash gives each tile its own shade
    return np.where(joint, -1.0, 0.35 + shade).astype(np.float32)


def _patches(rng: np.random.Generator, height: int, width: int, factor: float) -> np.ndarray:
    field = value_noise(rng, height, width, rng.uniform(60, 160) * factor)
    return np.round(field * 2) / 1.5


def _speckle(rng: np.random.Generator, height: int, width: int, factor: float) -> np.ndarray:
    fine = value_noise(rng, height, width, max(1.0, 5 * factor))
    return 0.9 * fine + 0.5 * value_noise(rng, height, width, rng.uniform(80, 200) * factor)


_TEXTURES = (_clouds, _horizon, _stripes, _tiles, _patches, _speckle)
