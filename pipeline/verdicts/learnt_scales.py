"""Learnt global scales: which of them a cell of POD's table 3 shows, and whether any moved."""

from typing import Any, NamedTuple

from pipeline.published.tables import Row
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import MOVED, Word


def layer_of(block: str, layers: dict[str, Any]) -> str | None:
    """Return our layer behind a column: `scale_r31` is the first block of torchvision's layer2, `scale_r34` its last.

    Networks with fewer blocks have another last block; None where the stage learnt nothing.
    """
    stage = f"layer{int(block[7]) - 1}"
    names = sorted((name for name in layers if name.split(".")[0] == stage), key=lambda name: int(name.split(".")[1]))
    return (names[0] if block[8] == "1" else names[-1]) if names else None


class Learnt(NamedTuple):
    """A cell of the table: our layer, and its mean scale and deviation over images; None where it was not run."""

    layer: str | None = None
    mean: float | None = None
    std: float | None = None


def learnt(results: Results, row: Row, block: str) -> Learnt:
    """Return what was learnt in a block, in the row's direction and on its images."""
    scales = results.scales(row.experiments[-1]) or {"layers": {}}
    if row.factors.get("split") == "minival":  # the validation images', where the paper says so
        scales = scales.get("val") or {}
    layers = scales.get("layers", {})
    layer = layer_of(block, layers)
    if layer is None:
        return Learnt()
    axis = row.factors["direction"]
    return Learnt(layer, layers[layer][f"mean_{axis}"], layers[layer][f"std_{axis}"])


def moved(results: Results, experiment: str) -> Word:
    """Return whether any scale of an experiment moved from 1."""
    scales = results.scales(experiment)
    if scales is None:
        return Word.NOT_RUN
    return Word.INACTIVE if scales["largest_shift"] < MOVED else Word.MOVED
