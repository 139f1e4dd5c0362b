"""The page of the benchmark of COCO's evaluation, from its JSON alone."""

from typing import Any

from pipeline.benchmarks.pages.parts import machine_line, ratio_cell, spread
from pipeline.markdown import Column, number, plural, table

NAMES = {
    "pycocotools": "pycocotools",
    "faster_coco_eval": "faster-coco-eval",
    "ours": "ours",
    "ours_draws": "ours, with draws",
}


def evaluation_page(result: dict[str, Any]) -> str:
    """Return the Markdown page."""
    settings, seconds, against = result["settings"], result["seconds"], result["ratios"]
    columns = [
        Column("evaluator", NAMES.__getitem__),
        Column("seconds", lambda name: spread(seconds[name]) if name in seconds else "not installed", "r"),
        Column("ours with draws, times this", lambda name: ratio_cell(against[name]) if name in seconds else "", "r"),
    ]
    limit = result["limit"]
    marks = ", and ".join(
        f"{number(against[name]['median'], 2)} times {NAMES[name]} "
        f"(**{'met' if against[name]['median'] <= limit else 'missed'}**)"
        for name in ("faster_coco_eval", "ours")
        if name in seconds
    )
    equal = ", ".join(f"{value:.0e} to {NAMES[name]}" for name, value in result["largest_difference"].items())
    return "\n".join(
        [
            "# COCO's evaluation with bootstrap draws\n",
            machine_line(result["machine"], f"NumPy {result['machine']['numpy']}") + "\n",
            f"Invented boxes: {settings['images']:,} images, {settings['objects']:,} objects of "
            f"{settings['categories']} categories, {settings['detections']:,} detections. Every evaluator begins with "
            "the records in memory and ends with COCO's twelve numbers, which differ by at most "
            f"{equal}. Ours also checks every record, and with draws gives the AP, AP50, AP75 and AP by size of "
            f"{settings['draws']} samples of the images. Processor time of one core, medians of "
            f"{plural(settings['rounds'], 'round')} in turn, with quartiles.\n",
            table(columns, NAMES),
            f"{settings['draws']} draws may at most take an evaluation to {limit:g} times its time. Ours with draws "
            f"takes {marks}, both without draws. What the draws are made of (detections that are matched once, by "
            f"category) takes {number(result['contributions_mb'], 1)} MB here; what is kept of them, six numbers a "
            f"draw, {number(48 * settings['draws'] / 1000, 1)} kB.\n",
            "Made by `python -m pipeline.benchmarks.evaluation`.\n",
        ]
    )
