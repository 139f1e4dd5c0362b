"""The page of whole detectors' times, from its JSON alone."""

from typing import Any

from pipeline.benchmarks.pages.parts import machine_line, ratio_cell
from pipeline.markdown import Column, number, table
from pipeline.verdicts.times import PREFIXES

COLUMNS = (
    Column("detector", lambda row: f"`{row['experiment']}`"),
    Column("beside", lambda row: f"`{row['baseline']}`"),
    Column("short side", lambda row: ", ".join(str(side) for side in row["sides"]), "r"),
    Column("ms", lambda row: number(row["ms"]["median"], 0), "r"),
    Column("baseline, ms", lambda row: number(row["baseline_ms"]["median"], 0), "r"),
    Column("times the baseline's", lambda row: ratio_cell(row["ratio"]), "r"),
    Column("rounds", lambda row: row["rounds"], "r"),
)
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
        machine_line(result["machine"]) + "\n",
        f"Preset `{result['preset']}`, random weights, an invented image. Detectors of one group are timed in turns, "
        "in an order drawn anew every round; a ratio divides times of one round, cells show median and quartiles. "
        "Global scale learners (`_gsl`) predict the scales that POD prints, decomposed networks (`_fd`) have them.\n",
    ]
    for kind, text in TITLES.items():
        rows = [row for row in result["rows"] if row["kind"] == kind]
        if rows:
            parts += [f"## {kind.capitalize()}, {result['precision'][kind]}\n", f"{text}\n"]
            parts.append(table(COLUMNS, rows))
    parts.append(f"Made by `python -m pipeline.benchmarks.detector_times --device {device}`.\n")
    return "\n".join(parts)
