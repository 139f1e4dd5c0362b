"""Which detector for a user's data: advice, every detector by what it reaches and costs, then what stands behind it.

All numbers are of `verdicts.estimates`, on results by class (`own.per_class`). A size or a class with fewer than
`LEAST` objects has no number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipeline import markdown as md
from pipeline import object_sizes, paths
from pipeline.analysis.loss_share import PAPER_THRESHOLD
from pipeline.evaluation.intervals import Estimate
from pipeline.own.advice import Offer, advise, costs_no_more, points, times, told, top, untold
from pipeline.own.by_class import LEAST
from pipeline.own.cells import class_names, level_text, too_few
from pipeline.own.classes_section import classes_section, confusion_section
from pipeline.own.detectors import DST, ClassResults, Detector, best_first, cost_of, kinds, order_of, trained
from pipeline.own.snip_ranges import NOTES
from pipeline.own.take_home import take_home
from pipeline.own.visible import more_section, visible_sentence
from pipeline.own.warnings import TOO_FEW, of_data, of_lengths, proposed_threshold, too_few_small, warnings
from pipeline.reporting.context import numbers_of, recipe_of
from pipeline.reporting.static_html import write_both
from pipeline.verdicts.lengths import images_seen
from pipeline.verdicts.results import activity, load_experiment

SIZES = {"ap": "all objects", "ap_small": "small", "ap_medium": "medium", "ap_large": "large"}
SHOWN = "## Every detector"  # the page up to here is printed at the end


def write_comparison(preset: str) -> None:
    """Write `paths.compared` of a preset, and the same as HTML beside it."""
    write_both(paths.compared(preset), compare_page(ClassResults(preset)), alone=True)


def compare_page(results: ClassResults) -> str:
    """Return the page."""
    found = best_first(trained(results))
    text = f"# Which detector for this data? Preset {results.name}\n\n{numbers_of(results)}\n\n## Advice\n\n"
    text += bullets(advice(results, found))
    if not found:
        return text
    said = [*of_data(found), *of_lengths(found, results), *warnings(results, [one.kind for one in found])]
    text += f"\n## Warnings\n\n{bullets(said)}" if said else ""
    text += f"\n{SHOWN}, best first\n\n"
    text += detectors_table(found)
    if results.reproduces():
        text += "\nMethods stand one by one here; what two of them give together stands on the report's index.\n"
    text += f"\n## Gains inside each recipe\n\n{gains_table(results, found)}"
    text += f"\n## Objects and classes\n\n{classes_section(found)}\n## Confusions\n\n{confusion_section(found[0])}"
    text += f"\n## What would show more\n\n{visible_sentence(found, SIZES)}\n\n{more_section(found, SIZES)}"
    text += f"\n## What this is\n\n{bullets(about(results, found))}"
    return text + f"\n## Take the best detector home\n\n{take_home(results.name, found)}"


def bullets(lines: Sequence[str]) -> str:
    return "".join(f"- {line}\n" for line in lines)


def advice(results: ClassResults, found: Sequence[Detector]) -> list[str]:
    """Return what to use, and which methods it cannot speak of; where nothing has learnt enough, that alone."""
    floor = results.preset.verdicts.min_baseline_ap50
    cure = f"Train longer (STEPS={2 * steps})" if (steps := results.preset.training.steps) else "Train longer"
    reached = {one: (one.metrics["ap50"] or 0) >= floor for one in found}
    if found and not any(reached.values()):
        return [f"Nothing is advised: no detector reaches an AP50 of {100 * floor:.0f}. {cure}, or on more data."]
    if found and max(one.ap.blocks for one in found) == 1:
        return [
            f"**Highest AP so far: {found[0].name}**, {md.percent(found[0].ap.gain)}. Nothing can be told yet: how far "
            "two trainings of one detector lie apart is unknown from one of each, and known from SEEDS=3 on, for which "
            "only the new ones are trained.",
            *left_out(results, found, {}),
        ]
    idle = {one: reason for one in found if (reason := activity(results, one.kind.experiment).inactive)}
    offers = [offer for offer in offers_of(found) if offer.key not in idle]
    lines = advise(offers, gain_of)
    if offers and not any(reached[offer.key] for offer in offers if offer.plain):
        why = f"No plain detector reaches an AP50 of {100 * floor:.0f}: what lies above may only learn faster."
        lines.insert(0, f"{why} {cure} to tell.")
    lines += lost_sizes(offers)
    pairs = [(one.name, one.over(base)) for one, base in compared(found) if one not in idle and not beaten(one, offers)]
    lines += untold(pairs, found[0].metrics["images"] if found else None)
    return [*lines, *left_out(results, found, idle)]


def lost_sizes(offers: Sequence[Offer]) -> list[str]:
    """Return at which sizes the best detector is told below the best plain one; nothing where at none."""
    plain = [offer for offer in offers if offer.plain]
    if not plain or (best := top(offers)) == (base := top(plain)):
        return []
    gains = {size: best.key.over(base.key, metric) for metric, size in SIZES.items() if not too_few(best.key, metric)}
    lost = [f"{size} {points(gain)}" for size, gain in gains.items() if gain and gain.known and gain.interval()[1] < 0]
    return [f"{best.name} lies **below {base.name}** on some sizes: {'; '.join(lost)} points of AP."] if lost else []


def gain_of(one: Offer, other: Offer) -> Estimate | None:
    return one.key.over(other.key)


def beaten(one: Detector, offers: Sequence[Offer]) -> bool:
    """Whether a plain detector of no more cost is told above another one: no more runs would make it advice."""
    own = next(offer for offer in offers if offer.key is one)
    plain = [offer for offer in offers if offer.plain and costs_no_more(offer, own)]
    return any(told(offer, own, gain_of) > 0 for offer in plain)


def left_out(results: ClassResults, found: Sequence[Detector], idle: Mapping[Detector, str]) -> list[str]:
    """Return what the advice does not speak of: methods that did nothing here, and those that were not trained."""
    lines = []
    if idle:
        parts = [f"{one.name} ({reason})" for one, reason in idle.items()]
        lines.append(f"**Did nothing here**, so it is in no comparison above: {md.listing(parts)}.")
    names = [kind.name for kind in kinds() if not kind.plain and kind not in {one.kind for one in found}]
    if found and names:
        lines.append(f"**Not trained**, so nothing above speaks of it: {md.listing(names)}.")
    return lines


def offers_of(found: Sequence[Detector]) -> list[Offer]:
    """Return detectors with their costs as multiples of the first plain one's, to the decimal that pages show."""
    if not found:
        return []
    plain = [one for one in found if one.kind.plain]
    base = cost_of(min(plain or found, key=lambda one: order_of(one.kind)))

    def ratio(part: float, whole: float) -> float:
        return float("inf") if float("inf") in (part, whole) else round(part / whole, 1)

    names = {one.kind.evaluation: one.name for one in plain}
    return [
        Offer(
            one.name,
            one.ap.gain,
            *map(ratio, cost_of(one), base),
            one.kind.plain,
            one,
            names.get(one.kind.baseline, ""),
        )
        for one in found
    ]


