"""POD's table 3: learnt global scales of the first and last block of each stage, published beside ours."""

from __future__ import annotations

from typing import Any

from pipeline import paths
from pipeline.published.tables import Published, Row, Table, exists
from pipeline.reporting import markdown as md
from pipeline.reporting.context import beside_table
from pipeline.reporting.sources import left_out
from pipeline.verdicts.results import MOVED, Results

BLOCKS = ("scale_r31", "scale_r34", "scale_r41", "scale_r46", "scale_r51", "scale_r53")
DIRECTIONS = {"h": "height", "w": "width"}


def is_scales_table(table: Table) -> bool:
    return "scale_r31" in table.columns


def layer_of(block: str, layers: dict[str, Any]) -> str | None:
    """Return our layer behind a column: `scale_r31` is the first block of torchvision's layer2, `scale_r34` its last.

    Networks with fewer blocks have another last block; None where the stage learnt nothing.
    """
    stage = f"layer{int(block[7]) - 1}"
    names = sorted((name for name in layers if name.split(".")[0] == stage), key=lambda name: int(name.split(".")[1]))
    return (names[0] if block[8] == "1" else names[-1]) if names else None


def learnt(results: Results, row: Row, block: str) -> tuple[str | None, float | None, float | None]:
    """Return (layer, mean, std over images) of a cell; Nones where it was not run."""
    scales = results.scales(row.experiments[-1])
    layers = scales_of(scales, row) if scales else {}
    layer = layer_of(block, layers)
    if layer is None:
        return None, None, None
    axis = row.factors["direction"]
    return layer, layers[layer][f"mean_{axis}"], layers[layer][f"std_{axis}"]


def scales_of(scales: dict[str, Any], row: Row) -> dict[str, Any]:
    """Return the scales of a row's images: the training images', or the validation images' where the paper says so."""
    if row.factors.get("split") != "minival":
        return scales["layers"]
    return scales.get("val", {}).get("layers", {})


def scales_markdown(results: Results, published: Published, table: Table) -> str:
    """Return the page of the table of scales."""
    present = [row for row in table.rows if exists(row)]
    text = f"# {table.id}: {table.title}\n\n{published.paper.title} ({published.paper.year}). "
    text += "Cells are `published → ours`, mean ± deviation over images, in multiples of the plain dilation; "
    text += "the plain convolution has 1.\n\n"
    header = ["Block", "Layer here", *(f"{row.name}<br>`{row.experiments[-1]}`" for row in present)]
    text += md.table(header, [_block_row(results, present, block) for block in BLOCKS], "ll" + "r" * len(present))
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
            lines.append({"kind": "not run", **base, "verdict": md.NOT_RUN})
            continue
        for block in BLOCKS:
            layer, mean, std = learnt(results, row, block)
            for metric, value in ((block, mean), (f"{block}_std", std)):
                line = {"kind": "scale", **base, "metric": metric, "unit": "dilation", "why": layer or ""}
                line["published"] = _two(row.values.get(metric))
                line["ours"] = _two(value)
                line["verdict"] = verdict(results, row.experiments[-1])
                lines.append(line)
    return lines


def verdict(results: Results, experiment: str) -> str:
    scales = results.scales(experiment)
    if scales is None:
        return md.NOT_RUN
    return "inactive" if scales["largest_shift"] < MOVED else "moved"


def _block_row(results: Results, rows: list[Row], block: str) -> list[str]:
    cells, layers = [], []
    for row in rows:
        layer, mean, std = learnt(results, row, block)
        layers.append(layer)
        ours = md.NOT_RUN if mean is None else f"{_two(mean)} ± {_two(std)}"
        cells.append(f"{_two(row.values.get(block))} ± {_two(row.values.get(f'{block}_std'))} → {ours}")
    return [block[6:].upper(), next((layer for layer in layers if layer), md.NOT_RUN), *cells]


def _moved(results: Results, experiment: str) -> str:
    scales = results.scales(experiment)
    if scales is None:
        return f"`{experiment}` is not run ({paths.scales(results.name, experiment).as_posix()} is missing).\n"
    spreads = [
        layer[f"std_{axis}"] / abs(layer[f"mean_{axis}"])
        for layer in scales["layers"].values()
        for axis in DIRECTIONS
        if layer[f"mean_{axis}"]
    ]
    word = f"**{verdict(results, experiment)}**"
    text = f"{word}: `{experiment}`, the scale that moved most is {scales['largest_shift']:.2f} from 1"
    text += f", averaged over {scales['images']:,} training images"
    return text + (
        f"; the largest deviation over images is {100 * max(spreads):.1f} % of its mean.\n" if spreads else ".\n"
    )


def _two(value: float | None) -> str:
    return md.number(value, 2) if value is not None else ""
