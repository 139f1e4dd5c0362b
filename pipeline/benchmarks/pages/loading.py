"""The page of the loading benchmark, from its JSON alone."""

from typing import Any

from pipeline.benchmarks.pages.parts import heading, spread
from pipeline.markdown import Column, number, plural, table

KINDS = {"regular": "regular images", "collage": "collages of four images"}
PARTS = {"decode": "decode the JPEG", "resize": "resize", "flip": "flip (every second image)"}


def loading_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    settings, speeds = result["settings"], result["loaded_per_worker"]
    columns = [
        Column("one loading process gives", KINDS.__getitem__),
        Column("network inputs a second", lambda kind: spread(speeds[kind]), "r"),
        Column("times the step", lambda kind: number(result["ratio_per_worker"][kind], 2), "r"),
        Column("processes needed", lambda kind: result["workers_needed"][kind], "r"),
    ]
    parts = [Column("part", PARTS.__getitem__), Column("ms", lambda name: number(result["parts_ms"][name], 2), "r")]
    together = result["loaded_together"]
    images = spread(result["consumed"], mark="**").replace(" (", " images a second (").rstrip(")")
    fed = "the training never waits" if result["ratio_together"] >= 1 else "the training waits"
    return "\n".join(
        [
            heading("Data loading against training", result, "network and images are those of this preset"),
            f"Faster R-CNN R50-FPN at preset `{result['preset']}`, batch {settings['batch']}, "
            f"{settings['precision']}: a training step consumes {images}; forward, backward and update). Loading "
            "decodes JPEG files (640x480 pixels at the papers' size), resizes, flips, and makes collages where wanted; "
            "one process has one thread. Medians with quartiles; loading and training are timed one after the other.\n",
            table(columns, speeds),
            f"{plural(settings['workers'], 'process', 'processes')} together give {number(together['median'], 2)} "
            f"regular images a second ({number(together['low'], 2)} to {number(together['high'], 2)}), "
            f"{number(result['ratio_together'], 2)} times what the step consumes: {fed}.\n",
            "Milliseconds of one image by part:\n",
            table(parts, result["parts_ms"]),
            f"Made by `python -m pipeline.benchmarks.loading --preset {result['preset']} "
            f"--device {result['device']}`.\n",
        ]
    )
