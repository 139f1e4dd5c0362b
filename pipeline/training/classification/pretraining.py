"""Pre-train a backbone as an image classifier and write it as an init."""

from pathlib import Path

import msgspec
import torch

from pipeline import paths
from pipeline.config import resolve
from pipeline.errors import InputError
from pipeline.files import read_json, read_text, write_json, write_text
from pipeline.models import build_classifier
from pipeline.parts import load
from pipeline.spec import Spec
from pipeline.training.checkpoint import Checkpoints, load_weights, save_weights
from pipeline.training.classification.data import Labelled, read_labelled
from pipeline.training.classification.evaluation import seeds_summary
from pipeline.training.classification.run import Trained
from pipeline.training.distributed import ALONE, World, joined
from pipeline.training.precision import set_threads


def pretrain(spec: Spec) -> None:
    """Write an init and its summary: trained here, published, or taken over from an init of the same network."""
    if spec.published:
        write_published(spec)
    elif is_like_another(spec):
        take_over(spec)
    else:
        with joined() as world:
            train_classifier(spec, world)


def several_can_train(spec: Spec) -> bool:
    """Whether several processes can make an init together, because it is trained and on labelled images."""
    return is_trained(spec) and spec.labelled is not None


def is_trained(spec: Spec) -> bool:
    """Whether an init is trained, that is neither published nor taken over from another init."""
    return not spec.published and not is_like_another(spec)


def is_like_another(spec: Spec) -> bool:
    """Whether, at the preset's reduced depth, this init's network equals that of the experiment it is `like`."""
    if spec.experiment.like is None:
        return False
    other = msgspec.structs.replace(resolve(spec.experiment.like, spec.preset.name), preset=spec.preset)
    return spec.recipe == other.recipe and tensor_shapes(spec) == tensor_shapes(other)


def tensor_shapes(spec: Spec) -> dict[str, torch.Size]:
    """Return the shape of every tensor of an init's network, without allocating any."""
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in build_classifier(spec, 1).state_dict().items()}


def take_over(spec: Spec) -> None:
    """Write this init as a copy of the weights, history and summary of the init that it is like."""
    preset, like = spec.preset.name, spec.experiment.like
    save_weights(paths.init(preset, spec.name), *load_weights(paths.init(preset, like)))
    write_text(paths.history(preset, spec.name), read_text(paths.history(preset, like)))
    summary = read_json(paths.training_summary(preset, like))
    write_json(paths.training_summary(preset, spec.name), summary | {"experiment": spec.name, "taken_over_from": like})


def write_published(spec: Spec) -> None:
    """Write published ImageNet weights under the names of this project's detectors."""
    published, backbone = load("published"), spec.experiment.backbone
    tensors = {f"backbone.body.{name}": value for name, value in published.published_state(backbone).items()}
    save_weights(paths.init(spec.preset.name, spec.name), tensors)
    write_text(paths.history(spec.preset.name, spec.name), "step,loss,lr,top1\n")
    write_json(
        paths.training_summary(spec.preset.name, spec.name),
        {"experiment": spec.name, "steps": 0, "source": published.published_source(backbone)},
    )


def train_classifier(spec: Spec, world: World = ALONE) -> None:
    """Train with every seed of the experiment; write the first seed's backbone and history, and a summary of all.

    A preset without labelled images of the experiment's data set trains on crops of its own objects.
    """
    count, limit = spec.experiment.seeds, spec.preset.training.pretrain_seeds
    count = count if limit is None else min(count, limit)
    data = None if spec.labelled is None else world.main_first(lambda: read_labelled(spec.labelled))
    names = [spec.name, *(f"{spec.name}_seed{number}" for number in range(1, count))]
    logs = [paths.training_log(spec.preset.name, name) for name in names]
    trained = [train_once(seeded(spec, number), data, world, log) for number, log in enumerate(logs)]
    if world.main:
        first, name, preset = trained[0], spec.name, spec.preset.name
        save_weights(paths.init(preset, name), first.tensors)
        write_text(paths.history(preset, name), first.history)
        several = {} if count == 1 else {"seeds": seeds_summary([run.summary for run in trained])}
        write_json(paths.training_summary(preset, name), first.summary | several)
        for run in trained:
            Checkpoints(run.scratch).remove()
    world.wait()


def train_once(spec: Spec, data: tuple[Labelled, Labelled] | None, world: World, log: Path | None = None) -> Trained:
    """Train with the specification's seed, and write the log of its steps to `log`."""
    set_threads(spec.preset)
    if data is not None:
        return load("labelled").train_on_labelled(spec, *data, world, log)
    if world.size > 1:
        raise InputError(
            f"{spec.name} trains on crops, which one process does; give preset {spec.preset.name} `labelled` images "
            "to use several."
        )
    return load("crops").train_on_crops(spec, log)


def seeded(spec: Spec, number: int) -> Spec:
    """Return the specification of an experiment's seed `number`; 0 is the preset's own seed."""
    preset = msgspec.structs.replace(spec.preset, seed=spec.preset.seed + number)
    return msgspec.structs.replace(spec, preset=preset)
