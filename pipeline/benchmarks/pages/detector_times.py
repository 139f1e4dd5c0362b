"""The page of whole detectors' times, from its JSON alone."""

from __future__ import annotations

from typing import Any

from pipeline.benchmarks.pages.layers import machine_line, ratio_cell
from pipeline.reporting.markdown import number, table
from pipeline.reporting.times import PREFIXES

HEADER = ["detector", "beside", "short side", "ms", "baseline, ms", "times the baseline's", "rounds"]
TITLES = {
    "inference": "One image from input to detections: network, suppression, score threshold. Random weights find few "
    "boxes above it, so a trained detector's suppression takes a little longer, in a method and its baseline alike.",
    "training": "One optimiser step on one image with eight objects. Multi-scale training takes the mean of its steps "
    "at every side that it draws.",
}


def detector_times_page(result: dict[str, Any]) -> str:
    """Return the Markdown page of one device."""
    device = "cuda" if result["prefix"] == "gpu" else "cpu"
    parts = [
        f"# Whole detectors' times on {PREFIXES[result['prefix']]}\n",
        machine_line(result["machine"], {"memory_format": "channels_last"}) + "\n",
        f"Preset `{result['preset']}`, random weights, an invented image. Detectors of one group are timed in turns, "
        "in an order drawn anew every round; a ratio divides times of one round, cells show median and quartiles. "
        "Global scale learners (`_gsl`) predict the scales that POD prints, decomposed networks (`_fd`) have them.\n",
    ]
    for kind, text in TITLES.items():
        rows = [row for row in result["rows"] if row["kind"] == kind]
        if rows:
            parts += [f"## {kind.capitalize()}, {result['precision'][kind]}\n", f"{text}\n"]
            parts.append(table(HEADER, [_line(row) for row in rows], "llrrrrr"))
    parts.append(f"Made by `python -m pipeline.benchmarks.detector_times --device {device}`.\n")
    return "\n".join(parts)


def _line(row: dict[str, Any]) -> list[str]:
    return [
        f"`{row['experiment']}`",
        f"`{row['baseline']}`",
        ", ".join(str(side) for side in row["sides"]),
        number(row["ms"]["median"], 0),
        number(row["baseline_ms"]["median"], 0),
        ratio_cell(row["ratio"]),
        str(row["rounds"]),
    ]
