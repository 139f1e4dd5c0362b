"""POD's table 3: learnt global scales of the first and last block of each stage, published beside ours."""

from __future__ import annotations

from functools import partial
from typing import Any

from pipeline import markdown as md
from pipeline import paths
from pipeline.published.tables import Published, Row, Table, exists
from pipeline.reporting.context import beside_table, heading
from pipeline.reporting.sources import left_out
from pipeline.verdicts.learnt_scales import learnt, moved
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Word

BLOCKS = ("scale_r31", "scale_r34", "scale_r41", "scale_r46", "scale_r51", "scale_r53")
DIRECTIONS = {"h": "height", "w": "width"}


def is_scales_table(table: Table) -> bool:
    return "scale_r31" in table.columns


def scales_markdown(results: Results, published: Published, table: Table) -> str:
    """Return the page of the table of scales."""
    present = [row for row in table.rows if exists(row)]
    text = f"{heading(results, table)}{published.paper.title} ({published.paper.year}). "
    text += "Cells are `published → ours`, mean ± deviation over images, in multiples of the plain dilation; "
    text += "the plain convolution has 1.\n\n"

    def layer(block: str) -> str:
        return next((found for row in present if (found := learnt(results, row, block).layer)), md.NOT_RUN)

    def cell(row: Row, block: str) -> str:
        found = learnt(results, row, block)
        ours = md.NOT_RUN if found.mean is None else f"{_two(found.mean)} ± {_two(found.std)}"
        return f"{_two(row.values.get(block))} ± {_two(row.values.get(f'{block}_std'))} → {ours}"

    columns = [md.Column("Block", lambda block: block[6:].upper()), md.Column("Layer here", layer)]
    columns += [md.Column(f"{row.name}<br>`{row.experiments[-1]}`", partial(cell, row), "r") for row in present]
    text += md.table(columns, BLOCKS)
    text += left_out(table.id, [row for row in table.rows if row.ours and not exists(row)])
    experiments = list(dict.fromkeys(row.experiments[-1] for row in present))
    text += "\n" + "".join(_moved(results, name) for name in experiments) + "\n"
    text += beside_table(results, experiments, evaluated=False)
    return text + "- Learnt scales are no gain, so this table has no verdict beyond `inactive` where none moved.\n"


def scales_csv(results: Results, table: Table) -> list[dict[str, Any]]:
    """Return the table in the long form of all tables; a cell's deviation is a line of its own."""
    lines = []
    for row in (row for row in table.rows if row.ours):
        base = {"row": row.id, "label": row.name, "method": "POD GSL", "evaluation": row.experiments[-1]}
        if not exists(row):
            lines.append({"kind": "not run", **base, "verdict": Word.NOT_RUN})
            continue
        for block in BLOCKS:
            found = learnt(results, row, block)
            for metric, value in ((block, found.mean), (f"{block}_std", found.std)):
                line = {"kind": "scale", **base, "metric": metric, "unit": "dilation", "why": found.layer or ""}
                line["published"] = _two(row.values.get(metric))
                line["ours"] = _two(value)
                line["verdict"] = moved(results, row.experiments[-1])
                lines.append(line)
    return lines


def _moved(results: Results, experiment: str) -> str:
    scales = results.scales(experiment)
    if scales is None:
        return f"`{experiment}` is not run ({paths.scales(results.name, experiment).as_posix()} is missing).\n"
    furthest = max(abs(layer[f"mean_{axis}"] - 1) for layer in scales["layers"].values() for axis in DIRECTIONS)
    spreads = [
        layer[f"std_{axis}"] / abs(layer[f"mean_{axis}"])
        for layer in scales["layers"].values()
        for axis in DIRECTIONS
        if layer[f"mean_{axis}"]
    ]
    word = f"**{moved(results, experiment)}**"
    text = f"{word}: `{experiment}`, the scale that moved most is {furthest:.2f} from 1"
    text += f", averaged over {scales['images']:,} training images"
    text += f"; the largest deviation over images is {100 * max(spreads):.1f} % of its mean" if spreads else ""
    dead = scales.get("near_zero")
    text += f". **Near 0**, so that its convolution sees one tap of three: {md.listing(dead)}" if dead else ""
    return f"{text}.\n"


def _two(value: float | None) -> str:
    return md.number(value, 2) if value is not None else ""
