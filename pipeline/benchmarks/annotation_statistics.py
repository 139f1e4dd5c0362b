"""Count what the papers say of COCO's annotations: `python -m pipeline.benchmarks.annotation_statistics --labels DIR`.

DIR has `instances_{train,val}2017.json` (or `.json.gz`), or the rebuilt files of this project's small data sets. In two
minutes it writes `annotation_statistics.{json,md}` and a figure of relative scales into `reports/benchmarks`. Without
`--labels` the numbers that lie there are judged again.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.analysis.anchor_match import anchor_shapes, best_overlaps, resized
from pipeline.analysis.chip_counts import count_chips
from pipeline.analysis.costs import area_of
from pipeline.analysis.pyramid_inputs import labelled_units, level_name
from pipeline.benchmarks.pages.annotations import Row, annotations_page, judged
from pipeline.cli import run
from pipeline.config import experiments, resolve
from pipeline.data.labelled.sets import LabelSet, read_label_sets
from pipeline.data.statistics import SIZE_CLASSES, count_scales
from pipeline.files import read_json, write_json, write_text
from pipeline.published.tables import load_published
from pipeline.reporting.figures.statistics import plot_relative_scales

OUT = Path("reports/benchmarks")
NAME = "annotation_statistics"
AREAS = ("boxes", "masks")  # a size is the root of the box's or of the mask's area
CHIPS, SHARE, FEW, SCALE = 0.1, 2.5, 2.0, 0.005  # tolerances: chips, points, points, scale
LONGER, SNIP = 0.5, "snip_drfcn_r50_7ep_snip"  # tolerance of "doubles", a whole number in words, and whose epoch it is
CHIP_SEEDS = {"val2017": 5, "train2017": 1}


def main(options: argparse.Namespace) -> None:
    if options.labels is None:
        result = judged_rows(read_json(OUT / f"{NAME}.json"))
    else:
        labels = read_label_sets(options.labels)
        result = measure(labels)
        scales = {name: found.scales for name, found in labels.items()}
        plot_relative_scales(scales, relative_scales_printed(), OUT / f"{NAME}.png")
    write_json(OUT / f"{NAME}.json", result)
    write_text(OUT / f"{NAME}.md", annotations_page(result))


def measure(labels: dict[str, LabelSet], chip_seeds: dict[str, int] | None = None) -> dict[str, Any]:
    """Return all numbers beside the printed ones; chips of a split are drawn with `chip_seeds` seeds."""
    chips = {name: chip_counts(found, (chip_seeds or CHIP_SEEDS)[name]) for name, found in labels.items()}
    sizes = {f"{name}, {kind}": size_shares(found, kind) for name, found in labels.items() for kind in AREAS}
    anchors = {name: anchor_shares(found) for name, found in labels.items()}
    snip = [spec for name in experiments("snip") if (spec := resolve(name, "full")).experiment.method.snip]
    drawn = {name: enumerate(found["sampled"]["histogram"]) for name, found in chips.items()}
    units = {
        name: labelled_units(snip, found, sum(number * count for number, count in drawn[name]))
        for name, found in labels.items()
    }
    counted = {
        "labels": {
            name: {
                "source": found.source,
                "images": len(found.sizes),
                "objects": len(found.boxes),
                "mask_areas_annotated": int(found.annotated.sum()),
                "left_out": found.left_out,
            }
            for name, found in labels.items()
        },
        "rows": [],
        "chips": chips,
        "units": units,
        "sizes": sizes,
        "anchors": anchors,
    }
    return judged_rows(counted)


def judged_rows(counted: dict[str, Any]) -> dict[str, Any]:
    """Return what was counted with the rows of printed numbers made and judged anew."""
    chips, units, sizes, anchors = (counted[key] for key in ("chips", "units", "sizes", "anchors"))
    rows = [*chip_rows(chips), epoch_row(units), *size_rows(sizes), *scale_rows(sizes), *anchor_rows(anchors)]
    return counted | {"rows": [judged(row) for row in rows]}


def printed(paper: str, claim: str, part: str = "values") -> dict[str, Any]:
    """Return the numbers of a printed sentence, or those derived from it."""
    return getattr(next(found for found in load_published(paper).claims if found.id == claim), part)


def relative_scales_printed() -> dict[str, float]:
    """Return SNIP's printed quantiles of COCO's relative scales, by their names in `count_scales`."""
    tails = printed("snip", "snip_c2_tail_scale")
    return {"q10": tails["p10"], "q50": printed("snip", "snip_c1_median_scale")["coco"], "q90": tails["p90"]}


def chip_counts(labels: LabelSet, seeds: int) -> dict[str, Any]:
    """Return the chips per image of SNIP's sampling and of SNIPER's grid, each for several seeds."""
    result: dict[str, Any] = {}
    for kind in ("sampled", "grid"):
        found = [count_chips(labels, kind, seed) for seed in range(seeds)]
        means = [float(counts.chips.mean()) if len(counts.chips) else None for counts in found]
        result[kind] = {
            "images": len(found[0].chips),
            "objects": found[0].objects,
            "objects_that_fit_no_chip": found[0].uncovered,
            "means": [None if mean is None else round(mean, 4) for mean in means],
            "histogram": np.bincount(found[0].chips).tolist(),
        }
    return result


def size_shares(labels: LabelSet, kind: str) -> dict[str, float | None]:
    """Return the percentages of objects and of images by COCO's size classes, and relative scales.

    Images are those with an object: the paper does not say which it counts, and not all label files list others.
    """
    areas = labels.box_areas if kind == "boxes" else labels.mask_areas
    used, rows = np.unique(labels.rows, return_inverse=True)
    image_areas = labels.sizes[used].prod(axis=1)
    found = count_scales(image_areas, rows, areas, areas, 1.0, labels.left_out)
    result = {
        f"{what}_{name}": percent(found[f"{what}_share_{name}"])
        for what in ("object", "image")
        for name in SIZE_CLASSES
    }
    result |= {name: rounded(found[f"relative_scale_{name}"]) for name in ("q10", "q50", "q90")}
    if len(areas):
        result["below_one_percent"] = percent(float((areas / image_areas[rows] < 0.01).mean()))
        result["above_80_px"] = percent(float((np.sqrt(areas) > 80).mean()))
        result["q90_over_q10"] = rounded(found["relative_scale_q90"] / found["relative_scale_q10"])
    return result


def anchor_shares(labels: LabelSet) -> dict[str, float | None]:
    """Return the percentages of boxes that an anchor matches at IoU 0.5 and 0.7, at 800x1200 pixels."""
    setting = printed("snip", "snip_c14_anchor_match")
    boxes, sizes = resized(labels.boxes, labels.sizes[labels.rows], 800, 1200)
    best = best_overlaps(boxes, sizes, anchor_shapes(setting["scales"]), setting["stride"])
    if not len(best):
        return dict.fromkeys(("iou_50", "iou_70", "below_50", "iou_of_printed_share"))
    return {
        "iou_50": percent(float((best >= 0.5).mean())),
        "iou_70": percent(float((best >= 0.7).mean())),
        "below_50": percent(float((best < 0.5).mean())),
        "iou_of_printed_share": rounded(float(np.quantile(best, 1 - setting["pct_05"] / 100))),
    }


def chip_rows(chips: dict[str, Any]) -> list[Row]:
    """Return the rows of SNIP's section 6.2."""
    value = printed("snip", "snip_c8_chips")["chips"]
    ours = {
        f"{name}, {kind}": rounded(float(np.mean(found[kind]["means"]))) if None not in found[kind]["means"] else None
        for name, found in chips.items()
        for kind in ("sampled", "grid")
    }
    return [Row("chips", "snip_c8_chips", "chips of 1000x1000 an image at 1400x2000", value, CHIPS, ours, digits=2)]


