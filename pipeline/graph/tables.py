"""The stages of all published tables: DVC's `foreach` cannot give a table its rows, so each is written out.

Every table waits for all its rows; `headline_` ones, which the quickstart shows, for the few that rows.yaml lists.
"""

from typing import Any

from pipeline import paths
from pipeline.published.papers import NAMES
from pipeline.published.rows import load_rows
from pipeline.published.tables import find_table, load_published

PRESET = "${preset}"  # filled in by DVC
QUICK = " (the quickstart's rows)"


def stages(paper: str) -> dict[str, dict[str, Any]]:
    """Return the stages of a paper's tables as dvc.yaml holds them: first those of the headline, then all."""
    found = [stage(name, headline=True) for name in load_rows(paper).headline]
    return dict([*found, *(stage(table.id) for table in load_published(paper).tables)])


def stage(name: str, headline: bool = False) -> tuple[str, dict[str, Any]]:
    """Return the name and the contents of one table's stage."""
    published, table = find_table(name, headline)
    label, place = (f"headline_{name}", paths.headline) if headline else (name, paths.table)
    title = f"{NAMES[published.paper.key]}, {name}: {table.title}{QUICK if headline else ''}."
    return label, {
        "desc": title,
        "cmd": f"python -m pipeline.stages.table {name}{' --headline' if headline else ''} --preset {PRESET}",
        "outs": [{place(PRESET, name, suffix).as_posix(): {"cache": False}} for suffix in ("md", "csv")],
    }
