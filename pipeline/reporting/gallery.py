"""A gallery a paper: the same validation images as annotated, as its baseline sees them, and as its method does."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline import markdown as md
from pipeline import paths
from pipeline.blocks import unlisted
from pipeline.data.manifest import load_split, size_counts
from pipeline.data.pixels import LEVELS, as_rgb
from pipeline.data.upright import upright
from pipeline.errors import InputError, reading
from pipeline.evaluation import evaluate_detections
from pipeline.evaluation.scoring import evaluated_part
from pipeline.files import read_json, replacing, write_text
from pipeline.published.papers import NAMES, check_paper
from pipeline.published.rows import drawn, load_rows
from pipeline.reporting.context import numbers_of
from pipeline.reporting.gallery_choice import Matched, best_threshold, choose_images, group, shown_at
from pipeline.verdicts.results import Results

PANEL, MARGIN, HEAD = 416, 8, 22  # pixels: width of a panel, space around it, height of the line above it
TRUTH, RIGHT, WRONG, MISSED = (255, 255, 255), (64, 196, 255), (255, 140, 0), (255, 255, 255)


def write_gallery(preset: str, paper: str) -> None:
    """Write `gallery/<paper>.png` and a page that explains it. Raises InputError without a paper or its detections."""
    check_paper(paper)
    results = Results(preset)
    split = load_split(paths.manifest(preset), "val")
    path = paths.gallery(preset) / f"{paper}.png"
    sheet, thresholds = draw_paper(results, split, drawn(paper, load_rows(paper)))
    with replacing(path) as temporary:
        sheet.save(temporary, optimize=True)
    write_text(path.with_suffix(".md"), gallery_page(results, paper, thresholds))


def draw_paper(results: Results, split: dict, pair: tuple[str, str]) -> tuple[Image.Image, list[float]]:
    """Return one paper's picture, and the score above which each of the two runs is shown."""
    files = [paths.detections(results.name, evaluation) for evaluation in pair]
    absent = next((name for name, file in zip(pair, files, strict=True) if not file.is_file()), None)
    if absent:
        raise InputError(f"The gallery needs the detections of {absent}, which is not run; run its predict stage.")
    images = {image["id"]: image for image in split["images"][: results.preset.data.limit_val]}
    truths = {image: [] for image in images}
    truths |= group([a for a in split["annotations"] if not a["iscrowd"] and a["image_id"] in images])
    runs, thresholds = [], []
    for file, detections in zip(files, median_block(files, evaluated_part(split, len(images))), strict=True):
        with reading(file, "run its predict stage again"):
            found = group(detections)
            threshold, _ = best_threshold(truths, found)
            runs.append({image: shown_at(threshold, truths[image], found.get(image, [])) for image in truths})
        thresholds.append(threshold)
    sizes = {image: size_counts(annotations, results.preset.pixel_factor) for image, annotations in truths.items()}
    names = {category["id"]: category["name"] for category in split["categories"]}
    rows = []
    for image, why in choose_images(truths, sizes, runs):
        picture = open_picture(Path(split["images_root"]), images[image])
        rows.append(draw_row(picture, why, truths[image], [run[image] for run in runs], names))
    return stack(rows, pair, thresholds, results.name), thresholds


