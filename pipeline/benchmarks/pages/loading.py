"""The page of the loading benchmark, from its JSON alone."""

from __future__ import annotations

from typing import Any

from pipeline.benchmarks.pages.layers import machine_line
from pipeline.reporting.markdown import number, plural, table

KINDS = {"regular": "regular images", "collage": "collages of four images"}
PARTS = {"decode": "decode the JPEG", "resize": "resize", "flip": "flip (every second image)"}


def loading_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    device = {"cpu": "a CPU", "cuda": "a GPU"}[result["device"]]
    settings, consumed = result["settings"], result["consumed"]
    rows = [
        [
            KINDS[kind],
            f"{number(found['median'], 2)} ({number(found['low'], 2)} to {number(found['high'], 2)})",
            number(result["ratio_per_worker"][kind], 2),
            str(result["workers_needed"][kind]),
        ]
        for kind, found in result["loaded_per_worker"].items()
    ]
    together = result["loaded_together"]
    fed = "the training never waits" if result["ratio_together"] >= 1 else "the training waits"
    small = "**Not at the papers' size: network and images are those of this preset.**\n"
    return "\n".join(
        [
            f"# Data loading against training on {device}\n",
            *([] if result["preset"] == "full" else [small]),
            machine_line(result["machine"], {"memory_format": "channels_last"}) + "\n",
            f"Faster R-CNN R50-FPN at preset `{result['preset']}`, batch {settings['batch']}, "
            f"{settings['precision']}: a training step consumes **{number(consumed['median'], 2)}** images a second "
            f"({number(consumed['low'], 2)} to {number(consumed['high'], 2)}; forward, backward and update). Loading "
            "decodes JPEG files (640x480 pixels at the papers' size), resizes, flips, and makes collages where wanted; "
            "one process has one thread. Medians with quartiles; loading and training are timed one after the other.\n",
            table(
                ["one loading process gives", "network inputs a second", "times the step", "processes needed"],
                rows,
                "lrrr",
            ),
            f"{plural(settings['workers'], 'process', 'processes')} together give {number(together['median'], 2)} "
            f"regular images a second ({number(together['low'], 2)} to {number(together['high'], 2)}), "
            f"{number(result['ratio_together'], 2)} times what the step consumes: {fed}.\n",
            "Milliseconds of one image by part:\n",
            table(["part", "ms"], [[PARTS[name], number(ms, 2)] for name, ms in result["parts_ms"].items()], "lr"),
            f"Made by `python -m pipeline.benchmarks.loading --preset {result['preset']} "
            f"--device {result['device']}`.\n",
        ]
    )
