"""The checks of claims: two printed cells, their difference or ratio, and the same of our own results.

A gain is judged by one rule, `claimed_gain`, whether it stands between two cells or two evaluations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline import paths
from pipeline.published.bounds import Bound
from pipeline.published.columns import COUNTS, kind_of
from pipeline.published.tables import Check, Claim, Published, Row, Table
from pipeline.verdicts.comparison import Gain, judge_gain
from pipeline.verdicts.learnt_scales import learnt
from pipeline.verdicts.networks import one_here
from pipeline.verdicts.printed_costs import ours_in_print
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import ROUNDED, Verdict, Word, judge, judge_bound, judge_kept, judge_ratio
from pipeline.verdicts.times import KINDS
from pipeline.verdicts.times import ratio as time_ratio


@dataclass(frozen=True)
class CheckedClaim:
    """One check of a claim; ours and published in `unit`, of which `scale` makes one from a fraction of 1."""

    name: str
    statement: str
    metric: str
    check: Check
    gain: Gain
    unit: str = "percent"

    @property
    def scale(self) -> float:
        return 100.0 if self.unit == "percent" else 1.0


def check_claims(results: Results, published: Published, table: Table) -> list[CheckedClaim]:
    """Return every check whose first cell is in this table, of rows that the table shows."""
    found = []
    for claim in published.claims:
        for check in claim.check:
            (first, row, column), (second, other, _) = (operand.split("/") for operand in (check.a, check.b))
            a, b = published.table(first).row(row), published.table(second).row(other)
            if first == table.id and a.shown and b.shown:
                found.append(_checked(results, claim, check, column, a, b))
    return found


def _checked(results: Results, claim: Claim, check: Check, column: str, a: Row, b: Row) -> CheckedClaim:
    about = (claim.id, claim.statement, column, check)
    for row in (a, b):
        if row.source.kind in ("quoted", "absent"):
            return CheckedClaim(*about, _no(check, f"{row.name}: {row.source.reason}"))
    kind = kind_of(column)
    if kind == "count":
        return CheckedClaim(*about, _count(results, check, column, a, b), unit=COUNTS[column].rpartition(" ")[2])
    if kind == "time":
        return CheckedClaim(*about, _time(check, column, a, b), unit="times")
    if column.startswith("scale_"):
        return CheckedClaim(*about, _scales(results, check, column, a, b), unit="dilation")
    if a.evaluation == b.evaluation:
        return CheckedClaim(*about, _no(check, "both rows are one network, one training and one evaluation here"))
    # of errors, the printed difference is the second's lead over the first
    first, second = (b, a) if kind == "error" else (a, b)
    names, bound = (first.evaluation, second.evaluation), check.bound.of(check.printed)
    return CheckedClaim(*about, claimed_gain(results, *names, column, check.printed, bound))


SIGN_AGREES = "By its size; the sign agrees."
NO_SIGN = "The paper prints a difference of 0.0 here, which has no sign."


def claimed_gain(
    results: Results, evaluation: str, baseline: str, metric: str, printed: float | None, bound: Bound | None = None
) -> Gain:
    """Judge the gain that a claim speaks of: by its bound where it names one, else by the sign of the printed one.

    Two experiments that are one network under the preset have no gain that tells anything.
    """
    gain = judge_gain(results, evaluation, baseline, metric, printed)
    (one, test), (other, second) = (paths.split_evaluation(name) for name in (evaluation, baseline))
    same = one_here(results.preset, load_experiment(one), load_experiment(other)) if test == second else ""
    if gain.ours is not None and (same or (printed == 0 and not bound)):
        verdict = replace(gain.verdict, word=Word.UNCHECKABLE, sentence=same or NO_SIGN)
    elif gain.ours is not None and bound:
        verdict = judge_bound(gain.ours, gain.verdict, bound)
        if verdict.word == Word.CONTRADICTS and gain.verdict.word == Word.AGREES:
            verdict = replace(verdict, sentence=f"{verdict.sentence} {SIGN_AGREES}")
    else:
        verdict = gain.verdict
    return replace(gain, verdict=verdict)


def _count(results: Results, check: Check, column: str, a: Row, b: Row) -> Gain:
    counts = [ours_in_print(results, row.experiments[-1], column) for row in (a, b)]
    if None in counts:
        return _no(check, "the network was not counted", "identities.md")
    difference, bound = counts[0] - counts[1], check.bound.of(check.printed)
    bound = bound or Bound(about=check.printed, within=max(check.tol, ROUNDED))
    verdict = Verdict(judge_kept(bound, difference), sentence=f"Counted: {difference:+.3f}.")
    return Gain(check.printed, difference, verdict)


def _time(check: Check, column: str, a: Row, b: Row) -> Gain:
    printed = a.values[column] / b.values[column]
    found = time_ratio(KINDS[column], a.experiments[-1], b.experiments[-1])
    if found is None:
        return _no(check, "no times of these networks are kept: they belong to a machine", "reports/benchmarks")
    verdict = judge_ratio(printed, found)
    if check.bound:
        ends = [end for end in (found.low, found.high) if end is not None] or [found.value]
        verdict = replace(verdict, word=judge_kept(check.bound.of(printed), *ends))
    return Gain(round(printed, 3), found.value, verdict)


def _scales(results: Results, check: Check, column: str, a: Row, b: Row) -> Gain:
    """Compare mean scales of two sets of images: they agree where ours differ by no more than the printed ones.

    A cell is printed with two decimals, and the larger of its printed deviations is added to the tolerance.
    """
    means = [learnt(results, row, column).mean for row in (a, b)]
    if None in means:
        return Gain(check.printed, None, judge(None))
    spread = max(row.values.get(f"{column}_std") or 0.0 for row in (a, b))
    limit, difference = abs(check.printed) + max(check.tol, spread), means[0] - means[1]
    sentence = f"Mean scales of the two sets of images differ by {abs(difference):.2f}; {limit:.2f} is allowed."
    word = judge_kept(Bound(about=0, within=limit), difference)
    return Gain(check.printed, difference, Verdict(word, sentence=sentence))


def _no(check: Check, reason: str, page: str = "") -> Gain:
    where = f" ({page})" if page else ""
    sentence = f"{reason[0].upper()}{reason[1:]}{where}."
    return Gain(check.printed, None, Verdict(Word.UNCHECKABLE, sentence=sentence))