def epoch_row(units: dict[str, dict[str, float]]) -> Row:
    """Return the row of SNIP's section 7.1: how much longer its epoch is, by the pixels of all units of an image."""
    spec = resolve(SNIP, "full")
    single = area_of(spec.preset, spec.recipe.short_side, spec.recipe.long_side)
    areas = {
        level_name(spec, level): level.chip_size**2
        if level.chip_size
        else area_of(spec.preset, level.short_side, level.long_side)
        for level in spec.experiment.pyramid
    }
    ours = {
        name: None
        if None in found.values()
        else rounded(sum(found[level] * area for level, area in areas.items()) / single)
        for name, found in units.items()
    }
    value = printed("snip", "snip_c29_snip_time", "derived_values")["factor"]
    what = "pixels of an epoch with SNIP over those of one at 800x1200 (printed: twice the time)"
    return Row("epochs", "snip_c29_snip_time", what, value, LONGER, ours, digits=2)


def size_rows(sizes: dict[str, dict]) -> list[Row]:
    """Return the rows of DST's section 3.1 and of SNIP's section 5."""
    images = printed("dst", "dst_c3_image_share")
    small, large = printed("dst", "dst_c2_small_share"), printed("snip", "snip_c7_large_share")
    ours = {column: found.get("object_small") for column, found in sizes.items()}
    # "above 41 %", with a footnote: "we use the box area instead of the mask area as the size metric"
    above = {"digits": 1, "rule": "above", "by": "boxes"}
    first = Row("sizes", "dst_c2_small_share", "objects that are small, %", small["percent"], 0, ours, **above)
    wanted = [
        *(
            ("dst_c3_image_share", f"images that hold a {name} object, %", images[name], f"image_{name}")
            for name in SIZE_CLASSES
        ),
        ("snip_c7_large_share", "objects above 80 px, %", large["percent"], "above_80_px"),
    ]
    return [first] + [
        Row("sizes", claim, what, value, SHARE, {column: found.get(key) for column, found in sizes.items()}, digits=1)
        for claim, what, value, key in wanted
    ]


