"""Parameters and multiply-adds of a network, on the meta device: no data, no weights, no memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torchvision  # noqa: F401  registers deform_conv2d
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from pipeline import paths
from pipeline.files import read_yaml
from pipeline.models.backbones.build import blocks_of
from pipeline.models.build import build_classifier, build_detector
from pipeline.spec import Spec

PROPOSALS = 1000
FULL_INPUT = (800, 1344)
CLASSES = {"voc": 20, "imagenet": 1000, "cifar100": 100}  # at the papers' size
FIRST = {2: "scale_r31", 3: "scale_r41", 4: "scale_r51"}  # columns of POD's table 3: the first block of a stage
LAST = {2: "scale_r34", 3: "scale_r46", 4: "scale_r53"}


def measure(spec: Spec, scales: dict[str, tuple[float, float]] | None = None, classes: int = 80) -> dict[str, Any]:
    """Return `parameters_total`, `parameters_trainable`, `macs`, the input size and the source of the scales.

    Trainable are all parameters of a classifier, and those of a detector without the stem and the first stage, as the
    papers count, whatever else the recipe freezes. Multiply-adds are those of convolutions and linear layers for one
    image. A detector's image has 800x1344 pixels times the preset's factor, and two-stage detectors have 1,000
    proposals; a classifier's has its training size (papers' size: 224 pixels, 32 on CIFAR). PSConv costs a plain
    convolution, GSL a plain convolution and its linear layer, a deformable one itself and that of its offsets.
    """
    preset, experiment = spec.preset, spec.experiment
    classifier = experiment.detector == "classifier"
    if preset.factor == 1 or experiment.dataset == "cifar100":
        classes = CLASSES.get(experiment.dataset, classes)
    with on_meta():
        model = build_classifier(spec, classes) if classifier else build_detector(spec, classes, scales)
    model.eval()
    total = parameters(model)
    if classifier:
        size, trainable = classifier_input(spec), total
        macs = count(lambda: model(torch.empty(1, 3, *size, device="meta")))
    else:
        size = tuple(max(32, round(side * preset.factor / 32) * 32) for side in FULL_INPUT)
        bodies = getattr(model.backbone, "bodies", [model.backbone.body])  # a joint network has two
        trainable = total - sum(parameters(part) for body in bodies for part in body.first_modules(1))
        macs = count(lambda: model.dense_parts(torch.empty(1, 3, *size, device="meta"), PROPOSALS))
    return {
        "experiment": spec.name,
        "parameters_total": total,
        "parameters_trainable": trainable,
        "macs": macs,
        "scales": (("learnt" if scales else "assumed") if experiment.method.decomposed else None),
        "input": list(size),
    }


@contextmanager
def on_meta() -> Iterator[None]:
    """Build networks without memory and without computing initial values, which they would not keep."""
    with torch.device("meta"), _WithoutValues():
        yield


class _WithoutValues(TorchFunctionMode):
    """Skips the in-place fills of initialisation, which take most of the time to build a meta network."""

    fills = frozenset({torch.Tensor.normal_, torch.Tensor.uniform_, torch.Tensor.zero_, torch.Tensor.fill_})

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.fills and args[0].is_meta:
            return args[0]
        return func(*args, **(kwargs or {}))


def parameters(module: nn.Module) -> int:
    """Return the number of parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def classifier_input(spec: Spec) -> tuple[int, int]:
    """Return a classifier's input size (h, w): the experiment's or the recipe's, at the preset's size."""
    resolutions = spec.experiment.resolutions
    side = resolutions.side if resolutions else spec.recipe.short_side
    side = max(1, round(side * spec.preset.training.pretrain_size / 224))
    return side, side


def count(run: Callable[[], Any]) -> int:
    """Return the multiply-adds of convolutions and matrix products that `run` performs."""
    formulas = {torch.ops.torchvision.deform_conv2d: deformable_flops}
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=formulas) as counter:
        run()
    flops = counter.get_total_flops()
    return int(flops) // 2


def deformable_flops(x: Any, weight: torch.Size, *args: Any, out_shape: torch.Size, **kwargs: Any) -> int:
    """Return the operations of a deformable convolution without its interpolation: those of a plain one.

    Args:
        x: shape of the input.
        weight: [C_out, C_in / groups, k, k].
        *args: the operator's other arguments.
        out_shape: shape [N, C_out, H, W] of the output.
        **kwargs: none.
    """
    return 2 * out_shape.numel() * weight[1:].numel()


def printed_scales(spec: Spec) -> dict[str, tuple[float, float]] | None:
    """Return POD's printed scales, spread over the blocks, to assume where none have been learnt.

    Table 3 of POD prints scales of the first and the last block of each stage of ResNet-50 for three detectors. Blocks
    between take the last block's scale. Other backbones and detectors take the scales of Faster R-CNN R50-FPN. conv2_x,
    where the paper finds scales close to 1, takes 1.
    """
    experiment = spec.experiment
    if not experiment.method.decomposed:
        return None
    height, width = (printed_row(experiment.detector, experiment.neck, axis) for axis in "hw")
    scales = {}
    for number in (1, 2, 3, 4):
        for block in range(spec.preset.model.blocks(blocks_of(experiment.backbone)[number - 1])):
            column = (FIRST if block == 0 else LAST).get(number)
            if number + 1 in experiment.method.scale_stages:
                scales[f"layer{number}.{block}"] = (height[column], width[column]) if column else (1.0, 1.0)
    return scales


def printed_row(detector: str, neck: str, axis: str) -> dict[str, float]:
    """Return POD's printed scales along "h" or "w" on training images, by column."""
    table = next(t for t in read_yaml(paths.ROOT / paths.published_file("pod"))["tables"] if t["id"] == "pod_t3")
    wanted = {"split": "train", "direction": axis}
    rows = [row for row in table["rows"] if row["factors"].items() >= wanted.items()]
    for kind in ((detector, neck), ("faster_rcnn", "fpn")):
        for row in rows:
            if (row["factors"]["detector"], row["factors"]["neck"]) == kind:
                return row["values"]
    raise ValueError(f"data/published holds no scales of Faster R-CNN R50-FPN along {axis}.")
