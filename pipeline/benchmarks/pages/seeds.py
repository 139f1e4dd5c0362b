"""Page of the noise benchmark: every training of every group, and gains of methods that were trained as often."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from pipeline.benchmarks.seed_groups import METRICS
from pipeline.published.columns import name_of
from pipeline.reporting import markdown as md
from pipeline.verdicts.results import PRETRAINING, Results
from pipeline.verdicts.seed_gains import seed_gain


def page(results: Results) -> str:
    """Return the Markdown page of what `data/noise.json` holds of a preset."""
    preset, groups = results.preset, results.noise
    lines = [
        f"# Run-to-run noise under preset `{preset.name}`",
        "",
        f"Preset: {preset.title}. One baseline of each kind was trained several times; only the seed differs, "
        f"that of its backbone's pre-training too in the group `{PRETRAINING}`. The standard deviations "
        "below are what verdicts allow for beside the images' own sampling noise.",
        "",
    ]
    for group, entry in groups.items():
        metrics = METRICS[group]
        median = statistics.median(entry["values"][metrics[1]])
        lines += [f"## {group}: `{entry['experiment']}`", ""]
        lines += [f"Median {name_of(metrics[1])} of {entry['seeds']} seeds: **{100 * median:.1f}** %.", ""]
        lines += runs(entry, metrics)
        for method in (name for name, found in results.seed_methods.items() if found["group"] == group):
            lines += [f"## {group}: `{method}`", "", *runs(results.seed_methods[method], metrics)]
            lines += gains(results, method, metrics)
    lines.append(f"Made by `python -m pipeline.benchmarks.seeds --preset {preset.name} --seeds N`.")
    return "\n".join(lines) + "\n"


def runs(entry: dict[str, Any], metrics: Sequence[str]) -> list[str]:
    """Return the lines of a table with a row for every training and one for their deviation."""
    lines = ["| run | " + " | ".join(metrics) + " |", "| --- |" + " ---: |" * len(metrics)]
    for number in range(entry["seeds"]):
        cells = [percent(entry["values"][name][number]) for name in metrics]
        lines.append(f"| seed {number + 1} | " + " | ".join(cells) + " |")
    return [*lines, "| sd | " + " | ".join(percent(entry["sd"][name]) for name in metrics) + " |", ""]


def gains(results: Results, method: str, metrics: Sequence[str]) -> list[str]:
    """Return the lines of a table with the gain of a method's mean over its baseline's, by metric."""
    found = {metric: gain for metric in metrics if (gain := seed_gain(results, method, metric))}
    if not found:
        return []
    first = next(iter(found.values()))
    lines = [
        f"Gain of the mean of {md.plural(first.runs[1], 'training')} over that of `{first.baseline}` "
        f"({first.runs[0]}), in points; the 95 % interval holds the trainings' deviation and the images' sampling.",
        "",
        "| metric | baseline | method | gain | verdict |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    for metric, gain in found.items():
        ends = [None if end is None else 100 * end for end in (gain.verdict.low, gain.verdict.high)]
        cells = [percent(gain.base), percent(gain.ours), md.gain(100 * gain.gain, *ends)]
        lines.append(f"| {metric} | {' | '.join(cells)} | {gain.verdict.word} |")
    return [*lines, ""]


def percent(value: float | None) -> str:
    """Return a fraction as percent with one decimal, n/a where it does not exist."""
    return "n/a" if value is None else f"{100 * value:.1f}"
