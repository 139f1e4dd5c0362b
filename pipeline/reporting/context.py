"""What stands beside every number: preset, sizes, data, seeds, stand-ins and the verdict rule, in sentences."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline import config, differences, paths
from pipeline.markdown import Column, listing, percent, plural
from pipeline.options import Test
from pipeline.published.rows import is_classifier
from pipeline.published.tables import Table
from pipeline.verbatim import short, verbatim
from pipeline.verdicts.estimates import Spread
from pipeline.verdicts.results import Results, load_experiment
from pipeline.verdicts.rule import ONE_TRAINING

DATA = {
    "scaleworld": "ScaleWorld (rendered scenes, made here)",
    "coco": "photographs of a COCO-format folder",
    "voc": "photographs of a PASCAL VOC folder",
}
TRAINED = "trained, not scored"  # an experiment whose weights others start from
HOW = "how_measured.md"
OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW"}


def beside_table(results: Results, evaluations: Sequence[str], evaluated: bool = True) -> str:
    """Return the bullet list that stands under a table made of some evaluations."""
    experiments = list(dict.fromkeys(paths.split_evaluation(name)[0] for name in evaluations))
    lines = [numbers_of(results, "../"), sizes_of(results, evaluations, evaluated)]
    lines += [f"Differs from the paper: {text}." for text in differing(experiments)]
    return "".join(f"- {line}\n" for line in lines)


def differing(experiments: Sequence[str]) -> list[str]:
    """Return how some experiments differ from their paper, each sentence once, and in how much their recipes do."""
    loaded = {name: load_experiment(name) for name in experiments}
    own = [found.what for one in loaded.values() for found in differences.entries(one.notes.differs)]
    shared: dict[str, dict[str, None]] = {}
    for name, one in loaded.items():
        of_recipe = differences.of_recipe(name, one.recipe)
        shared.setdefault(one.recipe, {}).update(dict.fromkeys(found.what for found in of_recipe))
    return [
        *dict.fromkeys(own),
        *(
            f"recipe `{recipe}`, in {plural(len(found), 'point')} ({paths.DIFFERENCES.as_posix()})"
            for recipe, found in shared.items()
            if found
        ),
    ]


def numbers_of(results: Results, up: str | None = None) -> str:
    """Return the sentence that names a number after its preset: a mini number is called a mini number.

    Args:
        up: the way to the report's folder, for a link to the page of how they are measured; None gives no link.
    """
    text = f"These are **{results.name} numbers**: preset `{results.name}`, on {data_of(results)}."
    text += "" if up is None else f" [How they are measured and judged]({up}{HOW})."
    return text if results.judges else f"{text} {ONE_TRAINING}"


def heading(results: Results, table: Table) -> str:
    """Return a table's first line; a preset that decides nothing stands in it."""
    return f"# {table.id}: {table.title}{'' if results.judges else f' (preset {results.name})'}\n\n"


def judged(results: Results, columns: Sequence[Column]) -> list[Column]:
    """Return the columns of a table without verdicts and noise where the preset decides nothing."""
    return [column for column in columns if results.judges or not column.header.startswith(("Verdict", "Blocks"))]


def data_of(results: Results) -> str:
    """Return a preset's data: of photographs, what its title says of them in brackets; and which categories alone."""
    data = results.preset.data
    _, bracket, remark = results.preset.title.partition("(")
    text = verbatim(remark.rstrip(")")) if bracket and data.kind != "scaleworld" else DATA[data.kind]
    return f"{text}, of its categories only {listing(list(map(short, data.categories)))}" if data.categories else text


def sizes_of(results: Results, evaluations: Sequence[str], evaluated: bool = True) -> str:
    """Return how large some evaluations are, in images only where `evaluated`; of classifiers, what they saw."""
    if evaluations and all(is_classifier(name) for name in evaluations):
        return _sizes_of_classifiers(results, evaluations)
    metrics = list(map(results.metrics, evaluations)) if evaluated else []
    images = sorted({m["images"] for m in metrics if m and m.get("images") is not None})
    trainings = [t for t in (results.training(paths.split_evaluation(name)[0]) for name in evaluations) if t]
    steps = sorted({round(t["steps"]) for t in trainings})  # of blocks the mean
    batches = sorted({config.resolve(t["experiment"], results.name).batch for t in trainings})
    sides = sorted({side for name in evaluations for side in short_sides(results, name)})
    parts = [
        f"{_span(images)} validation images" if images else "Nothing evaluated yet",
        f"short side {listing([str(side) for side in sides])} px",
        *_proposals(results, evaluations),
        f"{_span(steps)} training steps of {_span(batches)} images" if steps and batches else "no training summary",
        *([f"{_blocks(trainings)} of each experiment"] if trainings else []),
    ]
    return "; ".join(parts if evaluated else parts[1:]).capitalize() + "."


