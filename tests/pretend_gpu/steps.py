"""Training steps of detectors on the pretended GPU; prints how often a step of each made the host wait, as JSON.

Arguments: the families. Each trains with 1 and with 3 images, without and with valid ranges, under DST's feedback.
"""

import json
import sys
import tempfile
from itertools import pairwise, product
from pathlib import Path
from unittest import mock

import device

device.install()

import batches  # noqa: E402
import torch  # noqa: E402
from msgspec.structs import replace  # noqa: E402

from pipeline.data import transforms  # noqa: E402
from pipeline.models import build_detector  # noqa: E402
from pipeline.options import CollageOptions  # noqa: E402
from pipeline.training import loop  # noqa: E402
from pipeline.training.detection import DetectorStep  # noqa: E402
from pipeline.training.feedback import CollageSchedule  # noqa: E402
from pipeline.training.feeding import Feeder  # noqa: E402
from pipeline.training.history import History  # noqa: E402
from pipeline.training.snip import wire_snip  # noqa: E402

STEPS = 4  # the first also brings anchors to the device, the last ends with a checkpoint
BOXES = [[[8.0, 8, 60, 50], [30, 20, 70, 60], [0, 0, 20, 16]], [[20.0, 4, 90, 60]], []]


class Given(Feeder):
    """The same images in every step; their losses go to DST's feedback."""

    def __init__(self, spec, images: int) -> None:
        self.schedule = CollageSchedule(spec.experiment.method.collage, spec.seed, 1024 * spec.preset.factor**2)
        self.images = batches.pictures([batches.SHAPES[row % 2] for row in range(images)])
        self.targets = [target(BOXES[row % 3], image) for row, image in enumerate(self.images)]

    def batch(self, number: int) -> tuple:
        return self.images, self.targets, {"collage": self.schedule.collage(number)}

    def observe(self, positives, targets, last=True, regression=None) -> None:
        self.schedule.observe(positives, [transforms.areas(one["boxes"]) for one in targets], last, regression)


def target(boxes: list, image: torch.Tensor) -> dict[str, torch.Tensor]:
    flags = torch.arange(len(boxes)) % 2 == 0
    proposals = torch.tensor([[5.0, 5, 40, 40], [30, 30, 60, 60], [0, 0, 96, 64], [50, 10, 70, 50]])
    ranges = {"valid_head": flags, "valid_proposal": flags, "head_range": torch.tensor([5.0, 60.0])}
    return batches.target(*boxes, size=tuple(image.shape[1:])) | {"proposals": proposals} | ranges


def build(family: str):
    """Return specification and network of a family under DST's feedback."""
    found = batches.region_spec(hard_examples=3) if family == "region" else batches.spec(family)
    method = replace(found.experiment.method, collage=CollageOptions())
    found = batches.tiny.changed(found, experiment={"method": method}, preset={"training": TRAINING})
    torch.manual_seed(0)
    return found, build_detector(found, 3)


TRAINING = replace(batches.tiny.PRESET.training, checkpoint_rows=1)


def waits(family: str, images: int, ranges: bool) -> int:
    """Return the most waits of two steps, and say on stderr where they were."""
    spec, model = build(family)
    if ranges:
        wire_snip(model, 0.3)
    feeder, counts, rate, gpu = Given(spec, images), [], loop.learning_rate, torch.device("cuda")

    def counting(step, *rest):  # is called once a step
        counts.append(device.found.copy())
        return rate(step, *rest)

    with device.counted(), mock.patch.object(loop, "learning_rate", counting), tempfile.TemporaryDirectory() as folder:
        step = DetectorStep(model.to(gpu, memory_format=torch.channels_last), feeder, spec, gpu)
        loop.train(spec, model, step, STEPS, Path(folder), History(STEPS, STEPS), "fp32", gpu, feeder)
    found = [after - before for before, after in pairwise(counts[1:])]
    for place, count in found[-1].items():
        print(family, images, ranges, count, *place, file=sys.stderr)
    return max(sum(step.values()) for step in found)


if __name__ == "__main__":
    torch.set_num_threads(1)
    found = {name: max(waits(name, *how) for how in product((1, 3), (False, True))) for name in sys.argv[1:]}
    assert not device.problems, device.problems
    print(json.dumps(found))
