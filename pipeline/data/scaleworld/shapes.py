"""ScaleWorld's categories as drawings: lists of (ink, polygon) in a unit square, and their rasterisation.

Some pairs have the same outline and differ only inside: ball and clock, crate and board, house and tag. The ink says
what a pixel belongs to (outside, body, accent, detail); `render` chooses the colours of inks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

OUTSIDE, BODY, ACCENT, DETAIL = range(4)

Part = tuple[int, np.ndarray]  # ink, polygon [n, 2] of (x, y), y down, within about [-1, 1]


def _box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def _ellipse(x: float, y: float, rx: float, ry: float, corners: int = 28) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([x + rx * np.cos(angle), y + ry * np.sin(angle)], 1)


def _sector(start: float, stop: float, radius: float = 1.0) -> np.ndarray:
    angle = np.linspace(start, stop, 6)
    return np.vstack([[(0.0, 0.0)], radius * np.stack([np.cos(angle), np.sin(angle)], 1)])


def _line(x0: float, y0: float, x1: float, y1: float, width: float) -> np.ndarray:
    start, stop = np.array([x0, y0]), np.array([x1, y1])
    across = np.array([y0 - y1, x1 - x0]) * (width / 2 / max(np.hypot(x1 - x0, y1 - y0), 1e-9))
    return np.stack([start + across, stop + across, stop - across, start - across])


def _star(radius: float, inner: float) -> np.ndarray:
    angle = np.arange(10) * np.pi / 5 - np.pi / 2
    return (np.where(np.arange(10) % 2, inner, radius)[:, None]) * np.stack([np.cos(angle), np.sin(angle)], 1)


_GABLE = np.array([(0, -1.0), (0.85, -0.25), (0.85, 1.0), (-0.85, 1.0), (-0.85, -0.25)])


def _ball(rng: np.random.Generator) -> list[Part]:
    start = rng.uniform(0, np.pi / 3)
    sectors = [(ACCENT, _sector(start + k * np.pi / 3, start + (k + 1) * np.pi / 3)) for k in (0, 2, 4)]
    return [(BODY, _ellipse(0, 0, 1, 1)), *sectors]


def _clock(rng: np.random.Generator) -> list[Part]:
    hour, minute = rng.uniform(0, 2 * np.pi, 2)
    return [
        (BODY, _ellipse(0, 0, 1, 1)),
        (ACCENT, _ellipse(0, 0, 0.72, 0.72)),
        (DETAIL, _line(0, 0, 0.4 * np.cos(hour), 0.4 * np.sin(hour), 0.2)),
        (DETAIL, _line(0, 0, 0.64 * np.cos(minute), 0.64 * np.sin(minute), 0.15)),
    ]


def _crate(rng: np.random.Generator) -> list[Part]:
    frame = [_box(-0.9, -0.9, 0.9, -0.62), _box(-0.9, 0.62, 0.9, 0.9)]
    posts = [_box(-0.9, -0.9, -0.62, 0.9), _box(0.62, -0.9, 0.9, 0.9)]
    width = rng.uniform(0.24, 0.32)
    braces = [_line(-0.68 * side, -0.68, 0.68 * side, 0.68, width) for side in (-1, 1)]
    return [(BODY, _box(-0.9, -0.9, 0.9, 0.9)), *[(ACCENT, bar) for bar in braces + frame + posts]]


def _board(rng: np.random.Generator) -> list[Part]:
    cell, first = 0.45, int(rng.integers(2))
    squares = [
        (ACCENT, _box(-0.9 + cell * x, -0.9 + cell * y, -0.9 + cell * (x + 1), -0.9 + cell * (y + 1)))
        for x in range(4)
        for y in range(4)
        if (x + y + first) % 2
    ]
    return [(BODY, _box(-0.9, -0.9, 0.9, 0.9)), *squares]


def _house(rng: np.random.Generator) -> list[Part]:
    door = rng.choice([-0.42, 0.12])
    return [
        (BODY, _GABLE),
        (ACCENT, _GABLE[[0, 1, 4]]),
        (DETAIL, _box(door, 0.25, door + 0.34, 1.0)),
        (DETAIL, _box(-door - 0.3, 0.0, -door, 0.34)),
    ]


def _tag(rng: np.random.Generator) -> list[Part]:
    lines = [_box(-0.6, y, rng.uniform(0.3, 0.6), y + 0.18) for y in (0.1, 0.5)]
    return [(BODY, _GABLE), (DETAIL, _ellipse(0, -0.42, 0.24, 0.24, 14)), *[(ACCENT, line) for line in lines]]


def _fish(rng: np.random.Generator) -> list[Part]:
    tail = np.array([(0.35, 0.0), (1.0, -0.5), (0.86, 0.0), (1.0, 0.5)])
    fin = np.array([(-0.35, -0.42), (0.25, -0.72), (0.3, -0.3)])
    stripes = [_box(x, -height, x + 0.17, height) for x, height in ((-0.26, 0.46), (0.1, 0.4))]
    return [
        (BODY, tail),
        (BODY, fin),
        (BODY, _ellipse(-0.22, 0, 0.78, 0.52)),
        *[(ACCENT, stripe) for stripe in stripes],
        (DETAIL, _ellipse(-0.66, -0.12, 0.11, 0.11, 10)),
    ]


def _mug(rng: np.random.Generator) -> list[Part]:
    band = rng.uniform(-0.3, 0.2)
    return [
        (BODY, _ellipse(0.52, 0.0, 0.46, 0.52)),
        (OUTSIDE, _ellipse(0.54, 0.0, 0.24, 0.29)),
        (BODY, np.array([(-0.9, -0.85), (0.45, -0.85), (0.38, 0.85), (-0.83, 0.85)])),
        (DETAIL, _box(-0.9, -0.85, 0.45, -0.62)),
        (ACCENT, _box(-0.86, band, 0.41, band + 0.3)),
    ]


def _starfish(rng: np.random.Generator) -> list[Part]:
    inner = rng.uniform(0.46, 0.54)
    return [(BODY, _star(1.0, inner)), (ACCENT, _star(0.62, 0.62 * inner))]


def _car(rng: np.random.Generator) -> list[Part]:
    roof = rng.uniform(-0.62, -0.5)
    outline = [(-1.0, 0.38), (-0.98, -0.02), (-0.6, -0.1), (-0.38, roof), (0.32, roof), (0.58, -0.1), (0.98, 0.0)]
    return [
        (BODY, np.array([*outline, (1.0, 0.38)])),
        (ACCENT, np.array([(-0.46, -0.1), (-0.3, roof + 0.13), (0.25, roof + 0.13), (0.42, -0.1)])),
        (DETAIL, _ellipse(-0.55, 0.38, 0.26, 0.26, 16)),
        (DETAIL, _ellipse(0.55, 0.38, 0.26, 0.26, 16)),
    ]


_DRAWINGS: dict[str, Callable[[np.random.Generator], list[Part]]] = {
    "ball": _ball,
    "clock": _clock,
    "crate": _crate,
    "board": _board,
    "house": _house,
    "tag": _tag,
    "fish": _fish,
    "mug": _mug,
    "star": _starfish,
    "car": _car,
}
CATEGORIES: tuple[str, ...] = tuple(_DRAWINGS)


def _clutter(rng: np.random.Generator) -> list[Part]:
    """Draw a shape of no category: a ragged blob, a bent stick, a splinter or a chain of drops."""
    kind = rng.integers(4)
    if kind == 0:
        angle = np.linspace(0, 2 * np.pi, 11, endpoint=False)
        radius = rng.uniform(0.6, 1.0, 11)  # no star
        return [(BODY, radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1))]
    if kind == 1:
        knee = rng.uniform(-0.35, 0.35, 2)
        return [(BODY, _line(-1, 0, *knee, 0.16)), (BODY, _line(*knee, 1, 0.1, 0.16))]
    if kind == 2:
        return [(BODY, np.array([(-1, 0.1), (rng.uniform(-0.2, 0.6), -0.3), (1, 0.0), (0.1, rng.uniform(0.05, 0.3))]))]
    drops = [_ellipse(x, rng.uniform(-0.4, 0.4), rng.uniform(0.12, 0.3), 0.12, 9) for x in (-0.7, -0.25, 0.2, 0.7)]
    return [(BODY, drop) for drop in drops]


@dataclass(frozen=True)
class Sprite:
    """One drawn object: `ink` [h*s, w*s] at s-fold resolution, `coverage` [h, w] in 0..1, `mask` [h, w] bool."""

    ink: Image.Image
    coverage: np.ndarray
    mask: np.ndarray
    supersampling: int


@dataclass(frozen=True)
class Pose:
    """How a drawing is placed; `aspect` stretches x by it and y by its inverse, which keeps the area."""

    rotation: float  # radians
    aspect: float
    flip: bool


def draw_parts(category: int, rng: np.random.Generator) -> list[Part]:
    """Return a fresh drawing of a category (1-based), or of clutter for category 0."""
    return _clutter(rng) if category == 0 else _DRAWINGS[CATEGORIES[category - 1]](rng)


def rasterise(parts: list[Part], pose: Pose, scale: float, offset: tuple[float, float] = (0.0, 0.0)) -> Sprite:
    """Draw parts with a unit of `scale` pixels, shifted by a sub-pixel `offset`, cropped tightly."""
    cos, sin = np.cos(pose.rotation), np.sin(pose.rotation)
    stretch = np.array([-pose.aspect if pose.flip else pose.aspect, 1 / pose.aspect]) * scale
    placed = [(ink, (polygon * stretch) @ np.array([[cos, sin], [-sin, cos]])) for ink, polygon in parts]
    corners = np.concatenate([polygon for ink, polygon in placed if ink != OUTSIDE])
    low = np.floor(corners.min(0)) - 1
    width, height = (np.ceil(corners.max(0)) + 2 - low).astype(int).tolist()
    fine = 6 if max(width, height) < 24 else 3 if max(width, height) < 120 else 2
    ink_image = Image.new("L", (width * fine, height * fine), OUTSIDE)
    draw = ImageDraw.Draw(ink_image)
    for ink, polygon in placed:
        # The half is subtracted because PIL puts pixel centres at whole numbers.
        draw.polygon(((polygon - low + offset) * fine - 0.5).ravel().tolist(), fill=ink)
    silhouette = ink_image.point([0] + [255] * 255).reduce(fine)
    coverage = np.asarray(silhouette, dtype=np.float32) / 255
    return Sprite(ink_image, coverage, coverage >= 0.5, fine)


@lru_cache(maxsize=64)
def unit_area(category: int) -> float:
    """Return the mask area of a category (0: clutter) with a unit of one pixel, measured on a large drawing."""
    parts = draw_parts(category, np.random.Generator(np.random.PCG64(0)))
    return float(rasterise(parts, Pose(0.0, 1.0, False), 100.0).coverage.sum()) / 100.0**2