def compared(found: Sequence[Detector]) -> list[tuple[Detector, Detector]]:
    """Return every detector that has a baseline, with it."""
    known = {one.kind.evaluation: one for one in found}
    return [(one, known[one.kind.baseline]) for one in found if one.kind.baseline in known]


def detectors_table(found: Sequence[Detector]) -> str:
    """Return one row a detector: AP by size, and what it costs."""
    offers = {offer.key: offer for offer in offers_of(found)}
    columns = [
        md.Column("Detector", lambda one: one.name),
        *(md.Column(f"AP, {size}", value_cell(metric), "r") for metric, size in SIZES.items()),
        md.Column("AP50", lambda one: md.percent(one.metrics["ap50"]), "r"),
        md.Column("Inference", lambda one: times(offers[one].inference), "r"),
        md.Column("Training", lambda one: times(offers[one].training), "r"),
        md.Column("Experiment", lambda one: f"`{one.kind.evaluation}`"),
    ]
    return md.table(columns, found) + (
        "\nAP in percent with 95 % intervals over trainings and the choice of pictures; detectors see the same "
        "pictures, so their differences are surer than two intervals look. Costs are multiply-adds as multiples of the "
        "first plain detector's, with every resolution of a pyramid, and the trainings and networks that a method "
        f"takes scales or proposals from.{averaged_over(found[0])}\n"
    )


def value_cell(metric: str) -> Callable[[Detector], str]:
    def cell(one: Detector) -> str:
        if few := too_few(one, metric):
            return few
        return level_text(one.level(metric))

    return cell


def averaged_over(one: Detector) -> str:
    """Return a sentence on the classes that AP of a size leaves out, nothing where it leaves out none that exist."""
    names = class_names(one)
    parts = []
    for size in ("small", "medium", "large"):
        counts = {key: of_class[size] for key, of_class in one.metrics["objects"].items()}
        left = [f"{names[key]} ({count:,})" for key, count in counts.items() if 0 < count < LEAST]
        if left and any(count >= LEAST for count in counts.values()):
            parts.append(f"{size}: {md.listing(left)}")
    said = f" AP of a size leaves out classes with fewer than {LEAST} of its objects ({'; '.join(parts)})."
    return said if parts else ""


