"""Which scale method helps on a user's data, and at which object sizes: what can be seen first, then advice by size.

Gains, intervals and verdicts are those of the quickstart's tables; a gain that its interval does not tell from zero is
"cannot tell" here, whatever its value.
"""

from functools import partial
from statistics import median

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import found_json, write_text
from pipeline.reporting.context import numbers_of, recipe_of
from pipeline.verdicts.baselines import headline_tables
from pipeline.verdicts.estimates import estimate_gain
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import CANNOT_TELL, Word
from pipeline.verdicts.table_lines import Method, baseline_ap50, methods_of

SIZES = {"ap": "all objects", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}
MORE = 4  # times the images or the trainings


def write_comparison(preset: str) -> None:
    """Write `paths.compared` of a preset."""
    write_text(paths.compared(preset), compare_page(Results(preset)))


def compare_page(results: Results) -> str:
    """Return the page; the first thing on it is what could have been seen."""
    methods = [method for method in methods_of(results.name, headline_tables(), headline=True) if method.gains]
    lines = advice(methods)
    text = f"# Which scale method helps on this data? Preset {results.name}\n\n{visible_section(results, methods)}"
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
    blocks = trainings(methods)
    able = [method for method in methods if learnt(method)]
    halves = {
        size: [half for m in able if (half := m.gains[metric].half_width) is not None] for metric, size in SIZES.items()
    }
    middle = {size: md.number(median(found) if found else None) for size, found in halves.items()}

    def count(size: str) -> str:
        number = sum(objects.values()) if size == SIZES["ap"] else objects.get(size, 0)
        return f"{number:,}" if objects else md.MISSING

    def span(size: str) -> str:
        found = halves[size]
        return f"{md.number(min(found))} to {md.number(max(found))}" if found else md.MISSING

    text = (
        f"**The smallest difference that {images} validation images and {md.plural(blocks, 'training')} of each "
        "experiment can show: "
        f"{', '.join(f'{size} {found}' for size, found in middle.items())} points of AP.** "
        f'Below it the advice is "{CANNOT_TELL}".\n\n'
    )
    weak = [method for method in methods if not learnt(method)]
    if weak:
        text += (
            f"{md.plural(len(weak), 'method')} of {len(methods)} left out: the baseline's AP50 is below "
            f"{100 * results.preset.verdicts.min_baseline_ap50:.0f}, and the noise of a network that learnt too little "
            "says nothing of one that did. Train longer.\n\n"
        )
    if blocks == 1:
        text += (
            "Nothing can be told from one training of each: how far two trainings of one method lie apart is unknown. "
            f"Raise `blocks` in {paths.preset_file(results.name)} to 3 or more; only the new ones are trained.\n\n"
        )
    columns = [
        md.Column("Objects", lambda size: size),
        md.Column("In the validation images", count, "r"),
        md.Column("Smallest visible gain, median of methods", middle.__getitem__, "r"),
        md.Column("Over methods", span, "r"),
    ]
    return text + md.table(columns, halves)


def counted(results: Results) -> tuple[str, dict[str, int]]:
    """Return the number of validation images as text, then the number of objects by size."""
    split = (found_json(paths.statistics(results.name)) or {}).get("splits", {}).get("val")
    return (f"{split['images']:,}", dict(split["object_counts"])) if split else ("an unknown number of", {})


def trainings(methods: list[Method]) -> int:
    """Return how many trainings of each experiment there are: of the one with the fewest, or 1."""
    return min((method.blocks for method in methods if method.ap is not None), default=1) or 1


def learnt(method: Method) -> bool:
    """Tell whether a method's baseline learnt enough to be compared with."""
    return method.gains["ap"].word != Word.UNDERTRAINED


