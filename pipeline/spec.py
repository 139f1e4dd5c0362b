"""The resolved specification of a training, and the numbers that follow from it: steps, batch, rate, seed.

Every training's digest holds this module; `config.py`, which only reads files into it, is in none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

from msgspec.structs import replace

from pipeline import paths
from pipeline.errors import InputError
from pipeline.options import Experiment, Options, ProposalNetwork, Recipe
from pipeline.preset import Data, LabelledSource, Preset


class Rate(NamedTuple):
    """Base learning rate of a training, and how it came about."""

    lr: float
    recipe_lr: float
    batch: int  # images of one optimiser step, over all processes and accumulated batches
    recipe_batch: int
    rule: Literal["recipe", "linear", "preset"]

    def facts(self) -> dict[str, Any]:
        """Return what the summary of a training says of its rate."""
        return {
            "lr": self.lr,
            "recipe_lr": self.recipe_lr,
            "batch": self.batch,
            "recipe_batch": self.recipe_batch,
            "lr_rule": self.rule,
        }


def base_rate(recipe: Recipe, batch: int, preset_lr: float | None = None) -> Rate:
    """Return the rate of a batch: the preset's, or the recipe's in proportion to the batch (the linear rule)."""
    if preset_lr:
        return Rate(preset_lr, recipe.lr, batch, recipe.batch, "preset")
    rule = "recipe" if batch == recipe.batch else "linear"
    return Rate(recipe.lr * batch / recipe.batch, recipe.lr, batch, recipe.batch, rule)


class Spec(Options):
    """A resolved experiment: everything that decides a training's result, and nothing else."""

    name: str
    paper: str
    experiment: Experiment
    recipe: Recipe
    preset: Preset
    blocks: int = 1  # how many trainings the experiment has, see `pipeline/blocks.py`
    block: int = 1  # the one that this specification is of

    def in_blocks(self) -> list[Spec]:
        """Return the specification of every block."""
        return [self.of_block(number) for number in range(1, self.blocks + 1)]

    def of_block(self, number: int) -> Spec:
        """Return the specification of one block, counted from 1."""
        return replace(self, block=number, blocks=1)

    @property
    def run(self) -> str:
        """The name of one training: the experiment's, with the block behind it from the second on."""
        return self.name if self.block == 1 else f"{self.name}_block{self.block}"

    def with_milestones(self, milestones: tuple[float, ...] | None) -> Spec:
        """Return the specification with other milestones of its recipe; as it is without any."""
        if milestones is None:
            return self
        return replace(self, recipe=replace(self.recipe, milestones=milestones))

    @property
    def steps(self) -> int:
        """Optimiser steps at one resolution; papers that count epochs are resolved by the data's size at run time.

        Another batch than the recipe's sees the recipe's number of images, as the linear rule of its rate assumes.
        """
        training, recipe, length = self.preset.training, self.recipe, self.experiment.length
        if training.steps is not None:
            return max(1, round(training.steps * length * coco_epochs(recipe) / 12))
        if recipe.iterations is not None:
            return round(recipe.iterations * length * recipe.batch / self.effective_batch)
        raise InputError(
            f"{self.name} counts epochs, and preset {self.preset.name} names no steps; use `epoch_steps(spec, images)`."
        )

    @property
    def batch(self) -> int:
        """Images that are forwarded together, over all processes."""
        return self.preset.training.batch or self.recipe.batch

    @property
    def effective_batch(self) -> int:
        """Images of one optimiser step."""
        return self.batch * self.preset.training.accumulate

    @property
    def rate(self) -> Rate:
        """The learning rate and how it came about."""
        return base_rate(self.recipe, self.effective_batch, self.preset.training.lr)

    @property
    def lr(self) -> float:
        """The learning rate: the preset's, or the recipe's scaled linearly with the effective batch."""
        return self.rate.lr

    @property
    def data(self) -> Data:
        """The preset's data set that this experiment sees."""
        return self.preset.data_of(self.experiment.dataset)

    @property
    def manifest(self) -> Path:
        """The verified form of `data`."""
        return paths.manifest(self.preset.name, self.experiment.dataset)

    @property
    def norm(self) -> str:
        return self.preset.training.norm or self.recipe.norm

    @property
    def frozen_stages(self) -> int:
        """Stages that stay as initialised, the stem included; -1 freezes nothing."""
        frozen = self.preset.training.frozen_stages
        return self.recipe.frozen_stages if frozen is None else frozen

    @property
    def roi_samples(self) -> int:
        """Bilinear samples of a RoI bin along each axis; 0 takes as many as the bin has feature pixels."""
        samples = self.preset.model.roi_samples
        return self.recipe.roi_samples if samples is None else samples

    @property
    def optimizer(self) -> str:
        """The recipe's optimiser, or the preset's stand-in for trainings too short for it."""
        return self.preset.training.optimizer or self.recipe.optimizer

    @property
    def kept_proposals(self) -> int:
        """Proposals that a network trained for them alone keeps of an image at each resolution."""
        return min((self.experiment.rpn or ProposalNetwork()).top, self.preset.model.rpn_post_nms_test)

    @property
    def labelled(self) -> LabelledSource | None:
        """Where the preset has labelled images of the experiment's data set, None where it has none."""
        return (self.preset.labelled or {}).get(self.experiment.dataset)

    @property
    def published(self) -> bool:
        """Whether an init consists of published weights, so that nothing is trained."""
        shared = self.preset.init_source == "torchvision" and self.paper == "shared"
        return shared and self.experiment.method.psconv is None

    @property
    def seed(self) -> int:
        """The seed of a block: all of its experiments share it, so that method and baseline see the same images."""
        digest = hashlib.sha256(f"{self.preset.seed}/{self.block}".encode()).digest()
        return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF


def coco_epochs(recipe: Recipe) -> float:
    """Return the length of a recipe's 1x in epochs, of COCO's 118,287 images where it names none; 12 are `steps`."""
    return recipe.epochs if recipe.epochs is not None else recipe.iterations * recipe.batch / 118_287


def epoch_steps(spec: Spec, images: int) -> int:
    """Return the optimiser steps of a training on `images` training images at one resolution.

    A pyramid has more of them (`pipeline/training/epochs.py`).
    """
    if spec.preset.training.steps is not None or spec.recipe.iterations is not None:
        return spec.steps
    return max(1, round(spec.recipe.epochs * spec.experiment.length * images / spec.effective_batch))
