"""Our rows of a published table beside the printed ones: gains, intervals and verdicts, ready to be written."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline import paths
from pipeline.published.columns import ERRORS, MASK, METRICS, RECALLS, sign_of
from pipeline.published.tables import Published, Row, Table, exists, find_table
from pipeline.verdicts.baselines import find_baseline, headline_tables
from pipeline.verdicts.estimates import estimate_gain
from pipeline.verdicts.results import Results, activity
from pipeline.verdicts.rule import Judged, Verdict, Word, judge

STAND_IN = "the paper compares with another baseline"


@dataclass(frozen=True)
class Gain:
    """Gain of one metric over the baseline; published in points of 100, ours as a fraction of 1."""

    published: float | None
    ours: float | None
    verdict: Verdict
    blocks: int = 1  # over which it is the mean

    @property
    def judged(self) -> Judged:
        """The gain in points, as pages show it."""
        return self.verdict.judged(self.ours)


@dataclass(frozen=True)
class Compared:
    """A row of ours: what was printed, what was measured, and what can be said of the gain."""

    row: Row
    evaluation: str
    metrics: dict[str, float | None] | None  # fractions of 1; None = not run
    baseline: str | None  # the evaluation that the gain is over
    stand_in: bool = False  # the baseline is another than the paper's
    gains: dict[str, Gain] = field(default_factory=dict)

    @property
    def experiment(self) -> str:
        return paths.split_evaluation(self.evaluation)[0]


def metrics_of(table: Table) -> tuple[str, ...]:
    """Return the metrics that a table's rows are compared by, the deciding one first.

    Those of boxes, and of masks where it prints such; recall where it prints that of proposals, errors where it prints
    those of classifiers, PASCAL VOC's mean AP where it prints that. A table that prints only some decides by the first.
    """
    if ERRORS[0] in table.columns:
        return tuple(name for name in ERRORS if name in table.columns)
    if "ar" in table.columns:
        return RECALLS
    if "map" in table.columns:
        return ("map",)
    printed = [name for name in table.columns if name.startswith(MASK)]
    masks = tuple(f"{MASK}{name}" for name in METRICS) if printed else ()
    found = masks if masks and "ap" not in table.columns else (*METRICS, *masks)
    return tuple(sorted(found, key=lambda name: name not in table.columns and found[0] not in table.columns))


def compare(results: Results, published: Published, table: Table) -> tuple[list[Compared], list[Row]]:
    """Return the rows that the project has, judged, and the paper's own rows that it does not have."""
    own = [row for row in table.rows if row.ours]
    present = [row for row in own if exists(row)]
    compared = [compare_row(results, published, table, row) for row in present]
    shown = {item.evaluation for item in compared}
    for name in dict.fromkeys(item.baseline for item in compared if item.stand_in and item.baseline not in shown):
        own_name = (paths.split_evaluation(name)[0],)
        row = Row(f"stand_in__{name}", "baseline (stand-in)", {}, True, "baseline", experiments=own_name)
        compared.insert(0, Compared(row, name, results.metrics(name), None))
    return compared, [row for row in own if row not in present]


def compare_row(results: Results, published: Published, table: Table, row: Row) -> Compared:
    """Return one row with its gains; its baseline may be a stand-in (`find_baseline`)."""
    metrics = results.metrics(row.evaluation)
    found, stand_in = find_baseline(published, table, row)
    if found is None:
        return Compared(row, row.evaluation, metrics, None)
    printed = published.baseline(table, row)
    base_values = printed[1].values if printed else {}
    gains = {}
    for metric in metrics_of(table):
        both = row.values.get(metric), base_values.get(metric)
        published_gain = None if None in both else round(sign_of(metric) * (both[0] - both[1]), 3)
        gains[metric] = judge_gain(results, row.evaluation, found, metric, published_gain, stand_in)
    return Compared(row, row.evaluation, metrics, found, stand_in, gains)


def judge_gain(
    results: Results, evaluation: str, baseline: str, metric: str, published_gain: float | None, stand_in: bool = False
) -> Gain:
    """Judge one metric of one evaluation against another's; of errors the gain is how much lower they are."""
    ours, base = results.metrics(evaluation), results.metrics(baseline)
    if ours is None or base is None:
        return Gain(published_gain, None, judge(None))
    found = estimate_gain(results, evaluation, baseline, metric)
    if found is None:
        return Gain(published_gain, None, Verdict(Word.NO_OBJECT, sentence="The data hold no object of this size."))
    told = {"unprinted": STAND_IN} if stand_in else {"published_gain": published_gain}
    told |= activity(results, paths.split_evaluation(evaluation)[0])._asdict()
    ap50 = base.get(f"{MASK}ap50" if metric.startswith(MASK) else "ap50")
    told |= {"judged": results.judges, "baseline_ap50": ap50, "ap50_floor": results.preset.verdicts.min_baseline_ap50}
    return Gain(published_gain, found.gain, judge(found, **told), found.blocks)


METHOD_NAMES = {"gsl": "POD GSL", "fd": "POD FD", "fd_wt": "POD FD-WT", "snip": "SNIP"}
METHOD_NAMES |= {"ms_train": "multi-scale training"}
METHOD_NAMES |= {"dst": "DST", "msfm": "MSFM", "psconv": "PSConv", "small_loss_reweight": "small-loss reweighting"}


def readable_method(row: Row) -> str:
    """Return a method's name as a reader of all five papers knows it; the printed label where there is none."""
    factors = row.factors
    if factors.get("method") == "dst" and factors.get("feedback") not in ("reg_loss", None):
        return f"DST, {factors['feedback'].replace('_', ' ')}"
    if factors.get("method") == "ms_train" and factors.get("test"):
        return "multi-scale training and test"
    if factors.get("method") == "single_scale" and factors.get("test"):
        return "multi-scale test"
    name = METHOD_NAMES.get(factors.get("method"), row.label)
    return f"{name} (C4)" if factors.get("neck") == "c4" and factors["method"].startswith("fd") else name


def headline_rows() -> list[Row]:
    """Return the rows of the headline's tables, in the papers' order."""
    return [row for name in headline_tables() for row in find_table(name, headline=True)[1].rows if exists(row)]


def headline_experiments() -> list[str]:
    """Return the experiments behind the headline's tables, in the papers' order, each once."""
    return list(dict.fromkeys(row.experiments[-1] for row in headline_rows()))


def headline_evaluations() -> set[str]:
    return {row.evaluation for row in headline_rows()}
