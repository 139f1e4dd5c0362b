"""MSFM's ablations, tables 2 and 3, in one figure: every gain with its interval beside the published one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.published.tables import find_table
from pipeline.reporting.figures import plotting
from pipeline.reporting.figures.results import GAINS, draw_gain
from pipeline.verdicts.results import Results
from pipeline.verdicts.table_lines import read_table

# by table: what varies in it, in words, and the factors that tell its rows apart
ABLATIONS = {
    "msfm_t2_scales": ("scales of the branches", ("scales",)),
    "msfm_t2_ratios": ("squeeze by stage; place", ("ratios", "position")),
    "msfm_t2_norm_group": ("groups of normalisation; place", ("norm_groups", "position")),
    "msfm_t2_conv_num": ("convolutions of a branch (2*: if enlarged); scales", ("conv_num", "scales")),
    "msfm_t2_fusion": ("how branches join; place", ("fusion", "position")),
    "msfm_t3": ("places in the block", ("position",)),
}


def draw_ablations(results: Results, path: Path) -> bool:
    """Draw gains in AP over the plain detector, a panel a table, all on one scale; False where nothing was run."""
    tables = {
        name: [line for line in read_table(results.name, name) if line.compared and line.metric == "ap"]
        for name in ABLATIONS
    }
    if all(line.our_gain is None for own in tables.values() for line in own):
        return False
    sizes = list(map(len, tables.values()))
    heights = [max(1, *sizes[:3]), max(1, *sizes[3:])]  # in rows, which are as far apart in every panel
    drawn, axes = plotting.figure(2, 3, (13.0, 1.8 + 0.28 * sum(heights)), sharex=True, height_ratios=heights)
    for ax, most, (name, own) in zip(axes, 3 * heights[:1] + 3 * heights[1:], tables.items(), strict=True):
        title, factors = ABLATIONS[name]
        rows = [find_table(name)[1].row(line.row) for line in own]
        for place, line in zip(range(len(own), 0, -1), own, strict=True):
            draw_gain(ax, line, place)
        ax.axvline(0, color="black", linewidth=0.9)
        ax.set_yticks(range(len(own), 0, -1), [labelled(row.factors, factors) for row in rows], fontsize=8)
        ax.set_ylim(len(own) - most + 0.4, len(own) + 0.6)
        ax.grid(axis="y", visible=False)
        ax.set_title(title)
    for ax in axes[3:]:
        ax.set_xlabel("gain in AP over the plain detector, points")
    drawn.suptitle(f"MSFM, tables 2 and 3, preset {results.name}\n{GAINS}", x=0.01, ha="left", fontsize=9.5)
    fields = ("table", "row", "evaluation", "published_gain", "our_gain", "low", "high", "verdict")
    cells = [{"table": name} | {k: line.text[k] for k in fields[1:]} for name, own in tables.items() for line in own]
    plotting.save(drawn, path, fields, cells)
    return True


def labelled(factors: dict[str, Any], keys: tuple[str, ...]) -> str:
    """Return what a row varies as its table does: `8, 16, 32; after conv3`."""
    words = []
    for key in keys:
        value = factors[key]
        words.append(", ".join(str(part) for part in (value if isinstance(value, list) else [value])))
    return "; ".join(words).replace("after_", "after ").replace(", after ", ", ")