def gains_table(results: ClassResults, found: Sequence[Detector]) -> str:
    """Return a row a method: its gain over the baseline of its own recipe, and over the best plain detector."""
    pairs = compared(found)
    if not pairs:
        return "No method was trained beside its baseline yet.\n"
    best = top([offer for offer in offers_of(found) if offer.plain])

    def cell(metric: str) -> Callable[[tuple[Detector, Detector]], str]:
        def text(pair: tuple[Detector, Detector]) -> str:
            return too_few(pair[0], metric) or judged(results, *pair, metric)

        return text

    columns = [
        md.Column("Method", lambda pair: pair[0].name),
        md.Column("Over", lambda pair: pair[1].name),
        *(md.Column(f"AP, {size}", cell(metric)) for metric, size in SIZES.items()),
        md.Column(
            f"AP over {best.name}, {times(best.training)} training",
            lambda pair: "" if pair[0] is best.key else judged(results, pair[0], best.key, "ap", ("above", "below")),
        ),
    ]
    rows = sorted(pairs, key=lambda pair: -(pair[0].over(pair[1]) or pair[0].ap).gain)
    intervals = sum(
        one.known for pair in pairs for metric in SIZES if (one := pair[0].over(pair[1], metric)) is not None
    )
    return md.table(columns, rows) + (
        "\nGains in points of AP with 95 % intervals from differences of blocks (method and baseline draw the same "
        "pictures in the same order) and a paired bootstrap over pictures. "
        f"{md.plural(intervals, 'comparison')} with an interval: if no method did anything, about "
        f"{0.05 * intervals:.1f} would still read as told apart.\n"
    )


def judged(
    results: ClassResults, one: Detector, base: Detector, metric: str, words: tuple[str, str] = ("helps", "hurts")
) -> str:
    """Return a gain with its interval and a word for it, the first of `words` where it is told above none."""
    found = one.over(base, metric)
    if found is None:
        return md.MISSING
    low, high = found.interval()
    inactive = activity(results, one.kind.experiment).inactive
    if inactive:
        return f"{points(found)} did nothing: {inactive}"
    word = "cannot tell" if low is None or low <= 0 <= high else words[low < 0]
    return f"{points(found)} {word}"


def about(results: ClassResults, found: Sequence[Detector]) -> list[str]:
    """Return data, sizes and recipe behind the numbers."""
    preset = results.preset
    blocks = sorted({one.ap.blocks for one in found})
    return [
        f"{md.plural(found[0].metrics['images'], 'validation picture')}; "
        f"{md.listing([md.plural(count, 'training') for count in blocks])} (blocks) of each detector, which differ in "
        "their seed only.",
        f"Networks see a short side of {round(800 * preset.factor)} px. {object_sizes.sentence(preset)}",
        *length_sentence(results, found),
        *snip_sentence(results, found),
        *threshold_sentence(results, found),
        *recipe_of(results),
        "Every method is trained by its own paper's recipe; plain detectors by each of these.",
        "[What was read, left out and why](data.md). [This page as one HTML file](compare.html): tables that sort, no "
        "server, one file to mail.",
    ]


def length_sentence(results: ClassResults, found: Sequence[Detector]) -> list[str]:
    """Return how many pictures the first plain detector saw in training, which others' cost is a multiple of."""
    first = min(found, key=lambda one: order_of(one.kind))
    images = images_seen(results, first.kind.experiment)
    return [f"In training, {first.name} saw {images:,} pictures, repeats counted."] if images else []


def snip_sentence(results: ClassResults, found: Sequence[Detector]) -> list[str]:
    """Return what share of the objects each of SNIP's valid ranges holds, and whether they are fitted to the data."""
    for one in found:
        loaded = load_experiment(one.kind.experiment)
        shares = (results.training(one.kind.experiment) or {}).get("valid_objects")
        if loaded.method.snip and shares:
            parts = [f"{md.percent(share, 0)} % at {side}" for side, share in shares.items()]
            held = f"in training they held {md.listing(parts)}. The ranges of its test were searched on other pictures."
            if loaded.notes.row == NOTES["row"]:
                return [
                    "SNIP's resolutions are its paper's; its valid ranges end where as large a share of this data's "
                    f"objects is smaller as of COCO's below the paper's ends; {held}"
                ]
            return [
                "SNIP's resolutions and valid ranges are its paper's, scaled by the pictures' size and not fitted to "
                f"this data's objects; {held}"
            ]
    return []


def threshold_sentence(results: ClassResults, found: Sequence[Detector]) -> list[str]:
    """Return what threshold DST's paper would read off the plain detector's training here, where that is compared."""
    proposed = proposed_threshold(results) if any(one.kind.evaluation == DST for one in found) else None
    if proposed is None:
        return []
    said = f"here that is {proposed:g}, the share of the regression loss that small objects reach in half of the steps"
    if too_few_small(proposed):
        said = f"here none can be read, for {TOO_FEW}"
    return [
        f"DST's threshold is {PAPER_THRESHOLD:g} in its paper, which proposes to read it off the plain detector's "
        f"training on other data: {said}."
    ]
