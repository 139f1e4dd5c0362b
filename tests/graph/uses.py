"""Run stages of tiny experiments, each in a process of its own, and say which modules and options each one used.

`python uses.py EXPERIMENT ...` prints `{experiment: {script: [modules, options]}}`. Only what our package needs is
imported before a process forks, so that every fork starts without a module of ours.
"""

import json
import os
import shutil
import sys
import traceback
from importlib import import_module
from pathlib import Path

import pycocotools.mask  # noqa: F401
import timm  # noqa: F401
import torch
import torchvision  # noqa: F401
import tqdm  # noqa: F401

torch.set_num_threads(1)


def spec_of(name: str):
    """Return the smallest specification of an experiment that still trains what it is."""
    import msgspec
    import tiny

    options = {"steps": 2, "warmup_steps": 1, "checkpoint_rows": 1, "pretrain_steps": 2, "pretrain_images": 24}
    found = tiny.spec(name, **options, ema=0.9 if name.endswith("fpn_1x") else None)
    if found.experiment.detector != "d_rfcn_rcn" or found.preset.model.width > 0.125:
        return found
    size = msgspec.structs.replace(found.preset.model, roi_samples=2)  # two bins of a deformable pooling need samples
    return msgspec.structs.replace(found, preset=msgspec.structs.replace(found.preset, model=size))


def inputs(spec) -> None:
    """Put files where an experiment looks for its init, its data set and its proposals."""
    experiment = spec.experiment
    folder = Path("data/init/tiny")
    names = [experiment.init, experiment.region and experiment.region.second_init, experiment.like]
    for name in names:
        if name and name != "none" and not (folder / f"{name}.safetensors").exists():
            shutil.copyfile(folder / "resnet50.safetensors", folder / f"{name}.safetensors")
    if experiment.dataset == "voc" and not Path("data/interim/tiny/voc").exists():
        Path("data/interim/tiny/voc").mkdir()
        for file in Path("data/interim/tiny").glob("*.json"):
            shutil.copyfile(file, Path("data/interim/tiny/voc") / file.name)
    if experiment.proposals:
        given = {test.proposals for test in experiment.tests.values()} | {experiment.proposals}
        for split in ("train", "val"):
            entries = json.loads(Path(f"data/interim/tiny/{split}.json").read_text())["images"]
            tensors = {"image_ids": [entry["id"] for entry in entries]}
            for source in given - {None}:
                write(source, split, tensors["image_ids"])


def write(source: str, split: str, ids: list[int]) -> None:
    from pipeline import paths
    from pipeline.data.proposals import write_proposals

    box = torch.tensor([[4.0, 4.0, 40.0, 40.0], [10.0, 8.0, 30.0, 28.0]])
    one = {"boxes": box, "scores": torch.tensor([0.9, 0.5]), "labels": torch.ones(2, dtype=torch.int64)}
    write_proposals(paths.proposals("tiny", source, split), ids, [[one] * len(ids)], (800,))


STAGES = {  # what a stage's script calls with a specification, and whether with a test too
    "train": ("pipeline.training.detection", "train_detector", False),
    "pretrain": ("pipeline.training.classification.pretraining", "pretrain", False),
    "predict": ("pipeline.prediction.detector", "predict", True),
    "evaluate": ("pipeline.evaluation.scoring", "score", True),
    "propose": ("pipeline.prediction.proposing", "propose", False),
    "learn_scales": ("pipeline.training.global_scales", "learn_scales", False),
    "decompose": ("pipeline.training.global_scales", "decompose_init", False),
    "offsets": ("pipeline.training.offset_spread", "measure_offsets", False),
    "measure": ("pipeline.models.measure", "measure", False),
}


def scripts_of(name: str) -> list[str]:
    """Return the scripts that run of an experiment, in order."""
    import tiny

    experiment = tiny.spec(name).experiment
    if experiment.detector == "classifier":
        return ["pretrain", "measure"]
    offsets = experiment.method.deformable is not None and experiment.proposals is None
    more = {"propose": experiment.detector == "d_rfcn_rpn", "offsets": offsets}
    more |= dict.fromkeys(("learn_scales", "decompose"), experiment.method.global_scale)
    return ["train", "predict", "evaluate", "measure", *(script for script, has in more.items() if has)]


def watch() -> set[str]:
    """Return the options that are read from now on, as `Class.option`."""
    from pipeline.options import Options

    read: set[str] = set()

    def get(self, name: str):
        if name in type(self).__struct_fields__:
            read.add(f"{type(self).__name__}.{name}")
        return object.__getattribute__(self, name)

    Options.__getattribute__ = get
    return read


def fork(task) -> object:
    """Return what a task returns in a process of its own. Raises RuntimeError with its traceback where it fails."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)
        try:
            text = json.dumps(task())
        except BaseException:
            text = json.dumps({"failure": traceback.format_exc()})
        with os.fdopen(writing, "w") as stream:
            stream.write(text)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        found = json.load(stream)
    os.wait()
    if isinstance(found, dict) and "failure" in found:
        raise RuntimeError(found["failure"])
    return found


def used(name: str, script: str) -> list[list[str]]:
    """Return the modules and the options that one stage used."""
    spec, (module, function, tested) = spec_of(name), STAGES[script]
    call = getattr(import_module(module), function)
    if "pipeline.training.checkpoint" in sys.modules:  # the key of checkpoints reads every option
        sys.modules["pipeline.training.checkpoint"].training_digest = lambda script, spec: ""
    arguments = (spec, next(iter(spec.experiment.tests))) if tested else (spec,)
    read = watch()
    call(*arguments)
    return [sorted(name for name in sys.modules if name.split(".")[0] == "pipeline"), sorted(read)]


if __name__ == "__main__":
    found: dict[str, dict] = {}
    for name in sys.argv[1:]:
        fork(lambda name=name: inputs(spec_of(name)))
        scripts = fork(lambda name=name: scripts_of(name))
        found[name] = {script: fork(lambda name=name, script=script: used(name, script)) for script in scripts}
    print(json.dumps(found))
