"""What a statistician would say of some detectors: the best, the best that costs no more, what was not worth it.

Points of AP alone decide nothing: two detectors whose difference's interval holds zero are not told apart, and of those
the cheapest is the advice, of equal costs the one of higher AP. Nothing is advised that lies below another trained
detector that costs no more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipeline import markdown as md
from pipeline.evaluation.intervals import Estimate
from pipeline.verdicts.power import MOST, blocks_needed, images_needed

SAME_COST = 1.05  # times another's inference: as much as it
SAME_TRAINING = 1.2  # the same of training, whose recipes differ a little in length
LEAST_GAIN = 0.5  # points of AP: a smaller gain is not looked for
NAMED = 4  # detectors that a sentence names
WORTH, SAME, NOT_WORTH = "Worth its cost", "Cannot be told at the same cost", "Not worth it"  # titles of methods


class Offer(NamedTuple):
    """One trained detector: what advice knows of it. Costs are times the first plain detector's, infinite if unknown.

    `over` gives the estimate of its gain over another one, in fractions of 1.
    """

    name: str
    ap: float
    inference: float
    training: float
    plain: bool
    key: Any = None
    own: str = ""  # name of the plain detector that it was trained beside


Gain = Callable[[Offer, Offer], Estimate | None]


def advise(offers: Sequence[Offer], gain: Gain) -> list[str]:
    """Return the advice: best, best at the plain detector's inference cost, what was not worth it.

    Args:
        offers: every trained detector, at least one of them plain for the last two sentences.
        gain: the estimate of the gain of one over another.
    """
    if not offers:
        return ["No detector was scored by class here yet: `dvc repro compare` trains what is missing and scores all."]
    if len(offers) == 1:
        return [f"**Trained so far: {offers[0].name}**, {md.percent(offers[0].ap)} AP; there is nothing beside it yet."]
    best, plain = top(offers), [one for one in offers if one.plain]
    choice = cheapest_like(best, offers, gain)
    lines = [sentence_of_best(best, choice, offers, gain)]
    if not plain:
        return [*lines, "No plain detector was trained, so nothing can be said of any method's worth."]
    first = next((one for one in plain if one.inference <= SAME_COST), plain[0])
    cheap = [one for one in offers if one.inference <= SAME_COST]
    if cheap and (choice == best or choice not in cheap):
        lines.append(sentence_at_one(top(cheap), best, first, cheap, gain))
    others = [one for one in offers if not one.plain]
    return [*lines, *sentences_of_worth(others, plain, gain)]


def top(offers: Sequence[Offer]) -> Offer:
    """Return the detector of the highest AP; of equal ones the cheapest, plain ones before others."""
    return min(offers, key=lambda one: (-one.ap, one.inference, one.training, not one.plain))


def told(one: Offer, other: Offer, gain: Gain) -> int:
    """Return 1 where it is told that a detector lies above another, -1 where below, 0 where it cannot be told."""
    found = gain(one, other)
    low, high = found.interval() if found else (None, None)
    return 0 if low is None or low <= 0 <= high else 1 if low > 0 else -1


def costs_no_more(one: Offer, other: Offer) -> bool:
    """Whether a detector costs no more than another, to within what counts as the same cost."""
    return one.inference <= SAME_COST * other.inference and one.training <= SAME_TRAINING * other.training


def frontier(offers: Sequence[Offer]) -> list[Offer]:
    """Return the detectors that none which costs no more, to the decimal, lies above, nor is equal to for less."""

    def no_more(one: Offer, other: Offer) -> bool:
        return one.inference <= other.inference and one.training <= other.training

    return [
        one
        for one in offers
        if not any(
            no_more(other, one) and (other.ap > one.ap or (other.ap == one.ap and not no_more(one, other)))
            for other in offers
        )
    ]


def cheapest_like(best: Offer, offers: Sequence[Offer], gain: Gain) -> Offer:
    """Return the cheapest detector of the frontier that cannot be told from the best: inference counts first.

    What another detector of no more cost is told above is none, and of those that cost the same the highest AP counts.
    """
    like = [
        one
        for one in frontier(offers)
        if one == best
        or not (
            told(best, one, gain) or any(costs_no_more(other, one) and told(other, one, gain) > 0 for other in offers)
        )
    ]
    least = min((one.inference for one in like), default=0.0)
    like = [one for one in like if one.inference <= SAME_COST * least]
    least = min((one.training for one in like), default=0.0)
    return top([one for one in like if one.training <= SAME_TRAINING * least] or [best])


def sentence_of_best(best: Offer, choice: Offer, offers: Sequence[Offer], gain: Gain) -> str:
    rivals = [one for one in offers if one != best and not told(best, one, gain)]
    if not rivals:
        return f"**Best: {best.name}**, {md.percent(best.ap)} AP, above every other detector as far as one can tell."
    text = f"**Highest AP: {best.name}**, {md.percent(best.ap)}; it cannot be told from {named(rivals)}."
    if choice == best:
        return f"{text} None of these is cheaper: take it."
    what = f"{md.percent(choice.ap)} AP at {cost(choice)}"
    return f"{text} **The cheapest of these is {choice.name}** ({what}): take it unless further runs tell them apart."


def sentence_at_one(found: Offer, best: Offer, first: Offer, cheap: Sequence[Offer], gain: Gain) -> str:
    if found == best:
        return f"{best.name[0].upper()}{best.name[1:]} is also the best at the plain detector's cost of inference."
    choice = cheapest_like(found, cheap, gain)
    text = f"**At the plain detector's cost of inference: {choice.name}**, {md.percent(choice.ap)} AP"
    text += f" for {times(choice.training)} the plain detector's training"
    if choice != found:
        text += f"; {found.name} ({md.percent(found.ap)}, {times(found.training)}) cannot be told from it"
    if choice != first:
        text += f"; over {first.name}: {points(gain(choice, first))}"
    return text + "."


def sentences_of_worth(others: Sequence[Offer], plain: Sequence[Offer], gain: Gain) -> list[str]:
    """Return which methods were worth their cost, which were not and which cannot be told; nothing without methods.

    Each stands beside the best plain detector that costs no more than it; where a dearer plain one, trained longer,
    lies above it, that is said.
    """
    said: dict[str, list[str]] = {WORTH: [], SAME: [], NOT_WORTH: []}
    best = top(plain)
    for one in sorted(others, key=lambda one: -one.ap):
        base = plain_beside(one, plain)
        dearer = "" if costs_no_more(base, one) else ", which costs more,"
        text = f"{one.name} {points(gain(one, base))} over {base.name}{dearer} at {cost(one)}"
        own = next((found for found in plain if found.name == one.own != base.name), None)
        if own:
            text += f" ({points(gain(one, own))} over {own.name}, its own baseline)"
        verdict = told(one, base, gain)
        if verdict > 0 and best != base and told(best, one, gain) > 0:
            text += f", but {best.name} lies {points(gain(best, one))} above it"
        same = not verdict and costs_no_more(one, base)
        said[WORTH if verdict > 0 else SAME if same else NOT_WORTH].append(text)
    whose = "beside the best plain detector of no more cost"
    return [f"**{title}**, {whose}: {'; '.join(texts)}." for title, texts in said.items() if texts]


def plain_beside(one: Offer, plain: Sequence[Offer]) -> Offer:
    """Return the best plain detector that costs no more than another; where each costs more, the cheapest."""
    return top([found for found in plain if costs_no_more(found, one)] or [cheapest(plain)])


def cheapest(offers: Sequence[Offer]) -> Offer:
    return min(offers, key=lambda one: (one.inference, one.training, -one.ap))


def untold(pairs: Sequence[tuple[str, Estimate | None]], images: int | None) -> list[str]:
    """Return what cannot be told, and with how many more pictures or blocks it could, were the gain as it was seen.

    Args:
        pairs: methods' names with the estimates of their gains over their baselines.
        images: the validation images; None where unknown.
    """
    known = [(name, one) for name, one in pairs if one]
    open_ones = [(name, one) for name, one in known if not one.known or one.interval()[0] <= 0 <= one.interval()[1]]
    if not open_ones:
        return []
    wide = [(name, one) for name, one in open_ones if one.known and abs(100 * one.gain) >= LEAST_GAIN]
    lines = [f"{name} ({points(one)}): {more_of(one, images)}" for name, one in wide]
    small = [name for name, one in open_ones if one.known and (name, one) not in wide]
    if small:
        lines.append(f"{md.listing(small)}: under {LEAST_GAIN:g} points either way, too little to look for")
    once = [name for name, one in open_ones if not one.known]
    if once:
        lines.append(
            f"{md.listing(once)}: trained once, so how far two trainings of it lie apart is unknown; known from "
            "SEEDS=3 on, for which only the new ones are trained"
        )
    return [
        "**Over its own baseline, cannot be told from none**, and what would tell it, were the gain as seen: "
        + "; ".join(lines)
        + "."
    ]


def more_of(noise: Estimate, images: int | None) -> str:
    """Return how many blocks in all, or validation images in all, would tell a gain of the size that was seen."""
    blocks, times_images = blocks_needed(noise.gain, noise), images_needed(noise.gain, noise)
    parts = []
    if blocks:
        parts.append(f"{md.plural(blocks, 'block')} in the place of {noise.blocks}")
    if times_images:
        what = f"{round(images * times_images):,}" if images else f"{times_images:g} times the"
        parts.append(f"{what} validation pictures")
    return " or ".join(parts) or f"not with {MOST} blocks, nor with {MOST} times the pictures"


def named(offers: Sequence[Offer]) -> str:
    """Return the names of some detectors, best first."""
    ordered = sorted(offers, key=lambda one: -one.ap)
    more = len(ordered) - NAMED
    names = [one.name for one in ordered[: NAMED if more > 0 else None]]
    return md.listing([*names, f"{more} more"] if more > 0 else names)


def points(found: Estimate | None) -> str:
    """Return a gain in points with its interval."""
    if found is None:
        return md.MISSING
    low, high = found.interval()
    return md.gain(100 * found.gain, *(None if end is None else 100 * end for end in (low, high)))


def cost(one: Offer) -> str:
    return f"{times(one.inference)} inference, {times(one.training)} training"


def times(ratio: float) -> str:
    return "unknown" if ratio == float("inf") else f"{ratio:.1f}x"
