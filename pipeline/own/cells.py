"""What stands in the cells of the comparison's tables where a number needs its interval, or would say nothing."""

from pipeline import markdown as md
from pipeline.evaluation.intervals import Estimate
from pipeline.own.by_class import LEAST
from pipeline.own.detectors import Detector
from pipeline.verbatim import short


def level_text(found: Estimate | None) -> str:
    """Return a value in percent with its interval, which ends at 0 and 100 %."""
    if found is None:
        return md.MISSING
    low, high = found.interval()
    ends = "" if low is None else f" [{md.percent(max(low, 0.0))}, {md.percent(min(high, 1.0))}]"
    return md.percent(found.gain) + ends


def too_few(one: Detector, metric: str) -> str:
    """Return `too few objects (5)` for the AP of a size of which no class has enough, else nothing."""
    if metric == "ap":
        return ""
    counts = [of_class[metric.removeprefix("ap_")] for of_class in one.metrics["objects"].values()]
    if any(count >= LEAST for count in counts):
        return ""
    return few(sum(counts)) if sum(counts) < LEAST else f"too few of any class ({sum(counts):,})"


def few(count: int) -> str:
    return f"too few objects ({count:,})"


def class_names(one: Detector) -> dict[str, str]:
    """Return the names of a detector's classes by their ids as text, as pages show them."""
    return {str(entry["id"]): short(entry["name"]) for entry in one.metrics["categories"]}
