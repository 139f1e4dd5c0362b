"""The throughput benchmark: both loops see the same objects and train, and the page says what was measured."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from pipeline.benchmarks import throughput
from pipeline.benchmarks.training_loops import (
    EXPERIMENT,
    PARTS,
    Loop,
    Ours,
    Plain,
    PlainImages,
    lists,
    plain_detector,
    write_images,
)
from pipeline.config import resolve
from pipeline.models import build_detector


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> dict:
    return write_images(tmp_path_factory.mktemp("images"), 2, factor=0.25)


def test_the_split_lists_few_files_often(split):
    assert len(split["images"]) == 1200
    assert len({entry["file_name"] for entry in split["images"]}) == 2
    assert {(entry["height"], entry["width"]) for entry in split["images"]} == {(120, 160)}
    assert len({entry["id"] for entry in split["images"]}) == 1200
    first, third = ([one["bbox"] for one in split["annotations"] if one["image_id"] == n] for n in (1, 3))
    assert first == third
    assert len(list(Path(split["images_root"]).glob("*.jpg"))) == 2


def test_plain_images_flip_with_their_boxes(split):
    data = PlainImages(split)
    boxes = torch.tensor([one["bbox"] for one in split["annotations"] if one["image_id"] == 1])
    boxes[:, 2:] += boxes[:, :2]
    seen = {}
    for seed in range(8):
        torch.manual_seed(seed)
        image, target = data[0]
        flipped = not torch.equal(target["boxes"], boxes)
        seen[flipped] = (image, target)
    torch.testing.assert_close(seen[True][0].flip(-1), seen[False][0])
    mirrored = boxes.clone()
    mirrored[:, 0], mirrored[:, 2] = 160 - boxes[:, 2], 160 - boxes[:, 0]
    torch.testing.assert_close(seen[True][1]["boxes"], mirrored)
    images, targets = lists([seen[True], seen[False]])
    assert len(images) == len(targets) == 2


def test_our_loop_trains_through_the_feeder(split):
    loop = Ours(split, 2, 0, "cpu", "fp32", "mini")
    before = {name: value.clone() for name, value in loop.model.named_parameters()}
    for _ in range(2):
        loop()
    assert loop.number == 3  # the batch norms settled on the first batch
    assert set(loop.losses) == {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert all(0 <= value < 100 for value in loop.losses.values())
    moved = [name for name, value in loop.model.named_parameters() if not torch.equal(value, before[name])]
    assert any(name.startswith("roi_heads") for name in moved)
    assert any(name.startswith("backbone.body.layer4") for name in moved)
    assert list(loop.seconds) == list(PARTS)


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in model.named_parameters()}


def test_the_plain_network_is_torchvisions_own_at_the_papers_size():
    model = plain_detector(resolve(EXPERIMENT, "full"))
    wanted = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=81)
    norms = (".bn", ".downsample.1.")  # frozen ones, which have no parameters
    assert shapes(model) == {n: shape for n, shape in shapes(wanted).items() if not any(norm in n for norm in norms)}
    frozen = [name for name, weight in model.named_parameters() if not weight.requires_grad]
    assert {name.split(".")[2] for name in frozen} == {"conv1", "layer1"}
    assert [a.tolist() for a in model.rpn.anchor_generator.cell_anchors] == [
        a.tolist() for a in wanted.rpn.anchor_generator.cell_anchors
    ]


def test_the_plain_network_is_as_narrow_as_ours_and_learns(split):
    spec = resolve(EXPERIMENT, "mini")
    plain, ours = shapes(plain_detector(spec).backbone.body), shapes(build_detector(spec, 80).backbone.body)
    assert plain == ours
    loop = Plain(split, 2, 0, "cpu", "fp32", "mini")
    before = {name: value.clone() for name, value in loop.model.named_parameters() if value.requires_grad}
    loop()
    assert all(0 <= value < 100 for value in loop.losses.values())
    assert any(not torch.equal(value, before[name]) for name, value in loop.model.named_parameters() if name in before)


class Fake(Loop):
    """A loop of a model with one weight."""

    def __init__(self, speed: float) -> None:
        model = nn.Linear(1, 1)
        super().__init__(model, torch.optim.SGD(model.parameters(), 0.1), "cpu", "fp32")
        self.speed, self.steps = speed, 0

    def fetch(self):
        self.steps += 1
        return torch.ones(1, 1)

    def forward(self, batch):
        return {"loss": self.model(batch).square().sum()}


def test_a_sample_is_so_many_steps_and_parts_are_medians():
    loop = Fake(1.0)
    throughput.repeated(loop, 5)()
    assert loop.steps == 5
    found = throughput.parts(loop, 3)
    assert loop.steps == 8
    assert not loop.split
    assert set(found) == set(PARTS)
    rows = [dict(zip(PARTS, values, strict=True)) for values in ((1, 5, 2, 1), (2, 9, 8, 1), (9, 7, 4, 0))]
    assert throughput.medians(rows) == {"data": 2, "forward": 7, "backward": 4, "update": 1}


def test_a_run_holds_ratio_and_page(monkeypatch, tmp_path):
    monkeypatch.setattr(throughput, "Plain", lambda *how: Fake(1.0))
    monkeypatch.setattr(throughput, "Ours", lambda *how: Fake(2.0))
    monkeypatch.setattr(throughput, "write_images", lambda *how: {})
    times = {"torchvision": [2.0, 4.0, 3.0], "ours": [1.0, 1.0, 2.0]}
    monkeypatch.setattr(throughput, "interleave", lambda *args, **kwargs: times)
    words = ["--output", str(tmp_path), "--batch", "2", "--minutes", "1"]
    result = throughput.main(throughput.parser().parse_args(words))
    assert result["ratio"] == {"median": 2.0, "low": 1.75, "high": 3.0}
    assert result["images_per_second"]["ours"] == {"median": 2.0, "low": 1.5, "high": 2.0}
    assert result["settings"] == {"batch": 2, "workers": 0, "steps": 1, "precision": "fp32", "rounds": 3}
    assert "wanted is at least 1: **met**." in (tmp_path / "cpu_throughput.md").read_text()
    result = throughput.main(throughput.parser().parse_args([*words, "--preset", "mini"]))
    assert (result["limit"], result["settings"]["steps"]) == (1.15, 5)
    assert "Not at the papers' size" in (tmp_path / "cpu_throughput_mini.md").read_text()
