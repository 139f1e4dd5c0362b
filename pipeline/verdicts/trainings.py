"""Several trainings of one experiment: how far they lie apart, and the gain between the means of two experiments."""

from dataclasses import dataclass, replace
from typing import Any

from pipeline import paths
from pipeline.evaluation.intervals import paired_interval, pooled_run_sd
from pipeline.published.columns import ERRORS, MASK, sign_of
from pipeline.verdicts.results import PRETRAINING, Results, activity
from pipeline.verdicts.rule import Judged, Verdict, judge


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

    @property
    def judged(self) -> Judged:
        return self.verdict.judged(self.gain)


def seed_gain(results: Results, method: str, metric: str, **told: Any) -> SeedGain | None:
    """Return the gain of a method's trainings over those of its group's baseline; None where nobody ran them.

    The interval is gain -+ t * sqrt(sd_boot^2 + sd_run^2 (1/n + 1/m)): images enter with the bootstrap of the pair that
    the tables show, trainings with their pooled deviation. A method that did nothing in the tables' training, or
    baselines that learnt too little, decide nothing here either. `told`: what `judge` is told of the published gain.
    """
    entry = results.seed_methods.get(method)
    group = results.noise.get(entry["group"]) if entry else None
    if not group:
        return None
    values = [_known(part, metric) for part in (group, entry)]
    if min(map(len, values)) < 2:
        return None
    sd_boot = paired_sd(results, group["experiment"], method, metric)
    sd_run, dof = pooled_run_sd(values)
    base, ours = (sum(found) / len(found) for found in values)
    runs = (len(values[0]), len(values[1]))
    gain = sign_of(metric) * (ours - base)
    known = _known(group, f"{MASK}ap50" if metric.startswith(MASK) else "ap50")
    about = {"baseline_ap50": sum(known) / len(known) if known else None} | activity(results, method)._asdict()
    about["ap50_floor"] = results.preset.verdicts.min_baseline_ap50
    verdict = judge(gain, sd_boot=sd_boot, sd_run=sd_run, dof=dof, runs=runs, **about, **told)
    sentence = f"Means of {runs[1]} trainings and of {runs[0]} of the baseline: "
    verdict = replace(verdict, sentence=sentence + verdict.sentence[0].lower() + verdict.sentence[1:])
    return SeedGain(method, group["experiment"], runs, entry["group"] == PRETRAINING, base, ours, gain, verdict)


def paired_sd(results: Results, baseline: str, evaluation: str, metric: str) -> float | None:
    """Return the deviation of a gain over images, from the bootstrap of both; None where they cannot be paired."""
    replicates = [(results.bootstrap(name) or {}).get(metric, ()) for name in (baseline, evaluation)]
    return paired_interval(*replicates)[2] if len(replicates[0]) == len(replicates[1]) else None


def _known(part: dict[str, Any], metric: str) -> list[float]:
    return [value for value in part.get("values", {}).get(metric, ()) if value is not None]


def _of_seeds(summary: dict[str, Any] | None, metric: str) -> Spread:
    found = ((summary or {}).get("seeds") or {}).get({"top1_err": "top1_error", "top5_err": "top5_error"}[metric])
    if not found or len(found["values"]) < 2:
        return Spread((), None, None)
    return Spread(tuple(found["values"]), found["mean"], found["sd"])
