"""One training step and one inference of an experiment's network, with random weights and an invented image.

`python -m pipeline.benchmarks.one_step NAME --preset full --device cpu` prints its result as one line of JSON. The
architectures benchmark starts one such process per network, so that neither memory nor a failure outlives it.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.benchmarks.command import command_line, run_command
from pipeline.benchmarks.timing.memory import peak_bytes
from pipeline.config import resolve
from pipeline.models import build_classifier, build_detector
from pipeline.models.contract import Images, Targets
from pipeline.models.measure import CLASSES, classifier_input, parameters, printed_scales
from pipeline.spec import Spec
from pipeline.training.loop import build_optimizer
from pipeline.training.precision import autocast

MIB = 2**20
OBJECTS = 8
PROPOSALS = 300  # per image for a region classifier
SMALLEST, LARGEST = 16, 400  # sides of the objects on the papers' 800-pixel scale
LEARNING_RATE = 1e-6  # so low that random weights do not diverge between repetitions
REPEATS = {"cpu": 0, "cuda": 3}  # steps before the measured one, because a GPU's first steps choose algorithms


def measure_network(spec: Spec, device: str, precision: str) -> dict[str, Any]:
    """Return the number of parameters, and time, peak memory and results of a training step and of an inference.

    Raises:
        FloatingPointError: a loss is not finite.
    """
    model, images, targets = settled_network(spec, device)
    weights = sum(p.numel() * p.element_size() for p in model.parameters()) / MIB
    losses: dict[str, float] = {}
    optimizer = build_optimizer(spec, model, LEARNING_RATE)

    def train() -> None:
        found = train_once(model, optimizer, images, targets, precision)
        losses.update({name: round(value.item(), 6) for name, value in found.items()})

    outputs: list[Any] = []

    def inference() -> None:
        outputs[:] = infer_once(model, images, targets, spec, precision)

    training = timed(train, device)
    wrong = [f"{name} {value}" for name, value in losses.items() if not math.isfinite(value)]
    if wrong:
        raise FloatingPointError(f"not finite: {', '.join(wrong)}")
    tested = timed(inference, device)
    return {
        "parameters": parameters(model),
        "input": list(images[0].shape[-2:]),
        "weights_mib": round(weights, 1),
        "training": training | {"losses": losses},
        "inference": tested | {"detections": len(outputs[0]["scores"]) if targets else None},
    }


def build(spec: Spec) -> nn.Module:
    """Build the network; a detector keeps boxes of any score, because with random weights no score is high."""
    experiment = spec.experiment
    if experiment.detector == "classifier":
        return build_classifier(spec, CLASSES.get(experiment.dataset, 1000))
    size = msgspec.structs.replace(spec.preset.model, score_threshold=0.0)
    spec = msgspec.structs.replace(spec, preset=msgspec.structs.replace(spec.preset, model=size))
    scales = printed_scales(spec) if experiment.method.decomposed else None
    return build_detector(spec, 20 if experiment.dataset == "voc" else 80, scales)


def invent(spec: Spec, device: str) -> tuple[Images, Targets]:
    """Return one image of noise [3, H, W] at the recipe's size, and objects of growing size along its diagonal.

    A classifier gets two images and no objects.
    """
    random = torch.Generator().manual_seed(0)
    if spec.experiment.detector == "classifier":
        # Trained batch norms need more than one value per channel, which a single small image may not give.
        return [torch.rand(3, *classifier_input(spec), generator=random).to(device) for _ in range(2)], []
    height, width = (
        max(32, round(side * spec.preset.factor)) for side in (spec.recipe.short_side, spec.recipe.long_side)
    )
    image = torch.rand(3, height, width, generator=random)
    sides = torch.logspace(math.log10(SMALLEST), math.log10(LARGEST), OBJECTS) * spec.preset.factor
    corners = torch.linspace(0, 1, OBJECTS)[:, None] * (torch.tensor([width, height]) - sides[:, None])
    boxes = torch.cat([corners, corners + sides[:, None]], dim=1)
    target = {"boxes": boxes, "labels": torch.arange(OBJECTS) % 20 + 1}
    if "mask" in spec.experiment.detector:
        target["masks"] = torch.zeros(OBJECTS, height, width, dtype=torch.uint8)
        for mask, (x1, y1, x2, y2) in zip(target["masks"], boxes.round().int().tolist(), strict=True):
            mask[y1:y2, x1:x2] = 1
    if spec.experiment.detector == "d_rfcn_rcn":
        moved = boxes.repeat(PROPOSALS // OBJECTS + 1, 1)[:PROPOSALS]
        noise = torch.rand(PROPOSALS, 2, generator=random).repeat(1, 2) - 0.5
        target["proposals"] = moved + noise * sides.repeat(PROPOSALS // OBJECTS + 1)[:PROPOSALS, None]
        target["proposals"] = target["proposals"].clamp(min=0).minimum(torch.tensor([width, height] * 2))
    return [image.to(device)], [{name: value.to(device) for name, value in target.items()}]


def settled_network(spec: Spec, device: str) -> tuple[nn.Module, Images, Targets]:
    """Return (network with settled norms, invented images, their targets)."""
    torch.manual_seed(0)
    model = build(spec).to(device, memory_format=torch.channels_last)
    images, targets = invent(spec, device)
    with settled_norms(model), torch.no_grad():
        infer(model, images, targets, spec)
    return model, images, targets


def train_once(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Images,
    targets: Targets,
    precision: str,
) -> dict[str, Tensor]:
    """Make one optimiser step and return its losses; images without targets are a classifier's."""
    model.train()
    with autocast(precision, images[0].device):
        losses = model(images, targets) if targets else classify(model, images)
    sum(losses.values()).backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return losses


