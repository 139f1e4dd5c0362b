"""Our rows of a published table beside the printed ones: gains, intervals and verdicts, ready to be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline import paths
from pipeline.evaluation.intervals import pooled_run_sd
from pipeline.published.columns import ERRORS, MASK, METRICS, RECALLS, kind_of, sign_of
from pipeline.published.rows import is_classifier, load_rows
from pipeline.published.tables import Published, Row, Table, exists, find_table
from pipeline.verdicts.results import PRETRAINING, Results, RunNoise, activity, load_experiment
from pipeline.verdicts.rule import Judged, Verdict, Word, judge
from pipeline.verdicts.trainings import SeedGain, paired_sd, seed_gain, spread

STAND_IN = "the paper compares with another baseline"
# Seen under `mini`, where ResNet-50 and ResNet-101 are one network: PSConv's, pre-trained twice, reached 15.5 and 21.2
# AP, so its gain was -5.5 and +2.5 points, each called decided by the noise of trainings from one init.
APART = (
    "Method and baseline start from backbones that were pre-trained here for each of them, and the noise of "
    "pre-training is not in the interval."
)


@dataclass(frozen=True)
class Gain:
    """Gain of one metric over the baseline; published in points of 100, ours as a fraction of 1."""

    published: float | None
    ours: float | None
    verdict: Verdict
    trainings: int = 1  # of the method behind the gain; several are means, as are the baseline's

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


def find_baseline(published: Published, table: Table, row: Row) -> tuple[str | None, bool]:
    """Return the evaluation that a row's gain is over, and whether it stands in for the printed one.

    Where the project lacks the printed baseline, the experiment that rows.yaml names stands in, else the paper's first
    baseline of the same detector, backbone and neck that it has, whatever its schedule.
    """
    printed = published.baseline(table, row)
    if printed is not None and exists(printed[1]):
        return printed[1].evaluation, False
    if row.stand_in:
        return row.stand_in, True
    if printed is None:
        return None, False
    wanted = [printed[1].factors.get(key) for key in ("detector", "backbone", "neck")]
    for other in (other for candidate in published.tables for other in candidate.rows):
        same = [other.factors.get(key) for key in ("detector", "backbone", "neck")] == wanted
        if same and other.factors.get("method") == "baseline" and exists(other):
            return other.evaluation, True
    return None, False


def judge_gain(
    results: Results, evaluation: str, baseline: str, metric: str, published_gain: float | None, stand_in: bool = False
) -> Gain:
    """Judge one metric of one evaluation against another's; of errors the gain is how much lower they are.

    Where method and baseline were each trained several times, the gain is the one between the means.
    """
    ours, base = results.metrics(evaluation), results.metrics(baseline)
    if ours is None or base is None:
        return Gain(published_gain, None, judge(None))
    if ours.get(metric) is None or base.get(metric) is None:
        return Gain(published_gain, None, Verdict(Word.NO_OBJECT, sentence="The data hold no object of this size."))
    told = {"unprinted": STAND_IN} if stand_in else {"published_gain": published_gain}
    further = further_gain(results, evaluation, baseline, metric, **told)
    if further is not None:
        return Gain(published_gain, further.gain, further.verdict, further.runs[1])
    sd_run, dof = gain_noise(results, evaluation, baseline, metric)
    runs = (1, 1)
    if kind_of(metric) == "error":
        both = [spread(results, name, metric) for name in (baseline, evaluation)]
        sd_boot = independent_sd(ours, base, metric)
        runs = (both[0].count, both[1].count)
        if min(runs) > 1:  # each arm has seeds of its own, and their deviation
            sd_run, dof = pooled_run_sd([found.values for found in both])
    else:
        sd_boot = paired_sd(results, baseline, evaluation, metric)
    about = activity(results, paths.split_evaluation(evaluation)[0])._asdict()
    if lacks_pretraining_noise(results, evaluation, baseline, metric):
        about["doubt"] = about["doubt"] or APART
    ap50 = base.get(f"{MASK}ap50" if metric.startswith(MASK) else "ap50")
    about |= {"judged": results.judges, "baseline_ap50": ap50, "ap50_floor": results.preset.verdicts.min_baseline_ap50}
    gain = sign_of(metric) * (ours[metric] - base[metric])
    return Gain(published_gain, gain, judge(gain, sd_boot=sd_boot, sd_run=sd_run, dof=dof, runs=runs, **about, **told))


def further_gain(results: Results, evaluation: str, baseline: str, metric: str, **told: Any) -> SeedGain | None:
    """Return the gain between means of several trainings of both, judged as told; None where nobody ran them.

    Where the backbones were pre-trained apart, only trainings that each had a pre-training of their own tell.
    """
    found = seed_gain(results, evaluation, metric, **told)
    if found is None or found.baseline != baseline:
        return None
    return found if found.pretrained or not pretrained_apart(results, evaluation, baseline) else None


def pretrained_apart(results: Results, evaluation: str, baseline: str) -> bool:
    """Whether two detectors start from different backbones that this preset pre-trained: PSConv's and the plain one.

    What is made of one and the same init (POD's scales, a fusion module put in) starts from it, whatever its name; two
    classifiers of the papers' own are two inits.
    """
    both = [load_experiment(paths.split_evaluation(name)[0]) for name in (evaluation, baseline)]
    if results.preset.init_source != "pretrain" or any(loaded.init == "none" for loaded in both):
        return False
    inits = {loaded.init for loaded in both}
    return both[0].method.psconv != both[1].method.psconv or (len(inits) == 2 and all(map(is_classifier, inits)))


def gain_noise(results: Results, evaluation: str, baseline: str, metric: str) -> RunNoise:
    """Return the noise that a gain is judged by: that of pre-training where the backbones differ and it is known."""
    pretraining = results.noise_in(PRETRAINING, metric)
    if pretraining.sd is not None and pretrained_apart(results, evaluation, baseline):
        return pretraining
    return results.run_noise(paths.split_evaluation(evaluation)[0], metric)


def lacks_pretraining_noise(results: Results, evaluation: str, baseline: str, metric: str) -> bool:
    """Whether two detectors start from backbones pre-trained apart, and nobody measured what that does to a metric."""
    return pretrained_apart(results, evaluation, baseline) and results.noise_in(PRETRAINING, metric).sd is None


def independent_sd(ours: dict, base: dict, metric: str) -> float | None:
    """Return the deviation of a difference of two error rates over test images, as if these were not the same ones.

    Which images each network misses is not kept, so the difference cannot be paired; taking the two as independent
    makes the interval wider, not narrower. None where the number of test images is unknown.
    """
    if not ours.get("images") or not base.get("images"):
        return None
    return sum(m[metric] * (1 - m[metric]) / m["images"] for m in (ours, base)) ** 0.5


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
    return METHOD_NAMES.get(factors.get("method"), row.label)


def headline_experiments() -> list[str]:
    """Return the experiments behind the quickstart's tables, in the papers' order, each once."""
    rows = (row for name in headline_tables() for row in find_table(name, headline=True)[1].rows if exists(row))
    return list(dict.fromkeys(row.experiments[-1] for row in rows))


def headline_tables(*papers: str) -> list[str]:
    """Return the tables that the quickstart shows, in the papers' order: of all papers, or of some."""
    return [name for paper in papers or paths.PAPERS for name in load_rows(paper).headline]
