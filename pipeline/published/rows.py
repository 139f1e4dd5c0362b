"""What stands behind each printed row: an evaluation, a classifier's training, learnt scales, a benchmark, or a reason.

The tables name experiments. What they do not say in this project's words (which test, which benchmark, which rows the
quickstart trains) stands in `workflow/papers/<paper>/tables/rows.yaml`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from msgspec import field

from pipeline import config, paths
from pipeline.errors import InputError, nearest
from pipeline.options import Options
from pipeline.published.papers import PAIRS

Kind = Literal["evaluation", "classifier", "scales", "speed", "absent", "quoted"]


class Speed(Options):
    """One number of the layers benchmark (`pipeline.benchmarks.layers`): a median time, or a ratio of two times.

    `case` holds the sizes that select a row of the benchmark; with `over`, both are of the same case. A ratio is of
    what the benchmark's page shows: the median over rounds of the ratio to the plain counterpart in the same round.
    """

    name: str
    case: dict[str, int]
    group: str = "layer"
    device: str = "cpu"
    over: str | None = None

    def value(self, result: dict[str, Any] | None) -> float | None:
        """Return milliseconds, or a ratio; None where the benchmark has no such row."""
        statistic = "ratio" if self.over else "ms"
        found = {
            row["name"]: row[statistic]["median"]
            for row in (result or {}).get("rows", ())
            if (row["group"], row["dtype"], row["mode"], row["case"]) == (self.group, "fp32", "forward", self.case)
        }
        if self.over is None:
            return found.get(self.name)
        return found[self.name] / found[self.over] if {self.name, self.over} <= found.keys() else None


class RowsFile(Options):
    """Contents of `workflow/papers/<paper>/tables/rows.yaml`; every key is a table, then a row."""

    headline: dict[str, tuple[str, ...]] = field(default_factory=dict)
    evaluations: dict[str, dict[str, str]] = field(default_factory=dict)
    baselines: dict[str, dict[str, str]] = field(default_factory=dict)
    speeds: dict[str, dict[str, Speed]] = field(default_factory=dict)
    absent: dict[str, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Where a row's numbers come from: `name` is an evaluation, an experiment or a file; `reason` says why none is."""

    kind: Kind
    name: str = ""
    reason: str = ""


def load_rows(paper: str) -> RowsFile:
    """Return a paper's file of rows, which it may lack. Raises InputError for whatever it has wrong."""
    path = paths.ROOT / paths.table_rows(paper)
    return config.load(path, RowsFile) if path.is_file() else RowsFile()


def drawn(paper: str, rows: RowsFile) -> tuple[str, str]:
    """Return the evaluations of a paper's baseline and method whose detections are drawn."""
    there = {name for names in rows.headline.values() for name in names}
    return next(pair for pair in PAIRS[paper] if there.issuperset(pair))


def check_rows(rows: RowsFile, known: dict[str, list[str]], where: Path) -> None:
    """Raise InputError where a file of rows names a table or a row that its paper does not print."""
    for part in ("headline", "evaluations", "baselines", "speeds", "absent"):
        for table, entries in getattr(rows, part).items():
            named = [("table", table, known, part)]
            if table in known and part != "headline":
                named += [("row", row, known[table], f"{part} of {table}") for row in entries]
            for kind, name, names, place in named:
                if name not in names:
                    unknown = f"names the unknown {kind} {name!r}{nearest(name, names)}"
                    raise InputError(f"{where}: {place} {unknown}; correct it.")


def is_classifier(experiment: str) -> bool:
    """Tell whether an experiment trains an image classifier: its name says so (`<paper>_cls_...`)."""
    return experiment.split("_")[1:2] == ["cls"]


def needs_test_dev(split: str) -> bool:
    """Tell whether a table's rows are of COCO's test-dev, whose labels are not public."""
    return "test-dev" in split
