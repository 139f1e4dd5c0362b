"""The benchmark of DST's cost: ratios by hand, blocks in turn, losses that feed back, a page that says what it saw."""

import itertools
import json

import pytest
import torch

from pipeline import paths
from pipeline.benchmarks import dst_overhead
from pipeline.benchmarks.dst_overhead import Step, collage_times, describe_training, interleave, ratios
from pipeline.benchmarks.pages.dst_overhead import verdict
from pipeline.benchmarks.training_loops import Ours, write_images
from pipeline.files import read_json


def block(number: int, training: str, seconds: list[float], data: float = 0.0, collage: bool = False) -> list[Step]:
    return [Step(number, training, collage, data, value) for value in seconds]


def test_ratios_of_medians_and_means_by_hand():
    steps = block(0, "baseline", [1, 2, 6], data=1) + block(0, "dst", [2, 3, 10], data=3)
    steps += block(1, "baseline", [1, 2, 6], data=1) + block(1, "dst", [2, 3, 10], data=3)
    found = ratios(steps, "dst", draws=50)
    assert found["step"]["median"] == {"ratio": 1.5, "low": 1.5, "high": 1.5}  # rounds are alike: nothing to draw
    assert found["step"]["mean"] == {"ratio": round(15 / 9, 4), "low": round(15 / 9, 4), "high": round(15 / 9, 4)}
    assert found["total"]["median"]["ratio"] == 2.0  # (3 + 3) / (2 + 1)
    assert found["total"]["mean"]["ratio"] == 2.0  # (15 + 9) / (9 + 3)


def test_the_interval_draws_rounds_in_pairs():
    steps = []
    for number, slow in enumerate([1, 10, 1, 7]):  # the machine is slow in some rounds, for both trainings
        steps += block(number, "baseline", [slow]) + block(number, "dst", [1.25 * slow])
    found = ratios(steps, "dst", draws=200)["step"]["mean"]
    assert (found["low"], found["ratio"], found["high"]) == (1.25, 1.25, 1.25)
    steps[1] = steps[1]._replace(step=2.0)
    wide = ratios(steps, "dst", draws=200)["step"]["mean"]
    assert wide["low"] < wide["ratio"] < wide["high"]
    assert ratios(steps, "dst", draws=200) == ratios(steps, "dst", draws=200)


def test_kinds_of_steps():
    steps = block(0, "dst", [1.0, 3.0], data=0.5, collage=True) + block(0, "dst", [1.0]) + block(0, "baseline", [9.0])
    found = describe_training(steps, "dst")
    assert (found["steps"], found["collage_share"]) == (3, 0.6667)
    assert found["ms"]["collage"]["step"]["median"] == 2000
    assert found["ms"]["collage"]["total"]["median"] == 2500
    assert found["ms"]["regular"]["data"]["median"] == 0
    assert found["ms"]["all"]["step"]["median"] == 1000
    assert set(describe_training(steps, "baseline")["ms"]) == {"all", "regular"}


class Fake:
    def __init__(self, name: str, log: list[str], collage: bool = False) -> None:
        self.name, self.log, self.collage, self.split = name, log, collage, False
        self.seconds = {"data": 1.0, "forward": 2.0, "backward": 3.0, "update": 4.0}

    def __call__(self) -> None:
        assert self.split
        self.log.append(self.name)


