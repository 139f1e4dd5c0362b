"""The one rule of judging: its words, its thresholds, and the prose that pages print beside its verdicts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from pipeline import markdown as md

if TYPE_CHECKING:
    from pipeline.evaluation.intervals import Estimate
    from pipeline.published.bounds import Bound
    from pipeline.verdicts.times import Ratio

MOVED = 0.05  # learnt scales nearer to 1 than this decompose into the plain convolution (POD, section 3.3)
CLOSE, SIDE = 0.01, 0.05  # relative difference of counts, and of a ratio of times from 1
ONE_TRAINING = "One training each shows that it runs; what the methods do is in `reports/mini`."
ROUNDED = 0.1  # two rounded numbers of one decimal differ by their difference to this


class Word(StrEnum):
    """Every verdict, and what stands in the place of one."""

    AGREES = "agrees"
    CONTRADICTS = "contradicts"
    UP = "decided up"
    DOWN = "decided down"
    UNDECIDED = "undecided"
    INACTIVE = "inactive"
    NOT_JUDGED = "not judged"
    UNDERTRAINED = "undertrained"
    NOT_RUN = md.NOT_RUN
    NO_OBJECT = md.MISSING
    BASELINE = "baseline"
    NO_BASELINE_HERE = "no baseline here"
    # of printed counts and times
    EQUAL = "equal"
    CLOSE = "close"
    DIFFERS = "differs"
    NO_BASELINE = "no baseline"
    NOT_PRINTED = "not printed"
    NOT_COUNTED = "not counted"
    NOT_TIMED = "not timed"
    # of learnt scales and of speeds
    MOVED = "moved"
    MEASURED = "measured"
    NOT_REPRODUCIBLE = "not reproducible here"
    # of claims
    HOLDS = "holds"
    CONTRADICTED = "contradicted"
    UNCHECKABLE = "cannot be checked here"

    @property
    def decided(self) -> bool:
        return self in DECIDED


DECIDED = (Word.AGREES, Word.CONTRADICTS, Word.UP, Word.DOWN)
CLAIM_WORDS = (Word.CONTRADICTED, Word.UNDECIDED, Word.NOT_RUN, Word.HOLDS, Word.UNCHECKABLE)  # the worst part first

EXCLUDED, COMPATIBLE = "published size excluded", "compatible with the published size"
CANNOT_TELL = "cannot tell"
PLAIN = {  # what somebody with images of their own is told; a decided gain helps or hurts
    Word.UNDECIDED: CANNOT_TELL,
    Word.INACTIVE: "did nothing in this run",
    Word.UNDERTRAINED: f"{CANNOT_TELL} (the baseline learnt too little)",
    Word.NO_OBJECT: "no object of this size",
}

BY_SIGN = (
    f"then `{Word.AGREES}` or `{Word.CONTRADICTS}` by the sign of the published gain, or `{Word.UP}` / `{Word.DOWN}` "
    "where the paper prints none for this pair."
)
RULES = {  # by kind of column
    "error": "Errors: lower is better, so a gain is the baseline's error minus the method's. The test images that two "
    "networks miss are taken as independent of each other, which makes the interval wider.",
    "count": "Parameters and multiply-adds are counted at the papers' size whatever the preset: "
    f"`{Word.EQUAL}` where the count rounds to the printed digits, `{Word.CLOSE}` within {100 * CLOSE:g} %, else "
    f"`{Word.DIFFERS}`.",
    "time": "Times belong to a machine, so only the ratio to the baseline's is compared, whatever the preset, with the "
    f"one measured at the papers' size (`reports/benchmarks`): `{Word.AGREES}` where both ratios lie on one side of 1, "
    f"or both within {100 * SIDE:g} % of it, else `{Word.CONTRADICTS}`; `{Word.UNDECIDED}` where the quartiles of ours "
    f"lie on two sides; `{Word.NOT_TIMED}` without a measurement.",
}
CLAIM_RULE = (
    f"`{Word.HOLDS}`: every part that can be checked does: the whole 95 % interval of a gain has the printed sign or, "
    "where the sentence names a bound (at least, above, about), keeps that bound; other numbers keep theirs.",
    f"`{Word.CONTRADICTED}`: the whole interval of a part, or its number, lies on the other side.",
    f"`{Word.UNDECIDED}`: an interval lies on both sides, there is none, the method was inactive, or its baseline "
    "learnt too little.",
    f"`{Word.NOT_RUN}`: a result is missing.",
    f"`{Word.UNCHECKABLE}`: the reason stands beside it; a printed difference of 0.0 has no sign, and two rows that "
    "are one network here have no difference.",
    f"A claim takes the first of {', '.join(CLAIM_WORDS)} that one of its parts has, and names the parts that cannot "
    "be checked.",
)


def gain_rule(floor: float) -> list[str]:
    """Return the rule of gains in AP in sentences, of baselines of at least some AP50."""
    return [
        "A gain is the mean over the blocks that method and baseline both have; a block is one seed of pre-training "
        "and training, and both draw the same images in the same order in it.",
        "Its 95 % interval holds the noise of trainings (the deviation of the blocks' differences; where these are "
        "few, pooled with the headline's comparisons of the same kind) and the choice of test images (a paired "
        "bootstrap of the mean), with Student's t.",
        f"A gain is `{Word.UNDECIDED}` unless that interval excludes zero; {BY_SIGN}",
        f"`{Word.INACTIVE}`: the method changed nothing in this run. `{Word.UNDERTRAINED}`: the baseline's AP50 is "
        f"below {floor:.0f}.",
        f"Beside it: `{EXCLUDED}` where the published gain lies outside of our interval, else `{COMPATIBLE}`.",
    ]


class Judged(NamedTuple):
    """A gain in points of 100 with its interval and its word; None where there is none."""

    gain: float | None
    low: float | None
    high: float | None
    word: Word

    @property
    def up(self) -> bool:
        """Whether it is decided that the method gains; `down` is the same of a loss."""
        return self.word.decided and self.gain > 0

    @property
    def down(self) -> bool:
        return self.word.decided and self.gain < 0

    @property
    def plain(self) -> str:
        """The verdict in the words of `PLAIN`."""
        return "helps" if self.up else "hurts" if self.down else PLAIN.get(self.word, self.word)

    @property
    def half_width(self) -> float | None:
        """Half the interval: a smaller gain cannot be told from none."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def text(self) -> str:
        """The signed gain with its interval, empty without one; a word over a baseline that learnt too little."""
        if self.word == Word.UNDERTRAINED:
            return self.word
        return "" if self.gain is None else md.gain(*self[:3])