def _blocks(trainings: Sequence[dict]) -> str:
    counts = sorted({len(found.get("blocks", [found])) for found in trainings})
    return f"{_span(counts)} training{'s' * (counts[-1] > 1)}"


def _proposals(results: Results, evaluations: Sequence[str]) -> list[str]:
    """Return how many proposals of an image recall is of, where the preset keeps fewer than the paper."""
    specs = [config.resolve(paths.split_evaluation(name)[0], results.name) for name in evaluations]
    found = [(s, len(short_sides(results, n))) for s, n in zip(specs, evaluations, strict=True) if s.experiment.rpn]
    fewer = {(s.kept_proposals * looks, s.experiment.rpn.top * looks) for s, looks in found}
    return [f"recall of {kept} proposals an image (paper: {most})" for kept, most in sorted(fewer) if kept < most]


def _sizes_of_classifiers(results: Results, names: Sequence[str]) -> str:
    trainings = [found for found in map(results.training, names) if found and found.get("images")]
    if not trainings:
        return "No classifier was trained yet."
    images, tests = ([t[key] for t in trainings if t.get(key)] for key in ("images", "val_images"))
    text = f"Classifiers of {_span(sorted(set(images)))} training images"
    text += f" and {_span(sorted(set(tests)))} test images" if tests else ", judged on others held out"
    steps, batches = (sorted({t[key] for t in trainings if t.get(key)}) for key in ("steps", "batch"))
    return text + (f"; {_span(steps)} steps of {_span(batches)} images." if steps and batches else ".")


def recipe_of(results: Results) -> list[str]:
    """Return how the preset's networks and recipes differ from the papers', in at most one sentence."""
    size, training = results.preset.model, results.preset.training
    changes = []
    if (size.width, size.depth) != (1, 1):
        changes.append(
            f"networks of {size.width:g} times the width and {size.depth:g} times the depth "
            f"(at least {size.min_blocks} blocks a stage)"
        )
    if size.dense_norm:
        dense = f"one-stage detectors that start at stride {size.dense_stride}"
        changes.append(f"{dense} with group normalisation in their towers")
    if training.optimizer:
        changes.append(f"{OPTIMIZERS[training.optimizer]} at a rate of {training.lr:g}")
    if training.norm == "batch":
        changes.append("batch norm that learns its statistics")
    if results.preset.init_source == "pretrain":
        changes.append("backbones pre-trained here for minutes, on images of single objects")
    changes += shared_trainings(results)
    return [f"In the place of the papers' sizes and recipes this preset has {listing(changes)}."] if changes else []


def shared_trainings(results: Results) -> list[str]:
    """Return a phrase for each training of the preset that stands for further experiments too."""
    shares = results.preset.shares
    others = {one: listing([f"`{name}`" for name in shares if shares[name] == one]) for one in shares.values()}
    differ = "whose recipes differ in losses and decay"
    return [f"one training of `{one}` in the place of {names}, {differ}" for one, names in others.items()]


def short_sides(results: Results, evaluation: str) -> list[int]:
    """Return the short sides in pixels at which an evaluation tests: the papers', times the preset's factor."""
    name, test = paths.split_evaluation(evaluation)
    tests = load_experiment(name).tests
    return [round(side * results.preset.factor) for side in tests.get(test, Test()).short_sides]


def comparability(results: Results) -> str:
    """Return which published numbers may be compared with ours."""
    if results.name == "full":
        return "Published and ours are both of the papers' data and sizes."
    compare = "compare the sign of a gain, not the level"
    if not results.judges:
        compare = "a gain of one training each says little even by its sign"
    return f"Published numbers are from the papers' own data (mostly COCO) at full size: {compare}."


def spread_cell(found: Spread) -> str:
    """Return `3: ± 0.5` for several blocks, `1` for one."""
    return f"{found.count}" if found.sd is None else f"{found.count}: ± {percent(found.sd)}"


def _span(values: Sequence[int]) -> str:
    return f"{values[0]:,}" if len(values) == 1 else f"{values[0]:,} to {values[-1]:,}"
