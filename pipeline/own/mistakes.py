"""Draw a detector's worst misses and worst false alarms: `python -m pipeline.own.mistakes EXPERIMENT[__TEST]`.

The pictures go to `reports/<preset>/mistakes`, which git ignores. Misses are the largest objects that nothing shown
overlaps by half, false alarms the surest detections of no object, at the thresholds of the best F1; one of each in a
picture, of the first training.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline import blocks, config, paths
from pipeline.cli import run
from pipeline.data.manifest import load_split
from pipeline.errors import InputError
from pipeline.evaluation.scoring import evaluated_part
from pipeline.files import read_json, replacing
from pipeline.own.confusion import pairs, thresholds_of
from pipeline.reporting.gallery import HEAD, MARGIN, PANEL, TRUTH, WRONG, draw_boxes, open_picture

SHOWN, COLUMNS = 6, 3


def folder(preset: str) -> Path:
    """Return where a preset's pictures of mistakes lie."""
    return paths.index(preset).parent / "mistakes"


def draw_mistakes(preset: str, evaluation: str) -> list[Path]:
    """Write up to two pictures, of misses and of false alarms, and return their paths; none of what never happened.

    Raises:
        InputError: the evaluation has no detections.
    """
    file = paths.detections(preset, evaluation)
    if not file.is_file():
        raise InputError(f"{file} does not exist; build {evaluation} under preset {preset} before its mistakes.")
    split = evaluated_part(load_split(paths.manifest(preset), "val"), config.load_preset(preset).data.limit_val)
    detections = blocks.unlisted(read_json(file))[0]
    thresholds = {key: one["threshold"] for key, one in thresholds_of(split, detections).items()}
    found = pairs(split, detections, thresholds)
    misses = sorted((a for a, b in found if b is None), key=lambda one: -one["bbox"][2] * one["bbox"][3])
    alarms = sorted((b for a, b in found if a is None), key=lambda one: -one["score"])
    written = []
    for name, ordered in (("misses", misses), ("false_alarms", alarms)):
        chosen = first_of_each(ordered)
        if chosen:
            written.append(path := folder(preset) / f"{evaluation}_{name}.png")
            with replacing(path) as temporary:
                sheet(split, chosen, WRONG if name == "false_alarms" else TRUTH).save(temporary)
    return written


def first_of_each(ordered: Sequence[dict]) -> list[dict]:
    """Return the first record of each image, `SHOWN` at most."""
    chosen: dict[int, dict] = {}
    for one in ordered:
        chosen.setdefault(one["image_id"], one)
    return list(chosen.values())[:SHOWN]


def sheet(split: dict, chosen: Sequence[dict], colour: tuple[int, int, int]) -> Image.Image:
    """Return the pictures of some records side by side, each with its box and its class above it."""
    entries = {entry["id"]: entry for entry in split["images"]}
    names = {category["id"]: category["name"] for category in split["categories"]}
    panels = []
    for one in chosen:
        picture = open_picture(Path(split["images_root"]), entries[one["image_id"]])
        scale = PANEL / max(picture.size)
        panel = picture.resize([max(1, round(side * scale)) for side in picture.size], Image.Resampling.LANCZOS)
        draw_boxes(panel, [(one["bbox"], colour, "", False)], scale)
        score = f" {100 * one['score']:.0f}" if "score" in one else ""
        panels.append((f"{names[one['category_id']]}{score}: {entries[one['image_id']]['file_name']}", panel))
    columns = min(COLUMNS, len(panels))
    rows = [panels[start : start + columns] for start in range(0, len(panels), columns)]
    heights = [HEAD + MARGIN + max(panel.height for _, panel in row) for row in rows]
    result = Image.new("RGB", (columns * (PANEL + MARGIN) + MARGIN, sum(heights) + MARGIN), "white")
    draw, top = ImageDraw.Draw(result), MARGIN
    for row, height in zip(rows, heights, strict=True):
        for number, (title, panel) in enumerate(row):
            left = MARGIN + number * (PANEL + MARGIN)
            draw.text((left, top), title[-60:], fill="black", font=ImageFont.load_default(13))
            result.paste(panel, (left, top + HEAD))
        top += height
    return result


def main(options: argparse.Namespace) -> None:
    written = draw_mistakes(options.preset, options.name)
    print("\n".join(path.as_posix() for path in written) or "It makes no mistake at its thresholds.")


if __name__ == "__main__":
    run(main, __doc__, name="evaluation")
