"""Composition of ScaleWorld scenes: which objects, where, at which size and in which order, with COCO's statistics.

A scene has a latent type, which says whether it has small, medium and large objects. The shares of types, the mean
counts in each type and the sizes in each class follow COCO train2017. Lengths are pixels of a 640x480 image times
`factor`.
"""

from dataclasses import dataclass, field

import numpy as np

from pipeline.data.scaleworld.shapes import CATEGORIES, Part, Pose, Sprite, draw_parts, rasterise, unit_area

# share of scenes, mean numbers of (small, medium, large) objects; 0 means that the class is absent
SCENE_TYPES: tuple[tuple[float, tuple[float, float, float]], ...] = (
    (0.010, (0.0, 0.0, 0.0)),
    (0.020, (7.5, 0.0, 0.0)),
    (0.042, (0.0, 2.3, 0.0)),
    (0.103, (7.4, 3.7, 0.0)),
    (0.205, (0.0, 0.0, 2.0)),
    (0.056, (3.5, 0.0, 1.8)),
    (0.222, (0.0, 2.2, 2.4)),
    (0.342, (5.6, 4.5, 2.4)),
)
MOST = (30, 16, 7)  # objects of a class in one scene
# sqrt(mask area) at these quantiles of a class, in pixels of a 640x480 image
SIZE_QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
SIZES = (
    (9.0, 11.0, 16.7, 23.5, 28.3, 32.0),
    (32.0, 48.0, 60.0, 74.0, 85.0, 96.0),
    (96.0, 155.0, 225.0, 335.0, 420.0, 520.0),
)
SMALL, LARGE = 32.0, 96.0  # COCO's class limits on sqrt(mask area)
LEAST_PIXELS = 3  # least visible mask of an object
MOST_HIDDEN = 0.35  # share of a mask that occluders and the image border may hide
TRIES = 30


@dataclass
class Item:
    """One object, or clutter where `category` is 0: its drawing, the sprite's top left corner, and its visible area."""

    category: int
    sprite: Sprite
    x: int
    y: int
    area: int  # pixels of the whole mask, including hidden and outside parts
    visible: int  # visible pixels of the mask
    low: float = 0.0  # the visible area must stay in [low, high)
    high: float = float("inf")


@dataclass
class Scene:
    """Items back to front, and `owner` [H, W]: 1 + the index of the item visible in a pixel, 0 for background."""

    owner: np.ndarray
    factor: float
    items: list[Item] = field(default_factory=list)
    dropped: int = 0  # number of objects for which no place was found

    @property
    def objects(self) -> list[tuple[int, Item]]:
        """The (owner number, item) of every item with a category."""
        return [(number, item) for number, item in enumerate(self.items, 1) if item.category]


def image_size(factor: float, portrait: bool) -> tuple[int, int]:
    """Return (height, width) in pixels."""
    long, short = round(640 * factor), round(480 * factor)
    return (long, short) if portrait else (short, long)


def draw_pose(rng: np.random.Generator, category: int) -> Pose:
    """Draw a rotation (within 25 degrees for most objects, any for clutter), a mild change of aspect and a flip."""
    if category == 0:
        rotation = rng.uniform(-np.pi, np.pi)
    elif rng.random() < 0.08:
        rotation = np.deg2rad(rng.uniform(-45, 45))
    else:
        rotation = np.deg2rad(np.clip(rng.normal(0, 11), -25, 25))
    return Pose(float(rotation), float(np.exp(rng.normal(0, 0.06))), bool(rng.random() < 0.5))


def draw_size(rng: np.random.Generator, size_class: int, crowding: float = 1.0) -> float:
    """Draw sqrt(mask area) in pixels at 640x480; `crowding` > 1 prefers small sizes."""
    return float(np.interp(rng.random() ** crowding, SIZE_QUANTILES, SIZES[size_class]))


def stratum(start: np.ndarray, index: int) -> np.ndarray:
    """Return point `index` of a low-discrepancy sequence in the unit cube, shifted by `start` [4].

    It decides the type and counts of scene `index`, so that a few hundred scenes already have the wanted shares. It is
    a Kronecker sequence; its steps, the golden ratio and three cube roots, gave the least errors at 100 to 1000 scenes.
    """
    steps = np.array([(5**0.5 - 1) / 2, 2 ** (1 / 3), 3 ** (1 / 3), 5 ** (1 / 3)])
    return (start + index * steps) % 1.0


def compose_scene(rng: np.random.Generator, factor: float, point: np.ndarray) -> Scene:
    """Sample a scene, in which every item stays visible enough and keeps its size class.

    `point` [4] in 0..1 decides the scene's type and its numbers of small, medium and large objects.
    """
    height, width = image_size(factor, portrait=rng.random() < 0.25)
    scene = Scene(np.zeros((height, width), np.int16), factor)
    counts = _object_counts(point)
    order = _depth_order(rng, counts)
    categories = _scene_categories(rng)
    centres = rng.uniform(0.15, 0.85, (int(rng.integers(1, 4)), 2))
    for size_class, size in order:
        if size_class is None:
            place_clutter(rng, scene, size)
            continue
        category = int(rng.choice(len(CATEGORIES), p=categories)) + 1
        crowd = centres if size_class == 0 and counts[0] >= 5 else None
        crowding = 1 + 0.12 * (counts[2] - 1) if size_class == 2 else 1.0
        if not _place_object(rng, scene, category, size_class, size, crowd, crowding):
            scene.dropped += 1
    return scene