@dataclass(frozen=True)
class Verdict:
    """A word, the interval of our gain (fractions of 1, `None` where there is none), and why in one sentence.

    `firm`: whether the interval holds all noise that is known to matter; otherwise nothing is decided by it.
    """

    word: Word
    low: float | None = None
    high: float | None = None
    sentence: str = ""
    firm: bool = True
    size: str = ""  # whether the interval holds the published gain, in words
    p: float | None = None  # of a gain as far from zero, if there were none

    @property
    def decided(self) -> bool:
        return self.word.decided

    def judged(self, gain: float | None) -> Judged:
        """Return a gain with this verdict in points of 100."""
        values = (gain, self.low, self.high)
        return Judged(*(None if value is None else 100 * value for value in values), self.word)


def judge(
    gain: Estimate | None,
    published_gain: float | None = None,
    baseline_ap50: float | None = None,
    ap50_floor: float | None = None,
    inactive: str | None = None,
    doubt: str | None = None,
    level: float = 0.95,
    judged: bool = True,
    unprinted: str = "the paper prints no gain here",
) -> Verdict:
    """Judge our gain over its baseline beside the published one.

    The first that holds: `not run`, `inactive`, `undertrained`, `not judged`, `undecided`, then `agrees` or
    `contradicts`, or `decided up` / `decided down` where the paper prints no gain or a gain of zero.

    Args:
        gain: ours, method minus baseline, in fractions of 1; None where one of the two has no result.
        published_gain: the paper's, in points of 100.
        baseline_ap50, ap50_floor: below the floor the baseline learnt too little to compare.
        inactive: why the method changed nothing in this run; None where it did.
        doubt: a sentence that says why nothing is decided although the interval excludes zero.
        level: of the interval.
        judged: whether the preset decides anything.
        unprinted: why there is no published gain, where there is none.
    """
    if gain is None:
        return Verdict(Word.NOT_RUN, sentence="This row or its baseline has no result in this preset.")
    low, high = gain.interval(level) if judged else (None, None)
    if inactive and judged:
        sentence = f"The method changed nothing in this run: {inactive.rstrip('.')}."
        return Verdict(Word.INACTIVE, low, high, sentence)
    if baseline_ap50 is not None and ap50_floor is not None and baseline_ap50 < ap50_floor:
        ap50, floor = md.percent(baseline_ap50), md.percent(ap50_floor)
        sentence = f"The baseline's AP50 of {ap50} is below the {floor} needed to compare."
        return Verdict(Word.UNDERTRAINED, low, high, sentence)
    if not judged:
        return Verdict(Word.NOT_JUDGED, sentence=ONE_TRAINING)
    ours = f"Gain {md.number(100 * gain.gain, sign=True)} points"
    if low is None:
        unknown = "image sampling" if gain.sd_images is None else "training"
        reason = "too few images" if gain.sd_images is None else "one training of each"
        return Verdict(Word.UNDECIDED, sentence=f"{ours}; the noise of {unknown} is unknown ({reason}).")
    ours += f" over {md.plural(gain.blocks, 'block')}, {100 * level:g} % interval {md.interval(100 * low, 100 * high)}"
    size = "" if published_gain is None else COMPATIBLE if low <= published_gain / 100 <= high else EXCLUDED
    told = partial(Verdict, low=low, high=high, size=size, p=gain.p)
    if low <= 0 <= high:
        return told(Word.UNDECIDED, sentence=f"{ours}, which includes zero.", firm=not doubt)
    if doubt:
        return told(Word.UNDECIDED, sentence=doubt, firm=False)
    if not published_gain:
        direction = "up" if gain.gain > 0 else "down"
        why = unprinted if published_gain is None else "the paper prints a gain of zero here"
        return told(Word(f"decided {direction}"), sentence=f"{ours}, is {direction}; {why}.")
    same = (gain.gain > 0) == (published_gain > 0)
    sign = "the sign" if same else "the opposite sign"
    return told(_agrees(same), sentence=f"{ours}, has {sign} of the published gain.")


