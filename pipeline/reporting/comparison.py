"""Our rows of a published table beside the printed ones: gains, intervals and verdicts, ready to be written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pipeline import paths
from pipeline.evaluation.intervals import paired_interval
from pipeline.reporting.published import Check, Published, Row, Table, exists, load_published
from pipeline.reporting.results import Results, inactive_reason, load_experiment
from pipeline.reporting.verdicts import Verdict, judge

METRICS = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
RECALLS = ("ar", "ar50", "ar75", "recall50_0_25", "recall50_25_50", "recall50_50_100")  # of proposals
MASK = "mask_"  # in front of a metric's name: of masks in the place of boxes
STAND_IN = "the paper compares with another baseline"


@dataclass(frozen=True)
class Gain:
    """Gain of one metric over the baseline; published in points of 100, ours as a fraction of 1."""

    published: float | None
    ours: float | None
    verdict: Verdict


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


@dataclass(frozen=True)
class CheckedClaim:
    """One check of a claim whose two operands were both run; `metric` is the column compared."""

    name: str
    statement: str
    metric: str
    check: Check
    gain: Gain


def metrics_of(table: Table) -> tuple[str, ...]:
    """Return the metrics that a table's rows are compared by, the deciding one first.

    Those of boxes, and of masks where it prints such; recall where it prints that of proposals, PASCAL VOC's mean AP
    where it prints that.
    """
    if "ar" in table.columns:
        return RECALLS
    if "map" in table.columns:
        return ("map",)
    printed = [name for name in table.columns if name.startswith(MASK)]
    masks = tuple(f"{MASK}{name}" for name in METRICS) if printed else ()
    return masks if masks and "ap" not in table.columns else (*METRICS, *masks)


def compare(results: Results, published: Published, table: Table) -> tuple[list[Compared], list[Row]]:
    """Return the rows that the project has, judged, and the paper's own rows that it does not have."""
    own = [row for row in table.rows if row.ours]
    present = [row for row in own if exists(table.id, row)]
    compared = [compare_row(results, published, table, row) for row in present]
    shown = {item.evaluation for item in compared}
    for name in dict.fromkeys(item.baseline for item in compared if item.stand_in and item.baseline not in shown):
        compared.insert(0, Compared(_stand_in_row(name), name, results.metrics(name), None))
    return compared, [row for row in own if row not in present]


def _stand_in_row(evaluation: str) -> Row:
    experiment = paths.split_evaluation(evaluation)[0]
    return Row(f"stand_in__{evaluation}", "baseline (stand-in)", {}, True, "baseline", experiments=(experiment,))


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
        published_gain = None if None in both else round(both[0] - both[1], 1)
        gains[metric] = judge_gain(results, row.evaluation, found, metric, published_gain, stand_in)
    return Compared(row, row.evaluation, metrics, found, stand_in, gains)


def find_baseline(published: Published, table: Table, row: Row) -> tuple[str | None, bool]:
    """Return (evaluation that a row's gain is over, whether it stands in for the printed one).

    Where the project lacks the printed baseline, the paper's first baseline of the same detector, backbone and neck
    that it has stands in, whatever its schedule.
    """
    printed = published.baseline(table, row)
    if printed is None:
        return None, False
    if exists(table.id, printed[1]):
        return printed[1].evaluation, False
    wanted = [printed[1].factors.get(key) for key in ("detector", "backbone", "neck")]
    for other in (other for candidate in published.tables for other in candidate.rows):
        same = [other.factors.get(key) for key in ("detector", "backbone", "neck")] == wanted
        if same and other.factors.get("method") == "baseline" and exists(table.id, other):
            return other.evaluation, True
    return None, False


