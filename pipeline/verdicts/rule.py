"""The verdict of one row: what the data says about a gain, and never more (rule 9 of the architecture)."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation.intervals import gain_interval, pooled_run_sd, smallest_detectable_gain

__all__ = ["DECIDED", "Verdict", "judge", "pooled_run_sd", "smallest_detectable_gain"]

DECIDED = ("agrees", "contradicts", "decided up", "decided down")


@dataclass(frozen=True)
class Verdict:
    """A word, the interval of our gain (fractions of 1, `None` where there is none), and why in one sentence."""

    word: str
    low: float | None
    high: float | None
    sentence: str

    @property
    def decided(self) -> bool:
        return self.word in DECIDED


def judge(
    gain: float | None,
    published_gain: float | None = None,
    sd_boot: float | None = None,
    sd_run: float | None = None,
    dof: int | None = None,
    baseline_ap50: float | None = None,
    ap50_floor: float | None = None,
    inactive: str | None = None,
    level: float = 0.95,
    runs: tuple[int, int] = (1, 1),
) -> Verdict:
    """Judge our gain over its baseline beside the published one.

    The first that holds: `not run`, `inactive`, `undertrained`, `undecided`, then `agrees` or `contradicts`, or
    `decided up` / `decided down` where the paper prints no gain or a gain of zero. The interval is
    gain -+ t * sqrt(sd_boot^2 + 2 sd_run^2): image sampling and run-to-run noise are both in it, and t takes the
    degrees of freedom of the latter, which is conservative.

    Args:
        gain: ours, method minus baseline, as a fraction of 1; None where one of the two has no result.
        published_gain: the paper's, in any unit: only its sign is used.
        sd_boot: paired bootstrap deviation of the gain over images.
        sd_run: run-to-run deviation of one training's metric in this preset, pooled over its equal baselines
            (`pooled_run_sd`); None where every baseline ran once.
        dof: degrees of freedom of `sd_run`.
        baseline_ap50, ap50_floor: below the floor the baseline learnt too little to compare.
        inactive: why the method changed nothing in this run; None where it did.
        level: of the interval.
        runs: trainings behind the baseline's and the method's metric.
    """
    if gain is None:
        return Verdict("not run", None, None, "This row or its baseline has no result in this preset.")
    low = high = None
    known_noise = sd_boot is not None and sd_run is not None and dof is not None and dof >= 1
    if known_noise:
        low, high = gain_interval(gain, sd_boot, sd_run, dof, level, runs)
    if inactive:
        return Verdict("inactive", low, high, f"The method changed nothing in this run: {inactive.rstrip('.')}.")
    if baseline_ap50 is not None and ap50_floor is not None and baseline_ap50 < ap50_floor:
        sentence = (
            f"The baseline's AP50 of {_points(baseline_ap50)} is below the {_points(ap50_floor)} needed to compare."
        )
        return Verdict("undertrained", low, high, sentence)
    ours = f"Gain {_points(gain, sign=True)} points"
    if not known_noise:
        missing = "image sampling" if sd_boot is None else "run-to-run"
        reason = "too few images" if sd_boot is None else "a single run of each baseline in this preset"
        return Verdict("undecided", None, None, f"{ours}; its {missing} noise is unknown ({reason}).")
    ours += f", {100 * level:g} % interval [{_points(low, sign=True)}, {_points(high, sign=True)}]"
    if low <= 0 <= high:
        return Verdict("undecided", low, high, f"{ours}, which includes zero.")
    direction = "up" if gain > 0 else "down"
    if not published_gain:
        printed = "prints no gain" if published_gain is None else "prints a gain of zero"
        return Verdict(f"decided {direction}", low, high, f"{ours}, is {direction}; the paper {printed} here.")
    if (gain > 0) == (published_gain > 0):
        return Verdict("agrees", low, high, f"{ours}, has the sign of the published gain.")
    return Verdict("contradicts", low, high, f"{ours}, has the opposite sign of the published gain.")


def _points(value: float, sign: bool = False) -> str:
    """Return a fraction of 1 in points of 100, one decimal, without a signed zero."""
    text = f"{100 * value:{'+' if sign else ''}.1f}"
    return "0.0" if text in ("-0.0", "+0.0") else text
