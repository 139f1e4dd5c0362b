"""Pre-train a backbone as an image classifier and write it as an init."""

import shutil

import msgspec
import torch

from pipeline import paths
from pipeline.blocks import EVERY
from pipeline.config import resolve
from pipeline.errors import InputError
from pipeline.files import read_json, read_text, replacing, write_json, write_text
from pipeline.models import build_classifier
from pipeline.parts import load
from pipeline.spec import Spec
from pipeline.training.all_blocks import train_blocks
from pipeline.training.checkpoint import Trained, load_weights, save_weights
from pipeline.training.classification.data import Labelled, read_labelled
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
    source, target = paths.init(preset, like), paths.init(preset, spec.name)
    load_weights(source)  # it must be whole
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    write_text(paths.history(preset, spec.name), read_text(paths.history(preset, like)))
    summary = read_json(paths.training_summary(preset, like))
    write_json(paths.training_summary(preset, spec.name), summary | {"experiment": spec.name, "taken_over_from": like})


def write_published(spec: Spec) -> None:
    """Write published ImageNet weights under the names of this project's detectors."""
    published, backbone = load("published"), spec.experiment.backbone
    tensors = {f"backbone.body.{name}": value for name, value in published.published_state(backbone).items()}
    save_weights(paths.init(spec.preset.name, spec.name), tensors, {EVERY: "yes"})
    write_text(paths.history(spec.preset.name, spec.name), "step,loss,lr,top1\n")
    write_json(
        paths.training_summary(spec.preset.name, spec.name),
        {"experiment": spec.name, "steps": 0, "source": published.published_source(backbone)},
    )


def train_classifier(spec: Spec, world: World = ALONE) -> None:
    """Train all blocks of an experiment; without labelled images of its data set, on crops of the preset's objects."""
    data = None if spec.labelled is None else world.main_first(lambda: read_labelled(spec.labelled))
    file = paths.init(spec.preset.name, spec.name)
    train_blocks(spec, world, file, lambda one: train_block(one, data, world))


def train_block(spec: Spec, data: tuple[Labelled, Labelled] | None, world: World) -> Trained:
    """Train one block, or return it where it is finished."""
    set_threads(spec.preset)
    if data is not None:
        return load("labelled").train_on_labelled(spec, *data, world)
    if world.size > 1:
        raise InputError(
            f"{spec.name} trains on crops, which one process does; give preset {spec.preset.name} `labelled` images "
            "to use several."
        )
    return load("crops").train_on_crops(spec)