def judge_count(printed: float | None, ours: float | None, decimals: int = 1) -> Verdict:
    """Judge a count against the printed one, both in the printed unit, by the rule of `RULES`."""
    if ours is None:
        return Verdict(Word.NOT_COUNTED, sentence="No count at the papers' size is at hand.")
    if printed is None:
        return Verdict(Word.NOT_PRINTED, sentence="The paper prints none here.")
    off = ours / printed - 1
    equal = abs(ours - printed) <= 0.5 * 10**-decimals + 1e-9
    word = Word.EQUAL if equal else Word.CLOSE if abs(off) <= CLOSE else Word.DIFFERS
    return Verdict(word, sentence=f"Counted {ours:.3f}, printed {printed:g}: {100 * off:+.2f} %.")


def judge_ratio(printed: float | None, ours: Ratio | None) -> Verdict:
    """Judge a ratio of times to the baseline's by the side of 1 on which it lies, by the rule of `RULES`."""
    if printed is None:
        word = Word.NO_BASELINE if ours is None else Word.NOT_PRINTED
        return Verdict(word, sentence="No printed ratio to compare.")
    if ours is None:
        return Verdict(Word.NOT_TIMED, sentence="No time of both networks was measured here.")
    sides = {_side(end) for end in (ours.value, ours.low, ours.high) if end is not None}
    word = Word.UNDECIDED if len(sides) > 1 else _agrees(sides == {_side(printed)})
    return Verdict(word, sentence=f"Printed {printed:.2f} times the baseline's. {ours.sentence}")


def judge_bound(gain: float, verdict: Verdict, bound: Bound) -> Verdict:
    """Judge a gain by a bound in the place of its sign: its whole interval must keep it, or lie outside of it.

    Args:
        gain: a fraction of 1.
        verdict: of its sign, with its interval. What no sign decides (an inactive method, a weak baseline, a noise that
            is unknown) no bound does.
        bound: in points of 100.
    """
    if not verdict.firm or verdict.low is None or verdict.word not in (*DECIDED, Word.UNDECIDED):
        return verdict
    ends = (100 * verdict.low, 100 * verdict.high)
    word = judge_kept(bound, *ends)
    part = {Word.AGREES: "all", Word.CONTRADICTS: "none"}.get(word, "not all")
    sentence = f"Gain {md.gain(100 * gain, *ends)}, {part} of which is {bound.text()} as claimed."
    return replace(verdict, word=word, sentence=sentence)


def judge_kept(bound: Bound, *ends: float) -> Word:
    """Return whether a number, or the interval between two, keeps a bound; undecided where a part of it does."""
    least, most = bound.ends()
    if all(map(bound.holds, ends)):
        return Word.AGREES
    outside = len(ends) == 1 or max(ends) < least or min(ends) > most
    return Word.CONTRADICTS if outside else Word.UNDECIDED


def claim_holds(holds: bool) -> Word:
    return Word.HOLDS if holds else Word.CONTRADICTED


def claim_word(word: Word) -> Word:
    """Return a claim's word for the verdict of one of its parts."""
    words = {Word.AGREES: Word.HOLDS, Word.CONTRADICTS: Word.CONTRADICTED}
    words |= dict.fromkeys((Word.UNCHECKABLE, Word.NO_OBJECT), Word.UNCHECKABLE)
    absent = (Word.NOT_RUN, Word.NOT_TIMED, Word.NOT_COUNTED)
    return Word.NOT_RUN if word in absent else words.get(word, Word.UNDECIDED)


def worst(words: Iterable[Word]) -> Word:
    """Return a claim's word for those of its parts: the first of `CLAIM_WORDS` that one of them has."""
    return min(words, key=CLAIM_WORDS.index)


def _agrees(agrees: bool) -> Word:
    return Word.AGREES if agrees else Word.CONTRADICTS


def _side(ratio: float) -> int:
    return 0 if abs(ratio - 1) <= SIDE else 1 if ratio > 1 else -1
