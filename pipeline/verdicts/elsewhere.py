"""Gains that another machine found with the same commands, against those of a report.

`reports/elsewhere.csv` holds rows of other machines' `results.csv`, put there by hand, with `preset` in front.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from pipeline import paths
from pipeline.errors import reading
from pipeline.evaluation.intervals import Estimate
from pipeline.files import read_text
from pipeline.published.columns import sign_of

PLACE = Path("reports/elsewhere.csv")
Values = dict[tuple[str, str, int], float]  # by evaluation, metric and block, in fractions of 1


class Elsewhere(NamedTuple):
    """What one kind of machine measured."""

    machine: str  # processor and number format
    values: Values

    def gains(self, evaluation: str, baseline: str, metric: str) -> list[float]:
        """Return the gain of every block that both evaluations have there."""
        ours, base = (
            {block: value for (name, of, block), value in self.values.items() if (name, of) == (wanted, metric)}
            for wanted in (evaluation, baseline)
        )
        return [sign_of(metric) * (ours[block] - base[block]) for block in sorted(ours.keys() & base.keys())]


class Twice(NamedTuple):
    """A gain of a report, and the mean gain of some blocks that another machine trained."""

    report: Estimate
    other: float
    blocks: int

    @property
    def half_width(self) -> float:
        """Half of the interval around the report's gain that holds 95 of 100 such means; images are shared by both."""
        noise = self.report._replace(sd_images=0.0)
        ours, theirs = (noise.variances(blocks=count)[0] for count in (self.report.blocks, self.blocks))
        return noise.half_width() * ((ours + theirs) / ours) ** 0.5 if ours else 0.0

    @property
    def repeated(self) -> bool:
        """Whether the two differ by no more than the noise of both allows in 95 of 100 cases."""
        return abs(self.other - self.report.gain) <= self.half_width


def twice(report: Estimate, gains: list[float]) -> Twice | None:
    """Return a report's gain beside another machine's; None where that has none, or the report's noise is unknown."""
    return Twice(report, fmean(gains), len(gains)) if gains and report.known else None


def load(preset: str) -> list[Elsewhere]:
    """Return what other machines measured of a preset, by the names of the machines; nothing without the file."""
    found: dict[str, Values] = {}
    with reading(PLACE, "take it back from git"):
        for row in csv.DictReader(io.StringIO(read_text(PLACE))) if PLACE.is_file() else ():
            if row["preset"] == preset:
                evaluation = paths.evaluation_name(row["experiment"], row["test"])
                metrics = (name for name in row if name.startswith("ap") and row[name])
                found.setdefault(machine_of(row), {}).update(
                    {(evaluation, name, int(row["block"])): float(row[name]) for name in metrics}
                )
    return [Elsewhere(*item) for item in sorted(found.items())]


def machine_of(row: Mapping[str, str]) -> str:
    """Return the processor and the number format of a row; what `results.csv` does not know is left out."""
    return ", ".join(filter(None, (row["processor"], row["precision"]))) or "unknown"
