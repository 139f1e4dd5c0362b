"""A preset so small that a training takes a second; experiments keep their own files."""

from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from pipeline import config, paths
from pipeline.options import Method
from pipeline.preset import Data, ModelSize, Preset, Training, Verdicts
from pipeline.spec import Spec

PRESET = Preset(
    name="tiny",
    title="tiny (tests)",
    data=Data(kind="scaleworld", train_images=10, val_images=4, seed=3, may_publish_images=True),
    factor=0.1,  # images of 64x48, a short side of 80 in networks
    search_sweeps=1,
    threads=1,
    init_source="pretrain",
    model=ModelSize(
        width=0.125,
        depth=0.05,
        fpn_channels=16,
        head_channels=16,
        c4_stride=8,
        fusion_min_width=4,
        rpn_pre_nms_train=60,
        rpn_post_nms_train=40,
        rpn_pre_nms_test=40,
        rpn_post_nms_test=20,
        rpn_batch=32,
        roi_batch=16,
        c4_roi_batch=16,
        roi_samples=1,
        detections=10,
    ),
    training=Training(
        steps=6,
        batch=2,
        lr=0.01,
        warmup_steps=2,
        pretrain_steps=4,
        pretrain_batch=8,
        pretrain_lr=0.05,
        pretrain_images=40,
        pretrain_size=32,
        log_rows=3,
        checkpoint_rows=3,  # one after every second step
        scale_images=5,
        precision="fp32",
    ),
    verdicts=Verdicts(draws=5),
)


def preset(**training: Any) -> Preset:
    """Return the tiny preset, with some of its `training` options changed."""
    return replace(PRESET, training=replace(PRESET.training, **training))


def changed(found: Spec, **parts: dict[str, Any]) -> Spec:
    """Return a specification with other values in its `experiment`, `recipe` or `preset`."""
    return replace(found, **{part: replace(getattr(found, part), **values) for part, values in parts.items()})


def spec(experiment: str, **training: Any) -> Spec:
    """Return an experiment under the tiny preset; its recipe counts 12 epochs, so it takes the preset's steps."""
    found = config.resolve(experiment, "mini")
    return replace(changed(found, recipe={"epochs": 12.0, "iterations": None}), preset=preset(**training), blocks=1)


def with_method(found: Spec, **method: Any) -> Spec:
    """Return a specification with another method."""
    return changed(found, experiment={"method": Method(**method)})


def with_detector(found: Spec, detector: str) -> Spec:
    """Return a specification with another detector family."""
    return changed(found, experiment={"detector": detector})


def plain(flip: float = 0.0, batch: int = 2, **method: Any) -> Spec:
    """Return a DST experiment with this probability of flips and this method."""
    return changed(with_method(spec("dst_frcnn_r50_fpn_1x", batch=batch), **method), recipe={"flip": flip})


def c4(experiment: str, **training: Any) -> Spec:
    """Return an experiment of SNIP's, trained end to end in a C4 Faster R-CNN instead of on given proposals."""
    found = spec(experiment, **training)
    method = replace(found.experiment.method, deformable=None)
    changes = {"detector": "faster_rcnn", "neck": "c4", "region": None, "proposals": None, "method": method}
    return changed(found, experiment=changes)


def make_files() -> None:
    """Render, verify and write the init `resnet50` (random weights) below the current folder."""
    from pipeline.data.sources import synthesize, verify_preset
    from pipeline.models.backbones.build import build_backbone
    from pipeline.training.checkpoint import save_weights

    synthesize(PRESET)
    verify_preset(PRESET)
    torch.manual_seed(0)
    body = build_backbone("resnet50", PRESET.model, "batch", Method())
    state = {f"backbone.body.{name}": value for name, value in body.state_dict().items()}
    save_weights(paths.init("tiny", "resnet50"), state)


class FakeSet:
    """Stands for a DetectionSet: images of one colour each, boxes and labels by hand."""

    proposals = None
    has_masks = False

    def __init__(self, sizes: list[tuple[int, int]], boxes: list[list[list[float]]], classes: int = 3) -> None:
        self.sizes, self.classes = sizes, classes
        self.boxes = [torch.tensor(rows, dtype=torch.float32).reshape(-1, 4) for rows in boxes]
        self.labels = [torch.ones(len(rows), dtype=torch.int64) for rows in boxes]
        self.entries = [
            {"id": row + 1, "file_name": f"{row + 1}.png", "height": h, "width": w} for row, (h, w) in enumerate(sizes)
        ]

    def __len__(self) -> int:
        return len(self.sizes)

    def image(self, row: int) -> Tensor:
        """Return an image whose value names its row."""
        return torch.full((3, *self.sizes[row]), row + 1, dtype=torch.uint8)

    def size(self, row: int) -> tuple[int, int]:
        return self.sizes[row]


def image_row(image: Tensor) -> int:
    """Return the row of the FakeSet that an image came from."""
    return round(float(image.max()) * 255) - 1
