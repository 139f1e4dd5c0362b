"""Two loops that train a Faster R-CNN R50-FPN: the pipeline's, and a plain one around torchvision's own model.

Both decode the same JPEG files with the same number of workers, resize to 800x1333 or the preset's size, flip at
random, train the same layers with the same kind of optimiser (ours in torch's fused form, where a preset takes AdamW)
and read their losses in every step. Weights are random, with settled batch norms.
"""

import itertools
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNPredictor, TwoMLPHead
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign
from torchvision.transforms.functional import hflip, pil_to_tensor

from pipeline.benchmarks.one_step import LEARNING_RATE, settled_norms, synchronise
from pipeline.config import resolve
from pipeline.data.detection_set import DetectionSet
from pipeline.data.scaleworld.scenes import render_scene
from pipeline.machine import PREFIX
from pipeline.models import build_detector
from pipeline.models.backbones.resnet import Shape, resnet_shape
from pipeline.models.heads.two_stage import ASPECT_RATIOS, FPN_ANCHORS, FPN_RESOLUTION
from pipeline.spec import Spec
from pipeline.training.detection import DetectorStep
from pipeline.training.feeding import Batch, Feeder, build_feeder
from pipeline.training.loop import build_optimizer
from pipeline.training.precision import autocast

EXPERIMENT = "msfm_frcnn_r50_fpn_1x"
CLASSES = 80
PARTS = ("data", "forward", "backward", "update")
ENDLESS = 1_000_000  # steps of a stream whose end no benchmark reaches
LISTED = 1200  # entries in the list of images, too many to stay decoded in memory, like COCO's


def write_images(folder: Path, count: int, factor: float = 1.0, listed: int = LISTED) -> dict[str, Any]:
    """Write landscape scenes as JPEG files, 640x480 pixels times `factor`, and return a split of `listed` entries."""
    scenes: list[tuple[str, tuple[int, int], list[dict[str, Any]]]] = []
    for index in itertools.count():
        if len(scenes) == count:
            break
        pixels, annotations = render_scene(0, index, "throughput", factor)
        if pixels.shape[0] < pixels.shape[1]:
            name = f"{index}.jpg"
            Image.fromarray(pixels).save(folder / name, quality=90)
            scenes.append((name, pixels.shape[:2], annotations))
    split: dict[str, Any] = {"images_root": str(folder), "images": [], "annotations": [], "categories": []}
    split["categories"] = [{"id": number + 1, "name": str(number + 1)} for number in range(CLASSES)]
    for number in range(listed):
        name, (height, width), annotations = scenes[number % count]
        split["images"].append({"id": number + 1, "file_name": name, "height": height, "width": width})
        for one in annotations:
            box = {"image_id": number + 1, "category_id": one["category"], "bbox": one["bbox"], "iscrowd": 0}
            split["annotations"].append(box)
    return split


class Loop:
    """A training loop that makes one step per call; `seconds` has the parts of the last step."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, device: str, precision: str) -> None:
        self.model, self.optimizer, self.device, self.precision = model, optimizer, device, precision
        self.split = False  # wait for the device between parts
        self.seconds: dict[str, float] = {}
        self.losses: dict[str, float] = {}

    def fetch(self) -> Any:
        """Return the next batch of its loader."""
        raise NotImplementedError

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Return the named losses of a batch."""
        raise NotImplementedError

    def __call__(self) -> None:
        """Train one step."""
        batch = self.part("data", self.fetch)
        with autocast(self.precision, torch.device(self.device)):
            losses = self.part("forward", lambda: self.forward(batch))
        self.part("backward", lambda: self.back(losses))
        self.part("update", self.update)

    def back(self, losses: dict[str, Tensor]) -> None:
        self.losses = {name: value.item() for name, value in losses.items()}  # both training loops log them
        self.optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()

    def update(self) -> None:
        self.optimizer.step()

    def part(self, name: str, call: Callable[[], Any]) -> Any:
        """Run a part of a step and keep its seconds."""
        start = time.perf_counter()
        found = call()
        if self.split:
            synchronise(self.device)
        self.seconds[name] = time.perf_counter() - start
        return found


