"""One forward pass of a detector's training: what it logs and feeds back over the batches of a step, by hand."""

import math
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from pipeline.models.heads.roi_heads import PositiveLosses
from pipeline.options import CollageOptions
from pipeline.spec import Spec
from pipeline.training.collage_feeding import CollageFeeder
from pipeline.training.detection import DetectorStep
from pipeline.training.feeding import build_feeder

CPU = torch.device("cpu")
# At the tiny preset's factor of 0.1, objects under 3.2^2 = 10.24 square pixels are small and over 9.6^2 = 92.16 large.
SMALL, MEDIUM, LARGE = 10.0, 50.0, 100.0


class Script(nn.Module):
    """Stands for a detector: the losses of its positives come from a list, one entry a forward pass."""

    def __init__(self, passes: list[tuple[float, float, float] | None]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.passes, self.positives = iter(passes), None

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        losses = torch.tensor(next(self.passes) or [])
        areas = torch.tensor([SMALL, MEDIUM, LARGE])[: len(losses)]
        self.positives = PositiveLosses(losses, losses, areas, losses.sum())
        return {"loss": self.weight.sum()}


class Fixed:
    """A feeder that gives one image of one object, and notes what comes back."""

    def __init__(self, objects: int = 1, **info: Any) -> None:
        self.info = {"image_ids": [7], "file_names": ["7.png"], **info}
        self.objects, self.seen = objects, []

    def batch(self, number: int) -> tuple:
        target = {"boxes": torch.tensor([[0.0, 0, 2, 2]])[: self.objects], "labels": torch.ones(1, dtype=torch.int64)}
        return [torch.zeros(3, 8, 8)], [target], self.info

    def observe(self, positives: PositiveLosses, targets: list, last: bool, regression: Any) -> None:
        self.seen.append((positives.regression.tolist(), last))


def spec(accumulate: int = 1, **collage: Any) -> Spec:
    found = tiny.spec("dst_frcnn_r50_fpn_1x", batch=1, accumulate=accumulate)
    return tiny.with_method(found, collage=CollageOptions(**collage))


def numbers(logged: dict) -> dict[str, float | None]:
    return {name: float(value) if torch.is_tensor(value) else value for name, value in logged.items()}


def test_shares_of_one_batch():
    step = DetectorStep(Script([(1.0, 2.0, 5.0)]), Fixed(collage=True), spec(threshold=0.2), CPU)
    losses, logged = step(0)
    assert losses["loss"].item() == 1
    assert all(torch.is_tensor(logged[name]) and logged[name].dim() == 0 for name in ("small_share", "low_share"))
    shares = {"small_share": 1 / 8, "medium_share": 2 / 8, "large_share": 5 / 8, "low_share": 1.0}
    assert numbers(logged) == shares | {"images": 1.0, "collage": 1.0}


@pytest.mark.parametrize("script", [None, (0.0, 0.0, 0.0)])
def test_shares_that_do_not_exist_are_nan(script):
    logged = numbers(DetectorStep(Script([script]), Fixed(), spec(), CPU)(0)[1])
    assert all(math.isnan(logged[name]) for name in ("small_share", "medium_share", "large_share", "low_share"))


def test_shares_of_several_batches_come_with_the_last_as_sums_over_sums():
    feeder = Fixed()
    step = DetectorStep(Script([(1.0, 1.0, 0.0), (0.0, 0.0, 6.0)] * 2), feeder, spec(accumulate=2), CPU)
    for number in (0, 2):
        assert numbers(step(number)[1]) == {"images": 1.0}
        logged = numbers(step(number + 1)[1])
        assert (logged["small_share"], logged["large_share"]) == (1 / 8, 6 / 8)  # the mean of shares is a quarter
    assert [last for _, last in feeder.seen] == [False, True, False, True]


def test_what_a_report_needs_is_known_before_the_forward_pass_and_resolutions_are_logged_by_name():
    class Failing(Script):
        def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
            raise RuntimeError("boom")

    step = DetectorStep(Failing([]), Fixed(resolution=800, valid=0.5, snip=True), spec(), CPU)
    with pytest.raises(RuntimeError, match="boom"):
        step(0)
    assert step.info["image_ids"] == [7]
    assert step.info["file_names"] == ["7.png"]
    assert 0 <= step.info["waited"] < 5
    logged = DetectorStep(Script([(1.0, 1.0, 1.0)]), Fixed(resolution=800, valid=0.5, snip=True), spec(), CPU)(0)[1]
    assert (logged["valid_800"], logged["snip_valid_800"]) == (0.5, 0.5)


def test_all_batches_of_a_step_are_of_one_kind_and_count_their_images():
    found = spec(accumulate=3, threshold=0.1)
    data = tiny.FakeSet([(40, 60)] * 16, [[[0, 0, 30, 20]]] * 16)
    feeder = CollageFeeder(found, data, 4)
    # Shares of 0.05, 0.5, 0.05 and 0.5 by steps; single batches of the second are far from it.
    large = (0.0, 0.0, 1.0)
    script = [large] * 2 + [(0.15, 0.0, 1.0)] + [large] * 2 + [(2.0, 0.0, 0.0)] + [large] * 3
    step = DetectorStep(Script(script), feeder, found, CPU)
    kinds = [step(number)[1]["collage"] for number in range(9)]
    assert kinds == [1.0] * 3 + [1.0] * 3 + [0.0] * 3
    assert feeder.used == {"regular": 3, "collage": 6}
    assert feeder.batch(9)[2]["collage"] is True


@pytest.mark.parametrize("accumulate", [1, 3, 4])
def test_valid_ranges_start_between_steps(accumulate):
    found = tiny.c4("snip_drfcn_r50_7ep_snip", batch=1, accumulate=accumulate)
    data = tiny.FakeSet([(48, 64)] * 4, [[[0, 0, 30, 20]]] * 4)
    source = build_feeder(found, data, 10, ranges_from=4).batches
    assert source.ranges_from == 4 * accumulate
