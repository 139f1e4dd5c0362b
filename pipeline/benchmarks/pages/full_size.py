"""The page of the full-size exercise, from its JSON alone."""

from __future__ import annotations

from typing import Any

from pipeline.benchmarks.pages.layers import machine_line
from pipeline.reporting.markdown import number, table

HEADER = ["experiment", "input", "batch", "killed at", "steps", "loss", "detections", "AP", "train, s", "predict, s"]


def full_size_page(result: dict[str, Any]) -> str:
    """Return the Markdown page."""
    rows = result["rows"]
    device = {"cpu": "a CPU", "cuda": "a GPU"}[result["device"]]
    lines = [line(row) for row in rows]
    notes = [note for row in rows for note in remarks(row)]
    return "\n".join(
        [
            "# One experiment a paper at the papers' own size\n",
            f"On {device}. " + machine_line(result["machine"], {"memory_format": "channels_last"}) + "\n",
            f"Preset `{result['preset']}`: full networks and full input sizes on real photographs that are enlarged "
            "for it, from briefly pre-trained backbones. Every stage is the command that the graph runs. Each training "
            "is killed (SIGKILL) at the step shown, started again, and goes on from its checkpoint; then it detects "
            "and is scored. **So few steps teach a detector nothing: this page shows that the full size runs, and no "
            "result.**\n",
            table(HEADER, lines, "llrrrrrrrr"),
            *([*(f"- {note}" for note in notes), ""] if notes else []),
            f"The largest stage held {number(max(row['peak_gib'] for row in rows), 1)} GiB. Seconds of training are "
            "those of both starts together, reading and checkpoints included.\n",
            "Made by `python -m pipeline.benchmarks.full_size`.\n",
        ]
    )


def line(row: dict[str, Any]) -> list[str]:
    """Return the cells of one experiment."""
    seconds = row["seconds"]
    return [
        f"`{row['experiment']}`",
        "x".join(str(side) for side in row["input"]),
        str(row["batch"]),
        str(row["killed_after"]),
        str(row["steps"]),
        f"{number(row['loss_first'], 3)} to {number(row['loss_last'], 3)}",
        str(row["detections"]),
        "n/a" if row["ap"] is None else number(100 * row["ap"], 1),
        number(seconds["killed_training"] + seconds["resumed_training"], 0),
        number(seconds["predict"] + seconds["evaluate"], 0),
    ]


def remarks(row: dict[str, Any]) -> list[str]:
    """Return what a method did in its training."""
    found = []
    if row["collage_share"] is not None:
        found.append(f"`{row['experiment']}`: {number(100 * row['collage_share'], 0)} % of its steps saw collages.")
    if row["valid_objects"]:
        shares = ", ".join(f"{name} px {number(100 * share, 0)} %" for name, share in row["valid_objects"].items())
        found.append(f"`{row['experiment']}`: objects inside the valid range, by short side: {shares}.")
    return found