class Ours(Loop):
    """The pipeline's model, feeder and step; losses are fed back to the feeder as in a training."""

    def __init__(
        self,
        split: dict[str, Any],
        batch: int,
        workers: int,
        device: str,
        precision: str,
        preset: str,
        experiment: str = EXPERIMENT,
        lr: float = LEARNING_RATE,
    ) -> None:
        spec = batch_spec(resolve(experiment, preset), batch, workers)
        data = DetectionSet(split)
        torch.manual_seed(0)
        model = build_detector(spec, CLASSES).to(device, memory_format=torch.channels_last)
        super().__init__(model, build_optimizer(spec, model, lr), device, precision)
        self.feeder = build_feeder(spec, data, ENDLESS)
        self.held = Held(self.feeder)
        self.collage = False  # whether the last batch was of collages
        self.step = DetectorStep(model, self.held, spec, torch.device(device))
        self.number = 0
        settle(model, self.fetch()[0], device)

    def fetch(self) -> Batch:
        self.number += 1
        return self.feeder.batch(self.number - 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        self.held.batch = lambda step: batch
        self.collage = bool(batch[2].get("collage"))
        return self.step(self.number)[0]


class Held:
    """A feeder that returns the batch that was fetched before."""

    batch: Callable[[int], Batch]

    def __init__(self, feeder: Feeder) -> None:
        self.observe = feeder.observe


class Plain(Loop):
    """torchvision's Faster R-CNN R50-FPN with its own transform, built and fed as in its reference training."""

    def __init__(
        self, split: dict[str, Any], batch: int, workers: int, device: str, precision: str, preset: str
    ) -> None:
        spec = batch_spec(resolve(EXPERIMENT, preset), batch, workers)
        torch.manual_seed(0)
        model = plain_detector(spec).to(device)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if spec.optimizer == "adamw":
            optimizer = torch.optim.AdamW(trained, LEARNING_RATE, weight_decay=1e-4)
        else:
            optimizer = torch.optim.SGD(trained, LEARNING_RATE, momentum=0.9, weight_decay=1e-4)
        super().__init__(model, optimizer, device, precision)
        self.loader = plain_loader(split, batch, workers)
        settle(model, self.fetch()[0], device)

    def fetch(self) -> Any:
        return next(self.loader)

    def forward(self, batch: Any) -> dict[str, Tensor]:
        images = [image.to(self.device) for image in batch[0]]
        targets = [{name: value.to(self.device) for name, value in target.items()} for target in batch[1]]
        return self.model(images, targets)


class PlainResNet(ResNet):
    """torchvision's ResNet-50 at a preset's widths and depths."""

    def __init__(self, shape: Shape, norm: Callable[[int], nn.Module]) -> None:
        super().__init__(Bottleneck, list(shape.blocks), norm_layer=norm)
        self.inplanes = shape.planes[0]
        self.conv1, self.bn1 = nn.Conv2d(3, self.inplanes, 7, stride=2, padding=3, bias=False), norm(self.inplanes)
        for index, (planes, blocks) in enumerate(zip(shape.planes, shape.blocks, strict=True)):
            self.add_module(f"layer{index + 1}", self._make_layer(Bottleneck, planes, blocks, min(index + 1, 2)))


def plain_detector(spec: Spec) -> FasterRCNN:
    """Return torchvision's detector with the sizes, limits and frozen stages of a specification.

    At the papers' size it is the network of `fasterrcnn_resnet50_fpn`; that function builds it only with pre-trained
    weights, which may not be available, or at one width.
    """
    size, factor, shape = spec.preset.model, spec.preset.factor, resnet_shape("resnet50", spec.preset.model)
    body = PlainResNet(shape, nn.BatchNorm2d if spec.norm == "batch" else FrozenBatchNorm2d)
    frozen = ("conv1", "bn1", *(f"layer{n}" for n in range(1, spec.frozen_stages + 1)))
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    layers = {f"layer{n + 1}": str(n) for n in range(len(shape.planes))}
    channels = [planes * Bottleneck.expansion for planes in shape.planes]
    return FasterRCNN(
        BackboneWithFPN(body, layers, channels, size.fpn_channels),
        min_size=round(spec.recipe.short_side * factor),
        max_size=round(spec.recipe.long_side * factor),
        size_divisible=size.pad_divisor,
        rpn_anchor_generator=AnchorGenerator(
            tuple((round(side * factor),) for side in FPN_ANCHORS), (ASPECT_RATIOS,) * len(FPN_ANCHORS)
        ),
        rpn_pre_nms_top_n_train=size.rpn_pre_nms_train,
        rpn_post_nms_top_n_train=size.rpn_post_nms_train,
        rpn_batch_size_per_image=size.rpn_batch,
        box_roi_pool=MultiScaleRoIAlign(
            list(layers.values()), FPN_RESOLUTION, spec.roi_samples, canonical_scale=round(224 * factor)
        ),
        box_head=TwoMLPHead(size.fpn_channels * FPN_RESOLUTION**2, size.head_channels),
        box_predictor=FastRCNNPredictor(size.head_channels, CLASSES + 1),
        box_batch_size_per_image=size.roi_batch,
    )


class PlainImages(Dataset):
    """Images as floats in 0-1 with their boxes, flipped at random as in torchvision's reference preset `hflip`."""

    def __init__(self, split: dict[str, Any]) -> None:
        self.root, self.entries = Path(split["images_root"]), split["images"]
        self.targets: list[dict[str, list]] = [{"boxes": [], "labels": []} for _ in self.entries]
        for one in split["annotations"]:
            x, y, w, h = one["bbox"]
            target = self.targets[one["image_id"] - 1]
            target["boxes"].append([x, y, x + w, y + h])
            target["labels"].append(one["category_id"])

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, row: int) -> tuple[Tensor, dict[str, Tensor]]:
        with Image.open(self.root / self.entries[row]["file_name"]) as opened:
            image = pil_to_tensor(opened.convert("RGB")).float() / 255
        boxes = torch.tensor(self.targets[row]["boxes"], dtype=torch.float32).reshape(-1, 4)
        if float(torch.rand(1)) < 0.5:
            image, boxes = hflip(image), boxes.clone()
            boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
        return image, {"boxes": boxes, "labels": torch.tensor(self.targets[row]["labels"], dtype=torch.int64)}


def plain_loader(split: dict[str, Any], batch: int, workers: int) -> Iterator[Any]:
    """Yield shuffled batches without end."""
    loader = DataLoader(PlainImages(split), batch, shuffle=True, num_workers=workers, collate_fn=lists, drop_last=True)
    while True:
        yield from loader


def lists(samples: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Return a batch as a list of images and a list of targets."""
    return [image for image, _ in samples], [target for _, target in samples]


def batch_spec(spec: Spec, batch: int, workers: int) -> Spec:
    """Return a specification with another batch; its loaders, in this process, get so many workers."""
    os.environ[f"{PREFIX}WORKERS"] = str(workers)
    training = msgspec.structs.replace(spec.preset.training, batch=batch)
    return msgspec.structs.replace(spec, preset=msgspec.structs.replace(spec.preset, training=training))


@torch.no_grad()
def settle(model: nn.Module, images: list[Tensor], device: str) -> None:
    """Settle a model's batch norms on a batch of images."""
    with settled_norms(model):
        model.eval()([image.to(device) for image in images])
    model.train()
