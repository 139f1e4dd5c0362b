"""Runs of claims that no table has side by side, and which of two of their gains is larger."""

from __future__ import annotations

from typing import NamedTuple

from pipeline import markdown as md
from pipeline import paths
from pipeline.evaluation.intervals import estimate, paired_interval
from pipeline.options import Options
from pipeline.published.columns import name_of
from pipeline.published.rows import is_classifier
from pipeline.verdicts.comparison import Gain, judge_gain
from pipeline.verdicts.estimates import block_gains, image_gains
from pipeline.verdicts.networks import one_here
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import Word, claim_holds


class Pair(Options):
    """Two evaluations that no table compares, and the printed gain of the first over the second, if there is one."""

    metric: str
    of: str
    over: str
    printed: float | None = None

    @property
    def what(self) -> str:
        return f"{name_of(self.metric)}, {self.of} over {self.over}"

    @property
    def files(self) -> tuple[str, ...]:
        """Paths of the results behind the gain, relative to the preset's report."""
        endings = (f"{name}{'_training' if is_classifier(name) else ''}.json" for name in (self.of, self.over))
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


def judge_margin(results: Results, margin: Margin) -> Judgement:
    """Judge whether a gain is larger than another: both over the same images, each with its trainings' noise."""
    pairs = (margin.larger, margin.smaller)
    gains = [judge_gain(results, pair.of, pair.over, pair.metric, None) for pair in pairs]
    if any(gain.ours is None for gain in gains):
        return Judgement(Word.NOT_RUN)
    lead = gains[0].ours - gains[1].ours
    names = [paths.split_evaluation(pair.of)[0] for pair in pairs]
    same = one_here(results.preset, *map(load_experiment, names)) if names[0] != names[1] else ""
    if same:
        return Judgement(Word.UNCHECKABLE, md.gain(100 * lead, None, None), same)
    over_blocks = [block_gains(results, pair.of, pair.over, pair.metric) for pair in pairs]
    over_draws = [image_gains(results, pair.of, pair.over, pair.metric) for pair in pairs]
    sd_images = paired_interval(over_draws[1], over_draws[0])[2] if len(over_draws[0]) == len(over_draws[1]) else None
    found = estimate([a - b for a, b in zip(*over_blocks, strict=False)], sd_images)
    low, high = found.interval()
    if low is None or not all(map(_trusted, gains)):
        why = next((gain.verdict.sentence for gain in gains if not _trusted(gain)), "its noise is unknown")
        return Judgement(Word.UNDECIDED, md.gain(100 * lead, None, None), why)
    return Judgement(_word(low > 0, high < 0), md.gain(100 * found.gain, 100 * low, 100 * high))


def _trusted(gain: Gain) -> bool:
    """Whether a gain has an interval that tells: nothing else than including zero keeps it undecided."""
    verdict = gain.verdict
    return verdict.firm and verdict.low is not None and (verdict.decided or verdict.word == Word.UNDECIDED)


def _word(holds: bool, contradicted: bool) -> Word:
    return claim_holds(holds) if holds or contradicted else Word.UNDECIDED
