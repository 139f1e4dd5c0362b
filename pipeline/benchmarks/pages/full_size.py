"""The page of the full-size exercise, from its JSON alone."""

from typing import Any

from pipeline.benchmarks.pages.parts import DEVICES, machine_line
from pipeline.markdown import Column, number, percent, table

COLUMNS = (
    Column("experiment", lambda row: f"`{row['experiment']}`"),
    Column("input", lambda row: "x".join(str(side) for side in row["input"])),
    Column("batch", lambda row: row["batch"], "r"),
    Column("killed at", lambda row: row["killed_after"], "r"),
    Column("steps", lambda row: row["steps"], "r"),
    Column("loss", lambda row: f"{number(row['loss_first'], 3)} to {number(row['loss_last'], 3)}", "r"),
    Column("detections", lambda row: row["detections"], "r"),
    Column("AP", lambda row: percent(row["ap"]), "r"),
    Column("train, s", lambda row: seconds(row, "killed_training", "resumed_training"), "r"),
    Column("predict, s", lambda row: seconds(row, "predict", "evaluate"), "r"),
)


def seconds(row: dict[str, Any], *parts: str) -> str:
    return number(sum(row["seconds"][part] for part in parts), 0)


def full_size_page(result: dict[str, Any]) -> str:
    """Return the Markdown page."""
    rows = result["rows"]
    notes = [note for row in rows for note in remarks(row)]
    return "\n".join(
        [
            "# One experiment a paper at the papers' own size\n",
            f"On {DEVICES[result['device']]}. {machine_line(result['machine'])}\n",
            f"Preset `{result['preset']}`: full networks and full input sizes on real photographs that are enlarged "
            "for it, from briefly pre-trained backbones. Every stage is the command that the graph runs. Each training "
            "is killed (SIGKILL) at the step shown, started again, and goes on from its checkpoint; then it detects "
            "and is scored. **So few steps teach a detector nothing: this page shows that the full size runs, and no "
            "result.**\n",
            table(COLUMNS, rows),
            *([*(f"- {note}" for note in notes), ""] if notes else []),
            f"The largest stage held {number(max(row['peak_gib'] for row in rows), 1)} GiB. Seconds of training are "
            "those of both starts together, reading and checkpoints included.\n",
            "Made by `python -m pipeline.benchmarks.full_size`.\n",
        ]
    )


def remarks(row: dict[str, Any]) -> list[str]:
    """Return what a method did in its training."""
    found = []
    if row["collage_share"] is not None:
        found.append(f"`{row['experiment']}`: {number(100 * row['collage_share'], 0)} % of its steps saw collages.")
    if row["valid_objects"]:
        shares = ", ".join(f"{name} px {number(100 * share, 0)} %" for name, share in row["valid_objects"].items())
        found.append(f"`{row['experiment']}`: objects inside the valid range, by short side: {shares}.")
    return found