def scale_rows(sizes: dict[str, dict]) -> list[Row]:
    """Return the rows of SNIP's figure 1 and section 1."""

    def ours(key: str) -> dict[str, float | None]:
        return {column: found.get(key) for column, found in sizes.items()}

    tails, median = printed("snip", "snip_c2_tail_scale"), printed("snip", "snip_c1_median_scale")
    names = {"q10": "10 % quantile", "q50": "median", "q90": "90 % quantile"}
    claims = {"q50": "snip_c1_median_scale"}
    rows = [
        Row("scales", claims.get(key, "snip_c2_tail_scale"), names[key], value, SCALE, ours(key))
        for key, value in relative_scales_printed().items()
    ]
    ratio, almost = ours("q90_over_q10"), {"digits": 1, "rule": "almost"}
    factor = Row("scales", "snip_c2_tail_scale", "90 % over 10 %", tails["factor"], 0, ratio, **almost)
    share = "objects below 1 % of their image, % (printed: most)"
    most = Row("scales", "snip_c3_under_1pct", share, 50, 0, ours("below_one_percent"), digits=1, rule="above")
    imagenet = Row("scales", "snip_c1_median_scale", "median of ImageNet", median["imagenet"], SCALE, {})
    return [*rows, factor, most, imagenet]


def anchor_rows(anchors: dict[str, dict]) -> list[Row]:
    """Return the rows of SNIP's section 7.2."""
    claim = "snip_c14_anchor_match"
    values = printed("snip", claim)

    def ours(key: str) -> dict[str, float | None]:
        return {name: found[key] for name, found in anchors.items()}

    return [
        Row("anchors", claim, "boxes with an anchor at IoU 0.7, %", values["pct_07"], FEW, ours("iou_70"), digits=1),
        Row("anchors", claim, "boxes with an anchor at IoU 0.5, %", values["pct_05"], FEW, ours("iou_50"), digits=1),
        Row("anchors", claim, "boxes without one at 0.5, %", values["pct_below_05"], 0, ours("below_50"), 1, "above"),
    ]


def percent(share: float | None) -> float | None:
    return None if share is None else round(100 * share, 2)


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def extend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", type=Path, help="folder with COCO's instances files; without one, judge again")


if __name__ == "__main__":
    run(main, __doc__, extend=extend)