def advice(methods: list[Method]) -> list[str]:
    """Return a line on what to use, then one for every object size."""
    if not any(gain.gain is not None for method in methods for gain in method.gains.values()):
        return ["Nothing was run yet."]
    helped = {metric: told(methods, metric, 1) for metric in SIZES}
    hurt = {metric: told(methods, metric, -1) for metric in SIZES}
    harmful = {method for found in hurt.values() for method in found}
    useful = {metric: [method for method in found if method not in harmful] for metric, found in helped.items()}
    if useful["ap"]:
        best = useful["ap"][0]
        text = "points of AP; it hurts no object size, as far as one can tell."
        lines = [f"**Use {best.name}**: {best.gains['ap'].text} {text}"]
    elif any(useful.values()):
        metric = next(metric for metric in ("ap_small", "ap_medium", "ap_large") if useful[metric])
        best = useful[metric][0]
        text = "points for these; for all objects together one cannot tell."
        lines = [f"**Use {best.name} where {SIZES[metric]} objects matter**: {best.gains[metric].text} {text}"]
    else:
        lines = ["**Stay with the baseline**, or look longer: of no method can it be told that it helps here."]
    for metric, size in SIZES.items():
        parts = [
            f"{word}: " + "; ".join(f"{method.name} {method.gains[metric].text}" for method in found)
            for word, found in (("helps", helped[metric]), ("hurts", hurt[metric]))
            if found
        ]
        rest: dict[str, list[str]] = {}
        for method in methods:
            if method not in helped[metric] and method not in hurt[metric]:
                rest.setdefault(method.gains[metric].plain, []).append(method.name)
        parts += [f"{word}: {md.listing(names)}" for word, names in sorted(rest.items())]
        lines.append(f"{size.capitalize()}{' objects' if metric != 'ap' else ''}: {'. '.join(parts)}.")
    return lines


def told(methods: list[Method], metric: str, sign: int) -> list[Method]:
    """Return the methods of which it can be told that they help (sign 1) or hurt (-1), the largest effect first."""
    found = [m for m in methods if (m.gains[metric].up if sign > 0 else m.gains[metric].down)]
    return sorted(found, key=lambda m: -sign * m.gains[metric].gain)


def methods_table(methods: list[Method]) -> str:
    """Return one row a method: gain and word for every size, cost."""

    def cell(metric: str, method: Method) -> str:
        return f"{method.gains[metric].text} {method.gains[metric].plain}".strip()

    columns = [
        md.Column("Method", lambda method: f"[{method.name}](headline/{method.table}.md)"),
        *(md.Column(f"AP, {size}", partial(cell, metric)) for metric, size in SIZES.items()),
        md.Column("Parameters, multiply-adds", lambda method: method.cost, "r"),
    ]
    return md.table(columns, sorted(methods, key=lambda m: (m.gains["ap"].gain is None, -(m.gains["ap"].gain or 0))))


def chance(methods: list[Method]) -> str:
    """Return how many of these comparisons would be told apart by chance if no method did anything."""
    judged = sum(method.gains[metric].half_width is not None for method in methods for metric in SIZES)
    if not judged:
        return "No comparison has an interval yet."
    return (
        f"{md.plural(judged, 'comparison')} with an interval: if no method did anything, about {0.05 * judged:.1f} "
        "would still read as told apart."
    )


def more_section(results: Results, methods: list[Method]) -> str:
    """Return what more images, or more trainings, would let one see."""
    able = [method for method in methods if learnt(method)]
    every = {
        size: [estimate_gain(results, method.evaluation, method.baseline, metric) for method in able]
        for metric, size in SIZES.items()
    }
    known = {size: part for size, found in every.items() if (part := [one for one in found if one and one.known])}
    if not known:
        return "Unknown, as the noise is.\n"

    def visible(images: int, runs: int, size: str) -> str:
        return md.number(100 * median(one.half_width(images=images, blocks=runs) for one in known[size]))

    blocks, more = trainings(methods), MORE * trainings(methods)
    images, runs = f"And {MORE} times the images", f"With {more} trainings of each"

    def part(size: str) -> str:
        parts = [one.variances() for one in known[size]]
        return md.percent(median(sampled / (trained + sampled or 1.0) for trained, sampled in parts), 0)

    columns = [
        md.Column("Objects", lambda size: size),
        md.Column("% of the variance from images", part, "r"),
        md.Column(f"With {md.plural(blocks, 'training')} of each", partial(visible, 1, blocks), "r"),
        md.Column(images, partial(visible, MORE, blocks), "r"),
        md.Column(runs, partial(visible, 1, more), "r"),
        md.Column(images, partial(visible, MORE, more), "r"),
    ]
    return (
        "Smallest visible gain in points, median of methods. Where little of the variance comes from images, more "
        f"images do not help, and more trainings do.\n\n{md.table(columns, known)}"
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
        "Every method is compared inside its own paper's recipe, against that recipe's baseline.",
    ]
    return [*lines, *baselines(results), "[All tables](index.md); [what was read, left out and why](data.md)."]


def baselines(results: Results) -> list[str]:
    """Return a sentence on how well the baselines learnt."""
    found = baseline_ap50(results.name, headline_tables())
    if not found:
        return []
    floor = 100 * results.preset.verdicts.min_baseline_ap50
    low = f"; below {floor:.0f} nothing is told of a method: train longer" if found[0] < floor else ""
    return [f"The baselines reach AP50 {found[0]:.1f} to {found[-1]:.1f}{low}."]
