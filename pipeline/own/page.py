"""Which scale method helps on a user's data, and at which object sizes: what can be seen first, then advice by size.

Gains, intervals and verdicts are those of the quickstart's tables; a gain that its interval does not tell from zero is
"cannot tell" here, whatever its value.
"""

from __future__ import annotations

from statistics import median
from typing import NamedTuple

from pipeline import paths
from pipeline.evaluation.intervals import gain_sd, paired_interval, smallest_detectable_gain
from pipeline.files import read_json, write_text
from pipeline.reporting import markdown as md
from pipeline.reporting.context import numbers_of, recipe_of
from pipeline.reporting.summary import Method, baseline_ap50, methods_of
from pipeline.verdicts.comparison import gain_noise, headline_tables
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import DECIDED

SIZES = {"ap": "all objects", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}
CANNOT_TELL = "cannot tell"
MORE_IMAGES, MORE_RUNS = 4, 5


class Noise(NamedTuple):
    """What a method's gain in one metric is judged by, as fractions of 1."""

    sd_images: float  # of the gain, by paired bootstrap over images
    sd_run: float  # of one training
    dof: int  # of sd_run

    def visible(self, images: float = 1.0, runs: int = 1) -> float:
        """Return the smallest gain that can be told from none with so many times the images, so many trainings each."""
        return smallest_detectable_gain(self.sd_images / images**0.5, self.sd_run, self.dof, runs=(runs, runs))

    @property
    def image_part(self) -> float:
        """Part of the gain's variance that is due to which images were validated on."""
        total = gain_sd(self.sd_images, self.sd_run) ** 2
        return self.sd_images**2 / total if total else 0.0


def write_comparison(preset: str) -> None:
    """Write `paths.compared` of a preset."""
    write_text(paths.compared(preset), compare_page(Results(preset)))


def compare_page(results: Results) -> str:
    """Return the page; the first thing on it is what could have been seen."""
    methods = [method for method in methods_of(results.name, headline_tables(), headline=True) if method.gains]
    lines = advice(methods)
    text = f"# Which scale method helps on this data? Preset {results.name}\n\n"
    text += visible_section(results, methods)
    text += "\n## Advice\n\n" + "".join(f"- {line}\n" for line in lines)
    text += "\n## Every method, by object size\n\n" + methods_table(methods)
    text += (
        "\nGains in points of AP over the method's own baseline, with 95 % intervals from a paired bootstrap over "
        "images and run-to-run noise; cost as a multiple of that baseline's parameters and multiply-adds. "
        f"{chance(methods)}\n"
    )
    text += "\n## What would show more\n\n" + more_section(results, methods)
    text += "\n## What this is\n\n" + "".join(f"- {line}\n" for line in about(results))
    return text


def visible_section(results: Results, methods: list[Method]) -> str:
    """Return the smallest gain that these images and runs can show, by object size."""
    images, objects = counted(results)
    groups = set().union(*(results.noise_groups(paths.split_evaluation(m.evaluation)[0]) for m in methods))
    seeds = sorted({group["dof"] + 1 for name, group in results.noise.items() if name in groups})
    runs = f"{seeds[0]} runs" if seeds else "no repeated run"
    rows, found = [], []
    for metric, size in SIZES.items():
        halves = [half for method in methods if (half := half_width(method, metric)) is not None and learnt(method)]
        least, middle, most = (min(halves), median(halves), max(halves)) if halves else (None,) * 3
        span = f"{md.number(least)} to {md.number(most)}" if halves else md.MISSING
        count = sum(objects.values()) if metric == "ap" else objects.get(size, 0)
        rows.append([size, f"{count:,}" if objects else md.MISSING, md.number(middle), span])
        found.append(f"{size} {md.number(middle)}")
    text = (
        f"**The smallest difference that {images} validation images and {runs} of each baseline can show: "
        f'{", ".join(found)} points of AP.** Below it the advice is "{CANNOT_TELL}".\n\n'
    )
    weak = [method for method in methods if not learnt(method)]
    if weak:
        text += (
            f"{md.plural(len(weak), 'method')} of {len(methods)} left out: the baseline's AP50 is below "
            f"{100 * results.preset.verdicts.min_baseline_ap50:.0f}, and the noise of a network that learnt too little "
            "says nothing of one that did. Train longer.\n\n"
        )
    if not seeds:
        text += (
            "Nothing can be told: the run-to-run noise of this preset is not in `data/noise.json`; "
            f"`python -m pipeline.benchmarks.seeds --preset {results.name} --seeds 3` measures it.\n\n"
        )
    header = ["Objects", "In the validation images", "Smallest visible gain, median of methods", "Over methods"]
    return text + md.table(header, rows, "lrrr")