def median_block(files: Sequence[Path], truth: dict) -> list[list[dict]]:
    """Return the detections of a baseline and a method in the block whose gain in AP is the median one."""
    both = [unlisted(read_json(file)) for file in files]
    pairs = list(zip(*both, strict=False))
    if len(pairs) == 1:
        return list(pairs[0])
    aps = [[evaluate_detections(truth, found)["ap"] or 0.0 for found in pair] for pair in pairs]
    order = sorted(range(len(pairs)), key=lambda number: aps[number][1] - aps[number][0])
    return list(pairs[order[len(order) // 2]])


def open_picture(root: Path, entry: dict) -> Image.Image:
    """Open an image as RGB, turned as its boxes are. Raises InputError where it is missing or broken."""
    path = root / entry["file_name"]
    try:
        with Image.open(path) as image:
            return as_rgb(upright(image) if entry.get("exif") else image, entry.get("levels", LEVELS))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be read as an image ({error}); restore it and run verify again.") from error


def draw_row(
    picture: Image.Image, why: str, truths: list[dict], runs: list[Matched], names: dict[int, str]
) -> Image.Image:
    """Return three panels side by side: annotations, baseline, method; each with a line of counts above it."""
    scale = PANEL / picture.width
    enlarged = picture.resize((PANEL, max(1, round(picture.height * scale))), Image.Resampling.LANCZOS)
    row = Image.new("RGB", (3 * PANEL + 2 * MARGIN, enlarged.height + HEAD), "white")
    draw = ImageDraw.Draw(row)
    for column, run in enumerate([None, *runs]):
        panel, left = enlarged.copy(), column * (PANEL + MARGIN)
        if run is None:
            boxes = [(truth["bbox"], TRUTH, names[truth["category_id"]], False) for truth in truths]
            head = f"annotated: {md.plural(len(truths), 'object')} ({why})"
        else:
            boxes = [(t["bbox"], MISSED, "", True) for t, missed in zip(truths, run.missed, strict=True) if missed]
            boxes += [
                (d["bbox"], RIGHT if right else WRONG, f"{names[d['category_id']]} {100 * d['score']:.0f}", False)
                for d, right in zip(run.detections, run.right, strict=True)
            ]
            right = sum(run.right)
            head = f"{right} right, {len(run.right) - right} wrong, {sum(run.missed)} missed"
        draw_boxes(panel, boxes, scale)
        row.paste(panel, (left, HEAD))
        draw.text((left + 2, 3), head, fill="black", font=ImageFont.load_default(13))
    return row


def draw_boxes(panel: Image.Image, boxes: list[tuple[list[float], tuple, str, bool]], scale: float) -> None:
    """Draw boxes (xywh in unscaled pixels, colour, label, dashed) and their labels outside them.

    A label that would lie on one already drawn tries the other side of its box, then is left out.
    """
    draw, font = ImageDraw.Draw(panel), ImageFont.load_default(10)
    for (x, y, w, h), colour, _, dashed in boxes:
        corners = [round(v * scale) for v in (x, y, x + w, y + h)]
        if dashed:
            _dashed(draw, corners, colour)
        else:
            draw.rectangle([v + d for v, d in zip(corners, (-1, -1, 1, 1), strict=True)], outline=(0, 0, 0))
            draw.rectangle(corners, outline=colour, width=1 if colour == TRUTH else 2)
    taken: list[tuple[float, float, float, float]] = []
    for (x, y, _, h), colour, label, _ in boxes:
        if not label:
            continue
        width, height = draw.textlength(label, font=font) + 4, 12
        left = min(max(0, x * scale - 1), panel.width - width)
        for top in ((y * scale) - height - 1, (y + h) * scale + 2):
            area = (left, top, left + width, top + height)
            if 0 <= top <= panel.height - height and not any(_overlap(area, other) for other in taken):
                taken.append(area)
                draw.rectangle(area, fill=(20, 20, 20))
                draw.text((left + 2, top), label, fill=colour, font=font)
                break


def stack(rows: list[Image.Image], pair: tuple[str, str], thresholds: list[float], preset: str) -> Image.Image:
    """Return the rows below one another under a heading, in 256 colours to keep the file small."""
    width, top = 3 * PANEL + 4 * MARGIN, 66
    height = top + sum(row.height + MARGIN for row in rows) + MARGIN
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    legend = f"preset {preset}; blue: right (IoU 0.5 or more), orange: wrong, white dashes: missed"
    draw.text((MARGIN, 6), f"Annotations, baseline and method; {legend}", fill="black", font=ImageFont.load_default(14))
    heads = ["annotations", *(f"{n}\nscore {t:.2f} or more" for n, t in zip(pair, thresholds, strict=True))]
    for column, head in enumerate(heads):
        left = MARGIN + column * (PANEL + MARGIN)
        draw.multiline_text((left + 2, 30), head, fill="black", font=ImageFont.load_default(13))
    for row in rows:
        sheet.paste(row, (MARGIN, top))
        top += row.height + MARGIN
    return sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def gallery_page(results: Results, paper: str, thresholds: list[float]) -> str:
    """Return the page below which a paper's picture stands: what it shows, and how its images were chosen."""
    pair = drawn(paper, load_rows(paper))
    text = f"# Gallery of {NAMES[paper]}, preset {results.name}\n\n{numbers_of(results)}\n\n"
    text += "Each row is one validation image: annotations, the baseline's detections, the method's. The images are "
    text += "chosen by rule: two with the most small objects, two with the most large ones, two where both runs "
    text += "differ most.\n\n"
    shown = " and ".join(f"{threshold:.2f} for `{name}`" for name, threshold in zip(pair, thresholds, strict=True))
    text += f"Shown above a score of {shown} (each run's best F1 at IoU 0.5).\n\n"
    return text + f"![Annotations, `{pair[0]}` and `{pair[1]}` on the same validation images]({paper}.png)\n"


def _dashed(draw: ImageDraw.ImageDraw, corners: list[int], colour: tuple) -> None:
    left, top, right, bottom = corners
    for x in range(left, right + 1, 6):
        for y in (top, bottom):
            draw.line([x, y, min(x + 3, right), y], fill=colour)
    for y in range(top, bottom + 1, 6):
        for x in (left, right):
            draw.line([x, y, x, min(y + 3, bottom)], fill=colour)


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
