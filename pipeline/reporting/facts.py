"""What happened inside the runs, in sentences, read from the figures' data."""

import csv
import io

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import found_json, read_text
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import MOVED

DST_BASELINE = "dst_frcnn_r50_fpn_1x"


def figure_data(results: Results, name: str) -> list[dict[str, str]]:
    """Return the data of a figure, none where it was not drawn or draws nothing that was run."""
    path = paths.figure(results.name, name).with_suffix(".csv")
    return list(csv.DictReader(io.StringIO(read_text(path)))) if path.is_file() else []


def learnt_facts(results: Results, paper: str) -> list[str]:
    """Return a paper's facts, none where nothing was run."""
    facts = {"pod": scale_facts, "dst": collage_facts, "snip": valid_facts}
    return facts[paper](results) if paper in facts else []


def scale_facts(results: Results) -> list[str]:
    """Say how far POD's scales moved."""
    rows = figure_data(results, "scales")
    if not rows:
        return []
    far = max(rows, key=lambda row: abs(float(row["mean"]) - 1))
    moved = sum(abs(float(row["mean"]) - 1) >= MOVED for row in rows)
    spread = max(float(row["std"] or 0) / abs(float(row["mean"])) for row in rows if float(row["mean"]))
    direction = {"h": "height", "w": "width"}[far["direction"]]
    return [
        f"{moved} of {len(rows)} learnt scales (a height and a width a block) moved by {MOVED} or more; "
        f"the furthest is {float(far['mean']):.2f} ({far['layer']}, {direction}).",
        f"The largest deviation of a scale over images is {100 * spread:.1f} % of its mean "
        f"({int(far['images']):,} images).",
    ]


def collage_facts(results: Results) -> list[str]:
    """Say how often DST fed collages, and what small objects carried of the loss."""
    rows = figure_data(results, "collage")
    facts = []
    for name in dict.fromkeys(row["experiment"] for row in rows):
        shares = [float(row["small_share"]) for row in rows if row["experiment"] == name and row["small_share"]]
        collages = (results.training(name) or {}).get("collage_share")
        sentence = f"`{name}`: small objects carried {100 * _mean(shares):.1f} % of the regression loss on average"
        if collages is not None:
            sentence += f"; {md.percent(collages)} % of the steps were collages"
        if shares:
            facts.append(sentence + ".")
    return [*facts, *threshold_facts(results)]


def threshold_facts(results: Results) -> list[str]:
    """Say which threshold the paper's heuristic reads off the baseline (DST, section 4.3)."""
    found = found_json(paths.loss_share(results.name, DST_BASELINE))
    if found is None:
        return []
    steps = "steps" if found["source"] == "steps" else f"windows of {found['window_steps']} steps"
    return [
        f"Half of the baseline's {steps} gave small objects a share of less than **{found['proposed_threshold']:g}** "
        f"of the regression loss, which the paper's heuristic proposes as threshold here; "
        f"{100 * found['below_paper_threshold']:.0f} % lie below the paper's {found['paper_threshold']:g} (there about "
        f"half did). `python -m pipeline.stages.loss_share {DST_BASELINE}` writes it."
    ]


def valid_facts(results: Results) -> list[str]:
    """Say which share of objects SNIP trained on."""
    rows = figure_data(results, "valid_objects")
    shares = ", ".join(f"{100 * float(row['share']):.1f} % at {row['resolution']}" for row in rows if row["share"])
    return [f"Objects inside the head's valid range: {shares} (short sides at the papers' scale)."] if shares else []


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