def counted(results: Results) -> tuple[str, dict[str, int]]:
    """Return how many validation images there are, as text, and objects by size."""
    path = paths.statistics(results.name)
    split = (read_json(path).get("splits", {}) if path.is_file() else {}).get("val")
    return (f"{split['images']:,}", dict(split["object_counts"])) if split else ("an unknown number of", {})


def learnt(method: Method) -> bool:
    """Tell whether a method's baseline learnt enough to be compared with."""
    return method.gains["ap"][3] != "undertrained"


def half_width(method: Method, metric: str) -> float | None:
    """Return half the interval of a gain in points: a smaller gain of this method cannot be told from none."""
    _, low, high, _ = method.gains.get(metric, (None, None, None, ""))
    return None if low is None or high is None else (high - low) / 2


def advice(methods: list[Method]) -> list[str]:
    """Return a line on what to use, then one for every object size."""
    if not any(gain is not None for method in methods for gain, *_ in method.gains.values()):
        return ["Nothing was run yet."]
    helped = {metric: told(methods, metric, 1) for metric in SIZES}
    hurt = {metric: told(methods, metric, -1) for metric in SIZES}
    harmful = {method for found in hurt.values() for method in found}
    useful = {metric: [method for method in found if method not in harmful] for metric, found in helped.items()}
    if useful["ap"]:
        best = useful["ap"][0]
        lines = [
            f"**Use {best.name}**: {value(best, 'ap')} points of AP; it hurts no object size, as far as one can tell."
        ]
    elif any(useful.values()):
        metric = next(metric for metric in ("ap_small", "ap_medium", "ap_large") if useful[metric])
        best = useful[metric][0]
        lines = [
            f"**Use {best.name} where {SIZES[metric]} objects matter**: {value(best, metric)} points for these; for "
            "all objects together one cannot tell."
        ]
    else:
        lines = ["**Stay with the baseline**, or look longer: of no method can it be told that it helps here."]
    for metric, size in SIZES.items():
        parts = []
        if helped[metric]:
            parts.append("helps: " + "; ".join(f"{m.name} {value(m, metric)}" for m in helped[metric]))
        if hurt[metric]:
            parts.append("hurts: " + "; ".join(f"{m.name} {value(m, metric)}" for m in hurt[metric]))
        rest: dict[str, list[str]] = {}
        for method in methods:
            if method not in helped[metric] and method not in hurt[metric]:
                rest.setdefault(word_of(method, metric), []).append(method.name)
        parts += [f"{word}: {md.listing(names)}" for word, names in sorted(rest.items())]
        lines.append(f"{size.capitalize()}{' objects' if metric != 'ap' else ''}: {'. '.join(parts)}.")
    return lines


def told(methods: list[Method], metric: str, sign: int) -> list[Method]:
    """Return the methods of which it can be told that they help (sign 1) or hurt (-1), the largest effect first."""
    found = [m for m in methods if m.gains[metric][3] in DECIDED and sign * (m.gains[metric][0] or 0) > 0]
    return sorted(found, key=lambda m: -sign * m.gains[metric][0])


def word_of(method: Method, metric: str) -> str:
    """Return what is said of a gain: helps, hurts, cannot tell, or why there is none."""
    gain, _, _, verdict = method.gains[metric]
    if verdict in DECIDED:
        return "helps" if (gain or 0) > 0 else "hurts"
    return {
        "undecided": CANNOT_TELL,
        "inactive": "did nothing in this run",
        "undertrained": f"{CANNOT_TELL} (the baseline learnt too little)",
        "n/a": "no object of this size",
    }.get(verdict, verdict)


def value(method: Method, metric: str) -> str:
    """Return a gain with its interval."""
    return md.gain(*method.gains[metric][:3])


