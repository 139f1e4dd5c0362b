"""How many trainings stand behind a number, and how far one training's number lies from another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline import paths
from pipeline.published.columns import ERRORS, kind_of
from pipeline.reporting import markdown as md
from pipeline.verdicts.results import PRETRAINING, Results


@dataclass(frozen=True)
class Spread:
    """Trainings of one experiment that differ in their seed only; fractions of 1."""

    values: tuple[float, ...]  # of each training, empty where one alone was run
    mean: float | None
    sd: float | None  # of one training: over `values`, or the preset's noise where there are none

    @property
    def count(self) -> int:
        return max(1, len(self.values))


def spread(results: Results, evaluation: str, metric: str) -> Spread:
    """Return the spread of a metric over trainings: the experiment's own seeds, else the preset's noise.

    A classifier's seeds stand in its training summary. A detector's stand in `data/noise.json` where it is one of the
    baselines or methods that were trained several times from one backbone; every other detector takes the deviation of
    the baselines of its kind.
    """
    experiment, test = paths.split_evaluation(evaluation)
    if metric in ERRORS:
        return _of_seeds(results.training(experiment), metric)
    sd, _ = results.run_noise(experiment, metric)
    methods = [(entry["group"], entry) for entry in results.seed_methods.values()]
    for name, group in [*results.noise.items(), *methods]:
        if name == PRETRAINING:  # those differ in their backbones too
            continue
        values = tuple(v for v in group.get("values", {}).get(metric, ()) if v is not None)
        if group.get("experiment") == experiment and test == "single" and len(values) > 1:
            return Spread(values, sum(values) / len(values), group["sd"][metric])
    return Spread((), None, sd)


def spread_cell(found: Spread) -> str:
    """Return `3: 21.5 ± 0.5` for several trainings, `1, ± 0.5` for one with the preset's noise, `1` without any."""
    sd = md.percent(found.sd) if found.sd is not None else None
    if found.values:
        return f"{found.count}: {md.percent(found.mean)} ± {sd}"
    return f"1, ± {sd}" if sd else "1"


def spread_sentence(metric: str) -> str:
    """Return what the column of seeds holds."""
    if kind_of(metric) == "error":
        return "Seeds ±: trainings behind the number with their mean and standard deviation; `1` is a single training."
    return (
        "Seeds ±: `3: 21.5 ± 0.5` are mean and standard deviation of three further trainings of this row with other "
        "seeds (`seeds.md`); `1, ± 0.5` is one training, and the deviation of such baselines under this preset."
    )


def _of_seeds(summary: dict[str, Any] | None, metric: str) -> Spread:
    found = ((summary or {}).get("seeds") or {}).get({"top1_err": "top1_error", "top5_err": "top5_error"}[metric])
    if not found or len(found["values"]) < 2:
        return Spread((), None, None)
    return Spread(tuple(found["values"]), found["mean"], found["sd"])
