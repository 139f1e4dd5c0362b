"""What stages really load and read is in their digests, for every distinct set of parts that an experiment selects."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import uses

from pipeline import code_digest, config, parts, paths
from pipeline.closure import UNDIGESTED
from pipeline.settings import reads

TESTS = Path(__file__).resolve().parents[1]
# config counts blocks by the headline's tables; the count is a setting. A stage that imports them itself lists them.
COUNT_BLOCKS = {f"pipeline.published{name}" for name in ("", ".headline", ".papers", ".rows")}
PLACES = {  # of the classes of options, in settings
    "Experiment": "experiment",
    "Method": "experiment.method",
    "PSConvOptions": "experiment.method.psconv",
    "FusionOptions": "experiment.method.fusion",
    "DeformableOptions": "experiment.method.deformable",
    "CollageOptions": "experiment.method.collage",
    "SnipOptions": "experiment.method.snip",
    "PyramidLevel": "experiment.pyramid.0",
    "RegionClassifier": "experiment.region",
    "ProposalNetwork": "experiment.rpn",
    "Resolutions": "experiment.resolutions",
    "Recipe": "recipe",
    "LabelledImages": "recipe.labelled",
    "Preset": "preset",
    "ModelSize": "preset.model",
    "Training": "preset.training",
    "Verdicts": "preset.verdicts",
    "Data": "data",
    "LabelledSource": "labelled",
    "Test": "test",
    "Spec": "",
}
# Options that lead to others, name outputs and inputs, or are written into messages; and what decides no result.
LEADING = {
    *(f"Spec.{name}" for name in ("name", "paper", "experiment", "recipe", "preset")),
    *(f"Preset.{name}" for name in ("name", "grows", "model", "training", "verdicts", "data", "datasets", "labelled")),
    *(
        "Preset.original_factor",
        "Experiment.method",
        "Experiment.tests",
        "Experiment.recipe",
        "Training.checkpoint_rows",
    ),
    *("Experiment.init", "Experiment.proposals", "Experiment.region", "Experiment.rpn", "Experiment.pyramid"),
    *("Experiment.like", "Experiment.resolutions", "Recipe.labelled", "Method.collage", "Method.snip"),
}


def distinct() -> list[str]:
    """Return one experiment for every distinct set of parts of a training, in a fixed order."""
    names = [
        *config.experiments(),
        *config.combinations(),
        *(p.stem for p in (paths.ROOT / "workflow/inits").glob("*")),
    ]
    found = {}
    for name in sorted(names):
        spec = tiny.spec(name)
        script = "pretrain" if spec.experiment.detector == "classifier" else "train"
        found.setdefault((script, *parts.parts(spec, script), spec.experiment.neck, spec.experiment.dataset), name)
    return list(found.values())


def few() -> list[str]:
    """Return some of them that together select every part there is."""
    missing, chosen = set(), []
    for name in distinct():
        spec = tiny.spec(name)
        new = {module for script in uses.STAGES for module in parts.parts(spec, script)} - missing
        if new:
            chosen.append(name)
            missing |= new
    return chosen


def check(folder: Path, names: list[str]) -> None:
    """Run the stages of some experiments and compare what they used with their digests."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (paths.ROOT, TESTS))), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "graph/uses.py"), *names]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for name, stages in json.loads(done.stdout).items():
        for script, (modules, options) in stages.items():
            spec = uses.spec_of(name)
            text = code_digest.experiment_digest(script, spec, next(iter(spec.experiment.tests)))
            listed = {line.split("  ")[1] for line in code_digest.split(text)[1].splitlines()}
            loaded = {path_of(module) for module in modules if module not in UNDIGESTED | COUNT_BLOCKS}
            assert loaded <= listed, (name, script)
            read = {place(o) for o in options if o not in LEADING and not o.startswith("Machine.")}
            assert {option for option in read if not reads(script, option)} == set(), (name, script)


def path_of(module: str) -> str:
    """Return the path of a module of ours."""
    base = paths.ROOT.joinpath(*module.split("."))
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return file.relative_to(paths.ROOT).as_posix()


def place(option: str) -> str:
    """Return the name that an option has in settings."""
    kind, _, name = option.partition(".")
    return f"{PLACES[kind]}.{name}".removeprefix(".")


@pytest.mark.slow
def test_what_is_used_is_in_the_digest(tiny_project):
    check(tiny_project, few())


@pytest.mark.slow
def test_what_is_used_is_in_the_digest_whatever_an_experiment_selects(tiny_project):
    check(tiny_project, [name for name in distinct() if name not in few()])
