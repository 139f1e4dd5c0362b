"""What went wrong in a comparison without any error: methods that could not do on this data what they are for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline import markdown as md
from pipeline import paths
from pipeline.files import found_json
from pipeline.options import Experiment
from pipeline.own.advice import points
from pipeline.own.by_class import LEAST
from pipeline.own.cells import class_names
from pipeline.own.detectors import DST, LONGER, PLAIN, Detector, Kind
from pipeline.verdicts.results import Results, load_experiment, scale_source

MOST_COLLAGES = 0.8  # of the steps: above it, whole images are hardly seen
LEAST_SHARE = 0.01  # of the loss, which training counts in hundredths: below it a threshold is not read but guessed
LEAST_SCALE = 0.05  # a learnt scale below it is at its bound
TOO_FEW = f"small objects carry less than {100 * LEAST_SHARE:g} % of the loss in half of the plain detector's steps"


def warnings(results: Results, kinds: list[Kind]) -> list[str]:
    """Return a sentence for everything that an experiment's training warns of, each experiment once."""
    experiments = dict.fromkeys(kind.experiment for kind in kinds)
    found = []
    for name in experiments:
        title = next(kind.name for kind in kinds if kind.experiment == name)
        for check in (collages, ranges, bounds):
            found += [f"{title}: {sentence}" for sentence in check(results, name)]
    return list(dict.fromkeys(found))


def of_data(found: Sequence[Detector]) -> Iterator[str]:
    """Give a sentence where AP, a mean over classes, rests on classes of few objects."""
    names, objects = class_names(found[0]), found[0].metrics["objects"]
    counts = [(names[key], of_class["all"]) for key, of_class in objects.items() if of_class["all"]]
    few = [f"{name} ({count:,})" for name, count in counts if count < LEAST]
    if few:
        yield (
            f"AP of all objects is a mean over {len(counts)} classes, some with fewer than {LEAST} "
            f"objects to validate on, so that chance moves it: {md.listing(few)}."
        )


def of_lengths(found: Sequence[Detector], results: Results) -> Iterator[str]:
    """Give a sentence where the plain detector gains from twice the training: methods were tried on unfinished ones."""
    plain, longer = (next((one for one in found if one.kind.evaluation == name), None) for name in (PLAIN, LONGER))
    gain = longer.over(plain) if plain and longer else None
    if gain is None or not gain.known or gain.interval()[0] <= 0:
        return
    steps = results.preset.training.steps
    own = steps and not results.reproduces()
    cure = f"STEPS={2 * steps} with another NAME tries all at that length" if own else "longer schedules would tell"
    yield (
        f"{plain.name} gains {points(gain)} points from twice the training, so methods were compared before their "
        f"trainings were done; {cure}."
    )


def collages(results: Results, name: str) -> Iterator[str]:
    """Give a sentence where DST drew collages in nearly every step: small objects are too rare for its threshold."""
    collage = load_experiment(name).method.collage
    if collage is None or collage.feedback == "always":
        return
    share, proposed = (results.training(name) or {}).get("collage_share"), proposed_threshold(results)
    if share is None or share <= MOST_COLLAGES:
        return
    text = f"{md.percent(share, 0)} % of the steps were collages, so whole pictures were hardly trained on"
    if too_few_small(proposed):
        text += f"; {TOO_FEW}"
    elif proposed is not None and proposed != collage.threshold:
        text += f"; its threshold is {collage.threshold:g}, and the plain detector's losses propose {proposed:g}"
    yield text + "."


def too_few_small(proposed: float | None) -> bool:
    """Whether half of the plain detector's steps have no small objects to speak of, so that no threshold parts them."""
    return proposed is not None and proposed < LEAST_SHARE


def proposed_threshold(results: Results) -> float | None:
    """Return the threshold that DST's paper would read off the plain detector's training; None where it was not."""
    return (found_json(paths.loss_share(results.name, DST)) or {}).get("proposed_threshold")


def ranges(results: Results, name: str) -> Iterator[str]:
    """Give a sentence on every resolution of SNIP whose valid range held no object in training."""
    loaded = load_experiment(name)
    shares = (results.training(name) or {}).get("valid_objects") or {}
    for side, share in shares.items() if loaded.method.snip else ():
        if share == 0:
            yield f"no object of this data is in the valid range of the resolution {range_of(loaded, side)}."


def range_of(loaded: Experiment, side: str) -> str:
    """Return a resolution with the sizes that are valid there, in COCO's pixels."""
    level = next((one for one in loaded.pyramid if f"{one.short_side:g}" == side), None)
    if level is None:
        return side
    low, high = level.head_range
    return f"{side} ({low:g} to {'any size' if high is None else format(high, 'g')} px)"


def bounds(results: Results, name: str) -> Iterator[str]:
    """Give a sentence where learnt scales fell to 0, the only bound that they have."""
    source = scale_source(name)
    layers = ((results.scales(source) if source else None) or {}).get("layers", {})
    at = [layer for layer, one in layers.items() if min(one["mean_h"], one["mean_w"]) < LEAST_SCALE]
    if at:
        yield f"the learnt scale of {md.listing(at)} fell to 0, its bound: such a layer no longer looks around itself."