def methods_table(methods: list[Method]) -> str:
    """Return one row a method: gain and word for every size, cost."""
    header = ["Method", *(f"AP, {size}" for size in SIZES.values()), "Parameters, multiply-adds"]
    rows = []
    for method in sorted(methods, key=lambda m: (m.gains["ap"][0] is None, -(m.gains["ap"][0] or 0))):
        cells = []
        for metric in SIZES:
            gained = value(method, metric) if method.gains[metric][0] is not None else ""
            cells.append(f"{gained} {word_of(method, metric)}".strip())
        costs = [method.costs.get(f"{key}_ratio") for key in ("parameters_total", "macs")]
        cost = ", ".join(f"{one}x" if one else md.MISSING for one in costs)
        rows.append([f"[{md.cell(method.name)}](headline/{method.table}.md)", *cells, cost])
    return md.table(header, rows, "lllllr")


def chance(methods: list[Method]) -> str:
    """Return how many of these comparisons would be told apart by chance if no method did anything."""
    judged = sum(half_width(method, metric) is not None for method in methods for metric in SIZES)
    if not judged:
        return "No comparison has an interval yet."
    return (
        f"{md.plural(judged, 'comparison')} with an interval: if no method did anything, about {0.05 * judged:.1f} "
        "would still read as told apart."
    )


def noise_of(results: Results, method: Method, metric: str) -> Noise | None:
    """Return what a gain is judged by, None where a part of it is not known."""
    replicates = [(results.bootstrap(name) or {}).get(metric, ()) for name in (method.baseline, method.evaluation)]
    if not replicates[0] or len(replicates[0]) != len(replicates[1]):
        return None
    sd_images = paired_interval(*replicates)[2]
    sd_run, dof = gain_noise(results, method.evaluation, method.baseline, metric)
    return None if sd_images is None or sd_run is None or not dof else Noise(sd_images, sd_run, dof)


def more_section(results: Results, methods: list[Method]) -> str:
    """Return what more images, or more trainings, would let one see."""
    rows = []
    for metric, size in SIZES.items():
        able = [method for method in methods if learnt(method)]
        found = [noise for method in able if (noise := noise_of(results, method, metric)) is not None]
        if not found:
            continue
        cells = [
            md.percent(median(noise.image_part for noise in found), 0),
            *(
                md.number(100 * median(noise.visible(*how) for noise in found))
                for how in ((1, 1), (MORE_IMAGES, 1), (1, MORE_RUNS), (MORE_IMAGES, MORE_RUNS))
            ),
        ]
        rows.append([size, *cells])
    if not rows:
        return "Unknown, as the noise is.\n"
    header = [
        "Objects",
        "% of the variance from images",
        "With 1 training of each",
        f"And {MORE_IMAGES} times the images",
    ]
    header += [f"With {MORE_RUNS} trainings of each", f"And {MORE_IMAGES} times the images"]
    return (
        "Smallest visible gain in points, median of methods. Where little of the variance comes from images, more "
        f"images do not help, and more trainings do.\n\n{md.table(header, rows, 'lrrrrr')}"
    )


def about(results: Results) -> list[str]:
    """Return data, sizes and recipe behind the numbers."""
    preset = results.preset
    lines = [
        numbers_of(results),
        f"Networks see a short side of {round(800 * preset.factor)} px. Small is below "
        f"{32 * preset.pixel_factor:.0f} px, large from {96 * preset.pixel_factor:.0f} px (square root of the area) in "
        "the files' own pixels.",
        *recipe_of(results),
        "Every method is compared inside its own paper's recipe, against that recipe's baseline; one training of each "
        "where its name says no more.",
    ]
    return [*lines, *baselines(results), "[All tables](index.md); [what was read, left out and why](data.md)."]


def baselines(results: Results) -> list[str]:
    """Return a sentence on how well the baselines learnt."""
    found = baseline_ap50(results.name, headline_tables(), headline=True)
    if not found:
        return []
    floor = 100 * results.preset.verdicts.min_baseline_ap50
    low = f"; below {floor:.0f} nothing is told of a method: train longer" if found[0] < floor else ""
    return [f"The baselines reach AP50 {found[0]:.1f} to {found[-1]:.1f}{low}."]