def judge_gain(
    results: Results, evaluation: str, baseline: str, metric: str, published_gain: float | None, stand_in: bool = False
) -> Gain:
    """Judge one metric of one evaluation against another's."""
    ours, base = results.metrics(evaluation), results.metrics(baseline)
    if ours is None or base is None:
        return Gain(published_gain, None, judge(None))
    if ours.get(metric) is None or base.get(metric) is None:
        return Gain(published_gain, None, Verdict("n/a", None, None, "The data hold no object of this size."))
    experiment = paths.split_evaluation(evaluation)[0]
    reason, missing = inactive_reason(results, experiment)
    replicates = [(results.bootstrap(name) or {}).get(metric, ()) for name in (baseline, evaluation)]
    sd_boot = paired_interval(*replicates)[2] if len(replicates[0]) == len(replicates[1]) else None
    sd_run, dof = results.run_noise(experiment, metric)
    gain = ours[metric] - base[metric]
    verdict = judge(
        gain,
        None if stand_in else published_gain,
        sd_boot,
        sd_run,
        dof,
        baseline_ap50=base.get(f"{MASK}ap50" if metric.startswith(MASK) else "ap50"),
        ap50_floor=results.preset.verdicts.min_baseline_ap50,
        inactive=reason,
    )
    if missing and verdict.decided:
        sentence = f"Whether the method did anything in this run is unknown: {missing} is missing."
        verdict = replace(verdict, word="undecided", sentence=sentence)
    if stand_in:
        verdict = replace(verdict, sentence=verdict.sentence.replace("the paper prints no gain here", STAND_IN))
    return Gain(published_gain, gain, verdict)


def check_claims(results: Results, published: Published, table: Table) -> list[CheckedClaim]:
    """Return the claims whose operands are metrics of rows that the project has, the first of them in this table."""
    checked = []
    for claim in published.claims:
        for check in claim.check:
            first, second = (operand.split("/") for operand in (check.a, check.b))
            rows = [published.table(name).row(row) for name, row, _ in (first, second)]
            comparable = check.op == "diff" and first[2] == second[2] and first[2] in metrics_of(table)
            if first[0] != table.id or not comparable or not all(exists(table.id, row) for row in rows):
                continue
            a, b = (row.evaluation for row in rows)
            if a != b:
                gain = judge_gain(results, a, b, first[2], check.printed)
                checked.append(CheckedClaim(claim.id, claim.statement, first[2], check, gain))
    return checked


def readable_method(row: Row) -> str:
    """Return a method's name as a reader of all five papers knows it; the printed label where there is none."""
    factors = row.factors
    if factors.get("method") == "dst" and factors.get("feedback") not in ("reg_loss", None):
        return f"DST, {factors['feedback'].replace('_', ' ')}"
    names = {
        "gsl": "POD GSL",
        "fd": "POD FD",
        "fd_wt": "POD FD-WT",
        "dst": "DST",
        "msfm": "MSFM",
        "psconv": "PSConv",
        "snip": "SNIP",
        "small_loss_reweight": "small-loss reweighting",
        "ms_train": "multi-scale training",
    }
    if factors.get("method") == "ms_train" and factors.get("test"):
        return "multi-scale training and test"
    if factors.get("method") == "single_scale" and factors.get("test"):
        return "multi-scale test"
    return names.get(factors.get("method"), row.label)


def stand_ins(experiments: list[str]) -> list[str]:
    """Return what stands in for what in some experiments (their notes), each sentence once, in order."""
    return list(dict.fromkeys(text for name in experiments for text in load_experiment(name).notes.differs))


def headline_experiments() -> list[str]:
    """Return the experiments behind the quickstart's tables, in the papers' order, each once."""
    rows = (row for name in headline_tables() for row in _table(name).rows if exists(name, row))
    return list(dict.fromkeys(row.experiments[-1] for row in rows))


QUICKSTART = {
    "pod": ("pod_t2", "pod_t3", "pod_t5"),
    "dst": ("dst_t2",),
    "msfm": ("msfm_t4",),
    "snip": ("snip_t2",),
    "psconv": ("psconv_t8",),
}


def headline_tables() -> list[str]:
    return [name for tables in QUICKSTART.values() for name in tables]


def _table(name: str) -> Table:
    return load_published(name.split("_", 1)[0]).table(name)
