"""Claims of runs that no table has side by side: the gain of one over another, and which of two gains is larger."""

from __future__ import annotations

from typing import NamedTuple

from pipeline import markdown as md
from pipeline.evaluation.intervals import gain_interval, paired_interval
from pipeline.options import Options
from pipeline.published.columns import name_of, sign_of
from pipeline.published.rows import is_classifier
from pipeline.verdicts.comparison import Gain, gain_noise, judge_gain
from pipeline.verdicts.results import Results
from pipeline.verdicts.rule import Word, claim_holds


class Pair(Options):
    """The gain of an evaluation over another, in points, which must lie between `least` and `most`."""

    method: str
    baseline: str
    metric: str
    least: float | None = None
    most: float | None = None
    printed: float | None = None

    @property
    def what(self) -> str:
        return f"gain in {name_of(self.metric)}, {self.method} over {self.baseline}"

    @property
    def published(self) -> str:
        bounds = (("at least", self.least), ("at most", self.most))
        words = [f"{word} {value:g}" for word, value in bounds if value is not None]
        return ", ".join([*([f"{self.printed:+g}"] if self.printed is not None else []), *words])

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the results behind the gain, relative to the preset's report."""
        endings = (f"{name}{'_training' if is_classifier(name) else ''}.json" for name in (self.method, self.baseline))
        return tuple(f"metrics/{ending}" for ending in endings)


class Margin(Options):
    """Two gains in points, of which the first must be the larger."""

    larger: Pair
    smaller: Pair

    @property
    def what(self) -> str:
        return f"{self.larger.what}, less the {self.smaller.what}"

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.larger.files, *self.smaller.files)))


class Judgement(NamedTuple):
    """A claim's word, the number behind it with its interval in points, and why."""

    word: Word
    ours: str = ""
    why: str = ""


def judge_pair(results: Results, pair: Pair) -> Judgement:
    """Judge a gain by its bounds: it holds where its whole interval keeps them, and is contradicted where none does."""
    gain = judge_gain(results, pair.method, pair.baseline, pair.metric, None)
    if gain.ours is None:
        return Judgement(Word.NOT_RUN, why=gain.verdict.sentence)
    low, high = gain.judged.low, gain.judged.high
    if not _trusted(gain):
        return Judgement(Word.UNDECIDED, gain.judged.text, gain.verdict.sentence)
    least = -1e9 if pair.least is None else pair.least
    most = 1e9 if pair.most is None else pair.most
    inside, apart = least <= low and high <= most, high < least or most < low
    return Judgement(_word(inside, apart), gain.judged.text, gain.verdict.sentence)


def judge_margin(results: Results, margin: Margin) -> Judgement:
    """Judge whether a gain is larger than another: both over the same images, each with its trainings' noise."""
    pairs = (margin.larger, margin.smaller)
    gains = [judge_gain(results, pair.method, pair.baseline, pair.metric, None) for pair in pairs]
    if any(gain.ours is None for gain in gains):
        return Judgement(Word.NOT_RUN)
    lead = gains[0].ours - gains[1].ours
    noises = [gain_noise(results, pair.method, pair.baseline, pair.metric) for pair in pairs]
    draws = [_draws(results, pair) for pair in pairs]
    sd_boot = paired_interval(draws[1], draws[0])[2] if len(draws[0]) == len(draws[1]) else None
    if sd_boot is None or any(noise.sd is None for noise in noises) or not all(map(_trusted, gains)):
        why = next((gain.verdict.sentence for gain in gains if not _trusted(gain)), "its noise is unknown")
        return Judgement(Word.UNDECIDED, md.gain(100 * lead, None, None), why)
    sd_run = sum(noise.sd**2 for noise in noises) ** 0.5  # of two gains, so of four trainings
    low, high = gain_interval(lead, sd_boot, sd_run, min(noise.dof for noise in noises))
    return Judgement(_word(low > 0, high < 0), md.gain(100 * lead, 100 * low, 100 * high))


def _trusted(gain: Gain) -> bool:
    """Whether a gain has an interval that tells: nothing else than including zero keeps it undecided."""
    verdict = gain.verdict
    spans_zero = verdict.low is not None and verdict.low <= 0 <= verdict.high
    return verdict.decided or (verdict.word == Word.UNDECIDED and spans_zero)


def _word(holds: bool, contradicted: bool) -> Word:
    return claim_holds(holds) if holds or contradicted else Word.UNDECIDED


def _draws(results: Results, pair: Pair) -> list[float | None]:
    """Return the bootstrap draws of a gain over images."""
    both = [(results.bootstrap(name) or {}).get(pair.metric, ()) for name in (pair.method, pair.baseline)]
    if len(both[0]) != len(both[1]):
        return []
    return [None if None in (a, b) else sign_of(pair.metric) * (a - b) for a, b in zip(*both, strict=True)]