def _object_counts(point: np.ndarray) -> list[int]:
    shares = np.cumsum([share for share, _ in SCENE_TYPES])
    means = SCENE_TYPES[min(int(np.searchsorted(shares, point[0], side="right")), len(SCENE_TYPES) - 1)][1]
    counts = [0, 0, 0]
    for k, mean in enumerate(means):
        if mean:  # the quantile function of the geometric distribution from 1 on
            counts[k] = min(1 + int(np.log1p(-point[k + 1]) / np.log1p(-1 / mean)), MOST[k])
    return counts


def _depth_order(rng: np.random.Generator, counts: list[int]) -> list[tuple[int | None, float]]:
    """Return (size class or None for clutter, size) back to front; larger items tend to be further back."""
    order: list[tuple[int | None, float]] = []
    for size_class, count in enumerate(counts):
        crowding = 1 + 0.12 * (count - 1) if size_class == 2 else 1.0
        order += [(size_class, draw_size(rng, size_class, crowding)) for _ in range(count)]
    order += [(None, float(np.exp(rng.uniform(np.log(12), np.log(70))))) for _ in range(rng.poisson(1.5))]
    depth = [-np.log(size) + rng.normal(0, 0.7) for _, size in order]
    return [order[k] for k in np.argsort(depth, kind="stable")]


def _scene_categories(rng: np.random.Generator) -> np.ndarray:
    """Return the category probabilities of one scene, which has about three categories, as in COCO."""
    weights = rng.gamma(0.3, size=len(CATEGORIES)) + 1e-9
    return weights / weights.sum()


def _place_object(
    rng: np.random.Generator,
    scene: Scene,
    category: int,
    size_class: int,
    size: float,
    crowd: np.ndarray | None,
    crowding: float,
) -> bool:
    limits = (0.0, SMALL, LARGE, float("inf"))
    low, high = ((limits[size_class + k] * scene.factor) ** 2 for k in (0, 1))
    parts, pose = draw_parts(category, rng), draw_pose(rng, category)
    # below a factor of 0.2, the smallest objects would have less than three pixels: they are drawn slightly larger
    least = 1.05 * (LEAST_PIXELS**0.5) / scene.factor
    for attempt in range(TRIES):
        if attempt % 5 == 0:
            size = size if attempt == 0 else draw_size(rng, size_class, crowding)
            item = _draw_item(rng, category, parts, pose, max(size, least) * scene.factor)
            item.low, item.high = max(low, LEAST_PIXELS), high
        item.x, item.y = _draw_place(rng, scene, item, crowd)
        if _fits(scene, item):
            put(scene, item)
            return True
    return False


def place_clutter(rng: np.random.Generator, scene: Scene, size: float) -> None:
    """Place clutter of sqrt(mask area) `size` (pixels at 640x480) where it hides no object too much, or nowhere."""
    item = _draw_item(rng, 0, draw_parts(0, rng), draw_pose(rng, 0), size * scene.factor)
    for _ in range(TRIES):
        item.x, item.y = _draw_place(rng, scene, item, None)
        if _fits(scene, item):
            put(scene, item)
            return


def _draw_item(rng: np.random.Generator, category: int, parts: list[Part], pose: Pose, side: float) -> Item:
    offset = (float(rng.random()), float(rng.random()))
    sprite = rasterise(parts, pose, side / unit_area(category) ** 0.5, offset)
    area = int(sprite.mask.sum())
    return Item(category, sprite, 0, 0, area, area)


def _draw_place(rng: np.random.Generator, scene: Scene, item: Item, crowd: np.ndarray | None) -> tuple[int, int]:
    """Draw the sprite's top left corner: mostly inside the image, sometimes cut by its border, or near a crowd."""
    place = []
    cut = 0.3 if rng.random() < 0.3 else 0.0
    centre = crowd[rng.integers(len(crowd))] if crowd is not None and rng.random() < 0.7 else None
    for axis, (extent, image) in enumerate(zip(item.sprite.mask.shape[::-1], scene.owner.shape[::-1], strict=True)):
        low, high = sorted((-cut * extent, image - (1 - cut) * extent))
        at = rng.uniform(low, high)
        if centre is not None:
            at = float(np.clip(rng.normal(centre[axis], 0.12) * image - extent / 2, low, high))
        place.append(round(at))
    return place[0], place[1]


def window(item: Item, shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the slices of the image and of the sprite that contain the part of an item inside the image."""
    slices = []
    for start, extent, size in (
        (item.y, item.sprite.mask.shape[0], shape[0]),
        (item.x, item.sprite.mask.shape[1], shape[1]),
    ):
        first, last = max(start, 0), max(min(start + extent, size), max(start, 0))
        slices.append((slice(first, last), slice(first - start, last - start)))
    return (slices[0][0], slices[1][0]), (slices[0][1], slices[1][1])


def _fits(scene: Scene, item: Item) -> bool:
    in_image, in_sprite = window(item, scene.owner.shape)
    mask = item.sprite.mask[in_sprite]
    item.visible = int(np.count_nonzero(mask))
    if not _shows(item, item.visible):
        return False
    covered = np.bincount(scene.owner[in_image][mask])
    return all(_shows(scene.items[k - 1], scene.items[k - 1].visible - covered[k]) for k in covered.nonzero()[0] if k)


def _shows(item: Item, visible: int) -> bool:
    if item.category == 0:
        return True
    return item.low <= visible < item.high and visible >= (1 - MOST_HIDDEN) * item.area


def put(scene: Scene, item: Item) -> None:
    """Put an item in front of all others."""
    in_image, in_sprite = window(item, scene.owner.shape)
    mask = item.sprite.mask[in_sprite]
    covered = np.bincount(scene.owner[in_image][mask])
    for number in covered.nonzero()[0]:
        if number:
            scene.items[number - 1].visible -= int(covered[number])
    scene.items.append(item)
    scene.owner[in_image][mask] = len(scene.items)
