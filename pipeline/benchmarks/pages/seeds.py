"""Page of the noise benchmark: every training of every group, and gains of methods that were trained as often."""

import statistics
from collections.abc import Sequence
from typing import Any

from pipeline import markdown as md
from pipeline.benchmarks.seed_groups import METRICS
from pipeline.published.columns import name_of
from pipeline.verdicts.results import PRETRAINING, Results
from pipeline.verdicts.trainings import seed_gain


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
        lines.append(runs(entry, metrics))
        for method in (name for name, found in results.seed_methods.items() if found["group"] == group):
            lines += [f"## {group}: `{method}`", "", runs(results.seed_methods[method], metrics)]
            lines += gains(results, method, metrics)
    lines.append(f"Made by `python -m pipeline.benchmarks.seeds --preset {preset.name} --seeds N`.")
    return "\n".join(lines) + "\n"


def runs(entry: dict[str, Any], metrics: Sequence[str]) -> str:
    """Return a table with a row for every training and one for their deviation."""
    rows = {f"seed {n + 1}": {name: entry["values"][name][n] for name in metrics} for n in range(entry["seeds"])}
    rows["sd"] = entry["sd"]
    columns = [md.Column(name, lambda run, name=name: md.percent(rows[run][name]), "r") for name in metrics]
    return md.table([md.Column("run", lambda run: run), *columns], rows)


def gains(results: Results, method: str, metrics: Sequence[str]) -> list[str]:
    """Return the lines of a table with the gain of a method's mean over its baseline's, by metric."""
    found = {metric: gain for metric in metrics if (gain := seed_gain(results, method, metric))}
    if not found:
        return []
    first = next(iter(found.values()))
    columns = [
        md.Column("metric", lambda metric: metric),
        md.Column("baseline", lambda metric: md.percent(found[metric].base), "r"),
        md.Column("method", lambda metric: md.percent(found[metric].ours), "r"),
        md.Column("gain", lambda metric: found[metric].judged.text, "r"),
        md.Column("verdict", lambda metric: found[metric].judged.word),
    ]
    text = f"Gain of the mean of {md.plural(first.runs[1], 'training')} over that of `{first.baseline}` "
    text += f"({first.runs[0]}), in points; the 95 % interval holds the trainings' deviation and the images' sampling."
    return [text, "", md.table(columns, found)]