def infer_once(model: nn.Module, images: Images, targets: Targets, spec: Spec, precision: str) -> Any:
    """Return what a network says as deployed, in a number format."""
    with torch.inference_mode(), autocast(precision, images[0].device):
        return infer(model, images, targets, spec)


def classify(model: nn.Module, images: Images) -> dict[str, Tensor]:
    """Return the cross-entropy of the first class."""
    logits = model(torch.stack(images))
    return {"loss": F.cross_entropy(logits.float(), torch.zeros(len(images), dtype=torch.int64, device=logits.device))}


def infer(model: nn.Module, images: Images, targets: Targets, spec: Spec) -> Any:
    """Return a network's output in evaluation mode."""
    model.eval()
    if spec.experiment.detector == "classifier":
        return model(torch.stack(images))
    return model(images, targets) if spec.experiment.detector == "d_rfcn_rcn" else model(images)


@contextmanager
def settled_norms(model: nn.Module) -> Iterator[None]:
    """Set the statistics of batch norms to those of their inputs, as in a trained network.

    Otherwise every random residual block doubles the variance, and the losses of a ResNet-101 overflow.
    """

    def settle(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].detach().float()
        if x.numel() > x.shape[1]:
            module.running_mean.copy_(x.mean(dim=(0, 2, 3)))
            module.running_var.copy_(x.var(dim=(0, 2, 3)))

    norms = [module for module in model.modules() if getattr(module, "running_mean", None) is not None]
    handles = [module.register_forward_pre_hook(settle) for module in norms]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def timed(call: Callable[[], None], device: str) -> dict[str, float]:
    """Return the wall seconds of a call, the CPU seconds of all its threads, and the peak MiB of its tensors."""
    for _ in range(REPEATS[device]):
        call()
    seconds: list[float] = []

    def clocked() -> None:
        synchronise(device)
        start, busy = time.perf_counter(), time.process_time()
        call()
        synchronise(device)
        seconds.extend((time.perf_counter() - start, time.process_time() - busy))

    peak = peak_bytes(clocked, device) / MIB
    return {"seconds": round(seconds[0], 4), "core_seconds": round(seconds[1], 4), "peak_mib": round(peak, 1)}


def synchronise(device: str) -> None:
    """Wait until a GPU has finished its work."""
    if device == "cuda":
        torch.cuda.synchronize()


def main(options: argparse.Namespace) -> None:
    if options.threads:
        torch.set_num_threads(options.threads)
    spec = resolve(options.experiment, options.preset)
    print(json.dumps(measure_network(spec, options.device, options.precision)))


if __name__ == "__main__":
    parser = command_line(__doc__, preset="full", precision="fp32", threads=0)
    parser.add_argument("experiment")
    run_command(main, parser)
