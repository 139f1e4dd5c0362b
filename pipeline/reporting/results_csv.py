"""Every result of a preset as one CSV: a row for each scored evaluation and block, values as the stages' files hold.

The stage that writes it depends on every file that a row may come from, those of the papers' experiments and of the
combinations alike, so it is made again when any of them changes. The index and the catalogue know fewer of them.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline import blocks, config, paths
from pipeline import markdown as md
from pipeline.files import read_text, write_text
from pipeline.published.rows import is_classifier
from pipeline.verdicts.results import Results, load_experiment, load_recipe

SIZES = ("small", "medium", "large")
AP = ("ap", "ap50", "ap75", *(f"ap_{size}" for size in SIZES))
AR = ("ar1", "ar10", "ar100", *(f"ar_{size}" for size in SIZES))
RANGES = ("0_25", "25_50", "50_100", "100_up")  # of areas, in which SNIP's proposals are scored
PROPOSALS = ("ar", "ar50", "ar75", *(f"{kind}_{part}" for kind in ("ar", "recall50") for part in RANGES))
SCORES = (*AP, *AR, *(f"mask_{name}" for name in (*AP, *AR)), "map", "map_area", *PROPOSALS)
ERRORS = ("top1_error", "top5_error")
SIZE = ("parameters_total", "parameters_trainable", "macs")
TRAINING = ("steps", "images_seen", "batch", "lr", "precision")
TRAINED = ("train", "pretrain", "classify", "fine_tune")  # kinds of stages
COLUMNS = (
    "paper",
    "experiment",
    "test",
    "block",
    "seed",
    "images",
    *SCORES,
    *ERRORS,
    *SIZE,
    *TRAINING,
    "processor",
)


def place(preset: str) -> Path:
    """Return the path of a preset's CSV."""
    return paths.catalogue(preset).with_name("results.csv")


def write_results(preset: str) -> None:
    """Write `results.csv` of a preset."""
    write_text(place(preset), md.csv_text(COLUMNS, rows(Results(preset))))


def rows(results: Results) -> Iterator[dict[str, Any]]:
    """Give the rows in the order of papers and names; what was not run has none."""
    trained_on = processors(results.name)
    for name in [*config.experiments(), *config.combinations()]:
        tests = ["single"] if is_classifier(name) else list(load_experiment(name).tests)
        for test in tests:
            yield from evaluation_rows(results, name, test, trained_on.get(name, ""))


def evaluation_rows(results: Results, name: str, test: str, processor: str = "") -> Iterator[dict[str, Any]]:
    """Give a row for each block of one evaluation; a classifier is scored while it trains."""
    summary, size = results.training(name), results.size(name)
    found = summary if is_classifier(name) else results.metrics(paths.evaluation_name(name, test))
    trained = blocks.unlisted(summary) if summary else []
    if found is None:
        return
    spec = config.specification(name, results.preset, lambda path: load_recipe(path.stem))
    for number, scores in enumerate(blocks.unlisted(found), start=1):
        facts = trained[number - 1] if number <= len(trained) else {}
        yield {
            **{"paper": spec.paper, "experiment": name, "test": test, "block": number},
            "seed": spec.of_block(number).seed,
            "images": scores.get("val_images") if is_classifier(name) else found.get("images"),
            **picked(scores, (*SCORES, *ERRORS)),
            **picked(size or {}, SIZE),
            **picked(facts, TRAINING),
            "processor": processor,
        }


def picked(found: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return some values of a file; one that is missing is None."""
    return {key: found.get(key) for key in keys}


def processors(preset: str) -> dict[str, str]:
    """Return the processor that trained each experiment, as builds keep it in `hours.csv`.

    Builds write that file beside the results, so no stage depends on it, and what they did not train is missing.
    """
    path = paths.index(preset).with_name("hours.csv")
    if not os.path.exists(path):
        return {}
    lines = csv.DictReader(io.StringIO(read_text(path)))
    return {line["experiment"]: line["processor"] for line in lines if line["stage"].partition("@")[0] in TRAINED}
