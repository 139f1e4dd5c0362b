"""Gains of methods that were trained several times, as their baseline was: means over trainings, with an interval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from pipeline import paths
from pipeline.evaluation.intervals import paired_interval, pooled_run_sd
from pipeline.published.columns import MASK, sign_of
from pipeline.verdicts.results import PRETRAINING, Results, inactive_reason
from pipeline.verdicts.rule import Verdict, judge


@dataclass(frozen=True)
class SeedGain:
    """Means of one metric over the trainings of a baseline and of a method, fractions of 1, and the verdict."""

    method: str
    baseline: str
    runs: tuple[int, int]  # of the baseline and of the method
    pretrained: bool  # whether every training had a pre-training of its own
    base: float
    ours: float
    gain: float  # ours - base, or the reverse where lower is better
    verdict: Verdict


def seed_gain(results: Results, method: str, metric: str, published_gain: float | None = None) -> SeedGain | None:
    """Return the gain of a method's trainings over those of its group's baseline; None where nobody ran them.

    The interval is gain -+ t * sqrt(sd_boot^2 + sd_run^2 (1/n + 1/m)): images enter with the bootstrap of the pair that
    the tables show, trainings with their pooled deviation. A method that did nothing in the tables' training, or
    baselines that learnt too little, decide nothing here either.
    """
    entry = results.seed_methods.get(method)
    group = results.noise.get(entry["group"]) if entry else None
    if not group:
        return None
    values = [_known(part, metric) for part in (group, entry)]
    if min(map(len, values)) < 2:
        return None
    names = [paths.evaluation_name(name, "single") for name in (group["experiment"], method)]
    replicates = [(results.bootstrap(name) or {}).get(metric, ()) for name in names]
    sd_boot = paired_interval(*replicates)[2] if len(replicates[0]) == len(replicates[1]) else None
    sd_run, dof = pooled_run_sd(values)
    base, ours = (sum(found) / len(found) for found in values)
    runs = (len(values[0]), len(values[1]))
    gain = sign_of(metric) * (ours - base)
    known = _known(group, f"{MASK}ap50" if metric.startswith(MASK) else "ap50")
    verdict = judge(
        gain,
        published_gain,
        sd_boot,
        sd_run,
        dof,
        baseline_ap50=sum(known) / len(known) if known else None,
        ap50_floor=results.preset.verdicts.min_baseline_ap50,
        inactive=inactive_reason(results, method)[0],
        runs=runs,
    )
    told = f"Means of {runs[1]} trainings and of {runs[0]} of the baseline: "
    verdict = replace(verdict, sentence=told + verdict.sentence[0].lower() + verdict.sentence[1:])
    return SeedGain(method, group["experiment"], runs, entry["group"] == PRETRAINING, base, ours, gain, verdict)


def _known(part: dict[str, Any], metric: str) -> list[float]:
    return [value for value in part.get("values", {}).get(metric, ()) if value is not None]
