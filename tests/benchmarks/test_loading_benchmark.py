"""The loading benchmark: what is timed, what is divided by what, and how many processes are needed."""

import json

import pytest
import torch

from pipeline.benchmarks import loading
from pipeline.benchmarks.training_loops import write_images


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> dict:
    return write_images(tmp_path_factory.mktemp("images"), 2, factor=0.25, listed=40)


def test_calls_are_counted_without_the_warm_up():
    calls = []
    found = loading.timed(lambda: calls.append(1), 0, least=7)
    assert len(found) == 7
    assert len(calls) == 7 + loading.WARM_UP
    assert len(loading.timed(lambda: None, 60, least=0)) == loading.MOST  # a call of nothing does not run for a minute


def test_loading_reads_new_images_and_collages_read_more_of_them(split, monkeypatch):
    read = []
    original = loading.DetectionSet.image
    monkeypatch.setattr(loading.DetectionSet, "image", lambda self, row: read.append(row) or original(self, row))
    loading.loading_seconds(split, loading.REGULAR, "mini", 2, 0, 0)
    regular = len(read)
    read.clear()
    loading.loading_seconds(split, loading.COLLAGE, "mini", 2, 0, 0)
    assert (regular, len(read)) == (14, 56)  # 2 and 5 batches of 2, and of 2 collages of 4


def test_parts_exist(split):
    found = loading.part_seconds(split, "mini", 0)
    assert list(found) == ["decode", "resize", "flip"]
    assert all(value >= 0 for value in found.values())


def test_a_run_divides_loading_by_what_a_step_consumes(monkeypatch, tmp_path):
    seconds = {(loading.REGULAR, 0): [0.5], (loading.COLLAGE, 0): [2.0], (loading.REGULAR, 3): [0.2]}
    how = []
    monkeypatch.setattr(loading, "write_images", lambda *args: {})
    monkeypatch.setattr(loading, "Ours", lambda *args: how.append(args))
    monkeypatch.setattr(loading, "loading_seconds", lambda s, name, p, b, workers, t: seconds[name, workers])
    monkeypatch.setattr(loading, "part_seconds", lambda *args: {"decode": 3.0, "resize": 2.0, "flip": 1.0})
    monkeypatch.setattr(loading, "step_seconds", lambda *args: [0.8, 0.8])
    words = ["--preset", "full", "--batch", "4", "--workers", "3", "--precision", "fp32", "--output", str(tmp_path)]
    threads = torch.get_num_threads()
    found = loading.main(loading.parser().parse_args(words))
    assert torch.get_num_threads() == threads
    assert found["consumed"]["median"] == 5.0  # 4 images in 0.8 s
    assert found["loaded_per_worker"]["regular"]["median"] == 8.0
    assert found["ratio_per_worker"] == {"regular": 1.6, "collage": 0.4}
    assert found["workers_needed"] == {"regular": 1, "collage": 3}
    assert found["ratio_together"] == 4.0
    assert json.loads((tmp_path / "cpu_loading.json").read_text()) == found
    assert "4.00 times what the step consumes: the training never waits." in (tmp_path / "cpu_loading.md").read_text()
