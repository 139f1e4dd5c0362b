"""The page of exact costs: counted, worked-out and printed numbers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.markdown import Column, integer, listing, plural, table
from pipeline.verdicts.networks import network_of

if TYPE_CHECKING:
    from pipeline.models.identities import Counted

PAPERS = {"msfm": "MSFM, tables 2 to 6", "psconv": "PSConv, table 2 and section 4", "pod": "POD, section 3"}
STATUS = {"match_direct": "yes", "match_two_step": "after rounding to two decimals first"}
STATUS |= {"mismatch": "**no**", "not_printed": ""}


def identities_page(rows: Sequence[Counted]) -> str:
    """Return the page as Markdown."""
    found = totals(rows)
    wrong = [row for row in rows if row.exact is False]
    waiting = [row for row in rows if row.parameters is None]
    unbuilt = [
        f"- {plural(len(waiting), 'row')} of detectors that are not built yet; what their method adds to the backbone "
        f"is counted in {sum(row.delta is not None for row in waiting)} of them."
    ]
    lines = [
        "# Parameters and multiply-adds, to the integer\n",
        "Networks at the papers' size, counted without data or weights, whatever the preset. Worked-out numbers come "
        "from formulas of the papers' designs (`data/published/identities.yaml`). Detectors: 80 classes, stem and "
        "conv2_x frozen (POD: everything). Multiply-adds: convolutions and linear layers, one image. Rows "
        "without a count are held against the printed number by their worked-out one.\n",
        f"- {plural(found['counted'], 'network')} counted whole, {found['equal']} of them equal to the worked-out "
        "integers.",
        f"- Differing from them: {listing([row.row.name for row in wrong])}.",
        *(unbuilt if waiting else []),
        "- Printed numbers that the counts do not reproduce: "
        + listing([row.row.name for row in rows if row.status == "mismatch"])
        + ".",
        "",
    ]
    for key, title in PAPERS.items():
        own = [row for row in rows if row.row.name.startswith(f"{key}.")]
        macs = any(row.macs is not None for row in own)
        lines += [f"## {title}\n", table([*COUNTED, *(MACS if macs else ()), *PRINTED], own)]
    return "\n".join(lines)


def totals(rows: Sequence[Counted]) -> dict[str, int]:
    """Return how many networks were counted whole, and how many of them are equal to the worked-out integers."""
    whole = [row for row in rows if row.parameters is not None]
    return {"counted": len(whole), "equal": sum(row.exact is True for row in whole)}


def identities_rows(rows: Sequence[Counted]) -> list[dict[str, Any]]:
    """Return what was counted, for tables: of every network that an experiment may have, its name and counts.

    `parameters` are those that a detector trains, as the papers print them, and all of a classifier.
    """
    return [
        {
            "name": counted.row.name,
            "network": network_of(*(getattr(counted.row, key) for key in ("detector", "backbone", "neck", "method"))),
            "classes": counted.row.classes,
            "parameters": counted.parameters,
            "macs": counted.macs,
            "printed": counted.row.printed,
            "as_worked_out": counted.exact,
        }
        for counted in rows
        if counted.row.variant is None and not counted.row.least_scale and counted.row.counted == "trainable"
    ]


def _equal(counted: Counted) -> str:
    word = {True: "yes", False: "**no**", None: ""}[counted.exact]
    return f"{word} (what is added)" if counted.parameters is None and word else word


COUNTED = (
    Column("network", lambda counted: counted.row.name.split(".", 1)[1].removeprefix("base.")),
    Column("counted", lambda counted: integer(counted.parameters) or "not built yet", "r"),
    Column("worked out", lambda counted: integer(counted.row.parameters), "r"),
    Column("method adds", lambda counted: integer(counted.delta), "r"),
    Column("equal", _equal),
)
MACS = (
    Column("multiply-adds", lambda counted: integer(counted.macs), "r"),
    Column("worked out", lambda counted: integer(counted.row.macs), "r"),
    Column("printed (G)", lambda counted: counted.row.printed_macs, "r"),
)
PRINTED = (
    Column("printed (M)", lambda counted: counted.row.printed, "r"),
    Column("prints so", lambda counted: STATUS[counted.status]),
    Column("note", lambda counted: counted.row.note.replace("|", "/")),
)
