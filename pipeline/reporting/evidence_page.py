"""How far the headline's evidence carries: what could be told from nothing, and whether another run says the same."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean
from typing import NamedTuple

from pipeline import markdown as md
from pipeline import paths
from pipeline.evaluation.intervals import Estimate
from pipeline.files import write_text
from pipeline.published.columns import NAMES
from pipeline.published.tables import find_table
from pipeline.reporting.context import numbers_of
from pipeline.verdicts import elsewhere
from pipeline.verdicts.baselines import headline_tables
from pipeline.verdicts.comparison import Compared, compare, readable_method
from pipeline.verdicts.estimates import block_gains, estimate_gain, image_sd
from pipeline.verdicts.power import MOST, POWER, Halves, blocks_needed, halves, power
from pipeline.verdicts.results import Results

METRICS = ("ap", "ap_small", "ap_medium", "ap_large")
IMAGES = (1, 2, 4)  # times the test images


class Line(NamedTuple):
    """A gain of the headline in one metric."""

    item: Compared
    metric: str
    printed: float | None  # points of 100
    found: Estimate

    @property
    def name(self) -> str:
        return f"{readable_method(self.item.row)}, {NAMES[self.metric]}"


def write_evidence(preset: str) -> None:
    """Write `evidence.md` of a preset."""
    write_text(paths.evidence(preset), evidence_page(Results(preset)))


def evidence_page(results: Results) -> str:
    """Return the page: power first, then halves of the blocks against each other."""
    lines = headline_lines(results)
    known = [line for line in lines if line.found.known]
    text = f"# How far the evidence carries, preset {results.name}\n\n{numbers_of(results, '')} [Back](README.md).\n\n"
    text += "## What could be told from nothing\n\n"
    if not known:
        return f"{text}Nothing: every experiment was trained once, so the noise of trainings is unknown.\n"
    text += power_section(known)
    text += f"\n## Run it again\n\n{again_section(results, known)}"
    return text + "".join(elsewhere_section(known, machine) for machine in elsewhere.load(results.name))


def headline_lines(results: Results) -> list[Line]:
    """Return every gain of the headline that was measured, each evaluation and baseline once."""
    found: dict[tuple[str, str, str], Line] = {}
    for name in headline_tables():
        for item in (item for item in compare(results, *find_table(name, headline=True))[0] if item.baseline):
            for metric in (metric for metric in METRICS if metric in item.gains):
                estimate = estimate_gain(results, item.evaluation, item.baseline, metric)
                if estimate is not None:
                    line = Line(item, metric, item.gains[metric].published, estimate)
                    found.setdefault((item.evaluation, item.baseline, metric), line)
    return list(found.values())


def power_section(lines: list[Line]) -> str:
    """Return deviations and the blocks that tell the published gain from none, a line a gain."""

    def chance(line: Line) -> str:
        return md.percent(power(line.printed / 100, line.found, line.found.blocks), 0) if line.printed else md.MISSING

    def needed(images: int, line: Line) -> str:
        return f"{blocks_needed(line.printed / 100, line.found, images) or f'over {MOST}'}" if line.printed else ""

    columns = [
        md.Column("Gain", lambda line: line.name),
        md.Column("Published", lambda line: md.as_printed(line.printed, sign=True), "r"),
        md.Column("Blocks", lambda line: line.found.blocks, "r"),
        md.Column("Deviation of a block", lambda line: md.percent(line.found.sd_block), "r"),
        md.Column("Deviation over images", lambda line: md.percent(line.found.sd_images), "r"),
        md.Column("Chance to decide the published size, %", chance, "r"),
        *(md.Column(f"Blocks for {100 * POWER:.0f} %, images x {n}", partial(needed, n), "r") for n in IMAGES),
    ]
    text = "All in points of AP. If the true gain were the published one, how often would its interval lie on its side "
    text += (
        f"of zero, and how many blocks would make that {100 * POWER:.0f} %, with these test images and with more?\n\n"
    )
    return text + md.table(columns, lines)


def again_section(results: Results, lines: list[Line]) -> str:
    """Return how often one half's interval holds the other half's estimate."""
    found: dict[str, list[Halves]] = {}
    for line in lines:
        pair = (line.item.evaluation, line.item.baseline, line.metric)
        found.setdefault(line.metric, []).extend(halves(block_gains(results, *pair), image_sd(results, *pair)))
    every = [one for part in found.values() for one in part]
    if not every:
        return "It takes four blocks of a comparison to set two against two.\n"
    text = (
        "Half of the blocks are taken as the report, the other half as running it again, on the same test images. How "
        "often does the interval of one half hold the estimate of the other? An interval is of the true gain, and the "
        "other estimate has noise of its own: so fewer than 95 % are expected to be covered, even if every interval is "
        "right; how many, follows from their widths. `Repeated` counts the estimates that differ by no more than the "
        f"noise of both: 95 % are expected to be. **{_share(every, 'covered')} are covered, "
        f"{fmean(one.expected for one in every):.0%} were expected; {_share(every, 'repeated')} repeated.** The sizes "
        "of one comparison are not independent of each other, nor are its two halves, so these shares are rough.\n\n"
    )
    columns = [
        md.Column("Metric", lambda metric: NAMES[metric]),
        md.Column("Covered", lambda metric: _share(found[metric], "covered"), "r"),
        md.Column("Expected, %", lambda metric: md.percent(fmean(one.expected for one in found[metric]), 0), "r"),
        md.Column("Repeated", lambda metric: _share(found[metric], "repeated"), "r"),
    ]
    return text + md.table(columns, [metric for metric in found if found[metric]])


def elsewhere_section(lines: list[Line], machine: elsewhere.Elsewhere) -> str:
    """Return the gains of another machine beside those here; nothing where it trained no comparison of the headline."""
    gains = [machine.gains(line.item.evaluation, line.item.baseline, line.metric) for line in lines]
    pairs = [(line.name, elsewhere.twice(line.found, there)) for line, there in zip(lines, gains, strict=True)]
    found = [(name, both) for name, both in pairs if both]
    if not found:
        return ""

    def here(pair: tuple[str, elsewhere.Twice]) -> str:
        report = pair[1].report
        return md.gain(*(100 * value for value in (report.gain, *report.interval())))

    columns = [
        md.Column("Gain", lambda pair: pair[0]),
        md.Column("Here", here, "r"),
        md.Column("Blocks", lambda pair: pair[1].report.blocks, "r"),
        md.Column("There", lambda pair: md.number(100 * pair[1].other, sign=True), "r"),
        md.Column("Blocks there", lambda pair: pair[1].blocks, "r"),
        md.Column("Noise of both", lambda pair: f"±{md.percent(pair[1].half_width)}", "r"),
        md.Column("Repeated", lambda pair: "yes" if pair[1].repeated else "**no**"),
    ]
    return (
        f"\n## On another machine: {machine.machine}\n\n"
        "The same commands there, by the same seeds, on the same test images; no weights are shared, pre-trainings "
        "included. Another processor or number format rounds differently, after which a training goes its own way. "
        f"**{_share([both for _, both in found], 'repeated')} repeated:** the two differ by no more than the noise of "
        "both, as 95 % should.\n\n" + md.table(columns, found)
    )


def _share(of: Sequence[Halves | elsewhere.Twice], what: str) -> str:
    """Return how many of some halves have a property, as a count and in percent."""
    count = sum(getattr(one, what) for one in of)
    return f"{count} of {len(of)} ({count / len(of):.0%})"
