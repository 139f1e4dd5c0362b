"""What these pictures and trainings could have shown: the smallest visible gain, and what more of either would show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import median

from pipeline import markdown as md
from pipeline.evaluation.intervals import Estimate
from pipeline.own.detectors import Detector
from pipeline.verdicts.estimates import same_weights

MORE = 4  # times the images or the trainings


def known_gains(found: Sequence[Detector], sizes: Mapping[str, str]) -> dict[str, list[Estimate]]:
    """Return by size the gains over baselines whose noise is known, without tests of the same weights."""
    known = {one.kind.evaluation: one for one in found}
    pairs = [
        (one, known[one.kind.baseline])
        for one in found
        if one.kind.baseline in known and not same_weights(one.kind.evaluation, one.kind.baseline)
    ]
    result = {
        size: [gain for one, base in pairs if (gain := one.over(base, metric)) and gain.known]
        for metric, size in sizes.items()
    }
    return {size: gains for size, gains in result.items() if gains}


def visible_sentence(found: Sequence[Detector], sizes: Mapping[str, str]) -> str:
    """Return the smallest difference that could be seen, by size."""
    gains = known_gains(found, sizes)
    if not gains:
        return "**The smallest difference that could be told is unknown**: one training of each has no noise to see."
    middle = {size: median(one.half_width() for one in every) for size, every in gains.items()}
    parts = ", ".join(f"{size} {md.percent(value)}" for size, value in middle.items())
    images = md.plural(found[0].metrics["images"], "validation picture")
    blocks = md.plural(min(one.ap.blocks for one in found), "training")
    return f"**The smallest difference that {images} and {blocks} of each can show: {parts} points of AP** (median)."


def more_section(found: Sequence[Detector], sizes: Mapping[str, str]) -> str:
    """Return what more images, or more trainings, would let one see."""
    known = known_gains(found, sizes)
    if not known:
        return "Unknown, as the noise is.\n"

    def visible(images: int, runs: int, size: str) -> str:
        return md.percent(median(one.half_width(images=images, blocks=runs) for one in known[size]))

    def part(size: str) -> str:
        parts = [one.variances() for one in known[size]]
        return md.percent(median(sampled / (trained + sampled or 1.0) for trained, sampled in parts), 0)

    blocks = min(one.ap.blocks for one in found)
    images, runs = f"And {MORE} times the pictures", f"With {MORE * blocks} trainings of each"
    columns = [
        md.Column("Objects", lambda size: size),
        md.Column("% of the variance from pictures", part, "r"),
        md.Column(f"With {md.plural(blocks, 'training')} of each", partial(visible, 1, blocks), "r"),
        md.Column(images, partial(visible, MORE, blocks), "r"),
        md.Column(runs, partial(visible, 1, MORE * blocks), "r"),
        md.Column(images, partial(visible, MORE, MORE * blocks), "r"),
    ]
    return (
        "Smallest visible gain in points, median of methods. Where little of the variance comes from pictures, more "
        f"of them do not help, and more trainings do.\n\n{md.table(columns, known)}"
    )