def test_blocks_alternate_and_every_round_has_all_trainings():
    log: list[str] = []
    loops = {"baseline": Fake("baseline", log), "dst": Fake("dst", log, True)}
    clock = itertools.count().__next__
    steps = interleave(loops, 3, 5, 2, clock)
    assert log[:6] == ["baseline"] * 3 + ["dst"] * 3  # the warm-up
    blocks = [name for name, _ in itertools.groupby(step.training for step in steps)]
    assert len(steps) % 6 == 0
    assert {step.round for step in steps} == set(range(len(steps) // 6))
    assert len(blocks) >= 3
    assert (steps[0].step, steps[0].total) == (9.0, 10.0)
    assert all(step.collage == (step.training == "dst") for step in steps)


def test_a_live_training_with_dst_feeds_its_losses_back(tmp_path, monkeypatch):
    split = write_images(tmp_path, 4, factor=0.25, listed=24)
    assert len(split["images"]) == 24
    loop = Ours(split, 2, 0, "cpu", "fp32", "mini", experiment="dst_frcnn_r50_fpn_1x_dst")
    shares = iter((0.0, 0.9, 0.0))  # below the threshold, above it, below it
    told = []
    feedback = loop.feeder.schedule.feedback
    update = feedback.update
    monkeypatch.setattr(feedback, "update", lambda share: (told.append(share), update(next(shares)))[1])
    seen = []
    for _ in range(4):
        loop()
        seen.append(loop.collage)
    assert seen == [True, True, False, True]
    assert len(told) == 3
    assert all(0 <= share <= 1 for share in told)
    always = Ours(split, 2, 0, "cpu", "fp32", "mini", experiment="dst_frcnn_r50_fpn_1x_dst_all_collage")
    always()
    assert always.collage


def test_a_collage_is_timed_on_one_core_and_threads_are_put_back():
    threads = torch.get_num_threads()
    found = collage_times(64, 96, objects=2, repeats=3)
    assert torch.get_num_threads() == threads
    assert (found["images"], found["repeats"]) == ([64, 96], 3)
    assert 0 < found["fastest_ms"] <= found["ms"]["median"]


@pytest.mark.parametrize(
    ("low", "ratio", "high", "words"),
    [
        (1.0, 1.01, 1.02, "met"),
        (1.0, 1.01, 1.05, "met, but the interval includes 1.02"),
        (1.01, 1.04, 1.05, "missed, but the interval includes 1.02"),
        (1.03, 1.04, 1.05, "missed"),
    ],
)
def test_verdicts(low, ratio, high, words):
    assert verdict({"low": low, "ratio": ratio, "high": high}, 1.02) == words


def test_operators_that_collages_add_to(monkeypatch):
    found = {
        "plain": [{"name": "conv", "ms": 9.0}, {"name": "minimum", "ms": 1.0}, {"name": "sort", "ms": 3.0}],
        "collage": [{"name": "conv", "ms": 9.0}, {"name": "minimum", "ms": 5.0}, {"name": "nonzero", "ms": 2.0}],
    }
    monkeypatch.setattr(dst_overhead, "operator_shares", lambda loop, *how: {"operators": found[loop]})
    assert dst_overhead.added_operators("plain", "collage", "cpu") == [
        {"name": "minimum", "without": 1.0, "with": 5.0, "added": 4.0},
        {"name": "nonzero", "without": 0.0, "with": 2.0, "added": 2.0},
    ]


def test_a_run_writes_json_and_page(monkeypatch, tmp_path):
    log: list[str] = []
    collage = read_json(paths.ROOT / "reports/benchmarks/cpu_dst_overhead.json")["collage"]
    monkeypatch.setattr(dst_overhead, "added_operators", lambda *how: [])
    monkeypatch.setattr(dst_overhead, "Ours", lambda *how, experiment, lr: Fake(experiment, log, "all" in experiment))
    monkeypatch.setattr(dst_overhead, "write_images", lambda *how: {})
    monkeypatch.setattr(dst_overhead, "collage_times", lambda: collage)
    words = ["--minutes", "0.0000001", "--rounds", "2", "--precision", "fp32", "--output", str(tmp_path)]
    found = dst_overhead.main(dst_overhead.parser().parse_args(words))
    assert found["settings"]["rounds"] == 2
    assert found["ratios"]["all_collage"]["total"]["mean"]["ratio"] == 1.0
    assert json.loads((tmp_path / "cpu_dst_overhead.json").read_text()) == found
    assert "missed" not in (tmp_path / "cpu_dst_overhead.md").read_text().split("## Where")[0]
